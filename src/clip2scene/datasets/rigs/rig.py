"""Cameras on a rig, as a calibration describes them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.checks import check_name
from clip2scene.geometry.distortion import Distortion, read_distortion
from clip2scene.geometry.projection import check_rigid, rigid_from_quaternion
from clip2scene.io import in_a_sentence, regular_file

MOST_BYTES = 1 << 24
"""Of a calibration file; larger ones are something else."""


@dataclass(frozen=True)
class RigCamera:
    """A camera of a rig.

    Attributes:
        name: Fit for a folder's name.
        width: Of its images, in pixels.
        height: Of its images, in pixels.
        intrinsics: In float64; whole pixel numbers are pixel centres.
        camera_from_reference: Rigid motion into its frame: x right, y down, z forward.
        distortion: What the lens does to the images; None if they are undistorted.
    """

    name: str
    width: int
    height: int
    intrinsics: Float[Tensor, "3 3"]
    camera_from_reference: Float[Tensor, "4 4"]
    distortion: Distortion | None = None


@dataclass(frozen=True)
class Rig:
    """What a calibration says.

    Attributes:
        cameras: In the file's order.
        reference: What their places are relative to, in words.
        has_lidar: Whether that is the frame of the clouds.
        notes: What the user should know, a sentence each.
    """

    cameras: tuple[RigCamera, ...]
    reference: str
    has_lidar: bool
    notes: tuple[str, ...] = ()


def check_small(path: Path, most: int = MOST_BYTES) -> None:
    """Refuse a file of more than ``most`` bytes.

    Raises:
        ValueError: If it is missing, no plain file, or larger.
    """
    size = regular_file(path).stat().st_size
    if size > most:
        raise ValueError(f"{path} has {size / 1e6:.1f} MB, which no calibration needs; name another file")


def read_small(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a file of at most ``most`` bytes.

    Raises:
        ValueError: If it is missing, no plain file, or larger.
    """
    check_small(path, most)
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); restore it") from None


def numbers(value: Any, count: int | None, what: str) -> list[float]:  # noqa: ANN401 - of a stranger's file
    """Take a list of finite numbers, however nested.

    Args:
        value: It.
        count: How many there should be; None takes any.
        what: What they are, for the message.

    Raises:
        ValueError: If it is something else.
    """
    try:
        array = np.array(value, dtype=np.float64).reshape(-1)
    except (ValueError, TypeError, OverflowError):
        array = np.array([np.nan])
    if not np.isfinite(array).all() or (count is not None and len(array) != count):
        raise ValueError(
            f"{what}: expected {'' if count is None else f'{count} '}finite numbers, got {str(value)[:80]}; "
            "check the calibration"
        )
    return [float(each) for each in array]


def distortion_of(model: str, coefficients: Sequence[float | int], what: str) -> Distortion | None:
    """Read what a lens does to its images (:func:`~clip2scene.geometry.distortion.read_distortion`).

    Raises:
        ValueError: If the model is unknown, or the coefficients are not its own; names ``what`` they are of.
    """
    try:
        return read_distortion(model, coefficients)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float[Tensor, "3 3"]:
    """Make intrinsics of focal lengths and principal point."""
    return torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)


def motion(value: Any, what: str) -> Float[Tensor, "4 4"]:  # noqa: ANN401 - of a stranger's file
    """Make a rigid motion of 4x4 or 3x4 numbers, in rows.

    Raises:
        ValueError: If they are not that many, or the motion is not rigid.
    """
    found = numbers(value, None, what)
    rows = torch.tensor(found if len(found) == 12 else numbers(value, 16, what), dtype=torch.float64)
    rows = rows.reshape(-1, 4)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[: len(rows)] = rows
    check_rigid(matrix, what)
    return matrix


def whole(value: Any, what: str) -> int:  # noqa: ANN401 - of a stranger's file
    """Take a size in pixels.

    Raises:
        ValueError: If it is no whole number of 1 to 65535.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 65535 or value % 1:
        raise ValueError(f"{what} is {str(value)[:80]}, expected a number of pixels; check the calibration")
    return int(value)


def camera_name(text: str, path: Path) -> str:
    """Name a camera by its image or topic: folders become part of the name, the suffix goes.

    Raises:
        ValueError: If it holds characters that no folder should.
    """
    name = re.sub(r"\.[A-Za-z0-9]+$", "", text.strip().lstrip("./")).replace("/", "_")
    check_name(name, path)
    return name


def read_motion(text: str) -> Float[Tensor, "4 4"]:
    """Read a rigid motion that a user gives on the command line.

    Args:
        text: ``identity``; or 7 numbers x y z qw qx qy qz (metres), or 12 or 16 numbers of a matrix by rows,
            separated by blanks or commas; or the path of a text file that holds these.

    Raises:
        ValueError: If it is none of them, or not rigid.
    """
    if text.strip() == "identity":
        return torch.eye(4, dtype=torch.float64)
    what = "the motion from the lidar (--reference-from-lidar)"
    given = text
    if any(letter.isalpha() and letter not in "eE" for letter in text):
        given = read_small(Path(text)).decode("utf-8", errors="replace")
        what = f"the motion in {text}"
    words = given.replace(",", " ").split()
    try:
        found = [float(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{what} cannot be read ({in_a_sentence(error)}); write numbers") from None
    if len(found) == 7:
        return rigid_from_quaternion(found[3:], found[:3])
    if len(found) not in (12, 16):
        raise ValueError(
            f"{what} has {len(found)} numbers, expected 7 (x y z qw qx qy qz), or 12 or 16 of a "
            "matrix by rows"
        )
    return motion(found, what)


def check_distinct(cameras: Sequence[RigCamera], path: Path) -> tuple[RigCamera, ...]:
    """Refuse a rig without a camera, or with two of one name.

    Raises:
        ValueError: If it is one.
    """
    names = [camera.name for camera in cameras]
    if not cameras or len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        what = f"two cameras of the name {twice[0]}" if twice else "no camera"
        raise ValueError(f"{path} has {what}; expected at least one, each with a name of its own")
    return tuple(cameras)
