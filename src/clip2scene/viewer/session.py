"""What a page shows for what was chosen on it; it knows nothing of browsers.

A page turns every change into :class:`~clip2scene.viewer.choices.Choices`, asks a :class:`Session` for the
:class:`~clip2scene.viewer.picture.Picture` of them, and shows it. What was asked for and is not to be had is
a sentence in the picture, never an exception.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

import torch

from clip2scene.viewer.answers import Answerer, require_same_classes
from clip2scene.viewer.choices import PHRASE, SCORE, Choices
from clip2scene.viewer.corrections import Corrections
from clip2scene.viewer.modes import Asked, compare, paint
from clip2scene.viewer.painting import Painting, paint_nothing
from clip2scene.viewer.picture import Layer, Picture, join_legends
from clip2scene.viewer.scene import Scene, read_scene
from clip2scene.viewer.source import Source

MOST_POINTS = 200_000
"""Points of a cloud that are shown, if nobody says otherwise."""

SELECTED = torch.tensor([255, 255, 255], dtype=torch.uint8)
"""Colour of the points that are to be labelled."""

_SCENES_KEPT = 8
_WORDS_TOLD = 5
_PHRASES_KEPT = 8
_GAP = 1.1  # widths of a cloud from one run to the next
_INNER = (0.01, 0.99)  # shares of the points between which a cloud's width is taken


class Session:
    """The samples and the runs that a page shows.

    Args:
        source: The samples.
        answerers: One run, or two of the same classes.
        most_points: Points of a cloud that are shown at most.
        corrections: The labels by hand; None where none can be given.
        order: Numbers of the samples in the order in which they are to be labelled; the source's by default.

    Raises:
        ValueError: If the runs predict other classes, or no point were shown.
    """

    def __init__(
        self,
        source: Source,
        answerers: Sequence[Answerer],
        *,
        most_points: int = MOST_POINTS,
        corrections: Corrections | None = None,
        order: Sequence[int] = (),
    ) -> None:
        if most_points < 1:
            raise ValueError(f"--most-points is {most_points}, expected 1 or more; 200000 stay fluid")
        for other in answerers[1:]:
            require_same_classes(answerers[0].run, other.run)
        self.source, self.answerers = source, tuple(answerers)
        self.most_points, self.corrections = most_points, corrections
        self.order = tuple(order) or tuple(range(len(source.tokens)))
        self.scene = lru_cache(_SCENES_KEPT)(self._read_scene)
        self._phrases: list[str] = []

    def _read_scene(self, number: int) -> Scene:
        return read_scene(self.source, number, most=self.most_points)

    def picture(self, choices: Choices) -> Picture:
        """Give the picture of what was chosen.

        Raises:
            ValueError: If the sample cannot be read, or a run cannot label it.
        """
        scene = self.scene(choices.number)
        layers, trouble, facts = [], "", list[str]()
        for place, run in enumerate(choices.runs):
            answerer = self.answerers[run]
            asked = Asked(scene, answerer, answerer.about(scene), choices, self.scene, self.corrections)
            try:
                painting = paint(asked)
                self._remember(choices)
            except ValueError as error:
                painting, trouble = paint_nothing(len(scene.shown)), f"{error}"
            painting = _mark(painting, scene, choices)
            visible = painting.visible(choices.hidden)
            if choices.drawn is not None:
                visible &= scene.ranks < choices.drawn
            points = visible.nonzero()[:, 0]
            layers.append(
                Layer(
                    run,
                    painting,
                    points,
                    scene.positions[points],
                    painting.colours[points],
                    (0.0, -place * _GAP * _width(scene), 0.0),
                )
            )
            facts += _facts(asked)
        legend = join_legends([layer.painting.entries for layer in layers])
        scale = layers[0].painting.scale
        if choices.drawn is not None and choices.drawn < len(scene.shown):
            facts.append(f"{choices.drawn:,} of these points are drawn, and counted all the same")
        facts += [*scene.notes, *self.source.notes]
        return Picture(choices, scene, tuple(layers), legend, scale, tuple(dict.fromkeys(facts)), trouble)

    def next_to_label(self, number: int | None = None) -> int | None:
        """Find the sample to be labelled next: in order, after one of a number, of those without labels.

        Args:
            number: Of the sample that is looked at; None begins in front.

        Returns:
            Its number; None where all have labels.
        """
        done = frozenset[str]() if self.corrections is None else self.corrections.labelled()
        place = -1 if number is None or number not in self.order else self.order.index(number)
        ahead = [*self.order[place + 1 :], *self.order[: place + 1]]
        return next((n for n in ahead if n != number and self.source.tokens[n] not in done), None)

    def warm_up(self) -> None:
        """Open the text encoders, so that the first phrase is answered as fast as the others.

        A run whose encoder cannot be opened says so when a phrase is typed.
        """
        for answerer in self.answerers:
            with suppress(ValueError):
                answerer.embed_phrase(answerer.run.prompts.names[0])

    def _remember(self, choices: Choices) -> None:
        """Keep a phrase that was found, to compare clicked points with."""
        phrase = choices.phrase.strip()
        if choices.mode in (PHRASE, SCORE):
            self._phrases = [*[each for each in self._phrases if each != phrase], phrase][-_PHRASES_KEPT:]

    def describe(self, choices: Choices) -> list[tuple[str, str]]:
        """Say what is known of the point that was clicked: what, and the words for it; none if none was.

        Raises:
            ValueError: If its sample cannot be read.
        """
        if choices.picked is None:
            return []
        scene, point = self.scene(choices.picked.number), choices.picked.point
        place = scene.positions[point]
        told = [("sample", scene.sample.token)] if choices.picked.number != choices.number else []
        for run in choices.runs:
            told += self._answers_of(scene, point, self.answerers[run], named=len(choices.runs) > 1)
        if scene.truth is not None and self.source.class_set is not None:
            told.append(("truth", _name(int(scene.truth[point]), self.source.class_set.classes)))
        away = float((place - torch.tensor(self.source.viewpoint)).norm())
        told.append(
            ("distance", f"{away:.1f} m" if not self.source.indoors else f"{away:.1f} m from the origin")
        )
        told.append(("at", ", ".join(f"{each:.2f}" for each in place.tolist()) + " m"))
        measured = "intensity" if scene.features.shape[1] == 1 else "colour"
        told.append((measured, ", ".join(f"{each:.2f}" for each in scene.features[point].tolist())))
        return told

    def _answers_of(
        self, scene: Scene, point: int, answerer: Answerer, *, named: bool
    ) -> list[tuple[str, str]]:
        answers, prefix = answerer.about(scene), f"{answerer.name}: " if named else ""
        scores, classes = answers.scores[point].topk(min(3, answers.scores.shape[1]))
        pairs = zip(classes.tolist(), scores.tolist(), strict=True)
        listed = [f"{answerer.class_set.classes[number]} {score:.2f}" for number, score in pairs]
        told = [(f"{prefix}class", listed[0]), (f"{prefix}next", ", ".join(listed[1:]))]
        if answers.pseudo_labels is not None:
            named_by_teacher = _name(int(answers.pseudo_labels[point]), answerer.class_set.classes)
            told.append((f"{prefix}teacher", named_by_teacher))
        if answerer.run.knows_words:
            words = answerer.nearest_words(answers, point, self._known_to(answerer))[:_WORDS_TOLD]
            told.append(
                (f"{prefix}nearest words", ", ".join(f"{word} {cosine:.2f}" for word, cosine in words))
            )
        return told

    def _known_to(self, answerer: Answerer) -> tuple[str, ...]:
        """List the phrases typed so far that a run has a meaning for."""
        return tuple(each for each in self._phrases if _knows(answerer, each))


def _mark(painting: Painting, scene: Scene, choices: Choices) -> Painting:
    """Paint the points that are to be labelled white."""
    if choices.selected is None or choices.selected.number != choices.number:
        return painting
    marked = torch.zeros(len(scene.sample.cloud), dtype=torch.bool)
    marked[choices.selected.points] = True
    colours = torch.where(marked[scene.shown][:, None], SELECTED, painting.colours)
    return replace(painting, colours=colours)


def _facts(asked: Asked) -> list[str]:
    """Say how many of a scene's labelled points a run calls right."""
    try:
        predicted, truth = compare(asked)
    except ValueError:
        return []
    known = truth >= 0
    if not known.any():
        return []
    share = float((predicted == truth)[known].double().mean())
    name = asked.answerer.name
    return [f"{name}: {100 * share:.1f} % of {int(known.sum()):,} labelled points right"]


def _knows(answerer: Answerer, phrase: str) -> bool:
    try:
        answerer.embed_phrase(phrase)
    except ValueError:
        return False
    return True


def _name(number: int, classes: Sequence[str]) -> str:
    return "none" if number < 0 else classes[number]


def _width(scene: Scene) -> float:
    """Say how wide most of a cloud is along y, in metres."""
    ordered, last = scene.positions[:, 1].sort().values, len(scene.shown) - 1
    low, high = (float(ordered[round(share * last)]) for share in _INNER)
    return max(high - low, 1.0)
