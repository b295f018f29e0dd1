"""The second round: what a trained student says of its own training clouds becomes the next pseudo-label.

A student's predictions are averaged over copies of a cloud, and where drives are consolidated over the
moments of the drive. Of the points that it gives a class, the surest share takes the student's label; all
others keep the teacher's, if they have one. The share is one of each class by itself (class-balanced
self-training, Zou et al., ECCV 2018), so that a rare class, of which no network is ever as sure as of the
road, keeps its part. Published relatives: LOSC (consolidation over time and augmentations), GGSD, SAS.

Labels are made once, by a network that has stopped learning, so no prediction is made surer by having been
a target; in switchable self-training (:mod:`clip2scene.distill.self_training`) the network in training
predicts its own targets.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.datasets.drives import Moment
from clip2scene.distill.consolidate import gather_drive, hash_poses
from clip2scene.distill.lifted import LiftedSample, load_lifted, save_consolidated
from clip2scene.io import load_checksummed, save_checksummed
from clip2scene.parallel import file_lock, parallel_for, progress_bar

FORMAT = 1
"""Of the files of a second round; to be raised whenever other code would make others."""

_DOUBTS = 0x3C00 + 1  # numbers of float16 from 0 to 1, in the order of their bits


class Predictions(NamedTuple):
    """What a student says of a cloud.

    Attributes:
        labels: Train id of the best class of each point.
        doubts: 1 less the score of that class, 0..1, in the precision of float16.
    """

    labels: Int[Tensor, " points"]
    doubts: Float[Tensor, " points"]


def predictions_of(scores: Float[Tensor, "points classes"]) -> Predictions:
    """Take the best class of each point; its scores add up to 1 at most."""
    best, labels = scores.max(1)
    return Predictions(labels, (1 - best).clamp(0, 1).half().float())


def find_limits(predictions: Iterable[Predictions], classes: int, share: float) -> Float[Tensor, " classes"]:
    """Find how much doubt a point of each class may have to be among the surest share of the class.

    Points are counted by doubt, and never sorted, so memory does not grow with their number.

    Args:
        predictions: Of all clouds.
        classes: Number of classes.
        share: Which share of each class's points is sure, 0..1.

    Returns:
        The least limits that leave at least that share, in 0..1; -1 (nothing is sure) where nothing is of a
        class, or the share is 0.
    """
    counts = torch.zeros(classes, _DOUBTS, dtype=torch.long)
    for labels, doubts in predictions:
        cells = labels * _DOUBTS + doubts.half().view(torch.int16).long()
        counts += torch.bincount(cells, minlength=classes * _DOUBTS).view(classes, _DOUBTS)
    upto = counts.cumsum(1)
    wanted = (share * upto[:, -1:].double()).ceil()
    first = (upto >= wanted).int().argmax(1)
    limits = first.short().view(torch.float16).float()
    return torch.where(wanted[:, 0] > 0, limits, -1.0)


def relabel(
    lifted: LiftedSample, predictions: Predictions, limits: Float[Tensor, " classes"]
) -> Int[Tensor, " points"]:
    """Give each point the student's label where it is sure, else the teacher's, if there is one.

    Args:
        lifted: The sample with the teacher's labels: consolidated, or voted on within superpoints.
        predictions: The student's.
        limits: Most doubt of each class (:func:`find_limits`).

    Returns:
        Train ids; ``IGNORE_LABEL`` where neither has a label.
    """
    teacher = lifted.voted_labels() if lifted.consolidated is None else lifted.consolidated
    sure = predictions.doubts <= limits[predictions.labels]
    return torch.where(sure, predictions.labels, teacher)


@dataclass(frozen=True)
class SecondRoundOptions:
    """How the pseudo-labels of a second round are made.

    Attributes:
        share: Share of each class's points on which the student is taken to be sure, 0..1.
        about: Names the student and how it predicts, as plain values: with others, files are made anew.
        drives: The drives of the split, over whose moments predictions are averaged; none leaves each alone.
        viewpoint: Where the lidar stands in the clouds' frame, in metres.
        place_size: Edge of the places that moments vote on, in metres.
    """

    share: float
    about: Mapping[str, Any] = field(default_factory=dict)
    drives: Mapping[str, Sequence[Moment]] = field(default_factory=dict)
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    place_size: float = 0.4


Student = Callable[[LiftedSample], Float[Tensor, "points classes"]]
"""Gives the scores (softmax) of all points of a sample, those of its earlier sweeps too."""


def second_round_split(
    paths: Sequence[Path], student: Student, *, options: SecondRoundOptions, alone: bool = False
) -> list[Path]:
    """Make the pseudo-labels of the second round, beside the lifted samples.

    Files of an earlier call are kept, so an interrupted call goes on where it stopped. Several processes
    share the samples.

    Args:
        paths: Lifted samples with the teacher's pseudo-labels, consolidated or not.
        student: The student of the first round.
        options: How they are made.
        alone: Whether this process does it all, as where the student is on a GPU.

    Returns:
        One path a sample, for :func:`~clip2scene.distill.lifted.load_lifted`, in the order of ``paths``.

    Raises:
        ValueError: If a file is damaged, the student fails on a cloud, or poses contradict the clouds.
    """
    key = {"format": FORMAT, **options.about}
    predicted = _files(paths, "predictions", key)
    drives = [moments for moments in options.drives.values() if len(moments) > 1]
    gathered = list(predicted)
    if drives:
        key |= {"place_size": options.place_size, "poses": hash_poses(options.drives)}
        on_places = _files(paths, "gathered", key)
        for moment in chain.from_iterable(drives):
            gathered[moment.number] = on_places[moment.number]
    found = _files(paths, "second", {**key, "share": options.share})
    with file_lock(found[0].parent / "lock"):
        if all(path.exists() for path in found):
            return found
        _make(predicted, partial(_predict, paths, predicted, student), title="predict", alone=alone)
        incomplete = [
            number
            for number, moments in enumerate(drives)
            if not all(gathered[moment.number].exists() for moment in moments)
        ]
        gather = partial(_gather, drives, paths, predicted, gathered, options)
        parallel_for(gather, incomplete, title="gather", unit="drive")
        classes = load_lifted(paths[0]).pair_logits.shape[1]
        bar = progress_bar(gathered, desc="how sure", unit="sample")
        limits = find_limits(map(_load, bar), classes, options.share)
        _make(found, partial(_relabel, paths, gathered, found, limits), title="relabel")
    return found


def _files(paths: Sequence[Path], stage: str, key: Mapping[str, Any]) -> list[Path]:
    """Name the files of a stage by all that decides them, beside those of the samples."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return [path.parent / f"{stage}-{digest}" / path.name for path in paths]


