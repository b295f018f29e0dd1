"""Scores: predictions against the truth, point by point."""
