"""Counting who is right, point by point: the student, its teacher, and the words beside a classifier."""

from collections.abc import Collection, Iterable
from dataclasses import replace

import torch
from jaxtyping import Bool
from torch import Tensor

from clip2scene.classes.mapping import ClassMapping
from clip2scene.distill.lifted import LiftedSample
from clip2scene.evaluation.metrics import Confusion, Scores, random_baseline
from clip2scene.evaluation.reliability import Reliability
from clip2scene.inference.predict import predict_labels
from clip2scene.ranks import here
from clip2scene.student.model import Embedder
from clip2scene.types import IGNORE_LABEL, Prompts

COLUMNS = ("student", "student_seen", "student_unseen", "teacher", "teacher_seen", "voted", "voted_seen")
"""Whose predictions are scored on which points, as ``metrics.json`` names it.

"seen" are the points visible to at least one camera, "unseen" the others; no suffix means all. The teacher
labels visible points only: on all points, those without a label count as wrong. "voted" is the teacher after
the superpoints' vote, which the student was trained on if its recipe says so.
"""

WORD_COLUMNS = ("words", "words_seen")
"""The text head of a student that has a classifier as well."""

_NEVER = -1e4  # a logit, below all others even where some are summed


class Counts:
    """Points by truth and prediction, for each column of a table.

    Args:
        student: The trained network.
        prompts: The prompt classes, which it predicts.
        mapping: From the prompts' classes to those of the labels; None if they are the same.
        knows_words: Whether the text head was ever trained; else it is not scored beside a classifier.
        reliability: Takes the student's scores and whether it is right.
        temperature: What its logits are divided by to make scores.
        sources: Names of the data sets of a mixture; the student has a column for each of them as well.
    """

    def __init__(
        self,
        student: Embedder,
        prompts: Prompts,
        mapping: ClassMapping | None = None,
        *,
        knows_words: bool = True,
        reliability: Reliability | None = None,
        temperature: float = 1.0,
        sources: Collection[str] = (),
    ) -> None:
        self.student, self.prompts = student, prompts
        self.mapping = mapping or ClassMapping(prompts.classes, torch.arange(len(prompts.classes)))
        self.reliability, self.temperature = reliability, temperature
        columns = COLUMNS if student.classifier is None or not knows_words else (*COLUMNS, *WORD_COLUMNS)
        self.confusions = {column: Confusion(len(self.mapping.classes)) for column in columns}
        self.of_source = {name: Confusion(len(self.mapping.classes)) for name in sources}

    def add(
        self,
        samples: Iterable[LiftedSample],
        *,
        source: str | None = None,
        named: Collection[int] | None = None,
    ) -> None:
        """Add every labelled point of some samples.

        Args:
            samples: With labels.
            source: The data set of a mixture that they are of.
            named: Train ids of the classes that this data set names. Among these alone, and those that stand
                for no class, predictions choose: in a label of another class, nothing says what is right.
                None chooses among all.

        Raises:
            ValueError: If a sample has no labels.
        """
        allowed = None if named is None else self._allowed(named)
        for sample in samples:
            if sample.labels is None:
                raise ValueError("evaluation needs a data set with labels; this split has none")
            self._add_sample(sample, sample.labels, source, allowed)

    def _add_sample(
        self,
        sample: LiftedSample,
        labels: Tensor,
        source: str | None,
        allowed: Bool[Tensor, " classes"] | None,
    ) -> None:
        found = predict_labels(
            self.student,
            self.prompts,
            sample.cloud,
            sample.sweep_sizes,
            temperature=self.temperature,
            allowed=allowed,
        )
        if allowed is not None:
            sample = replace(sample, pair_logits=sample.pair_logits.masked_fill(~allowed, _NEVER))
        predictions = {
            "student": found.labels,
            "words": found.by_text,
            "teacher": sample.teacher_labels(),
            "voted": sample.voted_labels(),
        }
        predictions = {who: self.mapping.translate(each) for who, each in predictions.items()}
        if self.reliability is not None:
            known = labels != IGNORE_LABEL
            self.reliability.update(found.scores[known], (predictions["student"] == labels)[known])
        visible = sample.visible()
        masks = {"": torch.ones_like(visible), "seen": visible, "unseen": ~visible}
        for column, confusion in self.confusions.items():
            who, _, where = column.partition("_")
            confusion.update(predictions[who], torch.where(masks[where], labels, IGNORE_LABEL))
        if source is not None:
            self.of_source[source].update(predictions["student"], labels)

    def add_up(self) -> None:
        """Add up what all ranks have counted: whole numbers, so the sum is that of one process."""
        for confusion in (*self.confusions.values(), *self.of_source.values()):
            here().sum_(confusion.counts)
            here().sum_(confusion.unanswered)
        if self.reliability is not None:
            for total in (self.reliability.points, self.reliability.right, self.reliability.scores):
                here().sum_(total)

    def scores(self) -> dict[str, Scores]:
        """Give the scores by column, in 0..1; chance is ``random``, and ``student:NAME`` is a source's."""
        classes = self.mapping.classes
        scores = {column: confusion.scores(classes) for column, confusion in self.confusions.items()}
        scores |= {f"student:{name}": each.scores(classes) for name, each in self.of_source.items()}
        truth = self.confusions["student"].counts.sum(1)
        scores["random"] = random_baseline(truth).scores(classes)
        return scores

    def _allowed(self, named: Collection[int]) -> Bool[Tensor, " classes"]:
        """Say which prompt classes may be predicted; all, if it knows none of those that are named."""
        stands_for = self.mapping.of_words
        allowed = torch.isin(stands_for, torch.tensor(sorted(named), dtype=stands_for.dtype))
        return (allowed | (stands_for < 0)) if allowed.any() else torch.ones_like(allowed)
