"""Files of tensors with a checksum, so that a damaged one is found out.

They are safetensors files, readable by any reader of those. That format notices a file that is cut short, but
not a number that has changed.
"""

import zlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clip2scene.io import write_atomically

_KEY = "crc32"


def save_checksummed(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors with their checksum, atomically."""
    own = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with write_atomically(path) as temporary:
        save_file(own, temporary, metadata={_KEY: _checksum(own)})


def load_checksummed(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_checksummed` wrote; a file of an earlier version has no checksum to check.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            expected = (opened.metadata() or {}).get(_KEY)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and run again") from None
    if expected is not None and expected != _checksum(tensors):
        raise ValueError(f"{path} is damaged: it is not what was written; delete it and run again")
    return tensors


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Sum up names, kinds, shapes and numbers."""
    found = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.numpy().data, found)
    return f"{found:08x}"
