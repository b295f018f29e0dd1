"""One drive in a layout of KITTI's becomes a drive log, point for point and pixel for pixel."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.classes.tables import SEMANTIC_KITTI
from clip2scene.datasets.checks import list_images, read_image
from clip2scene.datasets.convert.lidar_odometry import estimate_poses
from clip2scene.datasets.drive_log.classes import class_set_to_json
from clip2scene.datasets.drive_log.files import check_drive, read_poses
from clip2scene.datasets.drive_log.writer import Converted, new_log, write_calibration, write_poses
from clip2scene.datasets.kitti.files import (
    CAMERA,
    PERIOD_US,
    VEHICLE_REACH_M,
    colour_camera,
    list_names,
    read_velodyne,
)
from clip2scene.datasets.kitti.labels import read_labels
from clip2scene.datasets.kitti.raw import read_dates, read_fix, read_raw_calibration, world_from_imu
from clip2scene.datasets.kitti.semantic import check_drive_labels, open_drive
from clip2scene.geometry.projection import invert_rigid
from clip2scene.io import write_json
from clip2scene.parallel import progress_bar
from clip2scene.types import Camera

Pose = Callable[[str], Float[Tensor, "4 4"]]


@dataclass(frozen=True)
class _Source:
    """A drive's files, in one of KITTI's layouts.

    Attributes:
        names: Of its clouds, in order.
        clouds: Folder of the clouds.
        images: Image file of each cloud that has one, by name.
        labels: Folder of the labels; None where there are none.
        intrinsics: Of the colour camera.
        camera_from_lidar: Of the colour camera.
        world_from_lidar: Where the lidar stood, by the cloud's name; None where it is not known.
        times_us: When each cloud was taken.
        notes: What was assumed.
    """

    names: tuple[str, ...]
    clouds: Path
    images: Mapping[str, Path]
    labels: Path | None
    intrinsics: Float[Tensor, "3 3"]
    camera_from_lidar: Float[Tensor, "4 4"]
    world_from_lidar: Pose | None
    times_us: tuple[int, ...]
    notes: tuple[str, ...]


def is_kitti(folder: Path) -> bool:
    """Say whether a folder is one drive in a layout of KITTI's."""
    return (folder / "velodyne").is_dir() or (folder / "velodyne_points").is_dir()


def convert_kitti(folder: Path, out: Path, *, odometry: bool = False) -> Converted:
    """Turn one drive into a drive log; clouds, images and labels are copied byte for byte.

    The lidar is the frame of the poses, whose world is the first cloud's frame. Images count as taken when
    their clouds were: KITTI's camera is triggered by the lidar facing forward.

    Args:
        folder: A sequence of SemanticKITTI (``velodyne/``, ``calib.txt``, and maybe ``image_2/``,
            ``labels/``, ``poses.txt``, ``times.txt``), or a drive of KITTI's raw recordings
            (``velodyne_points/``, ``image_02/``, ``oxts/``, below a day with its calibration).
        out: New folder for the log; it appears when it is whole.
        odometry: Whether poses are estimated from the clouds; those of the recording are not read then.

    Raises:
        ValueError: If a file is missing or broken, or images differ in size.
    """
    folder, out = Path(folder), Path(out)
    open_source = _semantic_kitti if (folder / "velodyne").is_dir() else _raw
    source = open_source(folder, with_poses=not odometry)
    if any(late <= early for early, late in zip(source.times_us, source.times_us[1:], strict=False)):
        raise ValueError(
            f"the times of the clouds of {folder} jump backwards, expected rising ones; restore them"
        )
    camera: Camera | None = None
    poses = {}
    with new_log(out) as log:
        source = _with_odometry(source, folder) if odometry else source
        for name, time_us in progress_bar(
            list(zip(source.names, source.times_us, strict=True)), desc=folder.name, unit="cloud"
        ):
            _copy_cloud(source, name, log)
            if name in source.images:
                camera = _copy_image(source, name, log, camera)
            if source.world_from_lidar is not None:
                poses[time_us] = source.world_from_lidar(name)
        if source.labels is not None:
            write_json(log / "classes.json", class_set_to_json(SEMANTIC_KITTI))
        lidar = {"axes": "FLU", "intensity_max": 1, "vehicle_reach_m": max(VEHICLE_REACH_M)}
        write_calibration(log / "calibration.json", lidar, [camera] if camera else [])
        if poses:
            first = invert_rigid(poses[source.times_us[0]])
            relative = {time_us: first @ pose for time_us, pose in poses.items()}
            write_poses(log, relative, dict(zip(source.times_us, source.names, strict=True)))
            check_drive(folder, *read_poses(log / "poses.csv"))
    return Converted(len(source.names), len(source.images.keys() & frozenset(source.names)), source.notes)


