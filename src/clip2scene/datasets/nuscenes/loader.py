"""nuScenes, and everything written in its layout: keyframes with one lidar and six cameras.

Reads version 1.0 of the tables directly: a folder of JSON files (``v1.0-trainval/sample.json`` ...) beside
``samples/`` and ``lidarseg/``.
"""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.classes.tables import NUSCENES, TOYTOWN, ClassSet, train_ids
from clip2scene.datasets.checks import (
    CLOUD_FROM_SENSOR,
    carry_sweep,
    check_intensities,
    check_labels,
    check_middle,
    check_positions,
    check_sweeps,
    find_class_set,
    inside,
    labelled_tokens,
    read_image,
    read_own_split,
    read_records,
    suspect_width,
)
from clip2scene.datasets.dataset import CloudReader, InputPatterns, OpenOptions, any_format
from clip2scene.datasets.nuscenes.cache import open_index
from clip2scene.datasets.nuscenes.index import CHANNELS, NO_TIME, Index, Record
from clip2scene.datasets.nuscenes.records import find_files, read_label_files
from clip2scene.datasets.nuscenes.splits import official_scenes, usual_version
from clip2scene.geometry.projection import (
    check_intrinsics,
    invert_rigid,
    rigid_from_quaternion,
    transform_points,
)
from clip2scene.types import Camera, PointCloud, Sample, Timestamps

CAMERAS = CHANNELS[1:]
"""The six cameras, clockwise from the front."""

VEHICLE_REACH_M = 1.0
"""Points of an earlier sweep this near its lidar, along x and along y, lie on the recording vehicle."""

INPUTS = InputPatterns(
    tables=("v1.0-*/*.json",),
    sensors=("samples/LIDAR_TOP/*", "samples/CAM_*/*", "sweeps/LIDAR_TOP/*"),
    labels=("lidarseg/*/*.bin",),
)
"""What pseudo-labels depend on."""

_LAST_RAW_ID = 31  # of nuScenes-lidarseg


