"""A mixture: several data sets of streets, of any layouts, in the place of one."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.dataset import CloudReader, Dataset, OpenOptions, any_format
from clip2scene.datasets.mixed.table import MIX, Source, ids_among_all, join_classes, read_sources
from clip2scene.datasets.recognise import check_layout
from clip2scene.datasets.streets import STREETS
from clip2scene.types import IGNORE_LABEL, PointCloud, Sample, Timestamps

DOT = "."
"""Between the name of a source and that of a sample, scene or drive there; it is not in the former."""


def source_of(token: str) -> str:
    """Name the source of a sample, or of a scene."""
    return token.partition(DOT)[0]


class Mixed:
    """Samples of several data sets, one source after another; each is read by its own loader when asked for.

    Clouds are moved so that the lidar stands at the origin, as it does in most layouts, and cameras and poses
    with them. Axes, units and intensities are those of each loader, which are the same for all of them.

    Attributes:
        class_set: The classes of all sources together.
        sources: What is mixed.
        parts: Those of them that have samples in this split.
        viewpoint: Where the lidar stands in the clouds' frame.
    """

    indoors: ClassVar[bool] = False
    own_files: ClassVar[tuple[str, ...]] = (MIX,)
    cloud_reader: ClassVar[CloudReader] = staticmethod(any_format)
    viewpoint = (0.0, 0.0, 0.0)

    def __init__(self, root: Path, options: OpenOptions) -> None:
        """Open a split of all sources: their tables are read, but no cloud and no image is.

        Args:
            root: The folder with ``mix.json``.
            options: How each is opened. Where labels are read of some samples only, their tokens are those of
                this data set.

        Raises:
            ValueError: If the file is unfit, a source is, or one has no sample; the message names it.
        """
        self.root = Path(root)
        self.sources = read_sources(root, options.classes)
        self.class_set = join_classes(self.sources)
        self._opened = {
            source.name: opened
            for source in self.sources
            if (opened := self._open_source(source, options)) is not None
        }
        self.parts = tuple(source for source in self.sources if source.name in self._opened)
        if not self.parts:
            raise ValueError(
                f'{self.root / MIX}: no source has a split {options.split!r}; see their "splits"'
            )
        self._ids = {each.name: ids_among_all(each, self.class_set) for each in self.parts}
        self._ends = tuple(accumulate(len(self._opened[each.name].tokens) for each in self.parts))
        self.tokens = _Tokens({name: opened.tokens for name, opened in self._opened.items()})

    @classmethod
    def open(cls, root: Path, options: OpenOptions) -> "Mixed":
        """Open a split (:meth:`clip2scene.datasets.dataset.Dataset.open`)."""
        return cls(root, options)

    @staticmethod
    def class_set_of(classes: str, folder: Path | None = None, words: str = "own") -> ClassSet:
        """Join the classes of a mixture's sources, or of those of a run's."""
        if folder is None:
            raise ValueError("the classes of a mixture are those of its sources; name its folder")
        return join_classes(read_sources(folder, classes))

    def __len__(self) -> int:
        """Count the samples of all sources."""
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Read sample ``index``; its labels are of the classes of all sources.

        Raises:
            ValueError: If it cannot be read; the message names the source.
        """
        source, number = self._find(index)
        with _naming(source.name):
            sample = self._opened[source.name][number]
        return self._translate(source, sample)

    def timestamps(self, index: int) -> Timestamps | None:
        """Tell when and where sample ``index`` was recorded; drives of two sources are never one."""
        source, number = self._find(index)
        opened = self._opened[source.name]
        told = opened.timestamps(number)
        if told is None:
            return None
        pose = told.world_from_cloud
        if pose is not None:
            pose = pose @ _cloud_from_lidar(opened).to(pose)
        return replace(told, drive=source.name + DOT + told.drive, world_from_cloud=pose)

    def scene_of(self, token: str) -> str:
        """Name the scene of a sample, behind that of its source."""
        return source_of(token) + DOT + self._ask(token, "scene_of")

    def has_image(self, token: str) -> bool:
        """Say whether a sample has an image; no file is opened."""
        return self._ask(token, "has_image")

    def label_map_path(self, token: str, view: int) -> Path:
        """Return where the class map of a camera's image is looked for, in its source."""
        return self._ask(token, "label_map_path", view)

    def input_files(self, *, labels: bool, class_maps: bool) -> list[Path]:
        """List the files that the sources' pseudo-labels depend on; with labels, what translates them too."""
        files = [
            path
            for opened in self._opened.values()
            for path in opened.input_files(labels=labels, class_maps=class_maps)
        ]
        return [*files, self.root / MIX] if labels else files

    def named_by(self, name: str) -> frozenset[int]:
        """Say which of all classes a source names, by their train ids."""
        return frozenset(self._ids[name].tolist()) - {IGNORE_LABEL}

    def _open_source(self, source: Source, options: OpenOptions) -> Dataset | None:
        """Open a source's part of a split; None where the file says that it has none."""
        split = source.splits.get(options.split, options.split)
        if split is None:
            return None
        labels = options.labels
        if not isinstance(labels, bool):
            own = source.name + DOT
            labels = frozenset(each.removeprefix(own) for each in labels if each.startswith(own))
        with _naming(source.name, self.root / MIX):
            if not source.root.is_dir():
                raise ValueError(f"{source.root} is no folder; mount it, or correct its root")
            check_layout(source.root, source.layout)
            own_options = replace(options, split=split, classes=source.kind, labels=labels or False)
            opened = STREETS[source.layout].open(source.root, own_options)
            if not opened.tokens:
                raise ValueError(
                    f"split {split!r} of {source.root} has no sample{' with an image' * options.need_images}"
                    '; take it out, or say "splits": {"' + options.split + '": null}'
                )
        return opened

    def _find(self, index: int) -> tuple[Source, int]:
        """Find the source of a number, and the number there."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)

    def _translate(self, source: Source, sample: Sample) -> Sample:
        """Name a sample, move it so that the lidar is at the origin, and translate its labels."""
        opened, labels = self._opened[source.name], sample.labels
        moved = _cloud_from_lidar(opened)
        cameras = tuple(
            replace(each, camera_from_lidar=each.camera_from_lidar @ moved.to(each.camera_from_lidar))
            for each in sample.cameras
        )
        return replace(
            sample,
            token=source.name + DOT + sample.token,
            cloud=_to_lidar(sample.cloud, moved),
            cameras=cameras,
            labels=None if labels is None else _translate_labels(labels, self._ids[source.name]),
            sweeps=tuple(_to_lidar(each, moved) for each in sample.sweeps),
        )

    def _ask(self, token: str, method: str, *arguments: Any) -> Any:  # noqa: ANN401 - what the loader says
        """Ask the loader of a sample's source about it."""
        name = source_of(token)
        if name not in self._opened:
            raise ValueError(f"no sample {token!r} here; expected one of this data set")
        with _naming(name):
            ask: Callable[..., Any] = getattr(self._opened[name], method)
            return ask(token.removeprefix(name + DOT), *arguments)


