"""A trained student at work: labels, scores, exports, figures."""
