"""Torch's own files from strangers: plain tensors and plain values."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clip2scene.io.reading import regular_file


def read_torch(path: Path) -> Any:  # noqa: ANN401 - tensors and plain values, nested as the file has it
    """Read a torch archive of plain tensors and plain values; nothing in it is run.

    The memory it takes is bounded by its size: torch never compresses, and a tensor that repeats the numbers
    of a few is none that was saved.

    Raises:
        ValueError: If the file is missing or damaged, unpacks to more than it is, or holds anything else.
    """
    path = regular_file(path)
    try:
        with path.open("rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
        if zipped:
            _check_stored(path)
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


def _check_stored(path: Path) -> None:
    """Refuse an archive that would unpack to more than it is."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    unpacked = sum(each.file_size for each in entries)
    if unpacked > path.stat().st_size or any(each.compress_type != zipfile.ZIP_STORED for each in entries):
        raise ValueError(
            f"it is compressed, as torch's files never are, and would unpack to {unpacked:,} bytes"
        )
