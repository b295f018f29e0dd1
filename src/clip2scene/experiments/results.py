"""Repeated experiments and what they found: rows, runs, and the comparison with a baseline.

Everything is said in percent.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clip2scene.experiments.significance import Difference, holm, paired_difference

COMPARED = "student"
"""The column of ``metrics.json`` that experiments are compared by: the student on all points."""


@dataclass(frozen=True)
class Row:
    """An experiment, as a table names it.

    Attributes:
        name: Unique in its table.
        note: What it is, in a few words.
        label_free: Whether no 3D label was seen.
        teacher_trained_on_2d_labels: Whether the teacher ever saw labelled images.
        published: The paper's mIoU in percent, where the data set is the paper's.
    """

    name: str
    note: str = ""
    label_free: bool = True
    teacher_trained_on_2d_labels: bool = False
    published: float | None = None

    @property
    def group(self) -> str:
        """Say what kinds of labels were seen; results of different kinds never mix."""
        if not self.label_free:
            return "Student taught by 3D labels"
        seen = self.teacher_trained_on_2d_labels
        return "No 3D labels, teacher trained with 2D labels" if seen else "No labels, 2D or 3D"


@dataclass(frozen=True)
class RunResult:
    """How one run of an experiment ended.

    Attributes:
        row: Name of the experiment.
        seed: Of the run.
        metrics: Content of ``metrics.json``; None while there is none.
        minutes: What its training took.
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
        """Give the mIoU of a column, or the IoU of one class; nan where it is not known."""
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
        outcomes: Every run, also those that failed or wait.
        facts: What the reader has to know of how it was found: a word or two, and the text.
    """

    title: str
    baseline: str
    rows: tuple[Row, ...]
    outcomes: tuple[RunResult, ...]
    facts: Mapping[str, str] = field(default_factory=dict)

    def of(self, row: Row) -> list[RunResult]:
        """Give the finished runs of a row."""
        return [each for each in self.outcomes if each.row == row.name and each.status == "finished"]

    def groups(self) -> dict[str, list[Row]]:
        """Sort rows by the labels that were seen, the baseline's kind first."""
        groups: dict[str, list[Row]] = {}
        for row in sorted(self.rows, key=lambda row: row.group != self._baseline.group):
            groups.setdefault(row.group, []).append(row)
        return groups

    def differences(self) -> dict[str, Difference]:
        """Compare each row of the baseline's kind with it, on all points, paired by seed."""
        base = self._by_seed(self._baseline)
        return {
            row.name: paired_difference(self._by_seed(row), base)
            for row in self.rows
            if row.group == self._baseline.group and row.name != self.baseline
        }

    def corrected(self) -> dict[str, float]:
        """Correct the p-values of all comparisons after Holm."""
        differences = self.differences()
        return dict(zip(differences, holm([each.p for each in differences.values()]), strict=True))

    def classes(self) -> list[str]:
        """List the classes that were judged, in order."""
        listed = (name for each in self.outcomes for name in (each.metrics or {}).get("classes", ()))
        return list(dict.fromkeys(listed))

    @property
    def _baseline(self) -> Row:
        return next(row for row in self.rows if row.name == self.baseline)

    def _by_seed(self, row: Row) -> dict[int, float]:
        return {each.seed: each.percent(COMPARED) for each in self.of(row)}
