"""Counts of points by street, and what follows from them: scores, and their spread over seeds and streets."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.evaluation.metrics import Confusion

Counts = Int[np.ndarray, "streets classes predictions"]
"""Points by street, true class and predicted class; the last prediction is none."""


@dataclass(frozen=True)
class Pair:
    """What one run says of the same points, shifted and as they are."""

    shifted: Counts
    unshifted: Counts


@dataclass(frozen=True)
class Summary:
    """Scores in percent, means over runs.

    Attributes:
        miou: Over the classes in the truth.
        miou_seeds: Standard deviation over runs; 0 for one.
        miou_streets: The same over draws of streets with repetition (bootstrap; Efron 1979), mean over runs.
        accuracy: Share of points right.
        accuracy_seeds: Standard deviation over runs.
        miou_change: Shifted minus as it is, on the same points.
        accuracy_change: The same of the share of points right.
    """

    miou: float
    miou_seeds: float
    miou_streets: float
    accuracy: float
    accuracy_seeds: float
    miou_change: float
    accuracy_change: float


def count(
    predicted: Int[Tensor, " points"], truth: Int[Tensor, " points"], num_classes: int
) -> Int[np.ndarray, "classes predictions"]:
    """Count points by true and predicted class, points without a prediction in the last column."""
    confusion = Confusion(num_classes)
    confusion.update(predicted, truth)
    return np.column_stack([confusion.counts.numpy(), confusion.unanswered.numpy()])


def miou(counts: Int[np.ndarray, "*batch classes predictions"]) -> Float[np.ndarray, "*batch"]:
    """Give the mIoU in percent, over the classes in the truth."""
    right = np.diagonal(counts, axis1=-2, axis2=-1).astype(float)
    truth, predicted = counts.sum(-1), counts[..., :-1].sum(-2)
    iou = np.where(truth > 0, right / np.maximum(truth + predicted - right, 1), np.nan)
    return 100 * np.nanmean(iou, axis=-1)


def accuracy(counts: Int[np.ndarray, "*batch classes predictions"]) -> Float[np.ndarray, "*batch"]:
    """Give the share of points right, in percent."""
    right = np.diagonal(counts, axis1=-2, axis2=-1).sum(-1)
    return 100 * right / np.maximum(counts.sum((-2, -1)), 1)


def deviation(values: Float[np.ndarray, " runs"]) -> float:
    """Give the standard deviation over runs; 0 for one."""
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


def summarise(pairs: Sequence[Pair], *, draws: int = 1000) -> Summary:
    """Summarise one shift over runs; the draws of streets are the same for all runs and shifts.

    Args:
        pairs: One a run, of the same streets.
        draws: Of as many streets as there are.
    """
    streets = len(pairs[0].shifted)
    drawn = np.random.default_rng(0).multinomial(streets, np.full(streets, 1 / streets), size=draws)
    shifted, unshifted = ([getattr(pair, name).sum(0) for pair in pairs] for name in ("shifted", "unshifted"))
    scores, shares = np.array([*map(miou, shifted)]), np.array([*map(accuracy, shifted)])
    spread = [miou(np.tensordot(drawn, pair.shifted, 1)).std() for pair in pairs]
    return Summary(
        miou=float(scores.mean()),
        miou_seeds=deviation(scores),
        miou_streets=float(np.mean(spread)),
        accuracy=float(shares.mean()),
        accuracy_seeds=deviation(shares),
        miou_change=float((scores - np.array([*map(miou, unshifted)])).mean()),
        accuracy_change=float((shares - np.array([*map(accuracy, unshifted)])).mean()),
    )
