"""LAS and LAZ files, which mappers write, read with suspicion by ``laspy``."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from clip2scene.datasets.clouds.table import Columns, Table
from clip2scene.io import in_a_sentence

CHUNK = 1_000_000
"""Points of a file that are in memory at once, where it is read in pieces."""

_MOST_PACKED = 64  # points in a byte of a compressed file
_SLACK_M = 0.1
_FIELDS = ("intensity", "red", "green", "blue")


@contextmanager
def open_las(path: Path) -> Iterator[Any]:
    """Open a LAS or LAZ file for reading with laspy, after it was looked at with suspicion.

    Raises:
        ValueError: If laspy is not installed, or the file is broken or truncated, be it found while reading.
    """
    try:
        import laspy
    except ImportError:
        raise ValueError(
            f"{path} needs the library laspy; install clip2scene[las], or write the cloud as .npy"
        ) from None
    try:
        _check_las(path)
        with laspy.open(path) as reader:
            header = reader.header
            packed = header.are_points_compressed
            least = 1 / _MOST_PACKED if packed else header.point_format.size
            room = path.stat().st_size - header.offset_to_point_data
            if header.point_count * least > room:  # decompressors go on beyond the end
                raise ValueError(f"truncated: {header.point_count} points in {room} bytes")
            if packed:
                _check_chunks(path, header.offset_to_point_data, header.point_count)
            yield reader
    except Exception as error:  # laspy and its decompressors have many
        raise ValueError(f"{path} cannot be read as LAS ({in_a_sentence(error)}); restore it") from None


def read_las(path: Path) -> Table:
    """Read x, y, z in double precision, intensity and, where points have them, colours.

    Raises:
        ValueError: If laspy is not installed, the file is broken or truncated, or points of a compressed file
            lie outside of the box that its header tells, as those of a damaged one do.
    """
    with open_las(path) as reader:
        columns = las_columns(reader.read())
        low, high = reader.header.mins, reader.header.maxs
        packed = reader.header.are_points_compressed
    note = outside_of_box(path, columns, low, high, packed=packed)
    return Table(columns, () if note is None else (note,))


def iterate_las(path: Path) -> Iterator[Columns]:
    """Read what :func:`read_las` reads, :data:`CHUNK` points at a time, with its errors."""
    with open_las(path) as reader:
        for points in reader.chunk_iterator(CHUNK):
            yield las_columns(points)


def las_columns(content: Any) -> Columns:  # noqa: ANN401 - laspy's points
    """Give x, y, z, intensity, colours and extra dimensions of some points."""
    columns = {axis: np.asarray(getattr(content, axis), dtype=np.float64) for axis in "xyz"}
    known = set(content.point_format.dimension_names)
    columns |= {name: np.asarray(content[name]) for name in _FIELDS if name in known}
    extra = set(content.point_format.extra_dimension_names)
    columns |= {name: np.asarray(content[name]) for name in sorted(extra - set(columns))}
    return {name: column for name, column in columns.items() if column.ndim == 1}


def outside_of_box(
    path: Path,
    columns: Columns,
    low: Float64[np.ndarray, " 3"],
    high: Float64[np.ndarray, " 3"],
    *,
    packed: bool,
) -> str | None:
    """Say that points lie outside of the box that the header tells; None where all are inside.

    Raises:
        ValueError: If the file is compressed and its box is one: so are damaged files.
    """
    inside = all(
        ((columns[axis] >= low[number] - _SLACK_M) & (columns[axis] <= high[number] + _SLACK_M)).all()
        for number, axis in enumerate("xyz")
    )
    if inside:
        return None
    box = f"the box that its header tells, from {low.tolist()} to {high.tolist()}"
    if packed and (low < high).any():
        raise ValueError(
            f"{path} holds points outside of {box}, as a damaged compressed file does; restore it, or write "
            "the cloud as .npy"
        )
    return f"its points lie outside of {box}; they are taken as they are"


def _check_chunks(path: Path, start: int, points: int) -> None:
    """Refuse a table of more chunks than points; decompressors make room for all, and end the program."""
    with path.open("rb") as file:
        file.seek(start)
        (place,) = struct.unpack("<q", file.read(8).ljust(8, b"\0"))
        size = path.stat().st_size
        if place == -1:  # written last, where a stream could not be wound back
            file.seek(size - 8)
            (place,) = struct.unpack("<q", file.read(8))
        if not start < place <= size - 8:
            raise ValueError("truncated: its table of chunks is not in the file")
        file.seek(place)
        _, chunks = struct.unpack("<II", file.read(8))
    if chunks > points:
        raise ValueError(f"broken: {chunks} chunks of {points} points")


def _check_las(path: Path) -> None:
    """Refuse a header that asks for more records than the file has room for; laspy would make them all."""
    with path.open("rb") as file:
        head, size = file.read(375), path.stat().st_size
    if len(head) < 227 or head[:4] != b"LASF":
        raise ValueError("it has no header")
    header, start, records = struct.unpack_from("<HII", head, 94)
    further = struct.unpack_from("<I", head, 243)[0] if head[25] >= 4 and len(head) >= 247 else 0
    if header + 54 * records > start or start + 60 * further > size:
        raise ValueError(f"truncated: {records} and {further} records do not fit")
