"""Calibrations that other programs wrote: cameras, and how they stand to a frame of reference.

Everywhere here a camera's frame has x right, y down and z forward, ``camera_from_reference`` takes points of
the frame of reference to it, and whole pixel numbers are pixel centres. Each reader says how its format
differs.
"""

from typing import Literal

Form = Literal["kitti", "ros", "kalibr", "colmap", "nerfstudio", "argoverse2"]
"""What wrote a calibration."""
