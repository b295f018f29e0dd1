"""KITTI's raw recordings, synced and rectified: one lidar, one colour camera, no labels of points."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.classes.tables import SEMANTIC_KITTI, ClassSet
from clip2scene.datasets.checks import carry_sweep, check_enough_sweeps, check_sweeps, read_own_split
from clip2scene.datasets.dataset import CloudReader, InputPatterns, OpenOptions, any_format
from clip2scene.datasets.kitti.files import (
    CAMERA,
    VEHICLE_REACH_M,
    VIEWPOINT,
    check_way,
    lidar_motion,
    read_matrices,
    read_text,
    read_velodyne,
    rigid,
    split_projection,
)
from clip2scene.datasets.kitti.labels import street_classes
from clip2scene.datasets.kitti.object import (
    Calibration,
    Place,
    choose_places,
    find_place,
    list_places,
    read_sample,
    refuse_labels,
)
from clip2scene.geometry.projection import invert_rigid
from clip2scene.types import PointCloud, Sample, Timestamps

EARTH_RADIUS_M = 6_378_137.0
"""Of the sphere that positions are mapped from."""

INPUTS = InputPatterns(
    tables=("splits.json", "*/*.txt", "*/*/oxts/data/*.txt"),
    sensors=("*/*/velodyne_points/data/*.bin", "*/*/image_02/data/*.png"),
    class_maps=("*/*/semantic_maps/*.png",),
)
"""What pseudo-labels depend on."""

_OXTS_FIELDS = 30


class KittiRaw:
    """Clouds of KITTI's raw recordings, in the order of drives and time.

    The vehicle's motion while the lidar turns is left in the clouds as they are recorded.

    Attributes:
        class_set: Classes that may be prompted; there are no labels.
        tokens: ``DATE_drive_NNNN_sync-NNNNNNNNNN`` of each cloud. A sample without an image has no camera.
        viewpoint: Where the lidar stands in the clouds' frame.
    """

    indoors: ClassVar[bool] = False
    own_files: ClassVar[tuple[str, ...]] = ()
    cloud_reader: ClassVar[CloudReader] = staticmethod(any_format)
    class_set = SEMANTIC_KITTI
    viewpoint = VIEWPOINT

    def __init__(
        self,
        root: Path,
        *,
        split: str = "train",
        sweeps: int = 1,
        need_images: bool = False,
    ) -> None:
        """Open a data set: names of files are listed, and the calibrations of each day are read.

        Args:
            root: The folder that holds ``DATE/DATE_drive_NNNN_sync/`` with ``velodyne_points/data``,
                ``image_02/data`` and ``oxts/data``, and ``DATE/calib_*.txt``.
            split: A name in ``splits.json`` at the root, which lists drives; without one, ``train`` is all.
            sweeps: Sweeps of each sample, 1 to 10, the keyframe included. The earlier ones are those just
                before, at 10 Hz, moved by the poses of ``oxts/data``; where a drive begins, or its
                recording has a gap, there are fewer.
            need_images: Whether to leave out the samples that have no image.

        Raises:
            ValueError: If the split is unknown, a calibration is missing or wrong, or
            no sample is there or has as many sweeps.
        """
        check_sweeps(sweeps)
        self.root = Path(root)
        places = []
        for drive in _choose_drives(self.root, split):
            images = drive / "image_02/data"
            places += list_places(drive.name, drive / "velodyne_points/data", images)
        self._earlier = _earlier_clouds(places, sweeps)
        self._places = choose_places(
            places, need_images, f"{self.root}/DATE/DRIVE/velodyne_points/data/*.bin", images
        )
        self.tokens = tuple(self._places)
        dates = {place.cloud.parents[3] for place in self._places.values()}
        self._calibrations = {date: read_raw_calibration(date, with_imu=sweeps > 1) for date in sorted(dates)}
        most = 1 + max(len(self._earlier[place.cloud]) for place in self._places.values())
        check_enough_sweeps(sweeps, most, f"{self.root}, split {split!r}")

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "KittiRaw":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        refuse_labels(options.labels, "KITTI's raw recordings")
        return cls(root, split=options.split, sweeps=options.sweeps, need_images=options.need_images)

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Give SemanticKITTI's classes, or those of them that toytown has."""
        return street_classes(classes)

    def __len__(self) -> int:
        """Count the clouds."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Sample:
        """Read sample ``index``; its image is read when asked for.

        Raises:
            ValueError: If a file is missing, truncated or broken. The message names it.
        """
        place = self._places[self.tokens[index]]
        calibration = self._calibrations[place.cloud.parents[3]]
        return read_sample(
            place, calibration, _read_sweeps(place.cloud, calibration, self._earlier[place.cloud])
        )

    def scene_of(self, token: str) -> str:
        """Name the drive of a cloud."""
        return token.rpartition("-")[0]

    def has_image(self, token: str) -> bool:
        """Say whether a cloud has an image."""
        return self._places[token].image is not None

    def timestamps(self, index: int) -> Timestamps:
        """Tell when and where sample ``index`` was recorded, as far as ``timestamps.txt`` and ``oxts`` say.

        Raises:
            ValueError: If a pose or its calibration is there but broken.
        """
        place = self._places[self.tokens[index]]
        drive, name = place.cloud.parents[2], place.cloud.stem
        cloud_us, image_us = (
            (read_dates(drive / sensor / "timestamps.txt", [name]) or (None,))[0]
            for sensor in ("velodyne_points", "image_02")
        )
        return Timestamps(
            drive=drive.name,
            cloud_us=cloud_us,
            image_us={} if place.image is None else {CAMERA: image_us},
            world_from_cloud=self._world_from_cloud(place.cloud),
        )

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that :data:`INPUTS` names."""
        return INPUTS.find(self.root, labels=labels, class_maps=class_maps)

    def _world_from_cloud(self, cloud: Path) -> Float[Tensor, "4 4"] | None:
        """Say where the lidar stood on the map of its drive; None without the files that tell."""
        drive, date = cloud.parents[2], cloud.parents[3]
        first = next(each.cloud for each in self._places.values() if each.cloud.parents[2] == drive)
        fixes = [drive / "oxts" / "data" / f"{each.stem}.txt" for each in (first, cloud)]
        if not all(path.exists() for path in (*fixes, date / "calib_imu_to_velo.txt")):
            return None
        scale = float(torch.deg2rad(read_fix(first)[0]).cos())
        lidar_from_imu = lidar_motion(date / "calib_imu_to_velo.txt")
        return world_from_imu(read_fix(cloud), scale) @ invert_rigid(lidar_from_imu)

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where a 2D segmenter's class map of one image is looked for.

        Returns:
            ``DATE/DRIVE/semantic_maps/NNNNNNNNNN.png`` below the root.
        """
        place = find_place(self._places, token, view)
        return place.cloud.parents[2] / "semantic_maps" / f"{place.cloud.stem}.png"


def world_from_imu(fix: Float[Tensor, " 6"], scale: float) -> Float[Tensor, "4 4"]:
    """Place the inertial unit on a map of the earth: Mercator's, with true lengths near one latitude.

    On a sphere, Mercator's map stretches lengths by 1 / cos(latitude); multiplied by ``scale``, the cosine of
    the latitude that a drive stays near, they are metres. East is x, north is y, up is z. Roll, pitch and yaw
    turn around the unit's own x (forward), y (left) and z (up), yaw first; yaw 0 is east.

    Args:
        fix: Latitude and longitude in degrees, altitude in metres; roll, pitch and yaw in radians.
        scale: Cosine of a latitude, the same for all poses that are compared.

    Example:
        >>> fix = torch.tensor([49.0, 8.0, 100.0, 0.0, 0.0, 0.0]).double()
        >>> north = fix + torch.tensor([0.001, 0, 0, 0, 0, 0])
        >>> scale = torch.deg2rad(fix[0]).cos().item()
        >>> motion = invert_rigid(world_from_imu(fix, scale)) @ world_from_imu(north, scale)
        >>> [round(metres, 1) for metres in motion[:3, 3].tolist()]
        [0.0, 111.3, 0.0]
    """
    latitude, longitude, altitude, roll, pitch, yaw = fix.double()
    east = torch.deg2rad(longitude)
    north = torch.asinh(torch.tan(torch.deg2rad(latitude)))
    from scipy.spatial.transform import Rotation  # a tenth of all imports, and seldom needed

    turn = torch.from_numpy(Rotation.from_euler("ZYX", [yaw, pitch, roll]).as_matrix())
    place = torch.stack([scale * EARTH_RADIUS_M * east, scale * EARTH_RADIUS_M * north, altitude])
    return rigid(turn, "a pose", place)


def _choose_drives(root: Path, split: str) -> list[Path]:
    """List the folders of a split's drives."""
    form = re.compile(r"[0-9]{4}_[0-9]{2}_[0-9]{2}_drive_[0-9]{4}_sync")
    present = {path.name: path for path in sorted(root.glob("*/*_sync")) if form.fullmatch(path.name)}
    own = root / "splits.json"
    if not own.exists() and split != "train":
        raise ValueError(
            f"unknown split {split!r}: list its drives in {own}; without that file, train is all"
        )
    names = read_own_split(own, split) if own.exists() else tuple(present)
    missing = [name for name in names if name not in present]
    if missing or not names:
        raise ValueError(
            f"{root} lacks the drives {', '.join(missing) or 'of any day'}; expected "
            "DATE/DATE_drive_NNNN_sync: restore them"
        )
    return [present[name] for name in names]


