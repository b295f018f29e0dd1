"""The small files of a drive log: calibration, poses, image times and splits.

The JSON files are described by ``assets/drive-log.schema.json``, which every one is checked against.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.checks import check_middle, check_name
from clip2scene.datasets.clouds import turn_from
from clip2scene.datasets.moments import rate_fault, way_fault
from clip2scene.geometry.distortion import (
    COEFFICIENTS,
    RawCamera,
    StraightView,
    read_distortion,
    straight_view,
)
from clip2scene.geometry.projection import check_intrinsics, check_rigid, invert_rigid, rigid_from_quaternion
from clip2scene.geometry.trajectory import MOST_GAP_US, Trajectory
from clip2scene.io import read_json
from clip2scene.types import Camera

SCHEMA = Path(__file__).parents[2] / "assets" / "drive-log.schema.json"
"""Describes the JSON files, by name."""

HEADER = {"format": "clip2scene-drive-log", "version": 1}
"""What every JSON file of a drive log begins with."""

POSES = ("name", "timestamp_us", "x", "y", "z", "qw", "qx", "qy", "qz")
"""Columns of ``poses.csv``."""

IMAGE_TIMES = ("camera", "name", "timestamp_us")
"""Columns of ``images.csv``."""

VEHICLE_REACH_M = 1.0
"""Points this near the lidar, along x and along y, lie on the vehicle, where a log does not say otherwise."""

_ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Calibration:
    """What ``calibration.json`` says, with everything in the clouds' frame: x forward, y left, z up.

    Attributes:
        cameras: With the extrinsics of a vehicle that stands still, in float64. Those whose images are
            distorted are the pinhole cameras that these are brought to.
        cloud_from_lidar: Turns points as the files have them.
        ego_from_cloud: Where the lidar stands in the frame of the poses.
        intensity_max: What is 1 in a cloud.
        vehicle_reach_m: Points of earlier sweeps this near lie on the vehicle.
        axes: Where x, y and z of the files point, as three letters.
        views: How the images of the cameras that are distorted are undistorted, by name.
    """

    cameras: tuple[Camera, ...]
    cloud_from_lidar: Float[Tensor, "4 4"]
    ego_from_cloud: Float[Tensor, "4 4"]
    intensity_max: float
    vehicle_reach_m: float
    axes: str = "FLU"
    views: Mapping[str, StraightView] = field(default_factory=dict)


def read_checked(path: Path) -> dict[str, Any]:
    """Read a JSON file of a drive log and check it against its entry in the schema.

    Raises:
        ValueError: If it is missing, no JSON, of another format or version, or not as described.
    """
    from clip2scene.datasets.drive_log.json_schema import find_fault  # jsonschema takes a while to import

    content = read_json(path)
    whole = json.loads(SCHEMA.read_text(encoding="utf-8"))
    fault = find_fault(content, {**whole, "$ref": f"#/$defs/{path.name}"})
    if fault:
        raise ValueError(
            f"{path}: {fault}; docs/own_recordings.md describes the file, and {SCHEMA.name} every entry"
        )
    return content


def read_calibration(path: Path) -> Calibration:
    """Read ``calibration.json``.

    Raises:
        ValueError: If it is not as described, a motion is not rigid, intrinsics are no pinhole camera's,
            a distortion cannot be undone, a camera is listed twice, or the lidar's axes are mirrored.
    """
    content = read_checked(path)
    lidar = content.get("lidar", {})
    cloud_from_lidar = _turn(lidar.get("axes", "FLU"), f"{path}: lidar.axes")
    lidar_from_cloud = invert_rigid(cloud_from_lidar)
    ego_from_lidar = torch.eye(4, dtype=torch.float64)
    if "ego_from_lidar" in lidar:
        ego_from_lidar = _motion(lidar["ego_from_lidar"], f"{path}: lidar.ego_from_lidar")
    found = [
        _camera(entry, lidar_from_cloud, f"{path}: cameras[{number}], {entry['name']}")
        for number, entry in enumerate(content["cameras"])
    ]
    names = [camera.name for camera, _ in found]
    if len(set(names)) < len(names):
        raise ValueError(f"{path} lists a camera twice: {', '.join(names)}; give each a name of its own")
    return Calibration(
        cameras=tuple(camera for camera, _ in found),
        cloud_from_lidar=cloud_from_lidar,
        ego_from_cloud=ego_from_lidar @ lidar_from_cloud,
        intensity_max=float(lidar.get("intensity_max", 1)),
        vehicle_reach_m=float(lidar.get("vehicle_reach_m", VEHICLE_REACH_M)),
        axes=lidar.get("axes", "FLU"),
        views={camera.name: view for camera, view in found if view is not None},
    )


def read_poses(path: Path) -> tuple[Trajectory, dict[str, int]]:
    """Read ``poses.csv``: the vehicle's way, and the moment of each cloud that is named.

    Raises:
        ValueError: If it is missing or broken, times do not rise, a cloud is named twice, or a row holds no
            rigid motion. The message names the line.
    """
    rows = _read_table(path, POSES)
    times = [_whole(row[1], f"{path}, line {line}: timestamp_us") for line, row in enumerate(rows, 2)]
    for line, (early, late) in enumerate(zip(times[:-1], times[1:], strict=True), 3):
        if late <= early:
            raise ValueError(
                f"{path}, line {line}: timestamp_us is {late} after {early}, expected rows in order of time, "
                "none twice; sort them and drop repeated ones"
            )
    time_of = {row[0]: time for row, time in zip(rows, times, strict=True) if row[0]}
    if len(time_of) < sum(bool(row[0]) for row in rows):
        raise ValueError(f"{path} names a cloud twice; give each cloud one row")
    for name in time_of:
        check_name(name, path)
    try:
        numbers = np.array([row[2:] for row in rows], dtype=np.float64).reshape(-1, 7)
    except ValueError as error:
        raise ValueError(f"{path} holds something that is no number ({error}); write it anew") from None
    lengths = np.linalg.norm(numbers[:, 3:], axis=1)
    wrong = ~(np.isfinite(numbers).all(axis=1) & (np.abs(lengths - 1) < _ROTATION_TOLERANCE))
    if wrong.any():
        line = int(wrong.argmax())
        raise ValueError(
            f"{path}, line {line + 2}: expected finite numbers and a quaternion qw qx qy qz of length 1, got "
            f"{numbers[line].tolist()}; check how the poses were written"
        )
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    if rows:
        from scipy.spatial.transform import Rotation  # a tenth of all imports, and seldom needed

        poses[:, :3, :3] = Rotation.from_quat(numbers[:, [4, 5, 6, 3]]).as_matrix()
    poses[:, :3, 3] = numbers[:, :3]
    return Trajectory(tuple(times), torch.from_numpy(poses), str(path)), time_of


def check_drive(path: Path, trajectory: Trajectory, clouds: Mapping[str, int]) -> None:
    """Refuse poses that no vehicle can have had: times in another unit, places that jump.

    Args:
        path: Of ``poses.csv``.
        trajectory: What it holds.
        clouds: The moment of each cloud that is there.

    Raises:
        ValueError: If clouds follow each other too fast, or the vehicle would have been. The message names
            the line and the cloud.
    """
    fault = rate_fault(np.diff(sorted(clouds.values())).tolist())
    if fault:
        raise ValueError(f"{path}: clouds {fault} Write whole microseconds")
    times = np.array(trajectory.times_us, dtype=np.int64)
    drives = np.cumsum(np.diff(times, prepend=times[:1]) > MOST_GAP_US)
    found = way_fault(times.tolist(), trajectory.poses[:, :3, 3].numpy(), drives.tolist())
    if found:
        row, fault = found
        names = [name for name, time_us in clouds.items() if time_us == times[row]]
        raise ValueError(
            f"{path}, line {row + 2}{f', cloud {names[0]}' if names else ''}: the vehicle {fault} Drives lie "
            f"more than {MOST_GAP_US / 1e6:g} s apart in time; correct the poses or their times"
        )


def read_image_times(path: Path, cameras: Sequence[str]) -> dict[tuple[str, str], int]:
    """Read ``images.csv``: the moment of each image, by camera and name.

    Raises:
        ValueError: If it is missing or broken, a camera is unknown, or an image is listed twice.
    """
    found: dict[tuple[str, str], int] = {}
    for line, (camera, name, time) in enumerate(_read_table(path, IMAGE_TIMES), 2):
        if camera not in cameras:
            raise ValueError(
                f"{path}, line {line}: camera {camera!r} is not in calibration.json, which has "
                f"{', '.join(cameras) or 'none'}; correct one of them"
            )
        check_name(name, path)
        if (camera, name) in found:
            raise ValueError(f"{path}, line {line}: image {name!r} of {camera} is listed twice; drop one row")
        found[camera, name] = _whole(time, f"{path}, line {line}: timestamp_us")
    return found


def choose_names(path: Path, split: str | None, present: Sequence[str]) -> tuple[str, ...]:
    """Name the clouds of a split, in the order of ``present``.

    Without ``splits.json``, all clouds are the split ``train``. None takes every cloud.

    Raises:
        ValueError: If the file is not as described, the split is unknown, or it lists a cloud twice or one
            that is not there.
    """
    if split is None:
        return tuple(present)
    splits = read_checked(path)["splits"] if path.exists() else {"train": list(present)}
    if split not in splits:
        hint = "" if path.exists() else f"; without {path} all clouds are train, write it to set some aside"
        raise ValueError(f"unknown split {split!r}, expected one of {', '.join(splits)}{hint}")
    chosen = frozenset(splits[split])
    missing = sorted(chosen.difference(present))
    if missing or len(chosen) < len(splits[split]):
        what = f"{missing[0]!r}, which is no cloud in lidar/" if missing else "a cloud twice"
        raise ValueError(f"{path}: split {split!r} lists {what}; correct the list or restore the cloud")
    return tuple(name for name in present if name in chosen)


def _read_table(path: Path, columns: Sequence[str]) -> list[list[str]]:
    """Read the rows of a table whose first line names its columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream) if row]
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; restore it") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read as a table ({error}); write it anew") from None
    if not rows or rows[0] != list(columns):
        got = ",".join(rows[0])[:80] if rows else "nothing"
        raise ValueError(f"{path}: expected a first line {','.join(columns)}, got {got!r}; write it so")
    for line, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise ValueError(
                f"{path}, line {line}: expected {len(columns)} values, got {len(row)}; write it anew"
            )
    return rows[1:]


