"""Sequences of colour and depth images with poses, as TUM's RGB-D benchmark and 7-Scenes lay them out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.checks import check_name, describe_folder, inside, list_images
from clip2scene.datasets.moments import rate_fault, spans_fault
from clip2scene.datasets.rooms.frames import (
    Chosen,
    Frame,
    FrameChoice,
    Optics,
    choose,
    read_intrinsics,
    read_pose,
)
from clip2scene.geometry.projection import invert_rigid, rigid_from_quaternion
from clip2scene.geometry.trajectory import Trajectory
from clip2scene.io import read_text

MOST_APART_US = 20_000
"""An image, the depth image taken with it and the nearest known pose lie at most so far apart in time."""

_LAST_S = 1e11  # seconds, in some thousand years

TUM_UNITS_PER_M, SEVEN_SCENES_UNITS_PER_M = 5000.0, 1000.0


def is_tum(folder: Path) -> bool:
    """Tell whether a folder is laid out as TUM's sequences are."""
    return all((folder / name).is_file() for name in ("rgb.txt", "depth.txt", "groundtruth.txt"))


def is_seven_scenes(folder: Path) -> bool:
    """Tell whether a folder is laid out as the sequences of 7-Scenes are."""
    return any(folder.glob("frame-*.pose.txt"))


def find_sequences(root: Path) -> dict[str, Path]:
    """Find the sequences in a folder: itself, its folders, or theirs. Each is named by its path.

    Raises:
        ValueError: If there is none, two would have the same name, or a name could name no file.
    """
    if is_tum(root) or is_seven_scenes(root):
        return {"sequence": root}
    below = sorted(path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.is_dir())
    found = [path for path in below if is_tum(path) or is_seven_scenes(path)]
    if not found:
        raise ValueError(
            f"{root} holds no sequence: expected rgb.txt, depth.txt and groundtruth.txt (TUM), or "
            "frame-NNNNNN.color.png, .depth.png and .pose.txt (7-Scenes), there or in folders below"
        )
    sequences: dict[str, Path] = {}
    for path in found:
        name = "-".join(path.relative_to(root).parts)
        check_name(name, root)
        if name in sequences:
            raise ValueError(
                f"the sequences {sequences[name]} and {path} would both be called {name!r}; rename one"
            )
        sequences[name] = path
    return sequences


def read_optics(folder: Path) -> Optics:
    """Give the intrinsics of a sequence's cameras.

    ``intrinsic_color.txt`` and ``intrinsic_depth.txt`` in the folder, or ``camera-intrinsics.txt`` for both,
    go before the numbers that are usual for the sensors of the two data sets.

    Raises:
        ValueError: If a file is broken.
    """
    tum = is_tum(folder)
    focal, middle = (525.0, (319.5, 239.5)) if tum else (585.0, (320.0, 240.0))
    usual = torch.tensor([[focal, 0, middle[0]], [0, focal, middle[1]], [0, 0, 1]], dtype=torch.float64)
    both = folder / "camera-intrinsics.txt"
    if both.exists():
        usual = read_intrinsics(both)
    colour, depth = (
        read_intrinsics(path) if (path := folder / f"intrinsic_{name}.txt").exists() else usual
        for name in ("color", "depth")
    )
    if tum:
        return Optics(colour, depth, TUM_UNITS_PER_M)
    return Optics(colour, depth, SEVEN_SCENES_UNITS_PER_M, (0xFFFF,))


def choose_frames(folder: Path, choice: FrameChoice) -> Chosen:
    """Step over a sequence's frames, and leave out those without a pose, or without all files.

    Raises:
        ValueError: If a file is broken, or too many frames are unusable.
    """
    return _of_tum(folder, choice) if is_tum(folder) else _of_seven_scenes(folder, choice)


def _of_seven_scenes(folder: Path, choice: FrameChoice) -> Chosen:
    found = list_images(folder, r"frame-[0-9]{6}\.color")
    images = {int(name[6:12]): path for name, path in found.items()}
    if not images:
        raise ValueError(
            f"no image is called frame-NNNNNN.color.png or .jpg: {describe_folder(folder)}; restore them"
        )
    usable, lost, missing = [], 0, 0
    for number in sorted(images)[:: choice.step]:
        stem = f"frame-{number:06d}"
        depth, pose = folder / f"{stem}.depth.png", folder / f"{stem}.pose.txt"
        if not depth.exists() or not pose.exists():
            missing += 1
            continue
        camera_from_world = read_pose(pose)
        if camera_from_world is None:
            lost += 1
        else:
            usable.append(Frame(stem, images[number], depth, camera_from_world, camera_from_world))
    return choose(usable, choice, lost=lost, missing=missing, where=str(folder))