def _make(files: Sequence[Path], work: Callable[[int], None], *, title: str, alone: bool = False) -> None:
    """Make the files of a stage that are missing."""
    missing = [number for number, path in enumerate(files) if not path.exists()]
    parallel_for(work, missing, title=title, unit="sample", alone=alone)


def _predict(paths: Sequence[Path], predicted: Sequence[Path], student: Student, number: int) -> None:
    """Let the student predict a sample."""
    _save(predicted[number], predictions_of(student(load_lifted(paths[number]))))


def _gather(
    drives: Sequence[Sequence[Moment]],
    paths: Sequence[Path],
    predicted: Sequence[Path],
    gathered: Sequence[Path],
    options: SecondRoundOptions,
    drive: int,
) -> None:
    """Average the predictions of a drive's moments on each place; doubt votes, too, beside the classes."""
    moments = drives[drive]
    numbers = [moment.number for moment in moments]

    def scores(place: int, lifted: LiftedSample) -> Float[Tensor, "points columns"]:
        labels, doubts = _load(predicted[numbers[place]])
        votes = torch.zeros(len(labels), lifted.pair_logits.shape[1] + 1)
        votes[:, -1] = doubts
        return votes.scatter_(1, labels[:, None], 1 - doubts[:, None])

    found = gather_drive(
        moments,
        [paths[number] for number in numbers],
        scores,
        columns=load_lifted(paths[numbers[0]]).pair_logits.shape[1] + 1,
        viewpoint=options.viewpoint,
        place_size=options.place_size,
    )
    for number, (_, shares) in zip(numbers, found, strict=True):
        _save(gathered[number], predictions_of(shares[:, :-1]))


def _relabel(
    paths: Sequence[Path],
    gathered: Sequence[Path],
    found: Sequence[Path],
    limits: Float[Tensor, " classes"],
    number: int,
) -> None:
    """Write the labels of a sample."""
    save_consolidated(found[number], relabel(load_lifted(paths[number]), _load(gathered[number]), limits))


def _save(path: Path, predictions: Predictions) -> None:
    """Write predictions, atomically: labels as int16, doubts as float16."""
    save_checksummed(path, {"labels": predictions.labels.short(), "doubts": predictions.doubts.half()})


def _load(path: Path) -> Predictions:
    """Read what :func:`_save` wrote, as int64 and float32."""
    tensors = load_checksummed(path)
    try:
        return Predictions(tensors["labels"].long(), tensors["doubts"].float())
    except KeyError as error:
        raise ValueError(f"{path} lacks {error}; delete it and run again") from None
