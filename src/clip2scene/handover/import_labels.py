"""The command ``import-labels``: what people labelled in a tool becomes a label layer."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.label_layer import UNLABELLED, LabelLayer, write_layer
from clip2scene.handover.formats import FORMATS
from clip2scene.handover.found import FoundLabels
from clip2scene.handover.frames import open_data
from clip2scene.handover.match import Matched, match_points
from clip2scene.io import new_folder
from clip2scene.parallel import progress_bar
from clip2scene.runs.run import open_run
from clip2scene.types import IGNORE_LABEL, Sample

UNLABELLED_NAMES = ("unlabeled", "unlabelled", "unclassified")
"""Names of classes of a tool that say that nobody has labelled a point."""

IGNORED_NAMES = ("none", "ignore", "ignored", "void")
"""Names of classes that say that somebody has, and that it is of no class."""

_TOLD = 10  # samples or classes that a message names


@dataclass
class Imported:
    """What was read.

    Attributes:
        met: Names of the samples that the tool has.
        written: How many of them have a label.
        unknown: Points of classes that the data set has not, by their names.
        points: How many points these have.
        labelled: How many of them got a label.
        by_place: Samples that were matched by coordinates.
        missing: Points of these that the tool's files have not.
        foreign: Points of the files that are none of a sample's.
    """

    met: set[str] = field(default_factory=set)
    written: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    points: int = 0
    labelled: int = 0
    by_place: list[str] = field(default_factory=list)
    missing: int = 0
    foreign: int = 0

    def count(self, token: str, matched: Matched, labelled: int) -> None:
        """Take note of a sample."""
        self.points += len(matched.ids)
        self.labelled += labelled
        self.written += labelled > 0
        self.by_place += [] if matched.by_order else [token]
        self.missing += int((~matched.known).sum())
        self.foreign += matched.foreign

    def sentence(self, out: Path) -> str:
        """Say what was read, and what of it was lost."""
        told = (
            f"wrote labels of {self.written} samples, {self.labelled:,} of {self.points:,} points, to {out}"
        )
        if self.written < len(self.met):
            told += f"; of {len(self.met) - self.written} more the tool has no label"
        if self.by_place:
            some = ", ".join(self.by_place[:_TOLD]) + (", ..." if len(self.by_place) > _TOLD else "")
            told += (
                f"\nmatched by coordinates, as their points were reordered, cropped or thinned: {some}; "
                f"{self.missing:,} points are not in these files and stay unlabelled, {self.foreign:,} of "
                "the files' points are none of the data's"
            )
        return told


def import_labels(
    labels: Path,
    *,
    form: str,
    data_root: Path,
    out: Path,
    split: str = "val",
    run: Path | None = None,
) -> Imported:
    """Read the labels that people gave in a tool, and write them as a label layer.

    Args:
        labels: The folder that ``export`` wrote, with what the tool saved into it; what was downloaded of a
            Supervisely project; or a release file of Segments.ai.
        form: The tool.
        data_root: The data set that was exported.
        split: The split that was.
        out: A new folder for the layer; nothing is left of an import that fails.
        run: The run whose predictions were exported, for its classes; the data set's own if left out.

    Raises:
        ValueError: If there are no labels of any sample, they are of another cloud, or of classes that the
            data set has not.
    """
    read = FORMATS[form].read_labels
    assert read is not None
    if not Path(labels).exists():
        raise ValueError(f"{labels} is missing; name the folder that export wrote, with the tool's labels")
    dataset = open_data(None if run is None else open_run(run), Path(data_root), split)
    place, done = {token: number for number, token in enumerate(dataset.tokens)}, Imported()
    with new_folder(out) as folder:
        for found in progress_bar(read(Path(labels), dataset.tokens), desc="import", unit="sample"):
            if found.token in done.met:
                raise ValueError(
                    f"{labels} has labels of {found.token} twice, {found.file} are others; keep one"
                )
            done.met.add(found.token)
            _import_sample(found, dataset[place[found.token]], dataset.class_set, folder, done)
        _refuse_unknown(labels, done.unknown, dataset.class_set)
        if not done.met:
            raise ValueError(
                f"{labels} holds no labels of split {split!r}, whose samples are called like "
                f"{dataset.tokens[0]}; name the --split that was exported, and the folder that export wrote"
            )
        if not done.written:
            raise ValueError(
                f"nothing is labelled in the {len(done.met)} samples of {labels}; label some points in the "
                "tool, and save them there first"
            )
    return done


def _import_sample(
    found: FoundLabels, sample: Sample, classes: ClassSet, folder: Path, done: Imported
) -> None:
    """Write the labels of a sample, if it has some; after one of an unknown class, others are only read."""
    matched = match_points(found, sample.cloud.positions.float().numpy())
    train_ids = translate(found, matched, classes, done.unknown)
    if not done.unknown:
        write_layer(folder, LabelLayer.of(sample, classes.classes, torch.from_numpy(train_ids)))
        done.count(found.token, matched, int((train_ids != UNLABELLED).sum()))


def translate(
    found: FoundLabels, matched: Matched, classes: ClassSet, unknown: Counter[str]
) -> Int64[np.ndarray, " points"]:
    """Give the train id of each point by the names of the classes, capitals aside.

    Args:
        found: What the numbers stand for.
        matched: The number of each point.
        classes: What the train ids mean.
        unknown: Takes how many points are of classes that are none of these.

    Returns:
        Train ids; ``UNLABELLED`` for points without a label, ``IGNORE_LABEL`` for those of no class.
    """
    places = {name.casefold(): number for number, name in enumerate(classes.classes)}
    places = {
        **dict.fromkeys(UNLABELLED_NAMES, UNLABELLED),
        **dict.fromkeys(IGNORED_NAMES, IGNORE_LABEL),
        **places,
    }
    labels = np.full(len(matched.ids), UNLABELLED, np.int64)
    numbers, counts = np.unique(matched.ids[matched.known], return_counts=True)
    for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
        name = found.names.get(number, f"number {number}")
        if number in found.none:
            continue
        if name.strip().casefold() in places:
            labels[matched.known & (matched.ids == number)] = places[name.strip().casefold()]
        else:
            unknown[name] += count
    return labels


def _refuse_unknown(labels: Path, unknown: Counter[str], classes: ClassSet) -> None:
    """Refuse classes that the data set has not.

    Raises:
        ValueError: If points are of such.
    """
    if not unknown:
        return
    named = ", ".join(f"{name!r} ({count:,} points)" for name, count in unknown.most_common(_TOLD))
    more = f" and {len(unknown) - _TOLD} more" if len(unknown) > _TOLD else ""
    raise ValueError(
        f"{labels} has labels of {named}{more}, which are no classes of {classes.name!r}; expected "
        f"{', '.join(classes.classes)}, {UNLABELLED_NAMES[0]} or {IGNORED_NAMES[1]}: rename them in the tool"
    )
