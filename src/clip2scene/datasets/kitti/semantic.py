"""SemanticKITTI, and everything in its layout: sequences with a label on every point and a colour camera.

KITTI's odometry benchmark with labels added: ``sequences/XX/{velodyne,labels,image_2}``, ``calib.txt``,
``poses.txt``.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from clip2scene.classes.tables import SEMANTIC_KITTI, ClassSet
from clip2scene.datasets.checks import (
    carry_sweep,
    check_enough_sweeps,
    check_labelled,
    check_sweeps,
    describe_folder,
    labelled_tokens,
    list_images,
    read_image,
    read_own_split,
)
from clip2scene.datasets.dataset import CloudReader, InputPatterns, OpenOptions, any_format
from clip2scene.datasets.kitti.files import (
    CAMERA,
    VEHICLE_REACH_M,
    VIEWPOINT,
    check_way,
    colour_camera,
    list_names,
    read_matrices,
    read_text,
    read_times,
    read_velodyne,
    rigid,
    split_projection,
)
from clip2scene.datasets.kitti.labels import read_labels, street_classes
from clip2scene.geometry.projection import invert_rigid
from clip2scene.types import Camera, PointCloud, Sample, Timestamps

SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(str(number) for number in range(11, 22)),
}
"""Sequences of the official splits; the labels of ``test`` are not public."""

INPUTS = InputPatterns(
    tables=("splits.json", "sequences/*/*.txt"),
    sensors=("sequences/*/velodyne/*.bin", "sequences/*/image_2/*.png"),
    labels=("sequences/*/labels/*.label",),
    class_maps=("sequences/*/semantic_maps/*.png",),
)
"""What pseudo-labels depend on."""


@dataclass(frozen=True)
class Drive:
    """One sequence: what it has, by name, and its calibration.

    Attributes:
        folder: Where it lies.
        names: Of its clouds, six digits each, in order.
        images: Image file of each of ``names`` that has one.
        intrinsics: Of camera 2.
        camera_from_lidar: Of camera 2.
        rectified_from_lidar: Into the rectified frame of camera 0, which the poses are of.
        poses: ``world_from_rectified`` of every cloud as 3x4; None where they are not asked for.
    """

    folder: Path
    names: tuple[str, ...]
    images: Mapping[str, Path]
    intrinsics: Float[Tensor, "3 3"]
    camera_from_lidar: Float[Tensor, "4 4"]
    rectified_from_lidar: Float[Tensor, "4 4"]
    poses: Float[Tensor, "clouds 3 4"] | None

    @cached_property
    def posed(self) -> "Drive":
        """Itself with the poses of ``poses.txt``, if there is one."""
        path = self.folder / "poses.txt"
        if self.poses is not None or not path.exists():
            return self
        return replace(self, poses=_read_poses(path, self.names, of_all=False))

    @cached_property
    def times_us(self) -> tuple[int, ...] | None:
        """Microseconds of each cloud by ``times.txt``, if there is one."""
        return read_times(self.folder / "times.txt", self.names)

    def world_from_lidar(self, number: int) -> Float[Tensor, "4 4"]:
        """Say where the lidar stood when it took cloud ``number``."""
        assert self.poses is not None
        line = int(self.names[number]) + 1
        pose = rigid(self.poses[number], f"line {line} of {self.folder / 'poses.txt'}")
        return pose @ self.rectified_from_lidar


class SemanticKitti:
    """Clouds of SemanticKITTI, in the order of sequences and time.

    A cloud stands in the frame of its lidar, which has x forward, y left and z up already. The one feature
    channel is the reflectance, 0..1. The camera's exposure is triggered when the lidar faces forward and the
    vehicle's motion during the turn is taken out of the clouds, so its extrinsics are the calibration's.

    Attributes:
        class_set: What the labels mean.
        tokens: ``SEQUENCE-NUMBER`` of each cloud, for instance ``08-000123``. A sample without an image has
            no camera.
        viewpoint: Where the lidar stands in the clouds' frame.
    """

    indoors: ClassVar[bool] = False
    own_files: ClassVar[tuple[str, ...]] = ()
    cloud_reader: ClassVar[CloudReader] = staticmethod(any_format)
    viewpoint = VIEWPOINT

    def __init__(
        self,
        root: Path,
        *,
        split: str | None = "train",
        sequences: Sequence[str] | None = None,
        labels: bool | Collection[str] = True,
        class_set: ClassSet = SEMANTIC_KITTI,
        sweeps: int = 1,
        need_images: bool = False,
    ) -> None:
        """Open a data set: names of files are listed, and calibrations and (for sweeps) poses are read.

        Args:
            root: The folder that holds ``sequences/``.
            split: A name in ``splits.json`` beside ``sequences/``, if there is one; else ``train`` (00-07, 09
                and 10), ``val`` (08) or ``test`` (11-21, without public labels). None takes every sequence.
            sequences: Names of sequences, instead of a split.
            labels: Whether to read labels, or the tokens of the samples whose labels are read; the others may
                have none. Without, ``labels/`` is never touched.
            class_set: Classes to translate the raw labels to. Moving things count as standing ones.
            sweeps: Sweeps of each sample, 1 to 10, the keyframe included. The earlier ones are those just
                before, at 10 Hz, moved by ``poses.txt``; where a sequence begins there are fewer.
            need_images: Whether to leave out the samples that have no image.

        Raises:
            ValueError: If a sequence, label file or calibration is missing or wrong, the split is unknown or
                empty, images are needed and there is none, the poses are not one for each cloud, or no sample
                has as many sweeps.
        """
        check_sweeps(sweeps)
        self.root = Path(root)
        self.class_set = class_set
        self._sweeps = sweeps
        chosen = _choose_sequences(self.root, split, sequences)
        self._drives = {
            name: open_drive(self.root / "sequences" / name, with_poses=sweeps > 1) for name in chosen
        }
        self._places = self._list_places(need_images)
        self.tokens = tuple(f"{name}-{self._drives[name].names[number]}" for name, number in self._places)
        self._known = frozenset(self.tokens)
        longest = max(len(drive.names) for drive in self._drives.values())
        check_enough_sweeps(sweeps, longest, f"{self.root / 'sequences'}, {', '.join(chosen)}")
        self._labelled = labelled_tokens(self.tokens, labels)
        self._check_labels(chosen=labels is not True)

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "SemanticKitti":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        return cls(
            root,
            split=options.split,
            labels=options.labels,
            class_set=cls.class_set_of(options.classes),
            sweeps=options.sweeps,
            need_images=options.need_images,
        )

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Give SemanticKITTI's classes, or those of them that toytown has."""
        return street_classes(classes)

    def __len__(self) -> int:
        """Count the clouds."""
        return len(self.tokens)

    def __getitem__(self, index: int) -> Sample:
        """Read sample ``index``; its image, if there is one, is read when asked for.

        Raises:
            ValueError: If a file is missing, truncated or empty, a cloud holds numbers that are not finite,
                there is not one label for each point, a label is none of SemanticKITTI's, or a pose is no
                rigid motion. The message names the file.
        """
        sequence, number = self._places[index]
        drive = self._drives[sequence]
        name = drive.names[number]
        cloud = read_velodyne(drive.folder / "velodyne" / f"{name}.bin")
        labels = drive.folder / "labels" / f"{name}.label"
        cameras: tuple[Camera, ...] = ()
        if name in drive.images:
            cameras = (colour_camera(drive.images[name], CAMERA, drive.intrinsics, drive.camera_from_lidar),)
        return Sample(
            token=self.tokens[index],
            cloud=cloud,
            cameras=cameras,
            read_image=partial(_read_image, drive, name, cameras),
            labels=read_labels(labels, len(cloud), self.class_set)
            if self.tokens[index] in self._labelled
            else None,
            sweeps=self._earlier(drive, number),
        )

    def timestamps(self, index: int) -> Timestamps:
        """Tell when and where sample ``index`` was recorded, as far as the sequence has times and poses.

        The camera is triggered by the lidar, so its images have no times of their own.

        Raises:
            ValueError: If times or poses are there but lack those of a cloud, or hold something else.
        """
        sequence, number = self._places[index]
        drive, times_us = self._drives[sequence].posed, self._drives[sequence].times_us
        return Timestamps(
            drive=sequence,
            cloud_us=None if times_us is None else times_us[number],
            image_us={CAMERA: None} if drive.names[number] in drive.images else {},
            world_from_cloud=None if drive.poses is None else drive.world_from_lidar(number),
        )

    def scene_of(self, token: str) -> str:
        """Name the sequence of a cloud."""
        return token.rpartition("-")[0]

    def has_image(self, token: str) -> bool:
        """Say whether a cloud has an image."""
        sequence, _, name = token.rpartition("-")
        return name in self._drives[sequence].images

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that :data:`INPUTS` names."""
        return INPUTS.find(self.root, labels=labels, class_maps=class_maps)

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where a 2D segmenter's class map of one image is looked for.

        Returns:
            ``sequences/XX/semantic_maps/NNNNNN.png`` below the root.
        """
        sequence, _, name = token.rpartition("-")
        if token not in self._known or view != 0:
            raise ValueError(f"no camera {view} of sample {token!r} here; expected one of this data set")
        return self.root / "sequences" / sequence / "semantic_maps" / f"{name}.png"

    def _list_places(self, need_images: bool) -> list[tuple[str, int]]:
        """List each sample's sequence and the number of its cloud there."""
        places = [
            (sequence, number)
            for sequence, drive in self._drives.items()
            for number, name in enumerate(drive.names)
            if name in drive.images or not need_images
        ]
        if not places:
            first = next(iter(self._drives.values())).folder
            raise ValueError(
                f"none of the sequences {', '.join(self._drives)} of {self.root} has an image in {CAMERA} "
                f"that is called like a cloud, NNNNNN.png or .jpg: {describe_folder(first / CAMERA)}; KITTI "
                "offers the colour images apart from the clouds"
            )
        return places

    def _check_labels(self, *, chosen: bool) -> None:
        """Refuse to go on when a label file is lacking that is to be read."""
        for sequence, drive in self._drives.items():
            of_drive = [name for name in drive.names if f"{sequence}-{name}" in self._labelled]
            check_drive_labels(drive, of_drive, chosen=chosen)

    def _earlier(self, drive: Drive, number: int) -> tuple[PointCloud, ...]:
        """Read the sweeps just before a cloud, newest first, in its frame."""
        before = range(number - 1, max(number - self._sweeps, -1), -1)
        if not before:
            return ()
        lidar_from_world = invert_rigid(drive.world_from_lidar(number))
        return tuple(
            carry_sweep(
                read_velodyne(drive.folder / "velodyne" / f"{drive.names[each]}.bin"),
                lidar_from_world @ drive.world_from_lidar(each),
                VEHICLE_REACH_M,
            )
            for each in before
        )


