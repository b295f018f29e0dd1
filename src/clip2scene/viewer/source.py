"""Where the clouds that are looked at come from: a split of a data set, or single files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, NoReturn

from clip2scene import build
from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets import LOADERS, Dataset
from clip2scene.datasets.checks import MissingLabelsError
from clip2scene.datasets.clouds import CloudOptions
from clip2scene.distill.lift import PairingOptions
from clip2scene.runs.run import Run
from clip2scene.runs.training_clouds import CloudCheck
from clip2scene.types import PointCloud, Sample


class Reading(NamedTuple):
    """A sample, and sentences that somebody who looks at it should know."""

    sample: Sample
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Source:
    """Samples in a fixed order.

    Attributes:
        tokens: Their names.
        read: Reads one by its number.
        pairing: How its points meet pixels.
        viewpoint: Where the lidar stands in a cloud's frame, in metres.
        indoors: Whether the clouds are rooms.
        split: The split's name; empty for files.
        class_set: What their labels mean; None where there are none.
        label_classes: What labels by hand are of; None where none can be given, as to files.
        scene_of: Names the scene of a sample, by its name.
        notes: What holds for all of them.
    """

    tokens: Sequence[str]
    read: Callable[[int], Reading]
    pairing: PairingOptions
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    indoors: bool = False
    split: str = ""
    class_set: ClassSet | None = None
    notes: tuple[str, ...] = ()
    label_classes: ClassSet | None = None
    scene_of: Callable[[str], str] = str


def open_split(run: Run, data_root: Path, split: str) -> Source:
    """Open a split of a data set, in whichever layout it is, with its labels where it has any.

    Args:
        run: Says which layout and classes are expected; a data set in another layout has its own classes.
        data_root: The data set.
        split: Which of its splits.

    Raises:
        ValueError: If the folder is no data set, or the split is not there or empty.
    """
    data, notes = build.data_found(data_root, run.recipe.data), list[str]()
    if data.layout != run.recipe.data.layout:
        told = f"{data_root} is in the layout {data.layout}, the run was trained in {run.recipe.data.layout}"
        notes.append(told)
    opened = partial(build.open_dataset, data, data_root, split=split, sweeps=data.seen_sweeps)
    try:
        dataset, labels = opened(labels=True), True
    except MissingLabelsError as error:
        dataset, labels = opened(), False
        notes.append(f"no true labels: {str(error).partition(';')[0]}")
    if not dataset.tokens:
        raise ValueError(f"split {split!r} of {data_root} has no sample to look at; name another --split")
    return Source(
        dataset.tokens,
        partial(_read_sample, dataset, _comparing(run, notes)),
        build.pairing_options(data),
        dataset.viewpoint or (0.0, 0.0, 0.0),
        dataset.indoors,
        split,
        dataset.class_set if labels else None,
        tuple(notes),
        build.prompt_classes(replace(data, words="own"), data_root),
        dataset.scene_of,
    )


def open_files(run: Run, clouds: Sequence[Path], options: CloudOptions) -> Source:
    """Take cloud files as samples without images or labels; each is read when it is looked at.

    Args:
        run: Says how clouds of its lidar are read, as for :func:`clip2scene.inference.segment.segment_files`.
        clouds: Files that :func:`clip2scene.datasets.clouds.read_cloud` reads.
        options: What their numbers mean, where they do not say so themselves.

    Raises:
        ValueError: If a file is missing.
    """
    for path in clouds:
        if not path.is_file():
            raise ValueError(f"{path} is missing or no file; check its name")
    loader, notes = LOADERS[run.recipe.data.layout], list[str]()
    check = CloudCheck(run.folder, note=notes.append, unlike="accept")
    if check.trained is not None and options.ground is None:
        options = replace(options, ground=check.trained.quantiles.get("ground_height", (None, None))[1])
    read = partial(loader.cloud_reader(run.folder), asked=options)

    names = [path.name for path in clouds]
    tokens = names if len(set(names)) == len(names) else [str(path) for path in clouds]

    def read_file(number: int) -> Reading:
        file = read(clouds[number])
        sample = Sample(tokens[number], file.cloud, (), _no_image)
        return Reading(sample, (*file.notes, *_unlike(check, file.cloud)))

    pairing = build.pairing_options(run.recipe.data)
    return Source(tokens, read_file, pairing, indoors=loader.indoors, notes=tuple(notes))


def _read_sample(dataset: Dataset, check: CloudCheck, number: int) -> Reading:
    sample = dataset[number]
    return Reading(sample, _unlike(check, sample.cloud))


def _comparing(run: Run, notes: list[str]) -> CloudCheck:
    return CloudCheck(run.folder, note=notes.append, unlike="accept")


def _unlike(check: CloudCheck, cloud: PointCloud) -> tuple[str, ...]:
    """Say in what a cloud is unlike the training clouds; whoever looks at it is told, and never refused."""
    return tuple(f"unlike the training clouds, {each.sentence}" for each in check.remarks(cloud))


def _no_image(view: int) -> NoReturn:
    raise AssertionError("a cloud file has no cameras")
