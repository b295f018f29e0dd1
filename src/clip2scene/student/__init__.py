"""The student: 3D backbones with one interface.

``backbone(positions, features, batch_of_point)`` returns one row of ``backbone.out_channels`` features per
point; positions are in metres.
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
    "NETWORKS",
    "MinkUNet",
    "minkunet14a",
    "minkunet18",
    "minkunet18_spvnas",
    "minkunet34",
    "spunet34",
]

NETWORKS = {
    "spvcnn": SPVCNN,
    "minkunet14a": minkunet14a,
    "minkunet18": minkunet18,
    "minkunet34": minkunet34,
    "spvcnn-corners": CornerSPVCNN,
    "minkunet18-spvnas": minkunet18_spvnas,
    "spunet34": spunet34,
}
"""Each network by the name that a recipe calls it (``student.network``)."""
