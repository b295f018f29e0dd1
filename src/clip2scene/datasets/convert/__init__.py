"""Recordings in other formats, turned into layouts that can be read."""
