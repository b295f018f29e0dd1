"""How a sensor is mounted, and the ground that follows from it."""

import math

from clip2scene.geometry.ground import Ground

MOST_TILT_DEG = 45.0
"""Largest pitch and roll."""
_LEAST_M, _MOST_M = 0.05, 200.0


def ground_of_mount(height: float, pitch_deg: float = 0.0, roll_deg: float = 0.0) -> Ground:
    """Say where a level ground lies in the frame of a sensor.

    The sensor is turned about its own axes (x forward, y left, z up), first by the pitch, then by the roll.

    Args:
        height: Of the sensor above the ground, in metres.
        pitch_deg: How much it looks down ahead, in degrees.
        roll_deg: How much it leans to the right, in degrees.

    Raises:
        ValueError: If one is no number, or out of range.
    """
    if not _LEAST_M <= height <= _MOST_M:
        raise ValueError(
            f"--height is that of the sensor above the ground, expected {_LEAST_M} to {_MOST_M:.0f} metres, "
            f"got {height}; correct it"
        )
    for option, degrees in (("--pitch", pitch_deg), ("--roll", roll_deg)):
        if not abs(degrees) <= MOST_TILT_DEG:
            raise ValueError(
                f"{option} is in degrees, expected at most {MOST_TILT_DEG:.0f} either way, got {degrees}; "
                "correct it"
            )
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    upright = math.cos(pitch) * math.cos(roll)
    return Ground(-height / upright, math.tan(pitch) / math.cos(roll), -math.tan(roll), 1.0)
