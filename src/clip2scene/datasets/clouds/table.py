"""Columns of numbers by name, as a file has them."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Shaped

from clip2scene.datasets.clouds.intensity import plain_name

Columns = dict[str, np.ndarray]
"""One number a point, by the names that the file gives."""

_AXES = {
    "x": ("x", "points_0", "points:0", "pos_x", "position_x", "easting"),
    "y": ("y", "points_1", "points:1", "pos_y", "position_y", "northing"),
    "z": ("z", "points_2", "points:2", "pos_z", "position_z", "elevation"),
}


@dataclass(frozen=True)
class Table:
    """What a reader found in a file.

    Attributes:
        columns: By name.
        notes: What a user should know of how they were read.
    """

    columns: Columns
    notes: tuple[str, ...] = field(default=())


def find_axes(names: Iterable[str]) -> dict[str, str]:
    """Say which columns are x, y and z, as far as they are there; in any case, small letters first.

    Example:
        >>> find_axes(["X", "Y", "height"])
        {'x': 'X', 'y': 'Y'}
    """
    found = {}
    given = list(names)
    for axis, known in _AXES.items():
        mine = [name for name in given if plain_name(name) in known]
        if mine:
            found[axis] = min(mine, key=lambda name: (known.index(plain_name(name)), name != name.lower()))
    return found


def positions_of(path: Path, columns: Columns) -> Shaped[np.ndarray, "points 3"]:
    """Put x, y and z side by side, as precise as a file has them.

    Raises:
        ValueError: If some are NaN or infinite.
    """
    names = find_axes(columns)
    parts = [columns[names[axis]] for axis in "xyz"]
    kind = np.float32 if all(np.can_cast(part.dtype, np.float32) for part in parts) else np.float64
    positions = np.stack(parts, axis=1).astype(kind, copy=False)
    bad = int((~np.isfinite(positions)).any(axis=1).sum())
    if bad:
        raise ValueError(
            f"{path} holds {bad} points of {len(positions)} with NaN or infinite coordinates; drop them"
        )
    return positions


def by_columns(
    path: Path, array: Shaped[np.ndarray, "points columns"], names: Sequence[str], *, said: bool = False
) -> Table:
    """Name the columns of an array; those called ``_`` are passed over.

    Raises:
        ValueError: If there are more or fewer names than columns.
    """
    if len(names) != array.shape[1]:
        raise ValueError(
            f"{path} has {array.shape[1]} numbers a point, but --columns names {len(names)}: "
            f"{','.join(names)}"
        )
    columns = {name: column for name, column in zip(names, array.T, strict=True) if name != "_"}
    note = f"its columns are taken for {' '.join(names)} (--columns names others)"
    return Table(columns, (note,) if said else ())


def guess_columns(array: Shaped[np.ndarray, "points columns"], *, intensity_first: bool = False) -> list[str]:
    """Guess what the columns after x, y and z are, by their numbers: colours, normals, an intensity.

    Args:
        array: At least three columns.
        intensity_first: Whether an intensity before three colours is likelier than a number after them.

    Example:
        >>> guess_columns(np.array([[1.5, 2, 3, 10, 255, 0, 128]]), intensity_first=True)
        ['x', 'y', 'z', 'intensity', 'red', 'green', 'blue']
    """
    names = ["x", "y", "z"]
    while len(names) < array.shape[1]:
        left = array.shape[1] - len(names)
        three = array[:, len(names) : len(names) + 3]
        lone = intensity_first and left == 4 and "intensity" not in names
        if left >= 3 and not lone and "red" not in names and _are_colours(three):
            names += ["red", "green", "blue"]
        elif left >= 3 and not lone and "nx" not in names and _are_normals(three):
            names += ["nx", "ny", "nz"]
        elif "intensity" not in names and not ("red" in names and bool((three[:, 0] == 255).all())):
            names.append("intensity")
        else:  # a ring, a time, an opacity
            names.append("_")
    return names


def parse_lines(
    path: Path,
    lines: Sequence[str],
    width: int,
    *,
    first: int,
    separator: str | None = None,
    named_by: str = "the header names",
) -> Float64[np.ndarray, "points columns"]:
    """Read lines of as many numbers as a point has.

    Args:
        path: For messages.
        lines: The points; blank lines are passed over.
        width: Numbers of a point.
        first: Number of the first line in the file, for messages.
        separator: What stands between numbers; None is white space.
        named_by: Who says how many numbers there are, for messages.

    Raises:
        ValueError: If a line holds more or fewer numbers, or something else; the message names it.
    """
    filled = [line for line in lines if line]
    if not filled:
        return np.zeros((0, width))
    try:
        table = np.loadtxt(filled, dtype=np.float64, delimiter=separator, comments=None, ndmin=2)
        if table.shape == (len(filled), width):
            return table
    except ValueError:
        pass
    for number, line in enumerate(lines, first):
        if not line:
            continue
        words = [word.strip() for word in line.split(separator)]
        if len(words) < width and line is filled[-1]:
            raise ValueError(
                f"{path} is truncated: line {number}, its last, has {len(words)} of {width} numbers; "
                "restore it"
            )
        if len(words) != width:
            raise ValueError(
                f"{path}, line {number} has {len(words)} numbers, expected the {width} that {named_by}; "
                "correct the line"
            )
        wrong = next((word for word in words if not is_number(word)), None)
        if wrong is not None:
            raise ValueError(f"{path}, line {number}: {wrong[:60]!r} is no number; correct the line")
    raise ValueError(f"{path} cannot be read as {len(filled)} lines of {width} numbers; restore it")


def text_lines(content: bytes) -> list[str]:
    """Split text of any line ends into lines, blanks at both ends of each taken off."""
    return [line.strip() for line in re.split("\r\n|\n|\r", content.decode("utf-8-sig", "replace"))]


def split_lines(content: bytes) -> list[str]:
    """Split text of any line ends into lines, nothing else taken off; bytes that are no text come back."""
    return re.split("\r\n|\n|\r", content.decode("utf-8-sig", "surrogateescape"))


def is_number(word: str) -> bool:
    """Whether a word is a number, NaN and infinity among them."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def _are_colours(three: Shaped[np.ndarray, "points 3"]) -> bool:
    """Whether all are whole numbers in 0..255, and not just zeros and ones."""
    fit = (three >= 0) & (three <= 255) & (three == np.floor(three))
    return bool(fit.all() and three.max(initial=0) > 1)


def _are_normals(three: Shaped[np.ndarray, "points 3"]) -> bool:
    """Whether these are vectors of length 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(three.astype(np.float64), axis=1)
    return len(lengths) > 0 and bool(np.mean(np.abs(lengths - 1) < 0.01) > 0.9)