def _with_odometry(source: _Source, folder: Path) -> _Source:
    """Take the poses that the clouds tell by themselves."""
    clouds = (
        (time_us, read_velodyne(source.clouds / f"{name}.bin").positions.numpy())
        for name, time_us in progress_bar(
            list(zip(source.names, source.times_us, strict=True)), desc="odometry", unit="cloud"
        )
    )
    way = estimate_poses(clouds, str(folder))
    pose_of = dict(zip(source.names, way.poses, strict=True))
    return replace(
        source,
        world_from_lidar=lambda name: pose_of[name],
        notes=(*source.notes, f"poses by KISS-ICP, of {len(source.names)} clouds as they were recorded"),
    )


def _copy_cloud(source: _Source, name: str, log: Path) -> None:
    """Read a cloud and its labels once, so that broken ones are found, and copy them."""
    path = source.clouds / f"{name}.bin"
    points = len(read_velodyne(path))
    shutil.copyfile(path, log / "lidar" / path.name)
    if source.labels is not None:
        labels = source.labels / f"{name}.label"
        read_labels(labels, points)
        (log / "labels").mkdir(exist_ok=True)
        shutil.copyfile(labels, log / "labels" / labels.name)


def _copy_image(source: _Source, name: str, log: Path, camera: Camera | None) -> Camera:
    """Copy an image that has the size of those before it; return its camera."""
    path = source.images[name]
    found = colour_camera(path, CAMERA, source.intrinsics, source.camera_from_lidar)
    exact = replace(found, intrinsics=source.intrinsics, camera_from_lidar=source.camera_from_lidar)
    if camera is not None and (camera.width, camera.height) != (exact.width, exact.height):
        raise ValueError(
            f"image {path} is {exact.width}x{exact.height}, those before it {camera.width}x{camera.height}; "
            "expected one size in a drive: restore it"
        )
    read_image(path, exact.width, exact.height)
    target = log / "images" / CAMERA / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return exact


def _semantic_kitti(folder: Path, *, with_poses: bool) -> _Source:
    """Open a sequence of SemanticKITTI."""
    notes = []
    labels = folder / "labels" if (folder / "labels").is_dir() else None
    drive = open_drive(folder, with_poses=False)
    drive = drive.posed if with_poses else drive
    number_of = {name: number for number, name in enumerate(drive.names)}
    if with_poses and drive.poses is None:
        notes.append("no poses.txt, so no poses: one sweep a sample")
    if labels is not None:
        check_drive_labels(drive, drive.names)
    if drive.times_us is None:
        notes.append("no times.txt, so clouds count as taken every 0.1 s")
    return _Source(
        names=drive.names,
        clouds=folder / "velodyne",
        images=drive.images,
        labels=labels,
        intrinsics=drive.intrinsics,
        camera_from_lidar=drive.camera_from_lidar,
        world_from_lidar=None
        if drive.poses is None
        else lambda name: drive.world_from_lidar(number_of[name]),
        times_us=drive.times_us or _assumed(drive.names),
        notes=tuple(notes),
    )


def _raw(folder: Path, *, with_poses: bool) -> _Source:
    """Open a drive of KITTI's raw recordings."""
    notes = ["the vehicle's motion while the lidar turns is left in the clouds"]
    clouds = folder / "velodyne_points" / "data"
    names = list_names(clouds, ".bin", 10)
    if not names:
        raise ValueError(f"{clouds} holds no NNNNNNNNNN.bin; restore the clouds of this drive")
    with_oxts = with_poses and (folder / "oxts").is_dir()
    calibration = read_raw_calibration(folder.parent, with_imu=with_oxts)
    pose: Pose | None = None
    if calibration.lidar_from_imu is not None:
        imu_from_lidar = invert_rigid(calibration.lidar_from_imu)
        scale = float(torch.deg2rad(read_fix(clouds / f"{names[0]}.bin")[0]).cos())

        def pose(name: str) -> Float[Tensor, "4 4"]:
            return world_from_imu(read_fix(clouds / f"{name}.bin"), scale) @ imu_from_lidar
    elif with_poses:
        notes.append("no oxts, so no poses: one sweep a sample")
    times = read_dates(clouds.parent / "timestamps.txt", names)
    if times is None:
        notes.append("no timestamps.txt that fits, so clouds count as taken every 0.1 s")
    return _Source(
        names=names,
        clouds=clouds,
        images=list_images(folder / "image_02" / "data", "[0-9]{10}"),
        labels=None,
        intrinsics=calibration.intrinsics,
        camera_from_lidar=calibration.camera_from_lidar,
        world_from_lidar=pose,
        times_us=times or _assumed(names),
        notes=tuple(notes),
    )


def _assumed(names: tuple[str, ...]) -> tuple[int, ...]:
    """Let the clouds be taken ten times a second, by their numbers."""
    return tuple(int(name) * PERIOD_US for name in names)
