"""Argoverse 2's ``calibration/``: cameras on the vehicle, in whose frame its clouds are.

``egovehicle_SE3_sensor`` takes points of a sensor (x right, y down, z forward for cameras) to the vehicle
(x forward, y left, z up). The images are undistorted, so ``k1 k2 k3`` are left out, as they are by its own
programs (https://github.com/argoverse/av2-api/issues/219). It does not say where a pixel's centre is: whole
numbers are taken for centres.
"""

from pathlib import Path

import numpy as np

from clip2scene.datasets.rigs.rig import (
    Rig,
    RigCamera,
    camera_name,
    check_distinct,
    check_small,
    numbers,
    pinhole,
    whole,
)
from clip2scene.geometry.projection import invert_rigid, rigid_from_quaternion
from clip2scene.io import read_feather

INTRINSICS, PLACES = "intrinsics.feather", "egovehicle_SE3_sensor.feather"
"""The two files."""


def read_argoverse(folder: Path) -> Rig:
    """Read the cameras of a log; the reference is the vehicle, which is the frame of its clouds too.

    Raises:
        ValueError: If pyarrow is missing, a file is missing or broken, or a camera has no place.
    """
    lenses = _read(folder / INTRINSICS, ("fx_px", "fy_px", "cx_px", "cy_px", "width_px", "height_px"))
    places = _read(folder / PLACES, ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m"))
    cameras = []
    for name, (fx, fy, cx, cy, width, height) in lenses.items():
        if name not in places:
            raise ValueError(f"{folder / PLACES} has no row of {name}, which {INTRINSICS} has; restore it")
        what = f"{name} of {folder}"
        try:
            ego_from_camera = rigid_from_quaternion(places[name][:4], places[name][4:])
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
        size = whole(width, f"the width of {what}"), whole(height, f"the height of {what}")
        intrinsics = pinhole(fx, fy, cx, cy)
        cameras.append(RigCamera(camera_name(name, folder), *size, intrinsics, invert_rigid(ego_from_camera)))
    note = "k1 k2 k3 are left out: images of Argoverse 2 are undistorted"
    return Rig(check_distinct(cameras, folder), "the vehicle, as its clouds", has_lidar=True, notes=(note,))


def _read(path: Path, columns: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    """Read some columns of numbers by the sensor's name."""
    check_small(path)
    table = read_feather(path)
    lacking = [name for name in ("sensor_name", *columns) if name not in table]
    if lacking:
        raise ValueError(f"{path} lacks the columns {', '.join(lacking)}, which Argoverse 2 has; restore it")
    names = [str(name) for name in table["sensor_name"]]
    rows = np.column_stack(
        [numbers(table[name].tolist(), len(names), f"{name} of {path}") for name in columns]
    )
    return {name: tuple(row) for name, row in zip(names, rows.tolist(), strict=True)}
