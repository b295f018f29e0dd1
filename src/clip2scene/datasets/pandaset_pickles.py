"""Official PandaSet downloads, whose tables are pickles, into a folder that :class:`PandaSet` reads.

A pickle can run any program when it is opened. Here only the few names that a table of numbers needs are
known, and pandas' own classes are replaced by empty stand-ins that merely hold what the file says: pandas is
not needed, and nothing of a stranger's can run.
"""

import gzip
import pickle
import shutil
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from tqdm import tqdm

from clip2scene.datasets.pandaset import CAMERAS

_MAX_BYTES = 1 << 28  # a sweep takes 8 MB
_UNFIT = (TypeError, KeyError, IndexError, AttributeError, MemoryError, OverflowError, RecursionError)
_COPIED = ("poses.json", "timestamps.json", "intrinsics.json")

Columns = dict[str, np.ndarray]


def convert_pandaset(sequence: Path, out: Path) -> None:
    """Turn one sequence of an official PandaSet download into the folder that the loader reads.

    Copies images and calibration, and writes ``lidar/NN.npz`` with ``xyz`` (world frame), ``intensity``,
    ``t``, ``sensor`` and, where the sequence is annotated, ``label``. Cuboids are left behind. Nothing is
    left of a conversion that fails.

    Args:
        sequence: Folder of one sequence, for instance ``pandaset/002``.
        out: Folder to make.

    Raises:
        ValueError: If ``out`` is in use, or a file of the sequence is missing, broken, or not a plain table.
    """
    sequence, out = Path(sequence), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; remove it or name another folder")
    sweeps = sorted((sequence / "lidar").glob("*.pkl.gz"))
    if not sweeps:
        raise ValueError(f"{sequence} holds no lidar/NN.pkl.gz; expected one official PandaSet sequence")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".partial-{out.name}-"))
    try:
        temporary.chmod(0o755)
        for folder in ("lidar", *(f"camera/{name}" for name in CAMERAS)):
            _copy_calibration(sequence / folder, temporary / folder)
        for path in tqdm(sweeps, desc=f"PandaSet {sequence.name}", unit="sweep"):
            labels = sequence / "annotations" / "semseg" / path.name
            arrays = _sweep_arrays(path, labels if labels.exists() else None)
            target = temporary / "lidar" / path.name.replace(".pkl.gz", ".npz")
            np.savez_compressed(target, allow_pickle=False, **arrays)
        temporary.replace(out)
    except OSError as error:
        raise ValueError(f"{sequence} cannot be converted: {error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_table(path: Path) -> Columns:
    """Read the columns of a gzipped, pickled pandas table of numbers, without pandas and without running it.

    Raises:
        ValueError: If the file is missing or broken, or names anything that a table of numbers does not need.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[Columns, Int64[np.ndarray, "rows"]]:
    """Read the columns of a table, and the numbers of its rows."""
    try:
        with gzip.open(path) as stream:
            content = stream.read(_MAX_BYTES + 1)
            if len(content) > _MAX_BYTES:
                raise ValueError(f"{path} unpacks to more than {_MAX_BYTES >> 20} MiB; it is no sweep")
            stream.seek(0)
            frame = _TableUnpickler(stream).load()
        blocks, axes = _blocks(frame)
        columns = _columns(blocks, axes[0])
        return columns, _row_numbers(axes[1], len(next(iter(columns.values()), ())))
    except (OSError, EOFError, zlib.error, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None
    except _UNFIT as error:
        raise ValueError(f"{path} is not a pandas table of numbers ({error!r})") from None


class _Held:
    """Stands in for a class of pandas: holds what the pickle gives it and can do nothing."""

    arguments: tuple[Any, ...] = ()  # pickles may make an object without calling its __init__
    state: Any = None

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - whatever the file says
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the file says
        self.state = state


class _Frame(_Held):
    """A DataFrame."""


class _Manager(_Held):
    """What holds a DataFrame's blocks."""


class _Index(_Held):
    """Names of rows or columns."""


def _block(values: np.ndarray, places: Any, *rest: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the file says
    """Stand in for pandas' function that makes a block of columns."""
    return {"values": values, "mgr_locs": places}


def _index(kind: type, fields: dict[str, Any]) -> _Index:
    """Stand in for pandas' function that makes an index."""
    return _Index(fields)


def _bytes(text: str, encoding: str) -> bytes:
    """Stand in for ``codecs.encode``, by which the oldest pickles write bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {encoding}, which no table of numbers needs")
    return text.encode("latin1")


def _from_buffer(
    content: bytes | bytearray, dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> np.ndarray:
    """Stand in for NumPy's function that makes an array of a pickle's newest protocol."""
    if dtype.hasobject:
        raise pickle.UnpicklingError("it makes objects of bytes, which no table of numbers needs")
    array = np.frombuffer(content, dtype=dtype)
    return array.reshape(shape[::-1]).T if order == "F" else array.reshape(shape)


_NUMPY_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_KNOWN: dict[tuple[str, str], Any] = {
    ("builtins", "slice"): slice,
    ("__builtin__", "slice"): slice,
    ("_codecs", "encode"): _bytes,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _NUMPY_RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _NUMPY_RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("pandas", "DataFrame"): _Frame,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Manager,
    ("pandas.core.internals", "BlockManager"): _Manager,
    ("pandas._libs.internals", "_unpickle_block"): _block,
    ("pandas.core.indexes.base", "_new_Index"): _index,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.numeric", "Int64Index"): _Index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
}


class _TableUnpickler(pickle.Unpickler):
    """Knows the names that a table of numbers needs, and no others."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - classes and functions
        """Look a name up among the known ones."""
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no table of numbers needs")
        return _KNOWN[module, name]


def _blocks(frame: Any) -> tuple[Any, Any]:  # noqa: ANN401 - whatever the file says
    """Find a table's blocks and its two axes, in any of the layouts pandas has had."""
    if not isinstance(frame, _Frame) or not isinstance(frame.state, dict):
        raise TypeError("it holds no DataFrame")
    manager = frame.state.get("_mgr", frame.state.get("_data"))
    if not isinstance(manager, _Manager):
        raise TypeError("its DataFrame holds no blocks")
    if manager.arguments:  # pandas 1.3 and later
        blocks, axes = manager.arguments
        return blocks, axes
    state = manager.state[3]["0.14.1"]  # before, a state with a version in it
    return state["blocks"], state["axes"]


def _row_numbers(index: Any, count: int) -> Int64[np.ndarray, "rows"]:  # noqa: ANN401 - whatever the file says
    """Read by which numbers a table's rows are called: a range, or one for each."""
    fields = index.arguments[0]
    rows = np.arange(fields["start"], fields["stop"], fields["step"]) if "start" in fields else fields["data"]
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iu" or rows.shape != (count,):
        raise TypeError("its rows are not called by one whole number each")
    return rows.astype(np.int64)


def _columns(blocks: Any, index: Any) -> Columns:  # noqa: ANN401 - whatever the file says
    """Take a table's columns out of its blocks."""
    names = [str(name) for name in index.arguments[0]["data"]]
    columns: Columns = {}
    for block in blocks:
        values, places = np.atleast_2d(block["values"]), block["mgr_locs"]
        if values.dtype.kind not in "fiub":
            continue
        chosen = range(len(names))[places] if isinstance(places, slice) else np.asarray(places).tolist()
        for row, place in zip(values, chosen, strict=True):
            columns[names[place]] = row
    return columns


def _sweep_arrays(path: Path, labels: Path | None) -> Columns:
    """Read a sweep, and its labels if it has any."""
    table, rows = _read(path)
    lacking = [name for name in "xyzitd" if name not in table]
    if lacking:
        raise ValueError(f"{path} lacks the columns {' '.join(lacking)}, it has {' '.join(table)}")
    arrays = {
        "xyz": np.stack([table[axis] for axis in "xyz"], axis=1).astype(np.float32),
        "intensity": np.clip(np.round(table["i"]), 0, 255).astype(np.uint8),
        "t": (table["t"] - table["t"].min(initial=np.inf)).astype(np.float32),
        "sensor": table["d"].astype(np.uint8),
    }
    if labels is not None:
        found, called = _read(labels)
        raw = found.get("class")
        if raw is None or len(raw) != len(arrays["xyz"]):
            raise ValueError(f"{labels} should hold a column class with one label for each point of {path}")
        if not np.array_equal(called, rows):  # labels belong to points by the numbers of rows, not by order
            order = np.argsort(called)
            place = np.searchsorted(called[order], rows).clip(max=len(rows) - 1)
            if len(np.unique(rows)) < len(rows) or not np.array_equal(called[order][place], rows):
                raise ValueError(
                    f"{labels} numbers its rows otherwise than {path}; they are not of one sweep"
                )
            raw = raw[order][place]
        arrays["label"] = raw.astype(np.uint8)
    return arrays


def _copy_calibration(source: Path, target: Path) -> None:
    """Copy a sensor's JSON files and images."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.name in _COPIED or path.suffix == ".jpg":
            shutil.copyfile(path, target / path.name)
