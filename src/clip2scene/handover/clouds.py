"""Clouds beside their labels, in the forms that tools read: PCD, and bare records."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

from clip2scene.datasets.checks import read_records
from clip2scene.datasets.clouds.pcd import pack_colours, read_pcd
from clip2scene.handover.frames import Frame
from clip2scene.io import in_a_sentence, regular_file, write_atomically

_OF_PCD = {"f": "F", "u": "U"}


def as_records(columns: Mapping[str, Shaped[np.ndarray, " points"]]) -> Shaped[np.ndarray, " points"]:
    """Put columns beside each other, point after point, in little-endian bytes without gaps."""
    count = len(next(iter(columns.values())))
    table = np.empty(count, [(name, each.dtype.newbyteorder("<")) for name, each in columns.items()])
    for name, each in columns.items():
        table[name] = each
    return table


def write_pcd(path: Path, frame: Frame) -> None:
    """Write x, y, z and the intensity, or the colour as PCL packs it, as a binary PCD file."""
    columns = {axis: frame.positions[:, number] for number, axis in enumerate("xyz")}
    if frame.intensity is not None:
        columns["intensity"] = frame.intensity
    elif frame.colours is not None:
        columns["rgb"] = pack_colours(frame.colours)
    table, count = as_records(columns), len(frame.positions)
    header = [
        "# .PCD v0.7 - Point Cloud Data file format",
        "VERSION 0.7",
        f"FIELDS {' '.join(columns)}",
        f"SIZE {' '.join(str(each.dtype.itemsize) for each in columns.values())}",
        f"TYPE {' '.join(_OF_PCD[each.dtype.kind] for each in columns.values())}",
        f"COUNT {' '.join('1' for _ in columns)}",
        f"WIDTH {count}",
        "HEIGHT 1",
        "VIEWPOINT 0 0 0 1 0 0 0",
        f"POINTS {count}",
        "DATA binary",
        "",
    ]
    with write_atomically(path) as temporary:
        temporary.write_bytes("\n".join(header).encode() + table.tobytes())


def read_pcd_positions(path: Path) -> Float32[np.ndarray, "points 3"]:
    """Read where the points of a PCD file are.

    Raises:
        ValueError: If the file is missing or broken, or has no x, y and z.
    """
    try:
        columns = read_pcd(regular_file(path))
        return np.stack([columns[axis].astype(np.float32) for axis in "xyz"], axis=1)
    except KeyError as error:
        raise ValueError(f"{path} has no field {in_a_sentence(error)}; expected x, y and z") from None


def write_records(path: Path, frame: Frame) -> None:
    """Write float32 x, y, z and intensity, as KITTI has them; points with colours get the intensity 0."""
    intensity = np.zeros(len(frame.positions), np.float32) if frame.intensity is None else frame.intensity
    with write_atomically(path) as temporary:
        temporary.write_bytes(np.column_stack([frame.positions, intensity]).astype("<f4").tobytes())


def read_record_positions(path: Path) -> Float32[np.ndarray, "points 3"]:
    """Read where the points of such a file are."""
    return read_records(path, "<f4", columns=4)[:, :3]
