"""Frozen image models that say what every pixel is."""
