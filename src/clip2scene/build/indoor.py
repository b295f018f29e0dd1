"""Rooms: which of the settings open them, and how."""

from pathlib import Path

from clip2scene.class_set import ClassSet
from clip2scene.config import DataConfig
from clip2scene.datasets.rgbd import RgbdSequences
from clip2scene.datasets.rgbd_files import FrameChoice
from clip2scene.datasets.scannet import ScanNet
from clip2scene.labels import SCANNET
from clip2scene.scannet200 import SCANNET_200

Rooms = ScanNet | RgbdSequences

LAYOUTS = frozenset({"scannet", "rgbd"})
"""Layouts whose samples are rooms, seen by one moving camera."""


def indoor_classes(data: DataConfig) -> ClassSet:
    """Say which classes rooms are judged in."""
    return SCANNET_200 if data.classes == SCANNET_200.name else SCANNET


def frame_settings(data: DataConfig) -> dict[str, int]:
    """Name what decides which frames teach; nothing for other data."""
    return {"frame_step": data.frame_step, "views": data.views} if data.layout in LAYOUTS else {}


def open_rooms(
    data: DataConfig, root: Path, *, split: str, with_labels: bool, sweeps: int, need_images: bool
) -> Rooms:
    """Open a split of rooms.

    Raises:
        ValueError: If there are no such files, or several sweeps are asked for.
    """
    if sweeps > 1:
        raise ValueError(f"rooms have no sweeps, got {sweeps}; use 1")
    choice, class_set = FrameChoice(data.frame_step, data.views, data.most_skipped), indoor_classes(data)
    if data.layout == "rgbd":
        return RgbdSequences(root, split=split, with_labels=with_labels, class_set=class_set, choice=choice)
    return ScanNet(
        root,
        split=split,
        with_labels=with_labels,
        class_set=class_set,
        need_images=need_images,
        choice=choice,
    )