class NuScenes:
    """Keyframes of nuScenes, in the order of scenes and time.

    A cloud stands in the frame of its lidar, turned so that x points forward, y left and z up (nuScenes' own
    lidar frame has x right, y forward). The one feature channel is the intensity, scaled from 0..255 to 0..1.
    A camera's extrinsics go through the world, so the way the vehicle drove between the lidar's and the
    camera's exposure is in them. Earlier sweeps come through the world too, from their own pose.

    Attributes:
        class_set: What the labels mean.
        tokens: The keyframes' sample tokens.
        scenes: Name of each keyframe's scene.
        version: Name of the tables' folder.
        viewpoint: Where the lidar stands in the clouds' frame.
    """

    indoors: ClassVar[bool] = False
    own_files: ClassVar[tuple[str, ...]] = ()
    cloud_reader: ClassVar[CloudReader] = staticmethod(any_format)
    viewpoint = (0.0, 0.0, 0.0)

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = "train",
        scenes: Sequence[str] | None = None,
        version: str | None = None,
        labels: bool | Collection[str] = True,
        class_set: ClassSet = NUSCENES,
        sweeps: int = 1,
        index_folder: Path | None = None,
    ) -> None:
        """Open a data set.

        Args:
            root: The folder that holds ``samples/`` and the folder of tables.
            split: A name in the tables' ``splits.json``, or an official split. None takes every scene.
            scenes: Names of scenes, instead of a split.
            version: Folder of the tables; may be left out when there is only one, or one of the usual name
                for the split.
            labels: Whether to read labels, or the tokens of the samples whose labels are read; the others may
                have none. Without, neither label tables nor label files are touched.
            class_set: Classes to translate the 32 raw labels to.
            sweeps: Sweeps of each sample, 1 to 10, the keyframe included. Earlier ones are spread evenly over
                the lidar records of the half second before the keyframe (9 at 20 Hz), always with the oldest:
                3 sweeps take those 0.2 s and 0.45 s before. Where a scene begins there may be fewer.
            index_folder: Where to keep the index of large tables; by default among them.

        Raises:
            ValueError: If a table is missing or inconsistent, a calibration is wrong, the split is unknown or
                empty, or no keyframe has as many sweeps.
        """
        check_sweeps(sweeps)
        self.root = Path(root)
        self.version = version or _only_version(self.root, split if scenes is None else None)
        self.class_set = class_set
        tables = self.root / self.version
        self._index = open_index(tables, index_folder)
        samples = _choose_keyframes(self._index, tables, split, scenes)
        self.tokens = tuple(self._index.sample_token[number] for number in samples.tolist())
        self.scenes = tuple(self._index.scenes[number] for number in self._index.sample_scene[samples])
        self._number_of = {token: number for number, token in enumerate(self.tokens)}
        self._keyframes, self._earlier = find_files(self._index, samples, tables, sweeps=sweeps)
        self._labelled = labelled_tokens(self.tokens, labels)
        self._label_files = {} if labels is False else read_label_files(tables)

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "NuScenes":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        class_set = cls.class_set_of(options.classes)
        return cls(
            root, split=options.split, labels=options.labels, class_set=class_set, sweeps=options.sweeps
        )

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Give nuScenes' classes, or those of them that toytown has."""
        return find_class_set(classes, {"own": NUSCENES, "toytown": TOYTOWN})

    def __len__(self) -> int:
        """Count the keyframes."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Sample:
        """Read keyframe ``index``; its images are read when asked for.

        Raises:
            ValueError: If a file is missing, truncated or empty, a cloud holds NaN coordinates or intensities
                outside 0..255, or a calibration or pose is no rigid motion. The message names file and
                sample.
        """
        token = self.tokens[index]
        try:
            return self._read(token)
        except ValueError as error:
            raise ValueError(f"sample {token}: {error}") from None

    def timestamps(self, index: int) -> Timestamps:
        """Tell when and where keyframe ``index`` was recorded, without opening its files."""
        lidar, *images = (
            self._index.file_time_us[number].item() if number >= 0 else NO_TIME
            for number in self._keyframes[index].tolist()
        )
        earlier = [number for number in self._earlier[index].tolist() if number >= 0]
        return Timestamps(
            drive=self.scenes[index],
            cloud_us=None if lidar == NO_TIME else lidar,
            image_us={
                camera: None if time_us == NO_TIME else time_us
                for camera, time_us in zip(CAMERAS, images, strict=True)
            },
            sweeps_us=tuple(self._index.file_time_us[earlier].tolist()),
            world_from_cloud=self._world_from_cloud(self._record(self.tokens[index], 0)),
        )

    def scene_of(self, token: str) -> str:
        """Name the scene of a keyframe, as the tables do."""
        return self.scenes[self._number_of[token]]

    def has_image(self, token: str) -> bool:
        """Say that every keyframe has images: the tables name six."""
        return True

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that :data:`INPUTS` names."""
        return INPUTS.find(self.root, labels=labels, class_maps=class_maps)

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where a 2D segmenter's class map of one image is looked for.

        Returns:
            ``semantic_maps/CHANNEL/IMAGE.png`` below the root.
        """
        if token not in self._number_of or not 0 <= view < len(CAMERAS):
            raise ValueError(f"no camera {view} of sample {token!r} here; expected one of this data set")
        image = inside(self.root, self._record(token, 1 + view)["filename"])
        return self.root / "semantic_maps" / CAMERAS[view] / f"{image.stem}.png"

    def lidar_file(self, token: str) -> tuple[str, Path]:
        """Return the token and the path of a keyframe's lidar file.

        Raises:
            ValueError: If the tables name no such file, or one outside the data set.
        """
        record = self._record(token, 0)
        return record["token"], inside(self.root, record["filename"])

    def _record(self, token: str, channel: int) -> Record:
        """Give a keyframe's record of one channel."""
        number = int(self._keyframes[self._number_of[token], channel])
        if number < 0:
            tables = self.root / self.version
            raise ValueError(f"no keyframe of {CHANNELS[channel]} in {tables / 'sample_data.json'}")
        return self._index.record(number)

    def _read(self, token: str) -> Sample:
        """Read one keyframe."""
        lidar, *images = (self._record(token, channel) for channel in range(len(CHANNELS)))
        path = inside(self.root, lidar["filename"])
        records = _read_points(path)
        world_from_cloud = self._world_from_cloud(lidar)
        earlier = [number for number in self._earlier[self._number_of[token]].tolist() if number >= 0]
        return Sample(
            token=token,
            cloud=PointCloud(transform_points(CLOUD_FROM_SENSOR, records[:, :3]), records[:, 3:4] / 255),
            cameras=tuple(
                _camera(name, image, world_from_cloud) for name, image in zip(CAMERAS, images, strict=True)
            ),
            read_image=partial(self._read_image, token),
            labels=self._labels(lidar["token"], path, len(records)) if token in self._labelled else None,
            sweeps=tuple(self._sweep(self._index.record(number), world_from_cloud) for number in earlier),
        )

    def _world_from_cloud(self, lidar: Record) -> Float[Tensor, "4 4"]:
        return _world_from_sensor(lidar) @ invert_rigid(CLOUD_FROM_SENSOR)

    def _sweep(self, record: Record, world_from_cloud: Float[Tensor, "4 4"]) -> PointCloud:
        """Read an earlier sweep, less the recording vehicle's points, in the keyframe cloud's frame."""
        path = inside(self.root, record["filename"])
        records = _read_points(path)
        cloud_from_sweep = invert_rigid(world_from_cloud) @ _world_from_sensor(record)
        return carry_sweep(
            PointCloud(records[:, :3], records[:, 3:4] / 255), cloud_from_sweep, VEHICLE_REACH_M
        )

    def _labels(self, lidar_token: str, cloud_path: Path, num_points: int) -> Int[Tensor, " points"]:
        """Read one byte per point and translate it."""
        if lidar_token not in self._label_files:
            raise ValueError(f"lidarseg.json names no labels for {cloud_path}; use labels=False")
        path = inside(self.root, self._label_files[lidar_token])
        raw = torch.from_numpy(read_records(path, "u1")[:, 0].astype("int64"))
        if len(raw) != num_points:
            raise ValueError(f"{path} holds {len(raw)} labels, but {cloud_path} {num_points} points")
        check_labels(raw, _LAST_RAW_ID, path)
        return train_ids(raw, self.class_set)

    def _read_image(self, token: str, view: int) -> UInt8[Tensor, "height width 3"]:
        """Read one image."""
        record = self._record(token, 1 + view)
        try:
            return read_image(inside(self.root, record["filename"]), record["width"], record["height"])
        except ValueError as error:
            raise ValueError(f"sample {token}: {error}") from None


