"""What lies in a log of 123D: one Arrow file a sensor, one of the vehicle's way, and a table of moments.

The layout is that which the library py123d 0.7.0 writes (``py123d/api/scene/arrow``), read here without it.
Through its own reader, a log can have any module of the machine imported, by a name in its metadata; and the
library brings some 115 others.

Poses are seven numbers x y z qw qx qy qz. ``a_to_imu_se3`` takes points of sensor a to the vehicle's frame
(x forward, y left, z up), which is that of all clouds too. Cameras look along z, x is right, y down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.checks import check_name
from clip2scene.datasets.convert.arrow_batches import open_arrow_file
from clip2scene.geometry.distortion import Distortion, read_distortion
from clip2scene.geometry.projection import invert_rigid, rigid_from_quaternion
from clip2scene.geometry.trajectory import Trajectory
from clip2scene.io import in_a_sentence

MOMENTS = "sync"
"""The table of moments, which every log has."""

_EGO, _LIDAR, _CAMERA = "ego_state_se3", "lidar.", "camera."
_MERGED, _TOP = "lidar.lidar_merged", "2"
_MOST_LISTED = 200


@dataclass(frozen=True)
class LogName:
    """Where a log comes from, as its table of moments says.

    Attributes:
        dataset: Data set, in small letters.
        split: Split of it.
        log_name: Name.
        version: Of the library that wrote it.
    """

    dataset: str
    split: str
    log_name: str
    version: str = "unknown"


@dataclass(frozen=True)
class StoredLidar:
    """A lidar's metadata.

    Attributes:
        lidar_name: In its data set.
        lidar_to_imu_se3: Where it stands.
        lidar_id: Number of it, as py123d counts lidars.
    """

    lidar_name: str
    lidar_to_imu_se3: tuple[float, ...]
    lidar_id: int | None = None


@dataclass(frozen=True)
class StoredCamera:
    """A camera's metadata; which of the last ones it has depends on the model.

    Attributes:
        camera_to_imu_se3: Where it stands.
        width: In pixels.
        height: In pixels.
        camera_model: ``pinhole``, ``fisheye_mei`` or ``ftheta``.
        intrinsics: Of a pinhole fx fy cx cy skew.
        distortion: Of a pinhole k1 k2 p1 p2 k3.
        is_undistorted: Whether the images are those of a pinhole already.
    """

    camera_to_imu_se3: tuple[float, ...]
    width: int
    height: int
    camera_model: str
    intrinsics: tuple[float, ...] | None = None
    distortion: tuple[float, ...] | None = None
    is_undistorted: bool = False


@dataclass(frozen=True)
class Lens:
    """How a camera sees.

    Attributes:
        camera_from_ego: Rigid motion into its frame.
        intrinsics: Of its images.
        distortion: What the lens does to them; None where nothing.
        width: In pixels.
        height: In pixels.
    """

    camera_from_ego: Float[Tensor, "4 4"]
    intrinsics: Float[Tensor, "3 3"]
    distortion: Distortion | None
    width: int
    height: int


def is_123d(folder: Path) -> bool:
    """Say whether a folder is a log of 123D."""
    return (folder / f"{MOMENTS}.arrow").is_file()


def list_logs(root: Path) -> list[Path]:
    """List the logs in a folder: itself, or those up to three folders below (root, ``logs``, split)."""
    if is_123d(root):
        return [root]
    found = (path.parent for depth in (1, 2, 3) for path in root.glob(f"{'*/' * depth}{MOMENTS}.arrow"))
    return sorted(found)


def check_log(folder: Path) -> None:
    """Refuse what is no log of 123D.

    Raises:
        ValueError: If it is not there, or something else; logs near it are named.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; name that of a log, which holds {MOMENTS}.arrow")
    if not is_123d(folder):
        logs = list_logs(folder)
        hint = f"name one of the {len(logs)} below it, such as {logs[0]}" if logs else "check the path"
        raise ValueError(f"{folder} holds no {MOMENTS}.arrow, so it is no log of 123D; {hint}")


def streams(folder: Path) -> list[str]:
    """Name the files of a log, without their suffix."""
    return sorted(path.name.removesuffix(".arrow") for path in folder.glob("*.arrow"))


