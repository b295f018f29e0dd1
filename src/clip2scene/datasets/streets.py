"""Loaders of streets, which may be mixed: their points have one channel, an intensity of 0..1."""

from clip2scene.datasets.dataset import Dataset
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.datasets.kitti.object import KittiObject
from clip2scene.datasets.kitti.raw import KittiRaw
from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.pandaset.loader import PandaSet

STREETS: dict[str, type[Dataset]] = {
    "nuscenes": NuScenes,
    "pandaset": PandaSet,
    "semantic-kitti": SemanticKitti,
    "kitti-object": KittiObject,
    "kitti-raw": KittiRaw,
    "drive-log": DriveLog,
}
"""The loader of each layout of streets."""
