"""The second round: what a trained student says of its own training clouds becomes the next pseudo-label.

A student's predictions are averaged over copies of a cloud, and where drives are consolidated over the
moments of the drive. Student and teacher then compete for each point, and the surer one labels it. How sure
one is, is counted by ranks: which share of all the points that it gives that class it is surer of. So scores
of different scales can be compared, and a rare class, of which no network is ever as sure as of the road,
keeps its part (as in class-balanced self-training, Zou et al., ECCV 2018, where each class has a threshold of
its own). A point without a label of the teacher's gets the student's. Published relatives: LOSC
(consolidation over time and augmentations), GGSD, SAS.

Labels are made once, by a network that has stopped learning, so no prediction is made surer by having been
a target; in switchable self-training (:mod:`clip2scene.distill.self_training`) the network in training
predicts its own targets.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.datasets.drives import Moment
from clip2scene.distill.consolidate import gather_drive, hash_poses, incomplete_drives, scores_of
from clip2scene.distill.lifted import LiftedSample, load_lifted, own_file, save_consolidated
from clip2scene.io import load_checksummed, save_checksummed
from clip2scene.parallel import file_lock, parallel_for, progress_bar
from clip2scene.types import IGNORE_LABEL

FORMAT = 1
"""Of the files of a second round; to be raised whenever other code would make others."""

_DOUBTS = 0x3C00 + 1  # numbers of float16 from 0 to 1, in the order of their bits


class Predictions(NamedTuple):
    """What a student, or the teacher, says of a cloud.

    Attributes:
        labels: Train id of the class of each point; ``IGNORE_LABEL`` where the teacher has none.
        doubts: 1 less the score of that class, 0..1, in the precision of float16.
    """

    labels: Int[Tensor, " points"]
    doubts: Float[Tensor, " points"]


def predictions_of(scores: Float[Tensor, "points classes"]) -> Predictions:
    """Take the best class of each point; its scores add up to 1 at most."""
    best, labels = scores.max(1)
    return Predictions(labels, _round(1 - best))


def teacher_of(lifted: LiftedSample) -> Predictions:
    """Take the teacher's pseudo-labels; doubts are by its scores of the moment, 1 where it saw nothing."""
    labels = lifted.voted_labels() if lifted.consolidated is None else lifted.consolidated
    scores = scores_of(lifted)
    own = scores.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    return Predictions(labels, _round(1 - own / scores.sum(1).clamp(min=torch.finfo(scores.dtype).tiny)))


def _round(doubts: Float[Tensor, " points"]) -> Float[Tensor, " points"]:
    return doubts.clamp(0, 1).half().float()


class Ranks:
    """How sure of a class one is, among all the points that one gives the class.

    Points are counted by doubt and never sorted, so memory does not grow with their number.

    Args:
        classes: Number of classes.
    """

    def __init__(self, classes: int) -> None:
        self._counts = torch.zeros(classes, _DOUBTS, dtype=torch.long)

    def add(self, predictions: Predictions) -> None:
        """Count the points of a cloud that have a label."""
        cells = self._cells(predictions)[predictions.labels != IGNORE_LABEL]
        self._counts += torch.bincount(cells, minlength=self._counts.numel()).view_as(self._counts)

    def of(self, predictions: Predictions) -> Float[Tensor, " points"]:
        """Give the share of points of its class that are surer than each, ties by half; 1 without a label."""
        upto = self._counts.cumsum(1).double()
        shares = (upto - self._counts / 2) / upto[:, -1:].clamp(min=1)
        found = shares.flatten()[self._cells(predictions)]
        return torch.where(predictions.labels == IGNORE_LABEL, 1.0, found).float()

    @staticmethod
    def _cells(predictions: Predictions) -> Int[Tensor, " points"]:
        """Number class and doubt; those of float16 are in the order of their bits."""
        return predictions.labels.clamp(min=0) * _DOUBTS + predictions.doubts.half().view(torch.int16).long()


def relabel(
    student: Predictions, teacher: Predictions, ranks: tuple[Ranks, Ranks], lead: float
) -> Int[Tensor, " points"]:
    """Give each point the label of the one that is surer.

    Args:
        student: What the student says.
        teacher: What the teacher says.
        ranks: Of student and teacher, over all clouds.
        lead: By how much the student's rank must be ahead; 1 leaves the teacher's labels as they are.

    Returns:
        Train ids; ``IGNORE_LABEL`` where the teacher has no label and the student's rank is behind 1 - lead.
    """
    ahead = ranks[0].of(student) + lead < ranks[1].of(teacher)
    return torch.where(ahead, student.labels, teacher.labels)


@dataclass(frozen=True)
class SecondRoundOptions:
    """How the pseudo-labels of a second round are made.

    Attributes:
        lead: By how much the student must be surer than the teacher (:func:`relabel`), 0..1.
        about: Names the student and how it predicts, as plain values: with others, files are made anew.
        drives: The drives of the split, over whose moments predictions are averaged; none leaves each alone.
        viewpoint: Where the lidar stands in the clouds' frame, in metres.
        place_size: Edge of the places that moments vote on, in metres.
    """

    lead: float = 0.1
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
    own = [own_file(path) for path in paths]
    predicted = _files(own, "predictions", key)
    drives = [moments for moments in options.drives.values() if len(moments) > 1]
    gathered = list(predicted)
    if drives:
        key |= {"place_size": options.place_size, "poses": hash_poses(options.drives)}
        on_places = _files(paths, "gathered", key)
        for moment in chain.from_iterable(drives):
            gathered[moment.number] = on_places[moment.number]
    found = _files(paths, "second", {**key, "lead": options.lead})
    with file_lock(found[0].parent / "lock"):
        if all(path.exists() for path in found):
            return found
        _make(predicted, partial(_predict, own, predicted, student), title="predict", alone=alone)
        gather = partial(_gather, drives, own, predicted, gathered, options)
        parallel_for(gather, incomplete_drives(drives, gathered), title="gather", unit="drive")
        classes = load_lifted(paths[0]).pair_logits.shape[1]
        ranks = Ranks(classes), Ranks(classes)
        for number in progress_bar(range(len(paths)), desc="rank", unit="sample"):
            ranks[0].add(_load(gathered[number]))
            ranks[1].add(teacher_of(load_lifted(paths[number])))
        _make(found, partial(_relabel, paths, gathered, found, ranks, options.lead), title="relabel")
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
    ranks: tuple[Ranks, Ranks],
    lead: float,
    number: int,
) -> None:
    """Write the labels of a sample."""
    teacher = teacher_of(load_lifted(paths[number]))
    save_consolidated(found[number], relabel(_load(gathered[number]), teacher, ranks, lead))


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