def choose_lidar(folder: Path, wanted: str | None) -> str:
    """Name the lidar's file: the merged one, or the only one, unless one is wanted.

    Raises:
        ValueError: If there is none, or several and none is wanted.
    """
    found = [name for name in streams(folder) if name.startswith(_LIDAR)]
    if not found:
        raise ValueError(f"{folder} has no lidar, only {', '.join(streams(folder))}; name another log")
    if wanted is None:
        if _MERGED in found or len(found) == 1:
            return _MERGED if _MERGED in found else found[0]
        raise ValueError(f"{folder} has several lidars: {', '.join(found)}; choose one by --lidar")
    if wanted not in found:
        raise ValueError(f"{folder} has no lidar {wanted!r}, only {', '.join(found)}; correct --lidar")
    return wanted


def choose_cameras(folder: Path, wanted: Sequence[str]) -> list[str]:
    """Name the cameras' files: all, or those that are wanted.

    Raises:
        ValueError: If there is none, or a wanted one is not there.
    """
    found = [name for name in streams(folder) if name.startswith(_CAMERA)]
    if not found:
        raise ValueError(
            f"{folder} has no camera, only {', '.join(streams(folder))}; a student learns from images: name "
            "another log, or convert it again with its cameras"
        )
    unknown = [name for name in wanted if name not in found]
    if unknown:
        raise ValueError(f"{folder} has no camera {unknown[0]!r}, only {', '.join(found)}; correct --cameras")
    for name in found:
        check_name(name.removeprefix(_CAMERA), folder / f"{name}.arrow")
    return list(wanted) or found


def camera_name(stream: str) -> str:
    """Name the camera of a file: ``pcam_f0`` of ``camera.pcam_f0``."""
    return stream.removeprefix(_CAMERA)


def read_log_name(folder: Path) -> LogName:
    """Read which log this is.

    Raises:
        ValueError: If its table of moments is broken or says nothing.
    """
    return _read_metadata(folder / f"{MOMENTS}.arrow", LogName)


def read_lidars(folder: Path, stream: str) -> dict[str, StoredLidar]:
    """Read where the lidars of a file stand, by their numbers as texts.

    Raises:
        ValueError: If it says nothing, or something else.
    """
    path = folder / f"{stream}.arrow"
    if stream != _MERGED:
        lidar = _read_metadata(path, StoredLidar)
        return {str(lidar.lidar_id): lidar}
    lidars = _read_metadata(path, dict[str, StoredLidar])
    if not lidars:
        raise ValueError(f"{path} names no lidar in its metadata; convert the log again")
    return lidars


def ego_from_view(lidars: dict[str, StoredLidar], path: Path) -> Float[Tensor, "4 4"]:
    """Give the frame that clouds are brought to: axes of the vehicle, origin at its top or first lidar.

    Raises:
        ValueError: If that stands nowhere.
    """
    main = lidars.get(_TOP, next(iter(lidars.values())))
    pose = read_pose(main.lidar_to_imu_se3, f"the place of {main.lidar_name} in {path}")
    turned = torch.eye(4, dtype=torch.float64)
    turned[:3, 3] = pose[:3, 3]
    return turned


