"""Whether scores mean what they say: calibration, and how right the surest points are."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FINE = 1000
"""Bins of the score that points are counted in; coverages are found to within one of them."""
BINS = 15
"""Bins of equal width of the expected calibration error, as is usual."""
COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)
"""Shares of the points, the surest first, whose accuracy is told."""


class Reliability:
    """Counts of points by the score of their label, of all and of those that are right."""

    def __init__(self) -> None:
        """Start from nothing."""
        self.points = torch.zeros(FINE, dtype=torch.float64)
        self.right = torch.zeros(FINE, dtype=torch.float64)
        self.scores = torch.zeros(FINE, dtype=torch.float64)

    def update(self, scores: Float[Tensor, " points"], right: Bool[Tensor, " points"]) -> None:
        """Add points: the score of each one's label, 0..1, and whether the label is right."""
        place = (scores * FINE).long().clamp(0, FINE - 1)
        for total, values in (
            (self.points, torch.ones_like(scores)),
            (self.right, right),
            (self.scores, scores),
        ):
            total += torch.bincount(place, values.double(), minlength=FINE)

    def calibration_error(self) -> float:
        """Give the expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017, Eq. 3).

        The mean, over the points, of the difference between the accuracy and the mean score of the bin that a
        point is in, 0..1; nan without points.
        """
        gaps = self._binned(self.right - self.scores)
        return float(gaps.abs().sum() / self.points.sum())

    def bins(self) -> list[dict[str, int | float]]:
        """Give points, mean score and accuracy (0..1) of each bin that has points: a reliability diagram."""
        totals = (self._binned(each).tolist() for each in (self.points, self.scores, self.right))
        return [
            {"points": int(points), "mean_score": scores / points, "accuracy": right / points}
            for points, scores, right in zip(*totals, strict=True)
            if points
        ]

    def _binned(self, values: Float[Tensor, " fine"]) -> Float[Tensor, " bins"]:
        """Sum over the fine bins of each of the :data:`BINS`."""
        of_bin = torch.arange(FINE) * BINS // FINE
        return torch.zeros(BINS, dtype=torch.float64).index_add_(0, of_bin, values)

    def accuracy_at(self, coverage: float) -> float:
        """Give the accuracy of a share of the points, 0..1, those with the highest scores; nan without."""
        points, right = self.points.flip(0), self.right.flip(0)
        wanted = coverage * points.sum()
        before = points.cumsum(0) - points
        share = ((wanted - before) / points.clamp(min=1)).clamp(0, 1)  # of a bin's points that are taken
        return float((share * right).sum() / wanted)

    def to_json(self) -> dict[str, Any]:
        """Give plain values for ``metrics.json``; all in 0..1."""
        return {
            "points": int(self.points.sum()),
            "calibration_error": self.calibration_error(),
            "mean_score": float(self.scores.sum() / self.points.sum()),
            "accuracy_at_coverage": {str(share): self.accuracy_at(share) for share in COVERAGES},
            "bins": self.bins(),
        }

    def sentence(self) -> str:
        """Say it in a line, in percent."""
        shares = ", ".join(f"{100 * self.accuracy_at(share):.1f} of {share:.0%}" for share in COVERAGES)
        return (
            f"scores: expected calibration error {100 * self.calibration_error():.1f}; right, the surest "
            f"first: {shares}"
        )
