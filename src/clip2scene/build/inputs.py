"""The small files of a data set that decide what is carried, told apart by size and time of change."""

import hashlib
import json
from pathlib import Path

TABLES = {
    "nuscenes": ("v1.0-*/*.json",),
    "pandaset": ("lidar/*.json", "camera/*/*.json"),
    "semantic-kitti": ("splits.json", "sequences/*/*.txt"),
    "kitti-object": ("*/calib/*.txt",),
    "kitti-raw": ("splits.json", "*/*.txt", "*/*/oxts/data/*.txt"),
    "drive-log": ("*.json", "*.csv"),
    "scannet": ("*.json", "*.txt", "*.tsv", "scans*/*/*.txt", "scans*/*/intrinsic/*.txt"),
    "rgbd": ("*.json", "*.txt", "*/*.txt", "*/*/*.txt"),
}
"""Calibration, poses, times and splits, by layout. The poses of ScanNet's frames are too many to look at."""

LABELS = {
    "nuscenes": ("lidarseg/*/*.bin",),
    "pandaset": ("lidar/*.npz",),
    "semantic-kitti": ("sequences/*/labels/*.label",),
    "drive-log": ("labels/*",),
    "scannet": ("scans*/*/*.json", "scans*/*/*.labels.ply"),
}
"""True labels of points."""

CLASS_MAPS = {
    "semantic-kitti": "sequences/*/semantic_maps/*.png",
    "kitti-object": "*/semantic_maps/*.png",
    "kitti-raw": "*/*/semantic_maps/*.png",
    "scannet": "scans*/*/semantic_maps/*.png",
    "rgbd": "**/semantic_maps/*.png",
}
"""What a segmenter wrote; in other layouts ``semantic_maps/CAMERA/NAME.png``."""


def stamp_inputs(layout: str, root: Path, *, with_labels: bool, class_maps: bool) -> str:
    """Say in a hash which tables, labels and class maps lie in a data set, of all its splits.

    Sizes and times of change stand for their contents. Clouds and images are not looked at: there may be
    millions.

    Args:
        layout: How the data set lies on the disk.
        root: Where.
        with_labels: Whether true labels count.
        class_maps: Whether class maps do.
    """
    patterns = list(TABLES[layout])
    patterns += LABELS.get(layout, ()) if with_labels else ()
    patterns += [CLASS_MAPS.get(layout, "semantic_maps/*/*.png")] if class_maps else []
    found = {path for pattern in patterns for path in Path(root).glob(pattern)}
    rows = []
    for path in sorted(found):
        about = path.stat()
        rows.append([path.relative_to(root).as_posix(), about.st_size, about.st_mtime_ns])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32]
