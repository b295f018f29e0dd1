"""Two labellings of the same clouds compared: scores and a confusion matrix, from files alone."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from clip2scene.classes.mapping import known_words
from clip2scene.datasets.clouds.labelled import FileLabels, read_file_labels
from clip2scene.evaluation.class_maps import ClassMap, Key, open_class_map
from clip2scene.evaluation.label_files import match_files
from clip2scene.evaluation.metrics import Confusion, Scores, random_baseline
from clip2scene.io import write_json
from clip2scene.parallel import progress_bar
from clip2scene.types import IGNORE_LABEL
from clip2scene.viz.confusion import draw_confusion
from clip2scene.viz.raster import save_png

Pairs = Counter[tuple[Key | None, Key | None]]
"""Points by what they are called and what they are; None is no label."""


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        scores: Of the predictions, and of chance (``random``).
        files: How many pairs of files were read.
        ignored: Points whose truth is no class, or to be ignored; they are not in the scores.
    """

    scores: dict[str, Scores]
    files: int
    ignored: int


def compare(  # noqa: PLR0913 - what a user may ask of the command
    pred: Path,
    truth: Path,
    *,
    pred_classes: str | None = None,
    truth_classes: str | None = None,
    ignore: Sequence[str] = (),
    field: str | None = None,
    out: Path | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Score predicted labels against true ones, point by point, by the files that hold them.

    Classes are those of the truth: of ``truth_classes``, else as its files name them, else the numbers that
    occur. Predicted words that are no class are looked up as other words for one
    (:func:`~clip2scene.classes.mapping.known_words`) where the truth is in a known class set. Predicted
    numbers without names are read as the truth's.

    Args:
        pred: Labelled file or folder: what was predicted.
        truth: Labelled file or folder: what is true.
        pred_classes: What numbers or words of PRED stand for: name of a class set, or a JSON or TOML file
            (:func:`~clip2scene.evaluation.class_maps.open_class_map`).
        truth_classes: The same of TRUTH; its classes are the rows of the table.
        ignore: Numbers or classes of TRUTH that are not evaluated.
        field: The field that holds the labels, in both.
        out: Folder for ``compare.json`` and ``confusion.png``; nothing is written without it.
        note: Takes what a user should know.

    Raises:
        ValueError: If the files do not match, are unreadable or of different length, or it is not known what
            a label stands for.
    """
    of_pred, of_truth = (
        None if said is None else open_class_map(said) for said in (pred_classes, truth_classes)
    )
    pairs = match_files(pred, truth)
    names: dict[str, None] = {}
    counts: Pairs = Counter()
    for mine, theirs in progress_bar(pairs, desc="compare", unit="file", disable=len(pairs) == 1):
        predicted, true = (read_file_labels(path, field) for path in (mine, theirs))
        if len(predicted.ids) != len(true.ids):
            raise ValueError(
                f"{mine} holds {len(predicted.ids):,} labels, but {theirs} {len(true.ids):,}; expected one "
                "for each point of the same cloud"
            )
        names |= dict.fromkeys((true.names or {}).values())
        counts += _count(predicted, true)
    found = _Resolver(counts, of_pred, of_truth, tuple(names), ignore, (pred, truth)).confusion()
    confusion, classes, ignored = found
    if not int(confusion.counts.sum() + confusion.unanswered.sum()):
        raise ValueError(
            f"no point of {truth} has a class that is evaluated; check --truth-classes and --ignore"
        )
    scores = {"prediction": confusion.scores(classes)}
    scores["random"] = random_baseline(confusion.counts.sum(1) + confusion.unanswered).scores(classes)
    if ignored:
        note(f"{ignored:,} points of {truth} have no class that is evaluated, and are left out")
    if out is not None:
        told = {"files": len(pairs), "ignored": ignored}
        columns = {name: column.to_json() for name, column in scores.items()}
        write_json(out / "compare.json", {**scores["prediction"].to_json(), **told, "columns": columns})
        shown = torch.cat([confusion.counts, confusion.unanswered[:, None]], 1).numpy()
        shown = shown if confusion.unanswered.any() else shown[:, :-1]
        save_png(out / "confusion.png", draw_confusion(shown, classes, [*classes, "none"][: shown.shape[1]]))
    return Comparison(scores, len(pairs), ignored)


def _count(predicted: FileLabels, true: FileLabels) -> Pairs:
    """Count the points of each pair of labels of a file; both by name where they have names."""
    mine, index = np.unique(predicted.ids, return_inverse=True)
    theirs, place = np.unique(true.ids, return_inverse=True)
    counts = np.bincount(
        index.reshape(-1) * len(theirs) + place.reshape(-1), minlength=len(mine) * len(theirs)
    )
    rows, columns = (
        [_key(number, labels) for number in numbers.tolist()]
        for numbers, labels in ((mine, predicted), (theirs, true))
    )
    found: Pairs = Counter()
    for at in np.flatnonzero(counts).tolist():
        found[rows[at // len(theirs)], columns[at % len(theirs)]] += int(counts[at])
    return found


def _key(number: int, labels: FileLabels) -> Key | None:
    """Give the word that a number stands for, the number itself, or None where it is no label."""
    if number == labels.none or number < 0:
        return None
    return number if labels.names is None else labels.names.get(number, number)


class _Resolver:
    """Finds the class of each label, and the confusion matrix of them."""

    def __init__(
        self,
        counts: Pairs,
        of_pred: ClassMap | None,
        of_truth: ClassMap | None,
        names: tuple[str, ...],
        ignore: Sequence[str],
        where: tuple[Path, Path],
    ) -> None:
        self.counts, self.where = counts, where
        self.ignore = {word.casefold() for word in ignore}
        self.of_truth = of_truth
        mine, theirs = ({pair[side] for pair in counts} - {None} for side in (0, 1))
        plain = all(isinstance(key, int) for key in mine)
        self.of_pred = of_truth if of_pred is None and plain else of_pred
        if self.of_pred is None and of_truth is None and plain != all(isinstance(key, int) for key in theirs):
            self._refuse_numbers_beside_words(plain)
        if of_truth is not None:
            self.classes = of_truth.classes
        else:
            kept = {key for key in (mine | theirs if plain else theirs) if not self._is_ignored(key)}
            numbers = sorted(key for key in kept if isinstance(key, int))
            self.classes = (
                *(name for name in names if name.casefold() not in self.ignore),
                *map(str, numbers),
            )
        self.classes = tuple(name for name in self.classes if name.casefold() not in self.ignore)
        self.place = {name.casefold(): number for number, name in enumerate(self.classes)}
        known = of_truth.class_set if of_truth is not None else None
        self.words = {} if known is None else known_words(known)
        self.known = known

    def confusion(self) -> tuple[Confusion, tuple[str, ...], int]:
        """Give the matrix, its classes, and how many points are ignored."""
        if not self.classes:
            raise ValueError(f"{self.where[1]} has no class that is evaluated; check --ignore")
        true = {key: self._true_class(key) for key in {pair[1] for pair in self.counts}}
        asked = {mine for mine, theirs in self.counts if true[theirs] != IGNORE_LABEL}
        predicted = {key: self._predicted_class(key) for key in asked}
        self._refuse_unknown(key for key in asked if predicted[key] is None)
        confusion, ignored = Confusion(len(self.classes)), 0
        for (mine, theirs), count in self.counts.items():
            row, column = true[theirs], predicted.get(mine, IGNORE_LABEL)
            if row == IGNORE_LABEL:
                ignored += count
            elif column is None or column == IGNORE_LABEL:
                confusion.unanswered[row] += count
            else:
                confusion.counts[row, column] += count
        return confusion, self.classes, ignored

    def _is_ignored(self, key: Key | None) -> bool:
        return key is None or str(key).casefold() in self.ignore

    def _true_class(self, key: Key | None) -> int:
        """Give the class of a true label, by position; refuse one that nothing is known of."""
        if self._is_ignored(key):
            return IGNORE_LABEL
        assert key is not None
        name: str | None = str(key)
        if self.of_truth is not None:
            if not self.of_truth.knows(key) and str(key).casefold() not in self.words:
                points = sum(count for pair, count in self.counts.items() if pair[1] == key)
                raise ValueError(
                    f"{self.where[1]} holds label {key!r} at {points:,} points, which {self.of_truth.name} "
                    "does not name; add it there, or leave it out by --ignore"
                )
            name = self.of_truth[key] if self.of_truth.knows(key) else self._word(str(key))
        return IGNORE_LABEL if name is None else self.place.get(name.casefold(), IGNORE_LABEL)

    def _predicted_class(self, key: Key | None) -> int | None:
        """Give the class of a predicted label by position, None where it is not known."""
        if key is None:
            return IGNORE_LABEL
        name: str | None = str(key)
        if self.of_pred is not None and self.of_pred.knows(key):
            name = self.of_pred[key]
        elif self.of_pred is not None and isinstance(key, int):
            return None
        if name is None or name.casefold() in self.ignore:
            return IGNORE_LABEL
        if name.casefold() in self.place:
            return self.place[name.casefold()]
        if name.casefold() in self.words:
            found = self._word(name)
            return IGNORE_LABEL if found is None else self.place.get(found.casefold(), IGNORE_LABEL)
        return None

    def _word(self, word: str) -> str | None:
        """Give the class of a known class set that a word stands for."""
        assert self.known is not None
        number = self.words[word.casefold()]
        return None if number == IGNORE_LABEL else self.known.classes[number]

    def _refuse_unknown(self, keys: Iterable[Key | None]) -> None:
        unknown = sorted({str(key) for key in keys})
        if unknown:
            raise ValueError(
                f"{self.where[0]} holds labels that are no class of {self.where[1]}: "
                f"{', '.join(unknown[:8])}; expected some of {', '.join(self.classes)}. Say by --pred-classes"
                f' what they are, in a table such as {{"{unknown[0]}": "{self.classes[0]}"}} (or "none")'
            )

    def _refuse_numbers_beside_words(self, plain: bool) -> None:
        numbers, words = self.where if plain else self.where[::-1]
        option = "--pred-classes" if plain else "--truth-classes"
        raise ValueError(
            f"{numbers} holds numbers and {words} words; say by {option} what the numbers stand for: a class "
            "set such as nuscenes or semantic-kitti, or a .json or .toml file"
        )