@dataclass(frozen=True)
class _Moments:
    """Rows of one of TUM's files, in order of time."""

    path: Path
    times_us: np.ndarray
    rows: list[list[str]]

    def nearest(self, time_us: int) -> int | None:
        """Number of the row nearest in time, None where that is too far away."""
        after = int(np.searchsorted(self.times_us, time_us))
        near = [row for row in (after - 1, after) if 0 <= row < len(self.rows)]
        best = min(near, key=lambda row: abs(int(self.times_us[row]) - time_us))
        return best if abs(int(self.times_us[best]) - time_us) <= MOST_APART_US else None


def _of_tum(folder: Path, choice: FrameChoice) -> Chosen:
    colours, depths = (_read_moments(folder / f"{name}.txt", 2) for name in ("rgb", "depth"))
    poses = _read_moments(folder / "groundtruth.txt", 8)
    _check_clocks(colours, depths, poses)
    usable, lost, missing = [], 0, 0
    for number in range(0, len(colours.rows), choice.step):
        time_us = int(colours.times_us[number])
        other = depths.nearest(time_us)
        image = inside(folder, colours.rows[number][1])
        depth = None if other is None else inside(folder, depths.rows[other][1])
        if other is None or depth is None or not depth.exists() or not image.exists():
            missing += 1
            continue
        motions = [_camera_from_world(poses, moment) for moment in (time_us, int(depths.times_us[other]))]
        if motions[0] is None or motions[1] is None:
            lost += 1
        else:
            usable.append(Frame(f"frame-{number}", image, depth, motions[0], motions[1]))
    return choose(usable, choice, lost=lost, missing=missing, where=str(folder))


def _check_clocks(colours: _Moments, *others: _Moments) -> None:
    """Refuse times in another unit than seconds, and clocks that have no moment in common.

    Raises:
        ValueError: If there are such; the message says why that is likely.
    """
    fault = rate_fault(np.diff(colours.times_us).tolist(), most_us=5e6)
    if fault:
        raise ValueError(f"{colours.path}: images {fault} Here they are to be in seconds")
    for each in others:
        fault = spans_fault(colours.times_us.tolist(), each.times_us.tolist())
        if fault:
            raise ValueError(f"{each.path}: times {fault.replace('their clouds', 'those of the images')}")


def _camera_from_world(poses: _Moments, time_us: int) -> Float[Tensor, "4 4"] | None:
    """Interpolate between the poses before and after a moment; None where the nearest is too far away."""
    nearest = poses.nearest(time_us)
    if nearest is None:
        return None
    after = int(np.searchsorted(poses.times_us, time_us))
    around = [row for row in (after - 1, after) if 0 <= row < len(poses.rows)]
    times = tuple(int(poses.times_us[row]) for row in around)
    if len(around) < 2 or times[1] - times[0] > 2 * MOST_APART_US:  # too far to know the way in between
        return invert_rigid(_pose(poses.rows[nearest], poses.path))
    known = torch.stack([_pose(poses.rows[row], poses.path) for row in around])
    return invert_rigid(Trajectory(times, known, str(poses.path)).world_from_ego(time_us))


def _pose(row: Sequence[str], path: Path) -> Float[Tensor, "4 4"]:
    try:
        x, y, z, qx, qy, qz, qw = (float(word) for word in row[1:])
        return rigid_from_quaternion([qw, qx, qy, qz], [x, y, z])
    except ValueError as error:
        raise ValueError(f"{path}, at {row[0]} s: {error}") from None


def _read_moments(path: Path, columns: int) -> _Moments:
    """Read rows that begin with seconds; lines that begin with # are comments.

    Raises:
        ValueError: If the file is missing, empty or broken, or times do not rise.
    """
    try:
        lines = read_text(path).splitlines()
        rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        seconds = np.array([float(row[0]) for row in rows])
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as rows that begin with a time ({error}); restore it"
        ) from None
    wrong = [row for row in rows if len(row) != columns]
    if not rows or wrong or not np.isfinite(seconds).all() or seconds.min() < 0:
        got = " ".join(wrong[0])[:80] if wrong else f"{len(rows)} rows"
        raise ValueError(
            f"{path}: expected rows of {columns} values that begin with seconds, got {got!r}; restore it"
        )
    if seconds.max() > _LAST_S:
        raise ValueError(
            f"{path}: times like {rows[-1][0]} are no seconds since 1970 or less; are they milliseconds or "
            "nanoseconds? Write seconds"
        )
    times_us = np.round(seconds * 1e6).astype(np.int64)
    if (np.diff(times_us) <= 0).any():
        raise ValueError(
            f"{path}: times do not rise from row to row; restore it, or sort it and drop doubles"
        )
    return _Moments(path, times_us, rows)