class _Tokens(Sequence[str]):
    """Names of the samples of all sources; only those that the sources list are kept in memory."""

    def __init__(self, parts: dict[str, Sequence[str]]) -> None:
        self._parts = tuple(parts.items())
        self._ends = tuple(accumulate(len(each) for each in parts.values()))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: Any) -> Any:  # noqa: ANN401 - as of any sequence
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(len(self))))
        index = range(len(self))[index]
        part = bisect_right(self._ends, index)
        name, tokens = self._parts[part]
        return name + DOT + tokens[index - (self._ends[part - 1] if part else 0)]


@contextmanager
def _naming(name: str, path: Path | None = None) -> Iterator[None]:
    """Name the source in what its loader refuses."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{'' if path is None else f'{path}: '}source {name!r}: {error}") from None


def _cloud_from_lidar(opened: Dataset) -> Tensor:
    """Say where the lidar stands in the clouds' frame of a loader; the axes are the same."""
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, 3] = torch.tensor(opened.viewpoint or (0.0, 0.0, 0.0))
    return motion


def _to_lidar(cloud: PointCloud, cloud_from_lidar: Tensor) -> PointCloud:
    return PointCloud(cloud.positions - cloud_from_lidar[:3, 3].to(cloud.positions), cloud.features)


def _translate_labels(labels: Int[Tensor, " points"], ids: Int[Tensor, " own"]) -> Int[Tensor, " points"]:
    return torch.where(labels < 0, IGNORE_LABEL, ids[labels.clamp(min=0)])
