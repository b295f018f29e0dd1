"""Files as other programs' training writes them: tensors, settings and counters in one torch archive."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

_DEEPEST = 3  # a file, its "state_dict", and one more around it


def read_archive(path: Path) -> Mapping[Any, Any]:
    """Read a file of torch (or of safetensors) that holds tensors and plain values; nothing in it is run.

    Raises:
        ValueError: If the file is missing, damaged, holds other objects, or no dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} is no file; give the file of the published weights")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); fetch or copy it anew") from None
    except Exception as error:  # torch raises many kinds, and all mean that the file is not to be trusted
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{path} holds something else than tensors and plain values, or is damaged ({reason}); where it "
            "was made, save the network's state_dict() alone"
        ) from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no state dict but a {type(content).__name__}; save one")
    return content


def tensor_groups(content: Mapping[Any, Any], where: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """List every dictionary in a file that holds tensors by name, with where it is in the file."""
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield where, tensors
    for name, value in content.items():
        if isinstance(value, Mapping) and where.count("/") < _DEEPEST:
            yield from tensor_groups(value, f"{where}{name}/")


def settings(content: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the settings that a file keeps under the name ``config``, if it does."""
    found = content.get("config")
    return dict(found) if isinstance(found, Mapping) else {}
