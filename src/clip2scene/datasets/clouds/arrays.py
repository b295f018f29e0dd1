"""Clouds as plain numbers: ``.bin``, ``.npy``, ``.npz``, and tables of Arrow (``.feather``)."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, Shaped

from clip2scene import io
from clip2scene.datasets.clouds.intensity import INTENSITIES
from clip2scene.datasets.clouds.table import Columns, Table, by_columns, guess_columns
from clip2scene.io import read_array, read_arrays

_WIDTHS = range(3, 17)
_ENOUGH = 800  # numbers that a width is told by
_MOST_LOOKED_AT, _MOST_PLACES = 1 << 18, 20_000
_CLEARLY = 2.0  # how much better another width must look


def read_bin(path: Path, columns: Sequence[str] | None) -> Table:
    """Read float32 records: as wide as columns are named, else 5 in ``.pcd.bin`` and 4 in others.

    Raises:
        ValueError: As :func:`names_in_bin`.
    """
    names = names_in_bin(path, columns)
    return by_columns(path, np.fromfile(path, "<f4").reshape(-1, len(names)), names)


def iterate_bin(path: Path, columns: Sequence[str] | None, count: int) -> Iterator[Columns]:
    """Read what :func:`read_bin` reads, ``count`` points at a time, with its errors."""
    names = names_in_bin(path, columns)
    with path.open("rb") as file:
        while len(numbers := np.fromfile(file, "<f4", count * len(names))):
            yield by_columns(path, numbers.reshape(-1, len(names)), names).columns


def names_in_bin(path: Path, columns: Sequence[str] | None) -> Sequence[str]:
    """Name the numbers of a record.

    Raises:
        ValueError: If the size is not that of whole records, or the numbers look like those of another width.
    """
    size, names = path.stat().st_size, usual_names(path, columns)
    width = len(names)
    fits = size % (4 * width) == 0
    looks = other_width(np.fromfile(path, "<f4", min(size // 4, _MOST_LOOKED_AT)), width)
    if columns is None and (looks or not fits):
        widths = [str(each) for each in _WIDTHS if size % (4 * each) == 0]
        hint = f"; they look like {looks} numbers a point" if looks else ""
        raise ValueError(
            f"{path} is truncated or of another width: its {size} bytes "
            f"{'look unlike' if fits else 'are no whole number of'} records of {width} float32 numbers; "
            f"whole are those of {', '.join(widths) or 'no width up to 16'}{hint}; restore it, or name the "
            "numbers of a point by --columns, such as x,y,z,intensity,_"
        )
    if not fits:
        raise ValueError(
            f"{path} is truncated or of another width: its {size} bytes are no whole number of "
            f"records of the {width} float32 numbers that --columns names"
        )
    return names


def usual_names(path: Path, columns: Sequence[str] | None) -> Sequence[str]:
    """Name the numbers of a record by what the user said, else by the file's suffix."""
    nuscenes = path.name.lower().endswith(".pcd.bin")
    return columns or ("x", "y", "z", "intensity", *(["_"] if nuscenes else []))


def read_npy(path: Path, columns: Sequence[str] | None) -> Table:
    """Read a NumPy array, never a pickle: of 3 or more columns, or of records with named numbers.

    The fourth of 4 or 5 columns is the intensity; what more columns are is guessed.

    Raises:
        ValueError: If it is of another shape, or holds something other than numbers.
    """
    array = read_array(path, records=True)
    if array.dtype.names is not None:
        array = array.reshape(-1)
        records = {name: array[name] for name in array.dtype.names or ()}
        return Table({name: column for name, column in records.items() if column.dtype.kind in "fiu"})
    if array.ndim == 3 and array.shape[2] >= 3:
        array = array.reshape(-1, array.shape[2])  # an organised cloud: rows of points
    if array.ndim != 2 or array.shape[1] < 3:
        raise ValueError(f"{path} should be an array of numbers with 3 or more columns, got {array.shape}")
    if array.shape[1] > max(array.shape[0], 64):
        raise ValueError(f"{path} has {array.shape[0]} rows of {array.shape[1]} numbers; transpose it")
    if columns is not None:
        return by_columns(path, array, columns)
    if array.shape[1] <= 5:
        return by_columns(path, array, ("x", "y", "z", "intensity", "_")[: array.shape[1]])
    return by_columns(path, array, guess_columns(array), said=True)


def read_npz(path: Path) -> Table:
    """Read the arrays ``xyz`` and perhaps ``intensity``, under any of its names.

    Raises:
        ValueError: If one has another shape.
    """
    others = [each for name in INTENSITIES for each in (name, name.capitalize(), name.upper())]
    arrays = read_arrays(path, ("xyz",), perhaps=others)
    xyz = arrays.pop("xyz")
    if xyz.ndim != 2 or xyz.shape[1] != 3 or any(each.shape != xyz.shape[:1] for each in arrays.values()):
        raise ValueError(f"{path} should hold an array xyz of 3 columns and intensity of the same length")
    return Table({**by_columns(path, xyz, ("x", "y", "z")).columns, **arrays})


def read_feather(path: Path) -> Table:
    """Read the columns of numbers of an Arrow table.

    Raises:
        ValueError: If pyarrow is not installed, or the file is broken or would unpack to far too much.
    """
    columns: Columns = {}
    for name, column in io.read_feather(path).items():
        if column.ndim == 2:  # GeoArrow's points
            columns |= dict(zip("xyz", column.T, strict=True))
        else:
            columns[name] = column
    return Table({name: column for name, column in columns.items() if column.dtype.kind in "fiu"})


def other_width(numbers: Float32[np.ndarray, " numbers"], width: int) -> int | None:
    """Say how many numbers a point seems to have, if not ``width``: after as many, each kind comes again.

    Returns:
        The other width; None if ``width`` looks nearly as good, or there are too few numbers to tell.
    """
    if len(numbers) < _ENOUGH:
        return None
    seen = numbers[:_MOST_LOOKED_AT].astype(np.float64)
    places = np.arange(len(seen) - max(_WIDTHS))
    if len(places) > _MOST_PLACES:  # at random, as even steps would meet the same column of a record
        places = np.random.default_rng(0).integers(len(places), size=_MOST_PLACES)
    with np.errstate(invalid="ignore", over="ignore"):
        steps = {each: _step(seen, places, each) for each in _WIDTHS}
    best = min(steps.values())
    if not np.isfinite(best) or steps[width] <= _CLEARLY * best:
        return None
    return min(each for each, step in steps.items() if step <= 1.2 * best)


def _step(numbers: Shaped[np.ndarray, " numbers"], places: Int[np.ndarray, " places"], width: int) -> float:
    """Give the median step from numbers to those ``width`` after them; infinite where most are NaN."""
    steps = np.abs(numbers[places + width] - numbers[places])
    return float(np.median(np.nan_to_num(steps, nan=np.inf)))
