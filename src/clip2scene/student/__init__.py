"""The 3D networks that learn.

All are called alike: ``student(positions, features, batch_of_point)`` returns one row of
``student.out_channels`` features per point.
"""

from clip2scene.student.minkunet import (
    MinkUNet,
    minkunet14a,
    minkunet18,
    minkunet18_spvnas,
    minkunet34,
    spunet34,
)
from clip2scene.student.spvcnn import SPVCNN, CornerSPVCNN

__all__ = [
    "SPVCNN",
    "CornerSPVCNN",
    "MinkUNet",
    "minkunet14a",
    "minkunet18",
    "minkunet18_spvnas",
    "minkunet34",
    "spunet34",
]
