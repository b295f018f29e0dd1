"""What every data set offers, whatever its layout on the disk; ``docs/extending.md`` shows how to add one."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.clouds import CloudFile, read_cloud_file
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.types import Samples, Timestamps

CloudReader = Callable[[Path], Callable[..., CloudFile]]
"""Of a folder, makes what reads a cloud file: :func:`~clip2scene.datasets.clouds.read_cloud_file`, with what
is usual for clouds of that run."""


MAPS = ("png", "safetensors", "npz")
"""Endings of what a 2D network may have written of an image: its classes, or their scores."""


@dataclass(frozen=True)
class OpenOptions:
    """How a split is opened.

    Attributes:
        split: The name of the split.
        classes: The name of the classes that labels are translated to, as for :meth:`Dataset.class_set_of`.
        labels: False touches no label; True reads those of all samples; tokens, those of these samples.
        sweeps: Sweeps of each sample, 1 to 10, the keyframe included.
        need_images: Whether to leave out the samples that have no image.
        frames: Which frames of a room are used; other layouts have no choice.
    """

    split: str
    classes: str = "own"
    labels: bool | Collection[str] = False
    sweeps: int = 1
    need_images: bool = False
    frames: FrameChoice = FrameChoice()


@runtime_checkable
class Dataset(Samples, Protocol):
    """A split of a data set. Loaders do not inherit from this: they have what it names.

    Attributes:
        indoors: Whether samples are rooms, whose points have a colour; else an intensity.
        own_files: Names of JSON files in the root that a run keeps a copy of, so that it can be used without
            the data: its own classes, how single clouds are read.
        cloud_reader: Takes a run's folder with copies of these files, and returns how single cloud files are
            read for that run.
        class_set: What the labels mean.
        viewpoint: Where the lidar stands in the clouds' frame, in metres; None for rooms, which were not seen
            from one place.
    """

    indoors: ClassVar[bool]
    own_files: ClassVar[tuple[str, ...]]
    cloud_reader: ClassVar[CloudReader]
    class_set: ClassSet

    @property
    def viewpoint(self) -> tuple[float, float, float] | None:
        """Say where the lidar stands."""

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "Dataset":
        """Open a split: tables are read and names are listed, but no cloud and no image is read.

        Raises:
            ValueError: If the layout has no such thing, or a file that is needed is missing or broken.
        """

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Say which classes predictions are evaluated in.

        Args:
            classes: Their name: ``own``, or another one that the layout knows.
            folder: The data set, or a run with a copy of its own files; layouts with fixed classes need none.
            words: The class set that the prompts are of; evaluates where a drive log has no classes.
        """

    def __len__(self) -> int:
        """Count the samples."""

    def scene_of(self, token: str) -> str:
        """Name the scene of a sample: a drive or a room; a sample that stands alone is one itself."""

    def has_image(self, token: str) -> bool:
        """Say whether a sample has an image; no file is opened."""

    def timestamps(self, index: int) -> Timestamps | None:
        """Tell when and where a sample was recorded; None where the layout never says."""

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where the class map of a camera's image is looked for: a PNG, as a 2D segmenter wrote it.

        In its place may lie a file of scores, of the same name but for its ending.
        """

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that pseudo-labels depend on, of all splits: tables, poses, clouds, images.

        Args:
            labels: Whether those of true labels are among them.
            class_maps: Whether class maps are.
        """


@dataclass(frozen=True)
class InputPatterns:
    """Where a layout keeps the files that pseudo-labels depend on, as patterns below its root.

    Attributes:
        tables: Calibration, poses, times and splits.
        sensors: Clouds and images.
        labels: True labels of points.
        class_maps: What a 2D segmenter wrote, as PNG; files of scores may lie in their place.
    """

    tables: tuple[str, ...]
    sensors: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    class_maps: tuple[str, ...] = ("semantic_maps/*/*.png",)

    def find(self, root: Path, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that are there, in order; arguments as for :meth:`Dataset.input_files`."""
        patterns = [
            *self.tables,
            *self.sensors,
            *(self.labels if labels else ()),
            *(pattern.removesuffix("png") + end for pattern in self.class_maps for end in MAPS if class_maps),
        ]
        return sorted({path for pattern in patterns for path in root.glob(pattern)})


def any_format(folder: Path) -> Callable[..., CloudFile]:
    """Read single clouds as their format says (:attr:`Dataset.cloud_reader` of most layouts)."""
    return read_cloud_file


def stamp_files(root: Path, paths: Sequence[Path]) -> str:
    """Hash names below ``root``, sizes and times of change of files; these stand for their contents.

    Files that lie elsewhere, as those of a mixture do, count under their whole names.
    """
    names = [path.relative_to(root) if path.is_relative_to(root) else path.resolve() for path in paths]
    abouts = [(name.as_posix(), path.stat()) for name, path in zip(names, paths, strict=True)]
    rows = [(name, about.st_size, about.st_mtime_ns) for name, about in abouts]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:32]


def stamp_sensors(root: Path, dataset: Dataset) -> str:
    """Hash names, sizes and times of change of all that a data set's sensors recorded, and of its tables."""
    return stamp_files(root, dataset.input_files(labels=False, class_maps=False))


def count_images(dataset: Dataset) -> int:
    """Count the samples that have images."""
    return sum(map(dataset.has_image, dataset.tokens))
