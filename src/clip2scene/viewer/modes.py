"""Ways to colour points: each says what of a scene and of a run's answers it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.label_layer import UNLABELLED
from clip2scene.viewer.answers import Answerer, Answers
from clip2scene.viewer.choices import (
    ALIKE,
    BY_HAND,
    CLASS,
    CONFIDENCE,
    CORRECTED,
    EMBEDDING,
    ERROR,
    HEIGHT,
    INTENSITY,
    PHRASE,
    PSEUDO,
    SCORE,
    TRUTH,
    Choices,
)
from clip2scene.viewer.corrections import Corrections
from clip2scene.viewer.painting import (
    Painting,
    paint_by_hand,
    paint_classes,
    paint_colours,
    paint_errors,
    paint_heat,
)
from clip2scene.viewer.scene import Scene

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """What a painter is given.

    Attributes:
        scene: The sample.
        answerer: The run.
        answers: What it answers for the scene.
        choices: What was chosen.
        scene_of: Gives the scene of another sample, by its number.
        corrections: The labels by hand; None where there are none.
    """

    scene: Scene
    answerer: Answerer
    answers: Answers
    choices: Choices
    scene_of: Callable[[int], Scene]
    corrections: Corrections | None = None

    def phrase(self) -> str:
        """Give the phrase that is looked for.

        Raises:
            ValueError: If there is none, or the run has no meaning for it, or for any.
        """
        self.answerer.require_words()
        phrase = self.choices.phrase.strip()
        if not phrase:
            raise ValueError("type a word or a phrase to look for")
        self.answerer.embed_phrase(phrase)
        return phrase


def paint(asked: Asked) -> Painting:
    """Paint a scene as it was asked for.

    Raises:
        ValueError: If what was asked for is not to be had; the message says why.
    """
    return _PAINTERS[asked.choices.mode](asked)


def compare(asked: Asked) -> tuple[Int[Tensor, " points"], Int[Tensor, " points"]]:
    """Give what a run predicts in the classes of the true labels, and these.

    Raises:
        ValueError: If there are none, or it is not known what the run's classes are among theirs.
    """
    truth = _require(asked.scene.truth, f"{asked.scene.sample.token} has no true labels")
    assert asked.scene.source.class_set is not None
    return asked.answerer.mapping_to(asked.scene.source.class_set).translate(asked.answers.labels), truth


def _by_class(asked: Asked) -> Painting:
    return paint_classes(asked.answers.labels, asked.answerer.class_set)


def _by_cosine(asked: Asked) -> Painting:
    values = asked.answerer.similarity(asked.answers, asked.phrase())
    return paint_heat(values, unit="cosine", threshold=asked.choices.threshold)


def _by_score(asked: Asked) -> Painting:
    scores = asked.answerer.phrase_scores(asked.answers, asked.phrase())
    return paint_heat(scores, low=0.0, high=1.0, unit="score", threshold=asked.choices.threshold)


def _by_confidence(asked: Asked) -> Painting:
    best = asked.answers.scores.amax(1)
    return paint_heat(best, low=0.0, high=1.0, unit="score", threshold=asked.choices.threshold)


def _by_embedding(asked: Asked) -> Painting:
    asked.answerer.require_words()
    return paint_colours(asked.answerer.component_colours(asked.answers))


def _by_likeness(asked: Asked) -> Painting:
    asked.answerer.require_words()
    pick = _require(asked.choices.picked, "click a point first")
    theirs = asked.answerer.about(asked.scene_of(pick.number))
    alike = asked.answers.cosines(theirs.directions[pick.point].float())
    return paint_heat(alike, high=1.0, unit="cosine", threshold=asked.choices.threshold)


def _by_intensity(asked: Asked) -> Painting:
    measured = asked.scene.features
    if measured.shape[1] == 3:
        return paint_colours((255 * measured.clamp(0, 1)).round().to(torch.uint8))
    if not measured.any():
        raise ValueError(f"{asked.scene.sample.token} has no intensity: that of every point is 0")
    return paint_heat(measured[:, 0], threshold=asked.choices.threshold)


def _by_height(asked: Asked) -> Painting:
    return paint_heat(asked.scene.positions[:, 2], unit="m", threshold=asked.choices.threshold)


def _by_truth(asked: Asked) -> Painting:
    truth = _require(asked.scene.truth, f"{asked.scene.sample.token} has no true labels")
    assert asked.scene.source.class_set is not None
    return paint_classes(truth, asked.scene.source.class_set)


def _by_error(asked: Asked) -> Painting:
    return paint_errors(*compare(asked))


def _by_pseudo_label(asked: Asked) -> Painting:
    labels = _require(
        asked.answers.pseudo_labels,
        f"{asked.answerer.name} keeps no pseudo-labels of {asked.scene.sample.token}: its training "
        "makes those of the split train, clip2scene evaluate those of the split that it names",
    )
    return paint_classes(labels, asked.answerer.class_set)


def _by_hand(asked: Asked) -> Painting:
    return paint_by_hand(*_labels_by_hand(asked))


def _by_corrected_class(asked: Asked) -> Painting:
    labels, classes = _labels_by_hand(asked)
    predicted = asked.answerer.mapping_to(classes).translate(asked.answers.labels)
    return paint_classes(torch.where(labels == UNLABELLED, predicted, labels), classes)


def _labels_by_hand(asked: Asked) -> tuple[Int[Tensor, " points"], ClassSet]:
    """Give the labels by hand of the points that are shown, and their classes."""
    corrections = _require(
        asked.corrections,
        "there are no labels by hand: name a folder for them by --corrections, beside --data-root",
    )
    return corrections.layer(asked.scene.sample).labels[asked.scene.shown].long(), corrections.class_set


_PAINTERS: dict[str, Callable[[Asked], Painting]] = {
    CLASS: _by_class,
    PHRASE: _by_cosine,
    SCORE: _by_score,
    CONFIDENCE: _by_confidence,
    EMBEDDING: _by_embedding,
    ALIKE: _by_likeness,
    INTENSITY: _by_intensity,
    HEIGHT: _by_height,
    TRUTH: _by_truth,
    ERROR: _by_error,
    PSEUDO: _by_pseudo_label,
    CORRECTED: _by_corrected_class,
    BY_HAND: _by_hand,
}

MODES = tuple(_PAINTERS)
"""What points can be coloured by."""


def _require(found: T | None, otherwise: str) -> T:
    """Hand on what is there, or say why it is not."""
    if found is None:
        raise ValueError(otherwise)
    return found
