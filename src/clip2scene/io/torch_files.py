"""Torch's own files from strangers: plain tensors and plain values, in no more memory than their size allows.

Torch reads with a list of what may be called, but counts nothing: a few bytes of a pickle may ask for
gigabytes. So a pickle is rehearsed before torch sees it, with stand-ins that take no memory and count what
torch would take.
"""

import io
import pickle
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from clip2scene.io.reading import regular_file

NUMBERS = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ShortStorage": torch.int16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "BoolStorage": torch.bool,
}
"""What torch's files call a run of numbers of a type."""

MOST_SIDES = 64
"""Dimensions that a tensor of torch's may have."""

_PICKLES = 5
"""In a file of the format without a zip archive: mark, version, machine, content, names of what follows."""

_OPCODES = (
    *(pickle.PROTO, pickle.STOP, pickle.MARK, pickle.GLOBAL, pickle.REDUCE, pickle.BINPERSID),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE, pickle.BININT, pickle.BININT1, pickle.BININT2),
    *(pickle.LONG1, pickle.BINFLOAT, pickle.BINUNICODE, pickle.SHORT_BINSTRING),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS, pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT),
)
"""What torch writes; BUILD is looked at apart. None of these makes more than a few words of memory a byte."""


def read_torch(path: Path) -> Any:  # noqa: ANN401 - tensors and plain values, nested as the file has it
    """Read a torch archive of plain tensors and plain values; nothing in it is run.

    The memory it takes is bounded by its size: torch never compresses, a pickle that asks for more numbers or
    copies than the file has bytes is refused before torch reads it, and a tensor that repeats the numbers of
    a few is none that was saved.

    Raises:
        ValueError: If the file is missing or damaged, unpacks to more than it is, or holds anything else.
    """
    path = regular_file(path)
    try:
        _rehearse(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        check_plain_tensors(content, path.stat().st_size)
    except Exception as error:  # torch raises many kinds, and all mean that the file is not to be trusted
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} holds something else than tensors and plain values, or is damaged ({reason}); fetch it "
            "anew, or where it was made save the network's state_dict() alone"
        ) from None
    return content


def check_plain_tensors(content: Any, size: int) -> None:  # noqa: ANN401 - whatever torch's reader gives
    """Refuse tensors that stand for more numbers than a file of ``size`` bytes can hold, and strange ones.

    Weights that two names share are fine.

    Raises:
        ValueError: If one is no plain tensor of real numbers, or all take more than twice the file's size.
    """
    waiting, seen, total = [content], set[int](), 0
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Mapping):
            waiting += each.values()
        elif isinstance(each, list | tuple | set):
            waiting += each
        elif isinstance(each, Tensor):
            if (
                each.layout != torch.strided
                or each.device.type != "cpu"
                or each.is_quantized
                or each.is_complex()
            ):
                raise ValueError(
                    f"one of its tensors is of the kind {each.layout}, {each.dtype}, {each.device}"
                )
            total += each.numel() * each.element_size()
    if total > 2 * size:
        raise ValueError(f"its tensors stand for {total:,} bytes, the file has {size:,}")