def _choose_sequences(root: Path, split: str | None, sequences: Sequence[str] | None) -> tuple[str, ...]:
    """Name the sequences to open, all of which are there."""
    folder = root / "sequences"
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; expected the root of SemanticKITTI's layout above it")
    names = (path.name for path in folder.iterdir() if path.is_dir())
    present = sorted((name for name in names if re.fullmatch(r"[0-9]{2,}", name)), key=int)
    own = root / "splits.json"
    if sequences is not None:
        chosen = list(sequences)
    elif split is None:
        chosen = present
    else:
        if not own.exists() and split not in SPLITS:
            raise ValueError(f"unknown split {split!r}, expected one of {', '.join(SPLITS)}")
        chosen = list(read_own_split(own, split) if own.exists() else SPLITS[split])
    missing = [str(name) for name in chosen if name not in present]
    if missing or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"expected different sequences of {folder} for split {split!r}, got {chosen}; it has "
            f"{', '.join(present) or 'none'}: restore {', '.join(missing) or 'them'}, or list in {own} which "
            "sequences make a split"
        )
    return tuple(chosen)


def open_drive(folder: Path, *, with_poses: bool) -> Drive:
    """List a sequence's files and read its calibration."""
    names = list_names(folder / "velodyne", ".bin", 6)
    if not names:
        raise ValueError(f"{folder / 'velodyne'} holds no NNNNNN.bin; restore the clouds of this sequence")
    calibration = folder / "calib.txt"
    matrices = read_matrices(calibration, {"P2": (3, 4), "Tr": (3, 4)})
    intrinsics, camera_from_rectified = split_projection(matrices["P2"], f"P2 of {calibration}")
    rectified_from_lidar = rigid(matrices["Tr"], f"Tr of {calibration}")
    poses = _read_poses(folder / "poses.txt", names, of_all=True) if with_poses else None
    if poses is not None:
        check_way(folder / "poses.txt", names, poses[:, :, 3])
    return Drive(
        folder=folder,
        names=names,
        images=list_images(folder / CAMERA, "[0-9]{6}"),
        intrinsics=intrinsics,
        camera_from_lidar=camera_from_rectified @ rectified_from_lidar,
        rectified_from_lidar=rectified_from_lidar,
        poses=poses,
    )