def _earlier_clouds(places: list[Place], sweeps: int) -> dict[Path, tuple[Path, ...]]:
    """List the clouds just before each, newest first, as far as the recording has no gap."""
    known = {place.cloud for place in places}
    earlier = {}
    for cloud in known:
        before: list[Path] = []
        for back in range(1, sweeps):
            path = cloud.with_name(f"{int(cloud.stem) - back:010d}.bin")
            if path not in known:
                break
            before.append(path)
        earlier[cloud] = tuple(before)
    return earlier


def read_raw_calibration(date: Path, *, with_imu: bool) -> Calibration:
    """Read a day's calibration."""
    path = date / "calib_cam_to_cam.txt"
    matrices = read_matrices(path, {"R_rect_00": (3, 3), "P_rect_02": (3, 4)})
    intrinsics, camera_from_rectified = split_projection(matrices["P_rect_02"], f"P_rect_02 of {path}")
    lidar_from_imu = lidar_motion(date / "calib_imu_to_velo.txt") if with_imu else None
    return Calibration(
        intrinsics, camera_from_rectified @ rectified_from_lidar(date, matrices), lidar_from_imu
    )


def rectified_from_lidar(date: Path, matrices: Mapping[str, Float[Tensor, "..."]]) -> Float[Tensor, "4 4"]:
    """Join the ways from the lidar to camera 0, and to its rectified frame.

    Args:
        date: A day's folder.
        matrices: Of its ``calib_cam_to_cam.txt``; ``R_rect_00`` among them.

    Raises:
        ValueError: If ``calib_velo_to_cam.txt`` is missing or broken, or a motion is not rigid.
    """
    rectified_from_camera = rigid(matrices["R_rect_00"], f"R_rect_00 of {date / 'calib_cam_to_cam.txt'}")
    return rectified_from_camera @ lidar_motion(date / "calib_velo_to_cam.txt")


