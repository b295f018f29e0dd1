"""Pickled tables of pandas, read without pandas and without running anything.

A pickle can run any program when it is opened. Here only the few names that a table of numbers needs are
known, and all are replaced by stand-ins that merely hold what the file says: NumPy is given only types and
shapes that were looked at, and nothing of a stranger's can run.
"""

import gzip
import io
import pickle
import pickletools
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

_MAX_BYTES = 1 << 28  # a sweep takes 8 MB
_MAX_STEPS = 10_000
_UNFIT = (
    *(TypeError, KeyError, IndexError, AttributeError, ValueError),
    *(MemoryError, OverflowError, RecursionError),
)

Columns = dict[str, np.ndarray]


def read_numbered_table(path: Path) -> tuple[Columns, Int64[np.ndarray, " rows"]]:
    """Read a gzipped, pickled pandas table of numbers, without pandas and without running it.

    Returns:
        Its columns, and the numbers of its rows.

    Raises:
        ValueError: If the file is missing or broken, or names anything that a table of numbers does not need.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise pickle.UnpicklingError(f"it unpacks to more than {_MAX_BYTES >> 20} MiB")
        _check_steps(content)
        blocks, axes = _blocks(_TableUnpickler(io.BytesIO(content)).load())
        columns = _columns(blocks, axes[0])
        return columns, _row_numbers(axes[1], len(next(iter(columns.values()), ())))
    except (OSError, EOFError, zlib.error, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} cannot be read as a table: {error}") from None
    except _UNFIT as error:
        raise ValueError(f"{path} is not a pandas table of numbers ({error!r})") from None


def _check_steps(content: bytes) -> None:
    """Refuse a pickle that would exhaust memory or the stack: too many steps, or too large a number of one.

    A table takes some hundred; what is nested a million times, or kept as object four billion, is none.
    """
    for number, (step, argument, _) in enumerate(pickletools.genops(content)):
        if number > _MAX_STEPS or ("PUT" in step.name and (argument or 0) > _MAX_STEPS):
            raise pickle.UnpicklingError(f"it takes more than {_MAX_STEPS} steps, which no table needs")


class _Held:
    """Stands in for a class or function of pandas: holds what the pickle gives it and can do nothing.

    All stand-ins are classes with ``__setstate__``: of a function, a pickle could change the attributes.
    """

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
    """Names of rows or columns; its last argument is a dictionary."""


class _Block(_Held):
    """Some columns: their values, and their places in the table."""


class _Slice(_Held):
    """A slice."""


class _Bytes(bytes):
    """``codecs.encode``, by which the oldest pickles write bytes."""

    def __new__(cls, text: str, encoding: str) -> "_Bytes":
        """Encode a text."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(
                f"it asks for the codec {str(encoding)[:20]}, which no table of numbers needs"
            )
        return super().__new__(cls, text.encode("latin1"))

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the file says
        raise pickle.UnpicklingError("it changes bytes, which no table of numbers needs")


class _Type(_Held):
    """A ``numpy.dtype``. NumPy's own believes all that a pickle says, and can be made to follow pointers."""

    def dtype(self) -> np.dtype[Any] | None:
        """Make the type of numbers; None for names."""
        name = self.arguments[0]
        if name in ("O", "O8"):
            return None
        order = self.state[1] if self.state else "="
        if not re.fullmatch("[<>|=]?[fiu][1248]|[|]?b1", name) or order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it has values of type {name[:20]!r}, not numbers")
        return np.dtype(name).newbyteorder(order)


class _Array(_Held):
    """A ``numpy.ndarray`` of numbers, or a list of names."""

    held: np.ndarray | list[str] | None = None

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the file says
        shape, kind, fortran, content = state[-4:]
        self.fill(content, kind, shape, "F" if fortran else "C")

    def fill(self, content: Any, kind: _Type, shape: tuple[int, ...], order: str) -> None:  # noqa: ANN401
        """Take numbers from bytes, or names from a list."""
        dtype = kind.dtype()
        if dtype is not None and isinstance(content, bytes | bytearray):
            array = np.frombuffer(content, dtype=dtype)
            self.held = array.reshape(shape[::-1]).T if order == "F" else array.reshape(shape)
        elif dtype is None and isinstance(content, list) and all(type(name) is str for name in content):
            self.held = list(content)
        else:
            raise pickle.UnpicklingError("it has an array of neither numbers nor names")


class _Buffer(_Array):
    """NumPy's function that makes an array of a pickle's newest protocol."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - whatever the file says
        self.fill(*arguments)


_KNOWN: dict[tuple[str, str], type] = {
    ("builtins", "slice"): _Slice,
    ("__builtin__", "slice"): _Slice,
    ("_codecs", "encode"): _Bytes,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _Buffer,
    ("numpy._core.numeric", "_frombuffer"): _Buffer,
    ("pandas", "DataFrame"): _Frame,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Manager,
    ("pandas.core.internals", "BlockManager"): _Manager,
    ("pandas._libs.internals", "_unpickle_block"): _Block,
    ("pandas.core.indexes.base", "_new_Index"): _Index,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.numeric", "Int64Index"): _Index,
    ("pandas.core.indexes.range", "RangeIndex"): _Index,
}


class _TableUnpickler(pickle.Unpickler):
    """Knows the names that a table of numbers needs, and no others."""

    def find_class(self, module: str, name: str) -> type:
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


def _row_numbers(index: _Index, count: int) -> Int64[np.ndarray, " rows"]:
    """Read by which numbers a table's rows are called: a range, or one for each."""
    fields = index.arguments[-1]
    if "start" in fields:
        called = range(fields["start"], fields["stop"], fields["step"])
        rows = np.array(called, dtype=np.int64) if len(called) == count else None
    else:
        rows = fields["data"].held
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "iu" or rows.shape != (count,):
        raise TypeError("its rows are not called by one whole number each")
    return rows.astype(np.int64)


def _columns(blocks: Any, index: _Index) -> Columns:  # noqa: ANN401 - whatever the file says
    """Take a table's columns out of its blocks."""
    names = index.arguments[-1]["data"].held
    if not isinstance(names, list):
        raise TypeError("its columns have no names")
    columns: Columns = {}
    for block in blocks:
        old = isinstance(block, dict)
        values, places = (block["values"], block["mgr_locs"]) if old else block.arguments[:2]
        if not isinstance(values.held, np.ndarray):
            continue
        sliced = isinstance(places, _Slice)
        chosen = range(len(names))[slice(*places.arguments)] if sliced else places.held.tolist()
        for row, place in zip(np.atleast_2d(values.held), chosen, strict=True):
            columns[names[place]] = row
    return columns