def _read_points(path: Path) -> Float[Tensor, "points 5"]:
    """Read x, y, z, intensity in 0..255 and ring."""
    with suspect_width(path, 5):
        records = torch.from_numpy(read_records(path, "<f4", columns=5).copy())
        check_positions(records[:, :3], path)
        check_intensities(records[:, 3], 255.0, path)
    return records


def _only_version(root: Path, split: str | None) -> str:
    """Return the one folder of tables below ``root``, or of several the one that a split belongs to."""
    versions = sorted(path.parent.name for path in root.glob("*/sample_data.json"))
    usual = usual_version(split)
    if len(versions) > 1 and usual in versions:
        return usual
    if len(versions) != 1:
        raise ValueError(
            f"expected one folder of nuScenes tables in {root}, v1.0-*/*.json, found {versions or 'none'}; "
            + ("name the version, or a split of one" if versions else "check the folder you named")
            if root.is_dir()
            else f"{root} is not a folder; expected the root of a data set in nuScenes' layout"
        )
    return versions[0]


def _choose_keyframes(
    index: Index, tables: Path, split: str | None, scenes: Sequence[str] | None
) -> Int[np.ndarray, " samples"]:
    """Find the keyframes of a split, or of some scenes, all of which are there; positions in the index."""
    present = index.scenes
    chosen = _split_scenes(tables, split, present) if scenes is None else set(scenes)
    if not chosen or not chosen <= set(present):
        wanted = sorted(chosen - set(present)) or f"of split {split!r}"
        raise ValueError(f"{tables} lacks the scenes {wanted}; it has {', '.join(present[:5])} ...")
    is_chosen = np.array([name in chosen for name in present])
    samples = np.flatnonzero(is_chosen[index.sample_scene])
    if not len(samples):
        raise ValueError(f"{tables} has no keyframe of {sorted(chosen)[:5]}; check split and scenes")
    return samples


def _split_scenes(tables: Path, split: str | None, present: tuple[str, ...]) -> set[str]:
    """Return the names of a split's scenes."""
    if split is None:
        return set(present)
    own = tables / "splits.json"
    if not own.exists():
        return set(official_scenes(split, tables.name, present))
    return set(read_own_split(own, split))


def _rigid(record: Record, what: str) -> Float[Tensor, "4 4"]:
    """Build the matrix of a record with a rotation and a translation."""
    try:
        return rigid_from_quaternion(record["rotation"], record["translation"])
    except ValueError as error:
        raise ValueError(f"{what} {record['token']}: {error}") from None


def _world_from_sensor(record: Record) -> Float[Tensor, "4 4"]:
    """Chain sensor, ego and world at the record's own timestamp."""
    world_from_ego = _rigid(record["ego_pose"], "ego_pose.json, record")
    return world_from_ego @ _rigid(record["calibration"], "calibrated_sensor.json, record")


def _camera(name: str, record: Record, world_from_cloud: Float[Tensor, "4 4"]) -> Camera:
    """Build a camera from its keyframe record."""
    calibration, size = record["calibration"], (record["width"], record["height"])
    if not min(size) > 0:
        raise ValueError(
            f"sample_data.json, record {record['token']}: expected the width and height of an image, got "
            f"{size[0]}x{size[1]}; restore the table"
        )
    try:
        intrinsics = torch.tensor(calibration["camera_intrinsic"], dtype=torch.float64)
    except (ValueError, TypeError, RuntimeError, OverflowError):  # RuntimeError: torch, for null
        intrinsics = torch.zeros(0)
    if intrinsics.ndim != 2:
        raise ValueError(
            f"calibrated_sensor.json, record {calibration['token']}: expected a camera_intrinsic of 3x3 "
            f"numbers, got {str(calibration['camera_intrinsic'])[:80]}; restore the table"
        )
    what = f"calibrated_sensor.json, record {calibration['token']}, camera_intrinsic"
    check_intrinsics(intrinsics, what)
    check_middle(intrinsics, size, what, of=f"{name} ({what})")
    camera_from_cloud = invert_rigid(_world_from_sensor(record)) @ world_from_cloud
    return Camera(name, intrinsics.float(), camera_from_cloud.float(), *size)
