"""How far a street reaches, in street coordinates."""

START, END = -100.0, 190.0
"""The street's extent along s, in metres; the drive starts at s = 0."""


REACH = 110.0
"""The street's extent on either side, in metres."""
