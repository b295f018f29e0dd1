"""Loaders of data sets, their files and their labels: one folder a layout, listed in :data:`LOADERS`."""

from clip2scene.datasets.dataset import Dataset
from clip2scene.datasets.mixed.loader import Mixed
from clip2scene.datasets.rooms.rgbd import RgbdSequences
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.datasets.streets import STREETS

LOADERS: dict[str, type[Dataset]] = {**STREETS, "scannet": ScanNet, "rgbd": RgbdSequences, "mix": Mixed}
"""The loader of each layout."""