def check_drive_labels(drive: Drive, names: Sequence[str], *, chosen: bool = False) -> None:
    """Refuse a sequence that lacks the label files of some of its clouds.

    Args:
        drive: The sequence.
        names: Of the clouds, in order.
        chosen: Whether these were chosen to be labelled, or are all of a split.

    Raises:
        ValueError: If one is lacking.
    """
    folder = drive.folder / "labels"
    present = set(list_names(folder, ".label", 6)) if names else set()
    check_labelled(
        folder,
        [f"{name}.label" for name in names if name not in present],
        of=len(names),
        chosen=chosen,
        otherwise="restore them, or use labels=False (those of 11-21 are not public)",
    )


def _read_poses(path: Path, names: tuple[str, ...], *, of_all: bool) -> Float[Tensor, "clouds 3 4"]:
    """Read one pose a line; line k is that of cloud k - 1.

    Args:
        path: The file.
        names: The clouds whose poses to return.
        of_all: Whether clouds must follow each other without a gap, one for each pose, as sweeps do.
    """
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    if len(lines) <= int(names[-1]) or (of_all and len(lines) != len(names)):
        help_ = (
            "restore them, or set --data.sweeps 1"
            if of_all
            else "restore it, or remove it to go without poses"
        )
        raise ValueError(
            f"{path} holds {len(lines)} poses, but {path.parent / 'velodyne'} {len(names)} clouds up to "
            f"{names[-1]}; expected a pose for each cloud from 000000 on; {help_}"
        )
    try:
        poses = np.array(lines, dtype=np.float64).reshape(-1, 3, 4)
    except ValueError:
        wrong = next((n for n, words in enumerate(lines, 1) if len(words) != 12), None)
        where = f"line {wrong}" if wrong else "a line"
        raise ValueError(f"{path}: expected 12 numbers in each line, not so in {where}; restore it") from None
    return torch.from_numpy(poses)[[int(name) for name in names]]


def _read_image(
    drive: Drive, name: str, cameras: tuple[Camera, ...], view: int
) -> UInt8[Tensor, "height width 3"]:
    """Read the image of a sample's one camera, if it has one."""
    if not 0 <= view < len(cameras):
        path = drive.folder / CAMERA / f"{name}.png"
        raise ValueError(f"{path} is missing, so the sample has no camera {view}; restore it")
    return read_image(drive.images[name], cameras[view].width, cameras[view].height)
