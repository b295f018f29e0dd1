"""Which number stands for which class in a labelled file, and the labels of a cloud on their way into one."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int, UInt8

from clip2scene.classes.mapping import known_words
from clip2scene.classes.tables import SEMANTIC_KITTI
from clip2scene.datasets.kitti.labels import RAW_OF_CLASS
from clip2scene.io import read_json, write_json

CODES_SUFFIX = ".classes.json"
"""What stands behind a labelled file's name in that of the JSON beside it."""

NO_LABEL = 65_535
"""In a field ``label``, the number of a point without a label."""

UNCLASSIFIED = 1
"""The same in LAS, by its standard."""

_FORMAT, _VERSION = "clip2scene-labels", 1
_MOST_BYTES = 1 << 24  # of a table of classes
_OWN_IN_KITTI = 300  # raw ids of SemanticKITTI end at 259
_OWN_IN_LAS, _MOST_IN_LAS = 64, 255  # ASPRS leaves these to users
_RESERVED_IN_OLD_LAS, _MOST_IN_OLD_LAS = 13, 31  # point formats 0 to 5 have five bits, and none for users


@dataclass(frozen=True)
class PointLabels:
    """What is written of each point.

    Attributes:
        labels: Index of its class, -1 for none.
        confidence: Score of the label, or where there is none of the best class, 0..1.
        raw: The label before any smoothing; None where that is not asked for.
    """

    labels: Int[np.ndarray, " points"]
    confidence: Float32[np.ndarray, " points"]
    raw: Int[np.ndarray, " points"] | None = None

    def part(self, start: int, stop: int) -> "PointLabels":
        """Give those of the points from ``start`` up to ``stop``."""
        raw = None if self.raw is None else self.raw[start:stop]
        return PointLabels(self.labels[start:stop], self.confidence[start:stop], raw)


@runtime_checkable
class LabelSource(Protocol):
    """Labels that are taken in the order of the points, from beginning to end."""

    @property
    def raw(self) -> object:
        """Something else than None if there are labels before smoothing."""

    def part(self, start: int, stop: int) -> PointLabels:
        """Give those of the points from ``start`` up to ``stop``."""


@dataclass(frozen=True)
class LabelCodes:
    """The number of each class in one kind of file.

    Attributes:
        field: Where the file has it.
        names: The classes.
        ids: Number of each.
        none: Number of a point without a label.
        colours: Red, green and blue of each class, and last of points without a label.
    """

    field: str
    names: tuple[str, ...]
    ids: tuple[int, ...]
    none: int
    colours: UInt8[np.ndarray, "classes_and_none 3"]

    def of(self, labels: Int[np.ndarray, " points"]) -> Int[np.ndarray, " points"]:
        """Give the number of each label; -1 is none."""
        return np.array([*self.ids, self.none])[labels]

    def write(self, path: Path, file: str, *, key: str = "") -> None:
        """Write the table as JSON.

        Args:
            path: The JSON file.
            file: Name of the labelled file that it is of.
            key: Stands for all that the labels follow from (:func:`read_key`).
        """
        rows = zip(self.ids, self.names, self.colours.tolist(), strict=False)
        classes = [{"id": number, "name": name, "colour": colour} for number, name, colour in rows]
        told = {"format": _FORMAT, "version": _VERSION, "file": file, "field": self.field}
        write_json(path, {**told, "none": self.none, "classes": classes, "key": key})


def read_codes(path: Path) -> tuple[dict[int, str], int, str]:
    """Read what :meth:`LabelCodes.write` wrote: the name of each number, the number of no label, the file.

    Raises:
        ValueError: If the file is broken.
    """
    content: Any = read_json(path, most=_MOST_BYTES)
    try:
        if (content["format"], content["version"]) != (_FORMAT, _VERSION):
            raise ValueError
        names = {int(row["id"]): str(row["name"]) for row in content["classes"]}
        return names, int(content["none"]), str(content["file"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(
            f"{path} is no table of labels as segment writes it, with format {_FORMAT}, version {_VERSION}, "
            "none and classes; restore it"
        ) from None


def read_key(path: Path) -> str | None:
    """Read the key that :meth:`LabelCodes.write` was given; None where no such table lies."""
    try:
        content = read_json(path, most=_MOST_BYTES)
        return str(content["key"]) if content["format"] == _FORMAT else None
    except (KeyError, TypeError, ValueError, OSError):
        return None


def plain_codes(names: Sequence[str], colours: UInt8[np.ndarray, "classes_and_none 3"]) -> LabelCodes:
    """Number the classes from 0; :data:`NO_LABEL` is none."""
    return LabelCodes("label", tuple(names), tuple(range(len(names))), NO_LABEL, colours)


def kitti_codes(names: Sequence[str], colours: UInt8[np.ndarray, "classes_and_none 3"]) -> LabelCodes:
    """Give the words that SemanticKITTI has its raw ids, and the others ids from 300 on; 0 is unlabelled.

    Of several words for one of its classes, the first gets its id.
    """
    known, ids = known_words(SEMANTIC_KITTI), list[int]()
    for number, name in enumerate(names):
        train_id = known.get(name.casefold(), -1)
        raw = RAW_OF_CLASS[SEMANTIC_KITTI.classes[train_id]] if train_id >= 0 else 0
        ids.append(_OWN_IN_KITTI + number if raw in (0, *ids) else raw)
    return LabelCodes("label", tuple(names), tuple(ids), 0, colours)


def las_codes(
    names: Sequence[str], colours: UInt8[np.ndarray, "classes_and_none 3"], point_format: int, path: Path
) -> LabelCodes:
    """Number the classes from 64 on, which the standard leaves to users; 1 is unclassified.

    Point formats 0 to 5 have five bits for the class; there, those from 13 on, which no standard uses.

    Raises:
        ValueError: If there are more classes than numbers.
    """
    old = point_format < 6
    first, last = (_RESERVED_IN_OLD_LAS, _MOST_IN_OLD_LAS) if old else (_OWN_IN_LAS, _MOST_IN_LAS)
    if len(names) > last + 1 - first:
        raise ValueError(
            f"{path} has point format {point_format}, whose classification has room for {last + 1 - first} "
            f"words, got {len(names)}; name fewer"
            + (", or bring it to LAS 1.4 with a point format from 6 on" if old else "")
        )
    ids = tuple(range(first, first + len(names)))
    return LabelCodes("classification", tuple(names), ids, UNCLASSIFIED, colours)


def name_before(name: str, taken: Collection[str]) -> str:
    """Name the field that keeps what a file had under ``name``: ``NAME_before``, or with a number behind.

    Example:
        >>> name_before("label", ["x", "label"]), name_before("label", ["label", "label_before"])
        ('label_before', 'label_before_2')
    """
    found, number = f"{name}_before", 2
    while found in taken:
        found, number = f"{name}_before_{number}", number + 1
    return found