def read_lens(folder: Path, stream: str) -> Lens:
    """Read how a camera sees.

    Raises:
        ValueError: If its model is another than a pinhole, perhaps with plumb_bob distortion, or its numbers
            are not those of one.
    """
    path = folder / f"{stream}.arrow"
    stored = _read_metadata(path, StoredCamera)
    if stored.camera_model != "pinhole":
        raise ValueError(
            f"{path} is of a lens that is not read: {stored.camera_model}, expected pinhole; undistort its "
            "images, or leave it out"
        )
    if stored.intrinsics is None or len(stored.intrinsics) != 5:
        raise ValueError(
            f"{path} has the intrinsics {stored.intrinsics}, expected fx fy cx cy skew; convert the log again"
        )
    fx, fy, cx, cy, skew = stored.intrinsics
    distortion = None
    if not stored.is_undistorted and stored.distortion is not None:
        try:
            distortion = read_distortion("plumb_bob", stored.distortion)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return Lens(
        invert_rigid(read_pose(stored.camera_to_imu_se3, f"the place of the camera in {path}")),
        torch.tensor([[fx, skew, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64),
        distortion,
        stored.width,
        stored.height,
    )


def read_way(folder: Path) -> Trajectory | None:
    """Read where the vehicle was; None where a log does not say.

    Raises:
        ValueError: If times do not rise, or a row is no pose.
    """
    path = folder / f"{_EGO}.arrow"
    if not path.exists():
        return None
    times: list[int] = []
    rows: list[np.ndarray] = []
    with open_arrow_file(path) as batches:
        for batch in batches:
            times += read_times(batch, f"{_EGO}.timestamp_us", path)
            poses = column(batch, f"{_EGO}.imu_se3", path)
            if getattr(poses.type, "list_size", 0) != 7 or poses.null_count:
                raise ValueError(f"{path} has rows without the seven numbers of a pose; convert it again")
            rows.append(poses.flatten().to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, 7))
    if not times:
        return None
    check_rising(times, path)
    poses = torch.stack([read_pose(row, f"a pose of {path}") for row in np.concatenate(rows).tolist()])
    return Trajectory(tuple(times), poses, str(path))


def read_moments(folder: Path, stream: str) -> dict[int, int]:
    """Read when the rows of a file were measured, as the log's table of moments says: by row.

    The pose of that moment is the one that the data set gives to the row; a lidar's own time may be that of
    the begin of its turn.

    Raises:
        ValueError: If the table is broken or does not know the file.
    """
    path = folder / f"{MOMENTS}.arrow"
    found: dict[int, int] = {}
    with open_arrow_file(path) as batches:
        for batch in batches:
            times = read_times(batch, f"{MOMENTS}.timestamp_us", path)
            rows = column(batch, stream, path).to_pylist()
            if not all(row is None or isinstance(row, int) for row in rows):
                raise ValueError(
                    f"{path} has something else than rows of {stream} in that column, expected whole numbers "
                    "or nothing; convert the log again"
                )
            found |= {row: time for row, time in zip(rows, times, strict=True) if row is not None}
    return found


def column(batch: Any, name: str, path: Path) -> Any:  # noqa: ANN401 - pyarrow's
    """Give a column of a batch.

    Raises:
        ValueError: If it has none of this name.
    """
    if name not in batch.schema.names:
        raise ValueError(
            f"{path} has no column {name}, only {', '.join(batch.schema.names)[:_MOST_LISTED]}; convert the "
            "log with py123d 0.7"
        )
    return batch.column(name)


def read_times(batch: Any, name: str, path: Path) -> list[int]:  # noqa: ANN401 - pyarrow's
    """Read a column of whole microseconds.

    Raises:
        ValueError: If there is none, or it lacks some.
    """
    times = column(batch, name, path).to_pylist()
    if not all(isinstance(time, int) for time in times):
        raise ValueError(f"{path} has rows without a time in {name}; convert the log again")
    return times


def check_rising(times_us: Sequence[int], path: Path) -> None:
    """Refuse times that stand still or go back.

    Raises:
        ValueError: If some do; the message names the row.
    """
    for row, (early, late) in enumerate(zip(times_us[:-1], times_us[1:], strict=True), 1):
        if late <= early:
            raise ValueError(
                f"{path}, row {row}: the time is {late} us after {early} us, expected rising ones; convert "
                "the log again"
            )


def read_pose(numbers: Sequence[float], what: str) -> Float[Tensor, "4 4"]:
    """Make a rigid motion of x y z qw qx qy qz.

    Raises:
        ValueError: If they are none.
    """
    try:
        return rigid_from_quaternion(numbers[3:], numbers[:3])
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _read_metadata(path: Path, kind: Any) -> Any:  # noqa: ANN401 - a type, and one of it
    """Read what a file says of its sensor."""
    try:
        from msgspec.msgpack import decode
    except ImportError:
        raise ValueError(f"{path} needs the library msgspec; install clip2scene[123d]") from None
    with open_arrow_file(path) as batches:
        content = batches.metadata.get(b"metadata")
    if content is None:
        raise ValueError(f"{path} tells nothing of its sensor; expected metadata as py123d writes them")
    try:
        return decode(content, type=kind)
    except Exception as error:  # whatever the library fails with
        raise ValueError(
            f"{path} has metadata that are not those of py123d 0.7 ({in_a_sentence(error)}); convert the log "
            "with that version"
        ) from None
