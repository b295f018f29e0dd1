"""Reading the labels of labelled files: those that :func:`write_labelled` writes, and those of benchmarks."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from clip2scene.datasets.checks import read_records
from clip2scene.datasets.clouds.arrays import read_feather
from clip2scene.datasets.clouds.labelled.codes import CODES_SUFFIX, read_codes
from clip2scene.datasets.clouds.las import CHUNK, open_las
from clip2scene.datasets.clouds.pcd import read_pcd
from clip2scene.datasets.clouds.ply import MAX_HEADER, read_ply
from clip2scene.datasets.clouds.table import Columns, plain_name
from clip2scene.datasets.clouds.text import read_text
from clip2scene.io import read_array, read_arrays
from clip2scene.io import read_text as read_plain_text

LABEL_FIELDS = (
    *("label", "labels", "classification", "class", "classes", "class_id", "category", "category_id"),
    *("semantic", "semantic_label", "semantics", "sem_class", "sem_label", "seg", "segmentation"),
)
"""Names of a field of labels, the first of them that a file has; in any case, and after ``scalar_``."""

_READERS: dict[str, Callable[[Path], Columns]] = {
    **dict.fromkeys((".txt", ".xyz", ".csv", ".pts"), lambda path: read_text(path, None).columns),
    ".ply": read_ply,
    ".pcd": read_pcd,
    ".feather": lambda path: read_feather(path).columns,
}

LABEL_SUFFIXES = (".label", ".bin", ".npz", ".las", ".laz", ".npy", *_READERS)


@dataclass(frozen=True)
class FileLabels:
    """The labels of one file.

    Attributes:
        ids: Number of each point's label as the file has it; of SemanticKITTI's, the lower 16 bits.
        names: What the numbers stand for, where the file or ``NAME.classes.json`` beside it says so.
        none: The number of points without a label, where that is said.
    """

    ids: Int64[np.ndarray, " points"]
    names: dict[int, str] | None = None
    none: int | None = None


def read_file_labels(path: Path, field: str | None = None) -> FileLabels:
    """Read the label of each point.

    Args:
        path: ``.label`` (uint32); ``.bin`` (uint8, as nuScenes' lidarseg has it); ``.npz`` as ``segment``
            writes it, or of a label layer (:mod:`clip2scene.datasets.label_layer`); ``.npy`` of whole
            numbers, or with a field; ``.las``, ``.laz``; ``.ply``, ``.pcd``, ``.feather`` or text with a
            field of :data:`LABEL_FIELDS`; ``.txt`` with one whole number a line.
        field: Name of the field, or of the array, where it is another.

    Raises:
        ValueError: If the file is missing, unreadable or of another suffix, or has no such field.
    """
    suffix = path.suffix.lower()
    if suffix not in LABEL_SUFFIXES:
        raise ValueError(f"{path} holds no labels by its suffix, expected one of {', '.join(LABEL_SUFFIXES)}")
    if not path.is_file() or not path.stat().st_size:
        raise ValueError(f"{path} is missing, empty or no file; check its name")
    names, none = _named_beside(path)
    if suffix == ".label":
        ids = read_records(path, "<u4")[:, 0] & 0xFFFF
    elif suffix == ".bin":
        ids = read_records(path, "u1")[:, 0]
    elif suffix == ".npz":
        ids, told = _of_archive(path, field)
        names, none = (names, none) if told is None else (told, -1)
    elif suffix in (".las", ".laz"):
        ids = _of_las(path, field or "classification")
    else:
        ids = _of_columns(path, field)
    if names is None and suffix == ".ply":
        names, none = _told_in_header(path)
    if ids.dtype.kind == "f" and not (ids == np.floor(ids)).all():
        raise ValueError(
            f"{path} holds labels that are no whole numbers; name the field of the labels by --field"
        )
    return FileLabels(ids.astype(np.int64), names, none)


def _named_beside(path: Path) -> tuple[dict[int, str] | None, int | None]:
    """Read the table beside a file, if it is of this file."""
    table = path.with_name(f"{path.name.removesuffix(path.suffix)}{CODES_SUFFIX}")
    if not table.exists():
        return None, None
    names, none, file = read_codes(table)
    return (names, none) if file == path.name else (None, None)


def _of_archive(path: Path, field: str | None) -> tuple[np.ndarray, dict[int, str] | None]:
    """Give the labels of an archive, and the names where it is one of ``segment``, or a label layer's."""
    wanted = [field] if field else list(LABEL_FIELDS)
    arrays = (read_arrays(path, (), perhaps=[name]) for name in wanted)
    found = next((array for each in arrays for array in each.values()), None)
    if found is None or found.ndim != 1:
        raise ValueError(
            f"{path} has no array of labels, expected one of {', '.join(wanted)} with a number a point; name "
            "it by --field"
        )
    for told in ("names", "classes"):
        with suppress(ValueError):
            (names,) = read_arrays(path, (), texts=(told,)).values()
            return found, dict(enumerate(map(str, names)))
    return found, None


def _of_las(path: Path, field: str) -> np.ndarray:
    """Read one dimension of a LAS file, a million points at a time."""
    with open_las(path) as reader:
        known = list(reader.header.point_format.dimension_names)
        if field not in known:
            raise ValueError(
                f"{path} has no dimension {field!r}, only {', '.join(known)}; name one by --field"
            )
        return np.concatenate([np.asarray(points[field]) for points in reader.chunk_iterator(CHUNK)])


def _of_columns(path: Path, field: str | None) -> np.ndarray:
    """Find the field of labels of a table, the only column of a text, or an array of whole numbers."""
    if path.suffix.lower() == ".npy":
        array = read_array(path, records=True)
        if array.dtype.names is None:
            if array.ndim != 1 or array.dtype.kind not in "iu":
                raise ValueError(
                    f"{path} holds {array.dtype} of shape {array.shape}, expected a whole number for each "
                    "point; write it anew"
                )
            return array
        columns = {name: array[name].reshape(-1) for name in array.dtype.names}
    else:
        lone = _lone_column(path) if path.suffix.lower() == ".txt" else None
        if lone is not None:
            return lone
        columns = _READERS[path.suffix.lower()](path)
    by_name = {plain_name(name): column for name, column in columns.items()}
    wanted = [plain_name(field)] if field else LABEL_FIELDS
    found = next((by_name[name] for name in wanted if name in by_name), None)
    if found is None:
        raise ValueError(f"{path} has no field of labels, only {', '.join(columns)}; name one by --field")
    return found


def _lone_column(path: Path) -> np.ndarray | None:
    """Read a text of one whole number a line, as ScanNet's benchmark has it; None if it is another."""
    text = read_plain_text(path)
    if not re.fullmatch(r"\s*-?\d+\s*", text.partition("\n")[0]):
        return None
    try:
        numbers = np.loadtxt(StringIO(text), dtype=np.int64, comments=None, ndmin=2)
    except ValueError:
        return None
    return numbers[:, 0] if numbers.shape[1] == 1 else None


def _told_in_header(path: Path) -> tuple[dict[int, str] | None, int | None]:
    """Read what a coloured cloud of ``segment`` says in its comments."""
    with path.open("rb") as file:
        head = file.read(MAX_HEADER).partition(b"end_header")[0].decode("ascii", "replace")
    told = dict(re.findall(r"^comment label (\d{1,9}) is (.+?)\r?$", head, re.MULTILINE))
    none = [int(number) for number, name in told.items() if name == "none of these"]
    if not none:
        return None, None
    names = [(int(number), name) for number, name in told.items() if int(number) not in none]
    try:
        return {number: name.encode().decode("unicode_escape") for number, name in names}, none[0]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} names a label in a damaged comment ({error.reason}); restore it") from None
