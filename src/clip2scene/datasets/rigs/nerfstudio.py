"""Nerfstudio's ``transforms.json``: cameras placed in a world, with the axes of OpenGL.

``transform_matrix`` takes points of a camera with x right, y up and z backward to the world, so y and z are
turned round here. A pixel's centre has half numbers there, so the principal point is half a pixel less here.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from clip2scene.datasets.rigs.rig import (
    Rig,
    RigCamera,
    camera_name,
    check_distinct,
    check_small,
    distortion_of,
    motion,
    numbers,
    pinhole,
    whole,
)
from clip2scene.geometry.distortion import Distortion
from clip2scene.geometry.projection import invert_rigid
from clip2scene.io import read_json

_LENS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_OPENGL = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
_MODELS = {
    **dict.fromkeys(("OPENCV", "SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL"), "plumb_bob"),
    "OPENCV_FISHEYE": "equidistant",
}
"""Our names of its distortions, whose coefficients are of one form, zero where they are left out."""


def read_nerfstudio(path: Path) -> Rig:
    """Read a camera for each frame, named by its image; the reference is the file's world.

    Raises:
        ValueError: If the file is not as described, or its cameras are of another model.
    """
    check_small(path)
    content = read_json(path)
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise ValueError(f"{path} has no list of frames, expected nerfstudio's transforms.json")
    cameras = [
        _camera({**content, **frame}, f"frames[{number}] of {path}", path)
        for number, frame in enumerate(frames)
    ]
    return Rig(check_distinct(cameras, path), "its world", has_lidar=False)


def _camera(entry: Mapping[str, Any], what: str, path: Path) -> RigCamera:
    """Read one frame, with what stands above all frames."""
    lacking = [name for name in (*_LENS, "file_path", "transform_matrix") if name not in entry]
    if lacking:
        raise ValueError(f"{what} lacks {', '.join(lacking)}; write them, in the frame or above all")
    fx, fy, cx, cy, *_ = numbers([entry[name] for name in _LENS], 6, f"{', '.join(_LENS)} of {what}")
    world_from_camera = motion(entry["transform_matrix"], f"transform_matrix of {what}") @ _OPENGL
    return RigCamera(
        camera_name(str(entry["file_path"]), path),
        whole(entry["w"], f"w of {what}"),
        whole(entry["h"], f"h of {what}"),
        pinhole(fx, fy, cx - 0.5, cy - 0.5),
        invert_rigid(world_from_camera),
        _distortion(entry, what),
    )


def _distortion(entry: Mapping[str, Any], what: str) -> Distortion | None:
    """Read the coefficients, whose names do not depend on the model."""
    kind = str(entry.get("camera_model", "OPENCV"))
    names = ("k1", "k2", "k3", "k4", "p1", "p2")
    k1, k2, k3, k4, p1, p2 = numbers([entry.get(name, 0.0) for name in names], 6, f"distortion of {what}")
    if kind not in _MODELS or (_MODELS[kind] == "plumb_bob" and k4):
        raise ValueError(
            f"{what} is of the model {kind}{' with k4' if kind in _MODELS else ''}, expected one of "
            f"{', '.join(_MODELS)}; undistort its images"
        )
    if _MODELS[kind] == "equidistant":
        return distortion_of("equidistant", (k1, k2, k3, k4), what)
    return distortion_of("plumb_bob", (k1, k2, p1, p2, k3), what)