def _whole(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise ValueError(
            f"{what} is {text!r}, expected whole microseconds, 0 or more; write it as an integer"
        )
    return int(text)


def _motion(entry: Any, what: str) -> Float[Tensor, "4 4"]:  # noqa: ANN401 - either form
    """Build a rigid motion from a matrix, or from a quaternion and a translation."""
    if isinstance(entry, list):
        motion = torch.tensor(entry, dtype=torch.float64)
        check_rigid(motion, what)
        return motion
    try:
        return rigid_from_quaternion(entry["rotation"], entry["translation"])
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def check_axes(axes: str, what: str) -> None:
    """Refuse letters that are no directions of a right-handed frame.

    Raises:
        ValueError: If they are not three of F, B, L, R, U and D, or of different directions.
    """
    if not re.fullmatch("[FBLRUD]{3}", axes):
        raise ValueError(f"{what} is {axes!r}, expected three of the letters F, B, L, R, U, D, such as FLU")
    _turn(axes, what)


def _turn(axes: str, what: str) -> Float[Tensor, "4 4"]:
    """Build the rotation from a frame whose x, y and z point along three letters to forward, left, up."""
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.from_numpy(turn_from(axes, what))
    return turn


def _camera(
    entry: Mapping[str, Any], lidar_from_cloud: Float[Tensor, "4 4"], what: str
) -> tuple[Camera, StraightView | None]:
    """Build a camera as it stands on the vehicle, and how its images are undistorted, if they are."""
    intrinsics = torch.tensor(entry["intrinsics"], dtype=torch.float64)
    check_intrinsics(intrinsics, what)
    width, height = entry["width"], entry["height"]
    check_middle(intrinsics, (width, height), what, of=what)
    motion = _motion(entry["camera_from_lidar"], f"{what}: camera_from_lidar") @ lidar_from_cloud
    view = _view(entry, what)
    if view is not None:
        intrinsics, width, height = view.intrinsics, view.width, view.height
    return Camera(entry["name"], intrinsics, motion, width, height), view


def _view(entry: Mapping[str, Any], what: str) -> StraightView | None:
    """Say how a camera's images are undistorted; None where they need not be."""
    numbers, model = entry.get("distortion", ()), entry.get("distortion_model", "")
    if any(numbers) and not model:
        raise ValueError(
            f"{what}: a distortion without its model, expected distortion_model to be one of "
            f"{', '.join(COEFFICIENTS)}; add it, or undistort the images and write the new intrinsics"
        )
    (fx, skew, cx), (_, fy, cy), _ = entry["intrinsics"]
    try:
        distortion = read_distortion(model, numbers)
        if distortion is None:
            return None
        return straight_view(RawCamera((fx, skew, cx, fy, cy), entry["width"], entry["height"], distortion))
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None
