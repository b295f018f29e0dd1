"""Files as other programs' training writes them: tensors, settings and counters in one torch archive."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from clip2scene.io import read_torch, regular_file

_MOST_GROUPS = 10_000
_DEEPEST = 3  # a file, its "state_dict", and one more around it


def read_archive(path: Path) -> Mapping[Any, Any]:
    """Read a file of torch (or of safetensors) that holds tensors and plain values; nothing in it is run.

    Raises:
        ValueError: If the file is missing, damaged, no plain file, unpacks to more than it is, or holds other
            objects, or no dictionary.
    """
    path = regular_file(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{path} cannot be read ({error}); fetch or copy it anew") from None
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no state dict but a {type(content).__name__}; save one")
    return content


def tensor_groups(content: Mapping[Any, Any]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """List every dictionary in a file that holds tensors by name, with where it is in the file.

    Raises:
        ValueError: If there is no end of them, as where one holds another many times over.
    """
    waiting: list[tuple[str, Mapping[Any, Any]]] = [("", content)]
    for _ in range(_MOST_GROUPS):
        if not waiting:
            return
        where, held = waiting.pop()
        tensors = {str(name): value for name, value in held.items() if isinstance(value, Tensor)}
        if tensors:
            yield where, tensors
        inner = [(f"{where}{name}/", value) for name, value in held.items() if isinstance(value, Mapping)]
        if where.count("/") < _DEEPEST:
            waiting += inner[::-1]
    raise ValueError(f"the file holds more than {_MOST_GROUPS} dictionaries; save the network's state_dict()")


def settings(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the settings that a file keeps under the name ``config``, if it does."""
    found = content.get("config")
    return dict(found) if isinstance(found, Mapping) else {}