def _read_sweeps(cloud: Path, calibration: Calibration, earlier: tuple[Path, ...]) -> tuple[PointCloud, ...]:
    """Read earlier sweeps in the frame of a cloud."""
    if not earlier:
        return ()
    assert calibration.lidar_from_imu is not None
    fixes = [read_fix(path) for path in (cloud, *earlier)]
    scale = float(torch.deg2rad(fixes[0][0]).cos())
    imu_from_lidar = invert_rigid(calibration.lidar_from_imu)
    poses = [world_from_imu(fix, scale) @ imu_from_lidar for fix in fixes]
    way = list(zip((cloud, *earlier), poses, strict=True))[::-1]
    check_way(
        cloud.parents[2] / "oxts" / "data" / f"{cloud.stem}.txt",
        [path.stem for path, _ in way],
        torch.stack([pose[:3, 3] for _, pose in way]),
    )
    lidar_from_world = invert_rigid(poses[0])
    return tuple(
        carry_sweep(read_velodyne(path), lidar_from_world @ pose, VEHICLE_REACH_M)
        for path, pose in zip(earlier, poses[1:], strict=True)
    )


def read_dates(path: Path, names: Sequence[str]) -> tuple[int, ...] | None:
    """Read ``timestamps.txt``, a date for each number from 0 on.

    Returns:
        Microseconds of each of ``names``; None where the file is absent or does not fit.
    """
    if not path.exists():
        return None
    lines = read_text(path, needs_end=False).splitlines()
    start = datetime(1970, 1, 1)
    try:
        chosen = [lines[int(name)].strip() for name in names]
        # datetime knows microseconds: three more digits are cut
        passed = [datetime.strptime(line[:26], "%Y-%m-%d %H:%M:%S.%f") - start for line in chosen]
    except (IndexError, ValueError):
        return None
    return tuple((each.days * 86_400 + each.seconds) * 1_000_000 + each.microseconds for each in passed)


def read_fix(cloud: Path) -> Float[Tensor, " 6"]:
    """Read where the vehicle was when a cloud was taken: the first six of 30 numbers."""
    path = cloud.parents[2] / "oxts" / "data" / f"{cloud.stem}.txt"
    words = read_text(path, needs_end=False).split()
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        values = np.zeros(0)
    if len(values) != _OXTS_FIELDS or not np.isfinite(values[:6]).all() or abs(values[0]) >= 90:
        raise ValueError(
            f"{path}: expected {_OXTS_FIELDS} numbers, the first a latitude, got {' '.join(words[:8])!r} "
            "...; restore it"
        )
    return torch.from_numpy(values[:6])
