"""Rooms: which of the settings open them, and how."""

import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.scannet200 import SCANNET_200
from clip2scene.classes.tables import SCANNET
from clip2scene.config import DataConfig
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.datasets.rooms.rgbd import RgbdSequences
from clip2scene.datasets.rooms.scannet import ScanNet

Rooms = ScanNet | RgbdSequences

LAYOUTS = frozenset({"scannet", "rgbd"})
"""Layouts whose samples are rooms, seen by one moving camera."""


def indoor_classes(data: DataConfig) -> ClassSet:
    """Say which classes rooms are judged in."""
    return SCANNET_200 if data.classes == SCANNET_200.name else SCANNET


def frame_settings(data: DataConfig, dataset: object) -> dict[str, Any]:
    """Name what decides which frames teach, and what they show; nothing for other data.

    A digest stands for every chosen frame: its name, where both cameras stood and how they look, and size and
    time of change of its image and depth files. So what a teacher said of frames that were mended since is
    not taken again.
    """
    if not isinstance(dataset, Rooms):
        return {}
    digest = hashlib.sha256()
    for token in dataset.tokens:
        for part in (token, *_looks(dataset, token)):
            digest.update(f"{part}\n".encode())
    return {"frame_step": data.frame_step, "views": data.views, "frames": digest.hexdigest()}


def _looks(dataset: Rooms, token: str) -> list[str]:
    """Describe how a room is looked at; nothing where there are no frames."""
    optics = dataset.optics(token)
    if optics is None:
        return []
    parts = [str((optics.colour.tolist(), optics.depth.tolist(), optics.units_per_m, optics.invalid))]
    for frame in dataset.frames(token).frames:
        motions = frame.camera_from_world.tolist(), frame.depth_from_world.tolist()
        files = [
            (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (frame.image, frame.depth)
        ]
        parts.append(str((frame.name, motions, files)))
    return parts


def open_rooms(
    data: DataConfig,
    root: Path,
    *,
    split: str,
    with_labels: bool,
    sweeps: int,
    need_images: bool,
    labelled: Collection[str] | None = None,
) -> Rooms:
    """Open a split of rooms; arguments as for :func:`clip2scene.build.build_dataset`.

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
        labelled=labelled,
    )
