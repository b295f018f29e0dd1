"""The tensors of a TorchScript archive, read without running anything that is in it.

Such an archive is a zip file: programs under ``code/``, raw numbers under ``data/``, and ``data.pkl``, a
pickle that says which numbers belong to which part of the model. The programs are never looked at. The pickle
is opened by a reader that knows how a tensor is put together and nothing else; every class of the model
becomes an empty shell that merely holds its parts.
"""

import io
import pickle
import zipfile
from collections.abc import Iterator
from itertools import count
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from clip2scene.io import check_plain_tensors, regular_file
from clip2scene.io.torch_files import MOST_SIDES, NUMBERS

_MAX_PARTS = 100_000  # the largest CLIP has a few thousand; a crafted file could name one part without end


def is_torch_script(path: Path) -> bool:
    """Tell a TorchScript archive from other files, by the constants of its programs.

    Raises:
        ValueError: If the file is missing, or no plain file.
    """
    path = regular_file(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:] == ["constants.pkl"] for name in archive.namelist())
    except OSError as error:
        raise ValueError(f"{path} cannot be opened ({error}); check the path") from None
    except Exception:  # zipfile raises many kinds; whatever it cannot read is no such archive
        return False


def read_torch_script(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a TorchScript archive, by the name it has in the model's state.

    Raises:
        ValueError: If the archive is damaged, or its pickle asks for anything but tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(each.compress_size for each in archive.infolist()) > path.stat().st_size:
                raise ValueError("its entries overlap")
            root = next(name.split("/")[0] for name in archive.namelist() if name.endswith("/data.pkl"))
            order = f"{root}/byteorder"
            if order in archive.namelist() and _read_stored(archive, order) != b"little":
                raise ValueError("its numbers are big-endian")
            model = _TensorUnpickler(archive, root).load()
        if not isinstance(model, _Shell):
            raise ValueError("it holds no model")
        tensors = dict(_flatten(model, (), count()))
        check_plain_tensors(tensors, path.stat().st_size)
        return tensors
    except Exception as error:  # pickle and zipfile raise many kinds, and all mean that the file is bad
        reason = str(error) if isinstance(error, ValueError | pickle.UnpicklingError) else repr(error)
        raise ValueError(
            f"{path} cannot be read as a TorchScript archive of tensors ({reason}); fetch or copy it anew"
        ) from None


class _Shell:
    """Stands in for a class of the model: holds its parts and can do nothing."""

    __slots__ = ("parts",)

    def __setstate__(self, parts: Any) -> None:  # noqa: ANN401 - whatever the file says
        if not isinstance(parts, dict) or not all(isinstance(name, str) for name in parts):
            raise pickle.UnpicklingError("a part of the model has no names for what it holds")
        self.parts = parts


class _Held:
    """Keeps a tensor while the pickle is read, so that nothing in it can be set or called from there."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the file says
        raise pickle.UnpicklingError("it changes a tensor")


class _Known:
    """Stands in for a function or a type of numbers; a new one each time, and nothing can be set on it."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *arguments: Any) -> Any:  # noqa: ANN401 - whatever the file says
        if self.name == "torch._utils._rebuild_tensor_v2":
            return _as_tensor(*arguments)
        if self.name == "collections.OrderedDict" and not arguments:
            return {}
        if self.name.startswith("torch.jit._pickle.build_") and len(arguments) == 1:
            return arguments[0]
        raise pickle.UnpicklingError(f"it calls {self.name}, which no tensor needs")

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401 - whatever the file says
        raise pickle.UnpicklingError(f"it changes {self.name}, which no tensor needs")


_KNOWN = {"torch._utils._rebuild_tensor_v2", "collections.OrderedDict"}
_KNOWN |= {f"torch.jit._pickle.build_{what}list" for what in ("int", "double", "bool", "tensor")}
_KNOWN |= {f"torch.{name}" for name in NUMBERS}


class _TensorUnpickler(pickle._Unpickler):
    """Puts tensors together from an open archive, knows their few names, and no others.

    Python's own reader is written in Python: its memo is a dictionary, where that in C is a table as long as
    the highest number a file names. An array of bytes would be made as long as its file says.
    """

    dispatch: ClassVar[dict[int, Any]] = {
        code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]
    }

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(_read_stored(archive, f"{root}/data.pkl")))
        self._archive = archive
        self._root = root
        self._read: dict[tuple[str, str], _Held] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - shells and known names
        """Give a shell for a class of the model, and the stand-in for a known name."""
        if module.split(".")[0] == "__torch__":
            return _Shell
        if f"{module}.{name}" not in _KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor needs")
        return _Known(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> _Held:  # noqa: ANN401 - whatever the file says
        """Read a run of numbers; the device it was saved from does not matter."""
        kind, numbers, key, _, length = pid
        if kind != "storage" or not isinstance(numbers, _Known) or not isinstance(key, str):
            raise pickle.UnpicklingError("it refers to something that is no run of numbers")
        dtype = NUMBERS[numbers.name.removeprefix("torch.")]
        if (key, numbers.name) not in self._read:
            raw = _read_stored(self._archive, f"{self._root}/data/{key}")
            if len(raw) != length * dtype.itemsize:
                raise pickle.UnpicklingError(f"data/{key} holds {len(raw)} bytes for {length} numbers")
            run = torch.frombuffer(bytearray(raw), dtype=dtype) if raw else torch.empty(0, dtype=dtype)
            self._read[key, numbers.name] = _Held(run)
        return self._read[key, numbers.name]


def _read_stored(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read an entry; torch never compresses, so one that unpacks to more than it takes is no entry of its."""
    entry = archive.getinfo(name)
    if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
        raise pickle.UnpicklingError(f"{name} is compressed")
    return archive.read(entry)


def _as_tensor(run: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> _Held:  # noqa: ANN401 - the file's
    """Lay a run of numbers out, if it has enough of them."""
    if (
        not isinstance(run, _Held)
        or len(size) > MOST_SIDES
        or not all(type(each) is int and each >= 0 for each in (offset, *size, *stride))
    ):
        raise pickle.UnpicklingError("it describes a tensor that cannot be")
    numbers = run.tensor
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if prod(size) > len(numbers) or (prod(size) and last >= len(numbers)):
        raise pickle.UnpicklingError(
            f"it wants a tensor of shape {tuple(size)} out of {len(numbers)} numbers"
        )
    return _Held(numbers.as_strided(tuple(size), tuple(stride), offset))


def _flatten(shell: _Shell, path: tuple[str, ...], visits: Iterator[int]) -> Iterator[tuple[str, Tensor]]:
    """Name every tensor by the parts that lead to it."""
    for name, part in getattr(shell, "parts", {}).items():
        if next(visits) >= _MAX_PARTS:
            raise ValueError(f"it has more than {_MAX_PARTS} parts")
        if isinstance(part, _Held):
            yield ".".join((*path, name)), part.tensor
        elif isinstance(part, _Shell):
            yield from _flatten(part, (*path, name), visits)
