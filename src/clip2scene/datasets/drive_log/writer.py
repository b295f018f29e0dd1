"""A drive log, written file by file into a folder that appears when it is whole.

``docs/own_recordings.md`` describes what each file holds;
:class:`clip2scene.datasets.drive_log.loader.DriveLog` reads it.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from clip2scene.datasets.drive_log.files import HEADER, IMAGE_TIMES, POSES
from clip2scene.geometry.distortion import Distortion
from clip2scene.io import new_folder, write_json
from clip2scene.types import Camera


@dataclass(frozen=True)
class Converted:
    """What became of a recording.

    Attributes:
        clouds: How many were written.
        images: How many were written, of all cameras.
        notes: What the user should know, a sentence each: what was chosen, what was left out and how often.
    """

    clouds: int
    images: int
    notes: tuple[str, ...] = ()


@contextmanager
def new_log(out: Path) -> Iterator[Path]:
    """Lend a folder for a log that takes the name ``out`` only when the block ends well.

    Raises:
        ValueError: If ``out`` is in use (see :func:`clip2scene.io.new_folder`).
    """
    with new_folder(out) as folder:
        (folder / "lidar").mkdir()
        yield folder


def write_cloud(
    log: Path,
    name: str,
    positions: Float32[np.ndarray, "points 3"],
    intensity: Float32[np.ndarray, " points"],
) -> None:
    """Write ``lidar/NAME.npy``."""
    np.save(log / "lidar" / f"{name}.npy", np.column_stack([positions, intensity]))


def write_image(log: Path, camera: str, name: str, suffix: str, content: bytes) -> None:
    """Write an encoded image as ``images/CAMERA/NAME.SUFFIX``."""
    path = log / "images" / camera / f"{name}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_calibration(
    path: Path,
    lidar: Mapping[str, Any],
    cameras: Sequence[Camera],
    distortions: Mapping[str, Distortion] = MappingProxyType({}),
) -> None:
    """Write ``calibration.json``.

    Args:
        path: The file.
        lidar: Its entry ``lidar``.
        cameras: As the images are on disk, with ``camera_from_lidar`` from the clouds' frame as their files
            have it.
        distortions: Of the cameras whose images are distorted, by name.
    """
    rows = []
    for camera in cameras:
        row: dict[str, Any] = {"name": camera.name, "width": camera.width, "height": camera.height}
        row["intrinsics"] = camera.intrinsics.tolist()
        if camera.name in distortions:
            distortion = distortions[camera.name]
            row |= {"distortion_model": distortion.model, "distortion": list(distortion.coefficients)}
        rows.append(row | {"camera_from_lidar": camera.camera_from_lidar.tolist()})
    write_json(path, HEADER | {"lidar": dict(lidar), "cameras": rows})


def write_poses(log: Path, poses: Mapping[int, Float[Tensor, "4 4"]], names: Mapping[int, str]) -> None:
    """Write ``poses.csv``.

    Args:
        log: The log's folder.
        poses: ``world_from_ego`` by moment, in microseconds.
        names: The cloud that was taken at a moment, where there is one.
    """
    from scipy.spatial.transform import Rotation  # a tenth of all imports, and seldom needed

    lines = [",".join(POSES)]
    for time_us in sorted(poses):
        pose = poses[time_us].numpy()
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat().tolist()
        numbers = [*pose[:3, 3].tolist(), w, x, y, z]
        lines.append(",".join([names.get(time_us, ""), str(time_us), *map(repr, numbers)]))
    (log / "poses.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_image_times(log: Path, times: Mapping[tuple[str, str], int]) -> None:
    """Write ``images.csv``: the moment of each image, in microseconds, by camera and name."""
    rows = [f"{camera},{name},{time_us}" for (camera, name), time_us in times.items()]
    (log / "images.csv").write_text("\n".join([",".join(IMAGE_TIMES), *rows]) + "\n", encoding="utf-8")
