"""How good labels are: a confusion matrix over points, and the scores read off it.

Intersection over union (IoU) is counted over a whole split, never averaged over samples. The mean is over the
classes that occur in the truth. Two habits of published code are left out on purpose: there, a class that
occurs nowhere scores 1.0 and lifts the mean, and voxels, not points, are sometimes counted. A point without
a prediction (:data:`~clip2scene.types.IGNORE_LABEL`) is a miss of its true class, as it is there.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.types import IGNORE_LABEL


@dataclass(frozen=True)
class Scores:
    """Scores of one set of predictions, as ``metrics.json`` has them.

    Attributes:
        miou: Mean IoU over the classes present in the truth, 0..1; nan when no point was evaluated.
        accuracy: Share of the evaluated points that were predicted rightly, 0..1; nan likewise.
        iou: IoU by class name, 0..1; nan for a class absent from the truth.
        classes: Class names, in the order of the matrix.
        confusion: Points by true class (row) and predicted class (column).
        unanswered: Points of each true class without a prediction; they count as wrong.
        num_points: How many points were evaluated.
    """

    miou: float
    accuracy: float
    iou: dict[str, float]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    unanswered: tuple[int, ...]
    num_points: int

    def to_json(self) -> dict[str, Any]:
        """Give plain values for ``metrics.json``; what is nan here is null there."""
        return {
            "miou": _null_for_nan(self.miou),
            "accuracy": _null_for_nan(self.accuracy),
            "iou": {name: _null_for_nan(value) for name, value in self.iou.items()},
            "classes": list(self.classes),
            "confusion": [list(row) for row in self.confusion],
            "unanswered": list(self.unanswered),
            "num_points": self.num_points,
        }


class Confusion:
    """A confusion matrix that grows by one sample at a time.

    Attributes:
        counts: Points by true class (row) and predicted class (column).
        unanswered: Points of each true class without a prediction.
    """

    def __init__(self, num_classes: int) -> None:
        """Start from nothing."""
        if num_classes < 1:
            raise ValueError(f"a confusion matrix needs at least one class, got {num_classes}")
        self.counts: Int[Tensor, "classes classes"] = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.unanswered: Int[Tensor, " classes"] = torch.zeros(num_classes, dtype=torch.int64)

    @property
    def num_classes(self) -> int:
        """Number of classes: ``counts`` is classes x classes."""
        return len(self.counts)

    def update(self, predicted: Int[Tensor, " points"], truth: Int[Tensor, " points"]) -> None:
        """Add points; those whose truth is ignored are left out.

        Args:
            predicted: Train ids 0..classes - 1, :data:`IGNORE_LABEL` for "no prediction".
            truth: Train ids 0..classes - 1, :data:`IGNORE_LABEL` for "do not evaluate".

        Raises:
            ValueError: If an id is outside the classes; nothing is added then.
        """
        predicted, truth = predicted.cpu().long(), truth.cpu().long()
        for name, labels in (("predicted", predicted), ("true", truth)):
            if len(labels) and (labels.min() < IGNORE_LABEL or labels.max() >= self.num_classes):
                raise ValueError(
                    f"{name} labels must be train ids 0..{self.num_classes - 1} or {IGNORE_LABEL}, got "
                    f"{int(labels.min())}..{int(labels.max())}"
                )
        evaluated = truth != IGNORE_LABEL
        predicted, truth = predicted[evaluated], truth[evaluated]
        columns = self.num_classes + 1  # the last one gathers points without a prediction
        predicted = torch.where(predicted == IGNORE_LABEL, self.num_classes, predicted)
        grown = torch.bincount(truth * columns + predicted, minlength=self.num_classes * columns)
        grown = grown.reshape(self.num_classes, columns)
        self.counts += grown[:, :-1]
        self.unanswered += grown[:, -1]

    def iou(self) -> Float[Tensor, " classes"]:
        """Divide intersection by union, per class: 0..1, nan for a class absent from the truth."""
        right = self.counts.diagonal().double()
        in_truth = (self.counts.sum(1) + self.unanswered).double()
        union = in_truth + self.counts.sum(0) - right
        return torch.where(in_truth > 0, right / union.clamp_min(1), torch.nan)

    def scores(self, classes: Sequence[str]) -> Scores:
        """Read everything off the matrix.

        Args:
            classes: One name per class.

        Raises:
            ValueError: If the number of names is not the number of classes.
        """
        if len(classes) != self.num_classes:
            raise ValueError(
                f"the matrix has {self.num_classes} classes, but {len(classes)} names were given"
            )
        iou = self.iou()
        num_points = int(self.counts.sum() + self.unanswered.sum())
        return Scores(
            miou=float(iou.nanmean()),
            accuracy=int(self.counts.trace()) / num_points if num_points else math.nan,
            iou=dict(zip(classes, iou.tolist(), strict=True)),
            classes=tuple(classes),
            confusion=tuple(tuple(row) for row in self.counts.tolist()),
            unanswered=tuple(self.unanswered.tolist()),
            num_points=num_points,
        )


def random_baseline(label_histogram: Int[Tensor, " classes"], *, seed: int = 0) -> Confusion:
    """Score predictions drawn evenly from all classes: chance, the floor of any method.

    Args:
        label_histogram: Number of evaluated points of each class.
        seed: Of the draw.

    Returns:
        The confusion matrix that one draw for every point gives, made without visiting the points.
    """
    num_classes = len(label_histogram)
    confusion = Confusion(num_classes)
    drawn = np.random.default_rng(seed).multinomial(
        label_histogram.cpu().numpy(), np.full(num_classes, 1 / num_classes)
    )
    confusion.counts += torch.from_numpy(drawn)
    return confusion


def table(columns: Mapping[str, Scores], *, markdown: bool = False) -> str:
    """Lay the scores of several predictions side by side, in percent.

    Args:
        columns: Scores by column title, for instance student, teacher, random; of the same classes.
        markdown: Draw the table in Markdown instead of plain text.

    Returns:
        One line per class, a dash where the class is absent, then mIoU, accuracy and the number of points.

    Raises:
        ValueError: If there is no column, or the columns are of different classes.
    """
    every = list(columns.values())
    if not every or any(scores.classes != every[0].classes for scores in every):
        raise ValueError("a table needs at least one column, and all columns must be about the same classes")
    rows = [["class", *columns]]
    rows += [[name, *(_percent(scores.iou[name]) for scores in every)] for name in every[0].classes]
    totals = [
        ["mIoU", *(_percent(scores.miou) for scores in every)],
        ["accuracy", *(_percent(scores.accuracy) for scores in every)],
        ["points", *(f"{scores.num_points:,}" for scores in every)],
    ]
    widths = [max(map(len, column)) for column in zip(*rows, *totals, strict=True)]

    def line(cells: list[str]) -> str:
        aligned = [
            cells[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)),
        ]
        return f"| {' | '.join(aligned)} |" if markdown else "  ".join(aligned)

    if markdown:
        rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
        lines = [line(rows[0]), rule, *map(line, rows[1:] + totals)]
    else:
        rule = "-" * (sum(widths) + 2 * len(widths) - 2)
        lines = [line(rows[0]), rule, *map(line, rows[1:]), rule, *map(line, totals)]
    return "\n".join(lines)


def confusion_table(scores: Scores) -> str:
    """Lay a confusion matrix out as text: in percent of the points of each true class.

    Args:
        scores: Whose matrix; classes that occur neither in the truth nor among the predictions are left out.

    Returns:
        A line for each true class, whose number heads the column of the same predicted class; last come
        points without a prediction, where there are some, and the number of points.
    """
    counts = np.array(scores.confusion)
    shown = np.flatnonzero(counts.sum(0) + counts.sum(1) + np.array(scores.unanswered)).tolist()
    without = any(scores.unanswered)
    heads = ["true \\ predicted", *(str(number + 1) for number in shown), *(["none"] * without), "points"]
    rows = []
    for row in shown:
        cells = [*counts[row, shown].tolist(), *([scores.unanswered[row]] * without)]
        total = sum(cells)
        shares = ["-" if not total else "." if not cell else f"{100 * cell / total:.1f}" for cell in cells]
        rows.append([f"{row + 1:2d} {scores.classes[row]}", *shares, f"{total:,}"])
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "  ".join(
            [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
        )
        for cells in (heads, *rows)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _percent(fraction: float) -> str:
    return "-" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def _null_for_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
