"""Which names a point is compared with when it is labelled with some words, without a text encoder.

The file knows each of its words by its place among the names, and which names of trained classes it stands
for; that was found out when the file was written (:mod:`clip2scene.inference.background`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from clip2scene.classes.words import clean_words
from clip2scene.onnx_runner.about import About


@dataclass(frozen=True)
class Choice:
    """What points are labelled with.

    Attributes:
        asked: The words, or the trained classes.
        rows: Indices of the names of each class, the asked ones first and the background after them; where a
            class has fewer names than another, its first is repeated.
        trained: Whether these are the trained classes themselves.
    """

    asked: tuple[str, ...]
    rows: Int[np.ndarray, "classes names"]
    trained: bool = False


def choose(about: About, words: Sequence[str] | None, background: str | Sequence[str] = "trained") -> Choice:
    """Choose the names that points are compared with.

    Args:
        about: What the file says of itself.
        words: At least one word that the file has, all different; None for the trained classes.
        background: What a point may be beside them: the trained classes that no word stands for ("trained"),
            nothing ("none"), or these words.

    Raises:
        ValueError: If there is no word, one is repeated, or the file does not have it.
    """
    of_class: list[list[int]] = [[] for _ in about.classes]
    for name, its in enumerate(about.class_of_name):
        of_class[its].append(name)
    if words is None:
        return Choice(tuple(about.classes), _padded(of_class), trained=True)
    if isinstance(words, str):
        raise ValueError(f"expected a list of words, got the string {words!r}; write {[words]!r}")
    asked = clean_words(words)
    others = [] if isinstance(background, str) else list(background)
    if isinstance(background, str) and background not in ("trained", "none"):
        raise ValueError(f"background is trained, none, or a list of words, got {background!r}")
    every = clean_words([*asked, *others])
    rows, covered = _rows_of(about, every)
    if background == "trained":
        rows += [its for number, its in enumerate(of_class) if number not in covered]
    return Choice(tuple(asked), _padded(rows))


def _rows_of(about: About, words: Sequence[str]) -> tuple[list[list[int]], set[int]]:
    """Give the names of each word, and the trained classes that any of them stands for.

    A name of a trained class goes to the word that is nearest to it; a word that gets none keeps its own.
    """
    if not about.stands_for:
        raise ValueError(
            "the run was trained on labels alone, and its text head never was, so the file cannot be "
            f"prompted with {', '.join(words)}; it labels with {', '.join(about.classes)}"
        )
    place = {name: number for number, name in enumerate(about.names)}
    unknown = [word for word in words if word not in place or word not in about.stands_for]
    if unknown:
        known = ", ".join(about.stands_for)
        raise ValueError(
            f"the file has no embedding of {', '.join(unknown)}; label with words that it has ({known}), or "
            "export it with more (clip2scene export-onnx RUN --words TABLE)"
        )
    near = [{int(name): cosine for name, cosine in about.stands_for[word].items()} for word in words]
    covered = {about.class_of_name[name] for each in near for name in each}
    rows: list[list[int]] = [[] for _ in words]
    for name in range(len(about.class_of_name)):
        cosines = [each.get(name, -np.inf) for each in near]
        if max(cosines) > -np.inf:
            rows[int(np.argmax(cosines))].append(name)
    return [its or [place[word]] for word, its in zip(words, rows, strict=True)], covered


def _padded(rows: Sequence[Sequence[int]]) -> Int[np.ndarray, "classes names"]:
    """Put lists of unequal length into one array."""
    longest = max(map(len, rows))
    return np.array([[*each, *[each[0]] * (longest - len(each))] for each in rows], dtype=np.int64)
