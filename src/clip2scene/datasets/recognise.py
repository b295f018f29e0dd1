"""Which layout a folder has, by what lies in it, so that a wrong one is told before anything fails."""

from collections.abc import Callable, Iterator
from pathlib import Path

from clip2scene.datasets.rooms.sequences import is_seven_scenes, is_tum

_MOST_FOLDERS = 200
"""Folders of a folder that are looked into."""

_BAGS = ("*.mcap", "*.db3", "*.bag", "metadata.yaml")


def _has(*patterns: str) -> Callable[[Path], bool]:
    return lambda root: all(any(root.glob(pattern)) for pattern in patterns)


_MARKS: dict[str, Callable[[Path], bool]] = {
    "mix": _has("mix.json"),
    "drive-log": _has("calibration.json", "lidar"),
    "nuscenes": _has("*/sample_data.json"),
    "semantic-kitti": _has("sequences/*/velodyne"),
    "kitti-object": _has("t*ing/velodyne"),
    "kitti-raw": _has("*/*_drive_*_sync"),
    "scannet": _has("scans*/*/*_vh_clean_2.ply"),
    "pandaset": _has("lidar", "camera"),
    "rgbd": lambda root: any(is_tum(each) or is_seven_scenes(each) for each in (root, *_below(root, 2))),
}
"""What a folder in each layout has, and none in another; the surest first."""


def check_layout(root: Path, layout: str) -> None:
    """Refuse a folder that is clearly in another layout, a part of a data set, or around one, or a recording.

    A folder that is like nothing known passes: the loader of its layout knows best what is missing.

    Args:
        root: The folder.
        layout: The layout that it should have; one that a user added is left to its loader too.

    Raises:
        ValueError: If it is something else; the message says what, and what to do.
    """
    if root.name == "mix.json" and root.is_file():
        raise ValueError(f"{root} is a file; name the folder that holds it, with --data.layout mix")
    if root.is_file():
        raise ValueError(f"{root} is a file, expected the folder of a data set{_converting(root)}")
    if not root.is_dir() or layout not in _MARKS or _MARKS[layout](root):
        return
    other = layout_of(root)
    if other and layout == "mix":
        raise ValueError(
            f"{root} looks like a data set in the layout {other}, expected a mixture's folder: name one "
            "whose mix.json lists it (evaluate gives each source a column); or, for it alone, "
            f"--data.layout {other}"
        )
    if other:
        raise ValueError(
            f"{root} looks like a data set in the layout {other}, expected {layout}: add --data.layout "
            f"{other}, or name another folder"
        )
    for near in (*root.resolve().parents[:2], *_below(root, 1)):
        if other := layout_of(near, but="rgbd"):
            more = "" if other == layout else f", and add --data.layout {other}"
            raise ValueError(
                f"{root} is no data set, but {near} looks like one in the layout {other}: name that "
                f"folder{more}"
            )
    if _has("sync.arrow", "lidar.*.arrow")(root):
        raise ValueError(
            f"{root} is a log of 123D, expected a data set; clip2scene convert-123d {root} --out log makes "
            "one of it"
        )
    if any(_has(pattern)(root) for pattern in _BAGS):
        raise ValueError(f"{root} holds a recording, expected a data set{_converting(root)}")


def layout_of(root: Path, *, first: str = "", but: str = "") -> str | None:
    """Name the layout that a folder looks like; None if it is like nothing known.

    Args:
        root: The folder.
        first: The layout that is taken where the folder looks like several.
        but: A layout that is left out.
    """
    names = sorted((name for name in _MARKS if name != but), key=lambda name: name != first)
    return next((name for name in names if _MARKS[name](root)), None)


def _converting(recording: Path) -> str:
    return f"; clip2scene convert-recording {recording} --out log makes one of a ROS bag"


def _below(root: Path, depth: int) -> Iterator[Path]:
    """Go through the folders in a folder, and through those in them."""
    folders = [path for path in sorted(root.iterdir())[:_MOST_FOLDERS] if path.is_dir()]
    yield from folders
    if depth > 1:
        for folder in folders:
            yield from _below(folder, depth - 1)
