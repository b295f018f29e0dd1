"""Repeated experiments and their results: rows, runs, and paired comparisons with a baseline.

Scores are in percent. Uncertainty is told by the sample standard deviation, the paired t-test with its 95 %
confidence interval, and Holm's correction for many comparisons.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

COMPARED = "student"
"""The column of ``metrics.json`` that experiments are compared by: the student on all points."""


@dataclass(frozen=True)
class Difference:
    """What two experiments differ by, over the seeds that both have; scores in percent.

    Attributes:
        mean: Mean of the differences; nan with fewer than two seeds in common, as all that follows.
        low: Lower end of its 95 % confidence interval.
        high: Upper end.
        p: Two-sided p-value of the paired t-test, 0..1: how often as much would come by chance.
        num_seeds: How many seeds both have.
    """

    mean: float
    low: float
    high: float
    p: float
    num_seeds: int


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1), in the unit of ``values``; nan for too few.

    Example:
        >>> spread([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference:
    """Compare two experiments seed by seed with the paired t-test.

    Pairing takes out what a seed does to both. The test supposes that differences are about normal; with
    three seeds nobody can tell.

    Args:
        values: Score by seed, in percent.
        baseline: The same of what it is compared with.

    Returns:
        The mean of the differences over the seeds that both have, with its interval and p-value.
    """
    shared = [seed for seed in values if not math.isnan(values[seed] - baseline.get(seed, math.nan))]
    if len(shared) < 2:
        return Difference(math.nan, math.nan, math.nan, math.nan, len(shared))
    ours, theirs = np.array([(values[seed], baseline[seed]) for seed in shared]).T
    mean = float(np.mean(ours - theirs))
    if np.ptp(ours - theirs) < 1e-9:  # the same in every seed: the test would divide by 0
        return Difference(mean, mean, mean, float(abs(mean) < 1e-9), len(shared))
    test = stats.ttest_rel(ours, theirs)
    interval = test.confidence_interval(0.95)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue), len(shared))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being many (Holm 1979): the chance of one false alarm among all stays below them.

    Args:
        p_values: One a comparison, 0..1; nan for one that could not be made, which does not count.

    Returns:
        The corrected p-values, 0..1, in the same order.

    Example:
        >>> holm([0.01, 0.04, math.nan])
        [0.02, 0.04, nan]
    """
    p = np.asarray(p_values, dtype=float)
    corrected = np.full_like(p, math.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # nan sorts last
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.maximum.accumulate(p[order] * factors).clip(max=1.0)
    return corrected.tolist()


def reach_of_interval(num_seeds: int) -> float:
    """Say how many standard deviations a mean's 95 % confidence interval goes to each side.

    Example:
        >>> round(reach_of_interval(3), 2)
        2.48
    """
    return float(stats.t.ppf(0.975, num_seeds - 1)) / math.sqrt(num_seeds)


@dataclass(frozen=True)
class Row:
    """An experiment, as a table names it.

    Attributes:
        name: Unique in its table.
        note: What it is, in a few words.
        label_free: Whether no 3D label is used in training.
        teacher_trained_on_2d_labels: Whether the teacher was trained on labelled images.
        published: The paper's mIoU in percent, where the data set is the paper's.
    """

    name: str
    note: str = ""
    label_free: bool = True
    teacher_trained_on_2d_labels: bool = False
    published: float | None = None

    @property
    def group(self) -> str:
        """Say what kinds of labels were used; results of different kinds never mix."""
        if not self.label_free:
            return "Student trained on 3D labels"
        with_2d = self.teacher_trained_on_2d_labels
        return "No 3D labels, teacher trained with 2D labels" if with_2d else "No labels, 2D or 3D"


@dataclass(frozen=True)
class RunResult:
    """How one run of an experiment ended.

    Attributes:
        row: Name of the experiment.
        seed: Of the run.
        metrics: Content of ``metrics.json``, scores in 0..1; None while there is none.
        minutes: Minutes that its training steps took.
        failure: Why it failed, in a sentence; empty if it did not.
    """

    row: str
    seed: int
    metrics: Mapping[str, Any] | None = None
    minutes: float = math.nan
    failure: str = ""

    @property
    def status(self) -> str:
        """Say finished, failed or waiting."""
        return "failed" if self.failure else "waiting" if self.metrics is None else "finished"

    def percent(self, column: str, class_name: str | None = None) -> float:
        """Give the mIoU of a column, or the IoU of one class, in percent; nan where it is not known."""
        found = ((self.metrics or {}).get("columns") or {}).get(column) or {}
        fraction = found.get("miou") if class_name is None else found.get("iou", {}).get(class_name)
        return math.nan if fraction is None else 100 * fraction


@dataclass(frozen=True)
class Results:
    """Repeated experiments, finished or not.

    Attributes:
        title: Over everything.
        baseline: Name of the row that others are compared with.
        rows: In the order shown.
        runs: Every run, also those that failed or wait.
        facts: What the reader has to know of how it was found: a word or two, and the text.
    """

    title: str
    baseline: str
    rows: tuple[Row, ...]
    runs: tuple[RunResult, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    def of(self, row: Row) -> list[RunResult]:
        """Give the finished runs of a row."""
        return [each for each in self.runs if each.row == row.name and each.status == "finished"]

    def groups(self) -> dict[str, list[Row]]:
        """Sort rows by the labels that were used, the baseline's kind first."""
        groups: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: row.group != self._baseline.group):
            groups.setdefault(row.group, []).append(row)
        return groups

    def differences(self) -> dict[str, Difference]:
        """Compare each row of the baseline's kind with it: mIoU in percent, on all points, paired by seed."""
        base = self._by_seed(self._baseline)
        return {
            row.name: paired_difference(self._by_seed(row), base)
            for row in self.rows
            if row.group == self._baseline.group and row.name != self.baseline
        }

    def corrected(self) -> dict[str, float]:
        """Correct the p-values (0..1) of all comparisons after Holm."""
        differences = self.differences()
        return dict(zip(differences, holm([each.p for each in differences.values()]), strict=True))

    def classes(self) -> list[str]:
        """List the classes of the evaluation, in order."""
        listed = (name for each in self.runs for name in (each.metrics or {}).get("classes", ()))
        return list(dict.fromkeys(listed))

    @property
    def _baseline(self) -> Row:
        return next(row for row in self.rows if row.name == self.baseline)

    def _by_seed(self, row: Row) -> dict[int, float]:
        return {each.seed: each.percent(COMPARED) for each in self.of(row)}
