"""Tensors in safetensors files, readable by any reader of those, with a checksum.

The format notices a file that is cut short, but not a number that has changed.
"""

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file
from torch import Tensor

from clip2scene.io.reading import regular_file
from clip2scene.io.writing import write_atomically

_CHECKSUM = "crc32"
"""The name of the checksum in the header of a safetensors file."""


def save_checksummed(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors of any shape and dtype with their checksum, atomically."""
    own = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with write_atomically(path) as temporary:
        save_file(own, temporary, metadata={_CHECKSUM: _checksum(own)})


def dump_checksummed(tensors: Mapping[str, Tensor]) -> bytes:
    """Give the bytes of the file that :func:`save_checksummed` writes."""
    own = {name: tensor.contiguous() for name, tensor in tensors.items()}
    return save(own, metadata={_CHECKSUM: _checksum(own)})


def parse_checksummed(content: bytes, place: str) -> dict[str, Tensor]:
    """Read tensors from the bytes of a file that :func:`save_checksummed` wrote.

    Args:
        content: The bytes.
        place: Where they were, for the message.

    Raises:
        ValueError: If they are damaged.
    """
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        expected = header.get("__metadata__", {}).get(_CHECKSUM)
        tensors = load(content)
    except (ValueError, SafetensorError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise ValueError(f"{place} cannot be read ({error}); delete it and run again") from None
    if expected is not None and expected != _checksum(tensors):
        raise ValueError(f"{place} is damaged: it is not what was written; delete it and run again")
    return tensors


def sort_header(path: Path) -> None:
    """Sort the texts in a safetensors file's header, which its writer leaves in random order.

    So equal tensors and texts give equal bytes. The header's length stays, and the tensors are not moved.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > size:  # its writer has shorter escapes: then the order stays as it is
            return
        file.seek(8)
        file.write(text.ljust(size))


def load_checksummed(path: Path) -> dict[str, Tensor]:
    """Read what :func:`save_checksummed` wrote, shape and dtype kept; earlier versions wrote no checksum.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    try:
        with safe_open(regular_file(path), framework="pt") as opened:
            expected = (opened.metadata() or {}).get(_CHECKSUM)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (ValueError, OSError, SafetensorError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and run again") from None
    if expected is not None and expected != _checksum(tensors):
        raise ValueError(f"{path} is damaged: it is not what was written; delete it and run again")
    return tensors


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Hash named tensors: names, types, shapes and bytes, whatever their order.

    Returns:
        A SHA-256 in hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def hash_points(keyframe: Float[Tensor, "points 3"]) -> str:
    """Hash the positions of a keyframe, so that it is known again wherever its data set lies.

    Names are not enough: ``000000`` is in many drives, and one cloud may lie in two data sets. A cloud whose
    points were turned, rounded or put in another order is another one.
    """
    return hashlib.sha256(keyframe.contiguous().numpy().tobytes()).hexdigest()[:16]


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Sum up names, kinds, shapes and numbers."""
    found = 0
    for name in sorted(tensors):
        tensor = tensors[name]
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        found = zlib.crc32(tensor.numpy().data, found)
    return f"{found:08x}"
