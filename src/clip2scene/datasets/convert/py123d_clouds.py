"""Clouds of a log of 123D: LAZ or Arrow in its rows, or a file of the data set that a row names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float32

from clip2scene.datasets.clouds.las import read_las
from clip2scene.datasets.convert.arrow_batches import open_arrow_bytes
from clip2scene.datasets.convert.py123d_log import LogName, StoredLidar
from clip2scene.io import in_a_sentence, regular_file

BY_LIBRARY = ("av2-sensor", "kitti360", "nuplan", "nuscenes")
"""Data sets whose own clouds are read through py123d, where it is installed.

Of the others, PandaSet's are pickles, and those of Waymo and NCore are stored in the rows anyway.
"""

_LAZ, _ARROW, _DRACO = b"LASF", b"\xff\xff\xff\xff", b"DRACO"
_INTENSITIES = ("intensity", "extra_intensity")  # the latter where LAS has a field of that name already
_AGAIN = "convert the log again with lidar_store_option: binary and lidar_codec: laz"


@dataclass(frozen=True)
class StoredCloud:
    """A cloud as a log has it.

    Attributes:
        positions: In the vehicle's frame, in metres.
        intensity: As it is, 0 where there is none or a negative one.
        counts: Whether intensities are bytes, of which 255 is the highest.
    """

    positions: Float32[np.ndarray, "points 3"]
    intensity: Float32[np.ndarray, " points"]
    counts: bool


def read_cloud(content: object, what: str) -> StoredCloud:
    """Read a cloud that is stored in a row.

    Raises:
        ValueError: If it is stored in another way than LAZ or Arrow, is broken, or has no x, y and z.
    """
    if not isinstance(content, bytes):
        raise ValueError(
            f"{what} holds no bytes but {type(content).__name__}, expected LAZ or Arrow; {_AGAIN}"
        )
    if content.startswith(_LAZ):
        columns = _read_laz(content, what)
    elif content.startswith(_ARROW):
        parts = [
            {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}
            for batch in open_arrow_bytes(content, what)
        ]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in (parts or [{}])[0]}
    else:
        found = "Draco" if content.startswith(_DRACO) else f"something that begins with {content[:8]!r}"
        raise ValueError(f"{what} is stored as {found}, expected LAZ or Arrow; {_AGAIN}")
    return _cloud(columns, what)


def by_library(
    name: LogName, lidars: Mapping[str, StoredLidar], root: Path | None, path: Path
) -> Callable[[str, str], StoredCloud]:
    """Prepare to read the data set's own files that a log names.

    Args:
        name: Of the log.
        lidars: Where the lidars stand: files of KITTI-360 and nuScenes are in their frame.
        root: Folder that their paths are relative to.
        path: Of the log's file, for messages.

    Returns:
        A function that reads a file by its relative path; its second argument is what it is, for messages.

    Raises:
        ValueError: If they are not read, py123d is missing or knows no such lidars, or no folder is told.
    """
    if name.dataset not in BY_LIBRARY:
        raise ValueError(
            f"{path} holds no clouds but names files of {name.dataset!r}, which are read of "
            f"{', '.join(BY_LIBRARY)} only; {_AGAIN}"
        )
    if root is None:
        raise ValueError(
            f"{path} holds no clouds but names files of {name.dataset}; say by --sensor-root where that data "
            f"set lies, or {_AGAIN}"
        )
    try:
        from py123d.common.io.lidar.path_lidar_io import load_point_cloud_data_from_path
        from py123d.datatypes.sensors.lidar import LidarID, LidarMetadata
        from py123d.geometry import PoseSE3
    except ImportError:
        raise ValueError(
            f"{path} holds no clouds but names files of {name.dataset}, which needs the library py123d; run "
            f"this where it is installed, or {_AGAIN}"
        ) from None
    try:
        theirs = {
            LidarID(int(number)): LidarMetadata(
                each.lidar_name, LidarID(int(number)), PoseSE3.from_list(list(each.lidar_to_imu_se3))
            )
            for number, each in lidars.items()
        }
    except Exception as error:  # whatever the library fails with
        raise ValueError(
            f"{path} names lidars that py123d does not know ({in_a_sentence(error)}), expected their numbers "
            f"and places; {_AGAIN}"
        ) from None

    def read(relative: str, what: str) -> StoredCloud:
        file = inside(root, relative, what)
        try:
            loaded, features = load_point_cloud_data_from_path(
                file.relative_to(root), name.dataset, sensor_root=root, lidar_metadatas=theirs
            )
            positions = np.asarray(loaded)
        except Exception as error:  # whatever the library fails with
            raise ValueError(
                f"{what}, {file} cannot be read by py123d ({in_a_sentence(error)}); restore it"
            ) from None
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise ValueError(
                f"{what}, {file} is read by py123d as points of the shape {positions.shape}, expected x, y "
                "and z of each; restore it"
            )
        return _cloud({**dict(zip("xyz", positions.T, strict=True)), **features}, what)

    return read


def inside(root: Path, relative: str, what: str) -> Path:
    """Find a file that a log names, below a folder and nowhere else.

    Raises:
        ValueError: If the name leads out of the folder, or there is no such file.
    """
    parts = Path(relative)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"{what} names {relative[:200]!r}, which leads out of {root}; convert the log again")
    try:
        return regular_file(root / parts)
    except ValueError as error:
        raise ValueError(f"{what}: {error} and --sensor-root") from None


def _read_laz(content: bytes, what: str) -> dict[str, np.ndarray]:
    """Read LAZ by way of a file, as the reader of strangers' files wants one."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cloud.laz"
        path.write_bytes(content)
        try:
            return read_las(path).columns
        except ValueError as error:
            raise ValueError(str(error).replace(str(path), what)) from None


def _cloud(columns: Mapping[str, np.ndarray], what: str) -> StoredCloud:
    """Put the columns that matter side by side."""
    lacking = [axis for axis in "xyz" if axis not in columns]
    if lacking:
        raise ValueError(
            f"{what} has the columns {', '.join(columns) or 'none'}, it lacks {lacking}; {_AGAIN}"
        )
    named = [columns[name] for name in _INTENSITIES[::-1] if name in columns][:1]
    used = [*(columns[axis] for axis in "xyz"), *named]
    if any(part.dtype.kind not in "fiu" or part.shape != used[0].shape for part in used):
        raise ValueError(f"{what} has columns that are no numbers, or of different lengths; {_AGAIN}")
    positions = np.stack(used[:3], axis=1).astype(np.float32)
    intensity = used[3].astype(np.float32).clip(min=0) if named else np.zeros(len(positions), np.float32)
    return StoredCloud(positions, intensity, bool(named) and used[3].dtype == np.uint8)
