"""Loaders of data sets, their files and their labels: one folder a layout, listed in :data:`LOADERS`."""

from clip2scene.datasets.dataset import Dataset
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.datasets.kitti.object import KittiObject
from clip2scene.datasets.kitti.raw import KittiRaw
from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.datasets.mixed.loader import Mixed
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.pandaset.loader import PandaSet
from clip2scene.datasets.rooms.rgbd import RgbdSequences
from clip2scene.datasets.rooms.scannet import ScanNet

LOADERS: dict[str, type[Dataset]] = {
    "nuscenes": NuScenes,
    "pandaset": PandaSet,
    "semantic-kitti": SemanticKitti,
    "kitti-object": KittiObject,
    "kitti-raw": KittiRaw,
    "drive-log": DriveLog,
    "scannet": ScanNet,
    "rgbd": RgbdSequences,
    "mix": Mixed,
}
"""The loader of each layout."""
