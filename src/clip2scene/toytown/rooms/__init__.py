"""Furnished rooms, and a walk through one with a depth camera."""
