"""What KITTI's layouts have in common: clouds, text files of numbers, and the colour camera on the left.

All have a lidar whose frame has x forward, y left and z up, and rectified images. Points go through the
rectified frame of camera 0, in which the files' projections and poses are written.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.checks import check_middle, check_positions, read_records, suspect_width
from clip2scene.datasets.moments import way_fault
from clip2scene.geometry.projection import check_intrinsics, check_rigid
from clip2scene.images import read_size
from clip2scene.io import read_text as read_whole_text
from clip2scene.types import Camera, PointCloud

CAMERA = "image_2"
"""Name of the left colour camera, the only one whose images are read."""

VIEWPOINT = (0.0, 0.0, 0.0)
"""The lidar stands at the origin of its clouds."""

PERIOD_US = 100_000
"""The lidar turns ten times a second."""

VEHICLE_REACH_M = (2.0, 1.3)
"""Points of an earlier sweep this near the lidar, along x and y, lie on the recording vehicle."""


def list_names(folder: Path, suffix: str, digits: int) -> tuple[str, ...]:
    """List the numbers that a folder's files are named by, in order; none if there is no such folder.

    Files of another form are passed over: editors and file managers leave their own.
    """
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return ()
    form = re.compile(rf"([0-9]{{{digits}}}){re.escape(suffix)}")
    return tuple(sorted(match[1] for match in map(form.fullmatch, names) if match))


def read_velodyne(path: Path) -> PointCloud:
    """Read a cloud: float32 x, y, z in metres and the reflectance in 0..1.

    Raises:
        ValueError: If the file is missing, truncated or empty, a coordinate is not finite, or a reflectance
            is not in 0..1.
    """
    with suspect_width(path, 4):
        records = torch.from_numpy(read_records(path, "<f4", columns=4).copy())
        check_positions(records[:, :3], path)
        reflectance = records[:, 3:]
        strange = int((~((reflectance >= 0) & (reflectance <= 1))).sum())  # NaN is strange too
        if strange:
            raise ValueError(
                f"{path} holds {strange} reflectances of {len(records)} that are not in 0..1; expected "
                "float32 records of x, y, z and reflectance: divide counts by their maximum, or restore the "
                "file"
            )
    return PointCloud(records[:, :3].contiguous(), reflectance.contiguous())


def read_text(path: Path, *, needs_end: bool = True) -> str:
    """Read a text file of numbers, refusing one that breaks off within a number.

    Args:
        path: The file.
        needs_end: False where the last number is of no use, so that it may be cut.

    Raises:
        ValueError: If it is missing or no text, or its last line has no end and its last number is not whole
            for certain: as many digits with exponent as the one before it.
    """
    text = read_whole_text(path)
    if needs_end and text and not text[-1].isspace():
        last = [re.fullmatch(r"-?([0-9]\.[0-9]+)e[+-][0-9]{2}", word) for word in text.split()[-2:]]
        digits = {len(number[1]) if number else 0 for number in last}
        if len(digits) > 1 or 0 in digits:
            raise ValueError(
                f"{path} breaks off, perhaps within a number: its last line has no end; restore it, or end "
                "the line if it is whole"
            )
    return text


def read_times(path: Path, names: Sequence[str]) -> tuple[int, ...] | None:
    """Read ``times.txt``, the seconds of each cloud from 000000 on, if there is one.

    Returns:
        Microseconds of each of ``names``; None without such a file.

    Raises:
        ValueError: If it holds something else, or not a time for each.
    """
    if not path.exists():
        return None
    words = read_text(path, needs_end=False).split()
    try:
        times = [round(float(word) * 1e6) for word in words]
        return tuple(times[int(name)] for name in names)
    except (ValueError, IndexError, OverflowError):
        raise ValueError(
            f"{path} should hold the seconds of each cloud from 000000 to {names[-1]}, got {len(words)} "
            "words; restore it, or remove it"
        ) from None


def read_matrices(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Float[Tensor, "..."]]:
    """Read the named arrays of a calibration file, whose lines are ``NAME: numbers``.

    Args:
        path: The file.
        shapes: What to look for, and its shape. Other lines are passed over.

    Raises:
        ValueError: If the file is missing or broken, or an array is absent, given twice, of another size, or
            not finite.
    """
    return find_matrices(read_text(path), path, shapes)


def find_matrices(
    text: str, path: Path, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[Tensor, "..."]]:
    """Find what :func:`read_matrices` reads in the text of the file, with its errors."""
    found: dict[str, Tensor] = {}
    for line in text.splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() not in shapes:
            continue
        shape = shapes[name.strip()]
        try:
            values = np.array([float(word) for word in numbers.split()])
        except ValueError:
            values = np.zeros(0)
        if values.size != np.prod(shape) or not np.isfinite(values).all():
            raise ValueError(
                f"{path}: expected {np.prod(shape)} finite numbers after {name.strip()}:, got "
                f"{numbers.strip()!r}; restore the file"
            )
        if name.strip() in found:
            raise ValueError(f"{path} gives {name.strip()} twice, expected one line of it; restore the file")
        found[name.strip()] = torch.from_numpy(values.reshape(shape))
    lacking = [name for name in shapes if name not in found]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}; expected a line NAME: numbers; restore it")
    return found


def lidar_motion(path: Path) -> Float[Tensor, "4 4"]:
    """Read a file of a rotation R and a translation T, as a day of the raw recordings has."""
    matrices = read_matrices(path, {"R": (3, 3), "T": (3,)})
    return rigid(matrices["R"], f"R of {path}", matrices["T"])


def rigid(
    matrix: Float[Tensor, "3 columns"], name: str, translation: Float[Tensor, " 3"] | None = None
) -> Float[Tensor, "4 4"]:
    """Make a 3x4 matrix, or a rotation and a translation, a rigid motion.

    Raises:
        ValueError: If the matrix does not hold a rotation.
    """
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, : matrix.shape[1]] = matrix
    if translation is not None:
        motion[:3, 3] = translation
    check_rigid(motion, name)
    return motion


def split_projection(
    projection: Float[Tensor, "3 4"], name: str
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "4 4"]]:
    """Split a projection into intrinsics and the way from the rectified frame of camera 0 to this camera.

    The last column of ``projection`` is the intrinsics times the offset between the two, which is parallel.

    Args:
        projection: Pixels from positions in the rectified frame of camera 0.
        name: What it is and where it came from, for messages.

    Returns:
        The intrinsics, and ``camera_from_rectified``.

    Raises:
        ValueError: If the left 3x3 is no intrinsics of a pinhole camera.

    Example:
        >>> projection = torch.tensor([[700.0, 0, 600, 42], [0, 700, 180, 0], [0, 0, 1, 0]]).double()
        >>> round(split_projection(projection, "P2")[1][0, 3].item(), 6)
        0.06
    """
    intrinsics = projection[:, :3]
    check_intrinsics(intrinsics, f"{name}, left 3x3")
    camera_from_rectified = torch.eye(4, dtype=projection.dtype)
    camera_from_rectified[:3, 3] = torch.linalg.solve(intrinsics, projection[:, 3])
    return intrinsics, camera_from_rectified


def check_way(path: Path, names: Sequence[str], places: Float[Tensor, "clouds 3"]) -> None:
    """Refuse poses between which the vehicle jumps, at KITTI's ten clouds a second.

    Args:
        path: Where they come from.
        names: The clouds, whose numbers count tenths of a second.
        places: Where the vehicle was, in metres.

    Raises:
        ValueError: If it would have been too fast. The message names the cloud.
    """
    found = way_fault([int(name) * PERIOD_US for name in names], places.numpy())
    if found:
        raise ValueError(f"{path}: the vehicle at cloud {names[found[0]]} {found[1]} Restore the poses")


def colour_camera(
    image: Path, name: str, intrinsics: Float[Tensor, "3 3"], camera_from_lidar: Float[Tensor, "4 4"]
) -> Camera:
    """Make a camera of the size that its image file says, of which only the header is read.

    Raises:
        ValueError: If the header cannot be read, or the image must have been resized since the calibration.
    """
    width, height = read_size(image, f"image {image}")
    check_middle(intrinsics, (width, height), f"image {image}", of=f"images in {image.parent}")
    return Camera(name, intrinsics.float(), camera_from_lidar.float(), width, height)