def _rehearse(path: Path) -> None:
    """Go through a file's pickles as torch will, and refuse those that ask for more than the file holds."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(4) == b"PK\x03\x04":
            with zipfile.ZipFile(path) as archive:
                content, entries = _open_stored(archive, size)
            _Rehearsal(io.BytesIO(content), size, entries).load()
        else:
            stream.seek(0)
            rehearsal = _Rehearsal(stream, size)
            for _ in range(_PICKLES):
                rehearsal.load()


def _open_stored(archive: zipfile.ZipFile, size: int) -> tuple[bytes, dict[str, int]]:
    """Give the pickle of an archive of ``size`` bytes, and the size of each run of numbers by its key.

    Raises:
        ValueError: If it would unpack to more than it is, or names something twice.
    """
    entries = archive.infolist()
    unpacked = sum(each.file_size for each in entries)
    if unpacked > size or any(each.compress_type != zipfile.ZIP_STORED for each in entries):
        raise ValueError(
            f"it is compressed, as torch's files never are, and would unpack to {unpacked:,} bytes"
        )
    names = [each.filename for each in entries]
    root = names[0].split("/")[0]
    pickles = [name for name in names if name.lower().endswith("/data.pkl")]
    if pickles != [f"{root}/data.pkl"] or len({name.lower() for name in names}) < len(names):
        raise ValueError("it should hold one data.pkl, and every other name once")
    sizes = {each.filename.removeprefix(f"{root}/data/"): each.file_size for each in entries}
    return archive.read(pickles[0]), sizes


@dataclass(frozen=True)
class _Kind:
    """Stands in for the type of a run of numbers."""

    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class _Run:
    """Stands in for a run of numbers of so many bytes; no two are the same key of a dictionary."""

    size: int
    dtype: torch.dtype


class _Laid:
    """Stands in for a tensor."""


class _Rehearsal(pickle._Unpickler):
    """Goes through pickles of torch's with stand-ins, and counts what torch would take.

    Python's own reader is written in Python: its memo is a dictionary, where that in C is a table as long as
    the highest number a file names.

    Args:
        stream: At the beginning of a pickle; :meth:`load` may be called for each that follows.
        size: Bytes of the file.
        entries: Bytes of each run of numbers by its key, where the file is a zip archive.
    """

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = {code[0]: pickle._Unpickler.dispatch[code[0]] for code in _OPCODES}

    def __init__(
        self, stream: io.BufferedIOBase, size: int, entries: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(stream, encoding="utf-8")
        self._entries = entries
        self._copies_left = self._bytes_left = size
        self._runs: dict[str, _Run] = {}
        self._functions: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": partial(self._copy, OrderedDict, (list, dict, OrderedDict)),
            "collections.Counter": partial(self._copy, Counter, (dict,)),
            "builtins.set": partial(self._copy, set, (list,)),
            "torch.Size": partial(self._copy, tuple, (tuple, list)),
            "_codecs.encode": self._encode,
            "torch.device": _name_device,
            "torch._utils._rebuild_tensor": self._lay_out,
            "torch._utils._rebuild_tensor_v2": self._lay_out,
            "torch._utils._rebuild_tensor_v3": self._lay_out_as,
            "torch._utils._rebuild_parameter": _take_parameter,
        }

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - stand-ins of several kinds
        """Give the stand-in of a name that torch's files need."""
        path = f"{'builtins' if module == '__builtin__' else module}.{name}"
        if path in self._functions:
            return self._functions[path]
        if module == "torch" and name in NUMBERS:
            return _Kind(NUMBERS[name])
        if path in ("torch.storage.UntypedStorage", "torch.UntypedStorage"):
            return _Kind(torch.uint8)
        if module == "torch" and isinstance(dtype := getattr(torch, name, None), torch.dtype):
            return dtype
        raise pickle.UnpicklingError(f"it asks for {path}, which no tensor needs")

    def load_build(self) -> None:
        """Take what a state dict keeps beside its tensors: attributes of an ordered dictionary."""
        state = self.stack.pop()
        if type(self.stack[-1]) is not OrderedDict or type(state) not in (dict, OrderedDict):
            raise pickle.UnpicklingError("it sets attributes of something else than a state dict")
        self._count(state)

    dispatch[pickle.BUILD[0]] = load_build

    def persistent_load(self, pid: Any) -> _Run:  # noqa: ANN401 - whatever the file says
        """Give the stand-in of a run of numbers, or of a part of one, as old files have them."""
        what, kind, key, _, count, *view = pid
        if what != "storage" or not isinstance(kind, _Kind) or not _are_counts(count):
            raise pickle.UnpicklingError("it refers to something that is no run of numbers")
        run = self._claim(key, _Run(count * kind.dtype.itemsize, kind.dtype))
        if not any(view):
            return run
        name, start, length = view[0]
        if not _are_counts(start, length) or (start + length) * kind.dtype.itemsize > run.size:
            raise pickle.UnpicklingError(f"it wants a part of {key} that is not there")
        return self._know(name, replace(run, size=length * kind.dtype.itemsize))

    def _claim(self, key: Any, run: _Run) -> _Run:  # noqa: ANN401 - whatever the file says
        """Take note of a run of numbers, and count its bytes the first time."""
        if key not in self._runs:
            if self._entries is not None and self._entries.get(key) != run.size:
                raise pickle.UnpicklingError(f"data/{key} is not the {run.size:,} bytes that it tells of")
            self._bytes_left -= run.size
            if self._bytes_left < 0:
                raise pickle.UnpicklingError(f"its numbers would take {run.size:,} bytes, more than it has")
        return self._know(key, run)

    def _know(self, key: Any, run: _Run) -> _Run:  # noqa: ANN401 - whatever the file says
        """Keep a run by its key, which stands for one run alone."""
        known = self._runs.setdefault(key, run) if isinstance(key, str) else None
        if known is None or (known.size, known.dtype) != (run.size, run.dtype):
            raise pickle.UnpicklingError(f"{key!r} stands for no run of numbers, or for several")
        return known

    def _count(self, *copied: Any) -> None:  # noqa: ANN401 - whatever has a length
        """Count what is copied out of what the pickle holds once."""
        self._copies_left -= sum(map(len, copied))
        if self._copies_left < 0:
            raise pickle.UnpicklingError("it copies more than it holds")

    def _copy(self, make: Callable[..., Any], kinds: tuple[type, ...], *given: Any) -> Any:  # noqa: ANN401
        """Make a container of nothing, or of a plain one."""
        if len(given) > 1 or any(type(each) not in kinds for each in given):
            raise pickle.UnpicklingError(f"it makes a {make.__name__} of something else than plain values")
        self._count(*given)
        return make(*given)

    def _encode(self, text: Any, encoding: Any) -> bytes:  # noqa: ANN401 - whatever the file says
        """Make the bytes that torch's pickles write as a text."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"it encodes something in {encoding!r}")
        self._count(text)
        return text.encode("latin1")

    def _lay_out(
        self,
        run: Any,  # noqa: ANN401 - these are what the file says
        offset: Any,  # noqa: ANN401
        size: Any,  # noqa: ANN401
        stride: Any,  # noqa: ANN401
        needs_gradient: Any = False,  # noqa: ANN401
        *more: Any,  # noqa: ANN401
    ) -> _Laid:
        """Make a tensor out of a run, if that has enough numbers: torch would lengthen it."""
        if not isinstance(run, _Run) or len(size) > MOST_SIDES or not _are_counts(offset, *size, *stride):
            raise pickle.UnpicklingError("it describes a tensor that cannot be")
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        if prod(size) and (last + 1) * run.dtype.itemsize > run.size:
            raise pickle.UnpicklingError(
                f"it wants a tensor of shape {tuple(size)} out of {run.size:,} bytes"
            )
        if not isinstance(needs_gradient, int) or any(more):  # hooks, and marks of complex numbers
            raise pickle.UnpicklingError("it tells more of a tensor than its numbers")
        return _Laid()

    def _lay_out_as(
        self,
        run: Any,  # noqa: ANN401 - these are what the file says
        *layout: Any,  # noqa: ANN401
    ) -> _Laid:
        """Make a tensor of one of the newer types, whose runs are written as bytes."""
        *before, dtype, metadata = layout if len(layout) == 7 else (*layout, None)
        if not isinstance(run, _Run) or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("it describes a tensor that cannot be")
        return self._lay_out(replace(run, dtype=dtype), *before, metadata)


def _are_counts(*numbers: Any) -> bool:  # noqa: ANN401 - whatever the file says
    """Tell whether these are whole numbers from 0 on, and no stand-ins for them."""
    return all(type(each) is int and each >= 0 for each in numbers)


def _name_device(*given: Any) -> None:  # noqa: ANN401 - whatever the file says
    """Take the name of a device, which becomes the processor in any case."""
    if not all(type(each) in (str, int) for each in given):
        raise pickle.UnpicklingError("it names no device")


def _take_parameter(laid: Any, needs_gradient: Any, hooks: Any) -> _Laid:  # noqa: ANN401 - the file's
    """Take a tensor that is a parameter of a network."""
    if not isinstance(laid, _Laid) or not isinstance(needs_gradient, int) or hooks:
        raise pickle.UnpicklingError("it tells more of a parameter than its numbers")
    return laid
