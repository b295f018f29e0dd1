"""Large clouds, some points at a time: LAS and LAZ files, and records of raw numbers."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from clip2scene.datasets.clouds.arrays import iterate_bin, usual_names
from clip2scene.datasets.clouds.las import CHUNK, iterate_las, open_las, outside_of_box
from clip2scene.datasets.clouds.table import Columns, Table

_RAW = ".bin"
_OF_LAS = (".las", ".laz")


def count_points(path: Path, columns: Sequence[str] | None) -> int | None:
    """Count the points of a file that can be read in pieces; None of one of another format.

    Args:
        path: A file that is there.
        columns: Names of the numbers of a point, in files without names.

    Raises:
        ValueError: If the file is broken.
    """
    suffix = path.suffix.lower()
    if suffix == _RAW:
        return path.stat().st_size // (4 * len(usual_names(path, columns)))
    if suffix not in _OF_LAS:
        return None
    with open_las(path) as reader:
        return int(reader.header.point_count)


def iterate_cloud(path: Path, columns: Sequence[str] | None) -> Iterator[Columns]:
    """Read the columns of a file in pieces.

    Args:
        path: A file that :func:`count_points` can count.
        columns: Names of the numbers of a point, in files without names.

    Raises:
        ValueError: If the file is broken.
    """
    return iterate_bin(path, columns, CHUNK) if path.suffix.lower() == _RAW else iterate_las(path)


def read_some(path: Path, columns: Sequence[str] | None, step: int, look: Callable[[Columns], None]) -> Table:
    """Read each ``step``-th point of a file; all are looked at.

    Args:
        path: A file that :func:`count_points` can count.
        columns: Names of the numbers of a point, in files without names.
        step: One point of so many is read.
        look: Looks at all points, some at a time.

    Raises:
        ValueError: If the file is broken.
    """
    box = None
    if path.suffix.lower() in _OF_LAS:
        with open_las(path) as reader:
            box, packed = (reader.header.mins, reader.header.maxs), reader.header.are_points_compressed
    kept: list[Columns] = []
    notes: dict[str, None] = {}
    at = 0
    for piece in iterate_cloud(path, columns):
        look(piece)
        note = None if box is None else outside_of_box(path, piece, *box, packed=packed)
        notes |= {} if note is None else {note: None}
        # Copies: a view would keep all of the piece.
        kept.append({name: column[-at % step :: step].copy() for name, column in piece.items()})
        at += len(next(iter(piece.values())))
    return Table({name: np.concatenate([each[name] for each in kept]) for name in kept[0]}, tuple(notes))
