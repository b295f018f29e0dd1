"""Kalibr's ``camchain.yaml``: a chain of cameras, perhaps with an IMU, never with a lidar.

``T_cn_cnm1`` takes points of the camera before to this one, ``T_cam_imu`` points of the IMU to the camera.
Whole pixel numbers are pixel centres.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.rigs.rig import (
    Rig,
    RigCamera,
    check_distinct,
    distortion_of,
    motion,
    numbers,
    pinhole,
    whole,
)
from clip2scene.datasets.rigs.yaml_file import read_yaml

_MODELS = {"radtan": "plumb_bob", "equidistant": "equidistant", "none": ""}
"""Our names of Kalibr's distortions."""

_TOLERANCE = 1e-4
"""Metres, and sines of angles, that two ways to a camera may differ by."""


def read_kalibr(path: Path) -> Rig:
    """Read the cameras ``cam0``, ``cam1`` and so on; the reference is the IMU if there is one, else cam0.

    Raises:
        ValueError: If the file is not as described, a camera is of another model than a pinhole's, its place
            is not told, or the chain and the IMU contradict each other.
    """
    content = read_yaml(path)
    count = sum(bool(re.fullmatch("cam[0-9]+", str(name))) for name in content)
    names = [f"cam{number}" for number in range(max(count, 1))]
    for name in names:
        if not isinstance(content.get(name), dict):
            raise ValueError(f"{path} has no {name}, expected Kalibr's cam0, cam1 and so on")
    has_imu = "T_cam_imu" in content["cam0"]
    place = torch.eye(4, dtype=torch.float64)
    cameras = []
    for number, name in enumerate(names):
        place = _place(content[name], place, number, f"{name} of {path}", has_imu=has_imu)
        cameras.append(_camera(name, content[name], place, f"{name} of {path}"))
    return Rig(check_distinct(cameras, path), "the IMU" if has_imu else "cam0", has_lidar=False)


def _place(
    entry: Mapping[str, Any], before: Float[Tensor, "4 4"], number: int, what: str, *, has_imu: bool
) -> Float[Tensor, "4 4"]:
    """Place a camera by the IMU, or by the camera before."""
    chained = direct = None
    if number and "T_cn_cnm1" in entry:
        chained = motion(entry["T_cn_cnm1"], f"T_cn_cnm1 of {what}") @ before
    if has_imu and "T_cam_imu" in entry:
        direct = motion(entry["T_cam_imu"], f"T_cam_imu of {what}")
    if chained is not None and direct is not None and (chained - direct).abs().max() > _TOLERANCE:
        raise ValueError(
            f"T_cn_cnm1 and T_cam_imu of {what} place it {float((chained - direct)[:3, 3].norm()):.3g} m "
            "apart or at another angle; restore the file"
        )
    found = chained if direct is None else direct
    if found is not None:
        return found
    if number:
        raise ValueError(f"{what} has neither T_cn_cnm1 nor T_cam_imu, so its place is unknown; restore them")
    return before


def _camera(name: str, entry: Mapping[str, Any], place: Float[Tensor, "4 4"], what: str) -> RigCamera:
    """Read how a camera sees."""
    kind, distortion = entry.get("camera_model"), entry.get("distortion_model", "none")
    if kind != "pinhole" or not isinstance(distortion, str) or distortion not in _MODELS:
        raise ValueError(
            f"{what} is of the model {str(kind)[:40]}-{str(distortion)[:40]}, expected pinhole with "
            f"{', '.join(_MODELS)}; calibrate it so"
        )
    width, height = numbers(entry.get("resolution"), 2, f"resolution of {what}")
    coefficients = numbers(entry.get("distortion_coeffs", []), None, f"distortion_coeffs of {what}")
    lens = distortion_of(_MODELS[distortion], coefficients, what) if _MODELS[distortion] else None
    fx, fy, cx, cy = numbers(entry.get("intrinsics"), 4, f"intrinsics of {what}")
    size = whole(width, f"the width of {what}"), whole(height, f"the height of {what}")
    return RigCamera(name, *size, pinhole(fx, fy, cx, cy), place, lens)
