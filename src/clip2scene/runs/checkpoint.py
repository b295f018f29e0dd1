"""A run's state in one file that is whole or refused, and never runs code when it is read.

Layout: a safetensors file. Its tensors are those of the model (``model.*``) and of what a resumed run needs
beside it (``optimizer.*``). Its header holds everything else as JSON under ``clip2scene`` (format number,
step, config, provenance, the shape of the nested state), and under ``sha256`` a hash of that and of the
tensors. The checkpoint before it is kept beside it, as ``NAME.previous.safetensors``.
"""

import hashlib
import json
import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from clip2scene.io import fingerprint, in_a_sentence, sort_header, write_atomically

FORMAT = 1
_KEY = "clip2scene"
_NESTED = ("model", "optimizer")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on, or a trained network to be used.

    Attributes:
        model: Weights and buffers by name, in the shape and dtype of ``state_dict()``.
        step: Optimiser steps done, 0 or more.
        config: The resolved settings, as plain values.
        provenance: Where it comes from: versions, hashes of the teacher and of the data, as plain values.
        optimizer: What a resumed run needs beside the model, nested as it likes; empty for a network that is
            only to be used.
    """

    model: dict[str, Tensor]
    step: int
    config: dict[str, Any]
    provenance: dict[str, Any]
    optimizer: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in ``path``'s place and keep the one that was there as the previous one.

    At every moment a whole checkpoint is on the disk, under one of the two names. A file that was cut
    short never takes the previous one's place.

    Args:
        path: The file; its folder is made when missing.
        checkpoint: What to write. Tensors may live on any device; shape and dtype are kept.

    Raises:
        ValueError: If the state holds something that neither is a tensor nor fits JSON.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    header = {
        "format": FORMAT,
        "step": checkpoint.step,
        "config": checkpoint.config,
        "provenance": checkpoint.provenance,
        "state": {name: _pack(getattr(checkpoint, name), name, tensors) for name in _NESTED},
    }
    tensors = _detach(tensors)
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise ValueError(f"{path} was not written: config and provenance must fit JSON ({error})") from None
    with write_atomically(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: text, "sha256": _seal(text, tensors)})
        sort_header(temporary)
        _keep_previous(path)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; where it is missing or damaged, the previous one, saying so in the log.

    Args:
        path: The name it was saved under.

    Returns:
        The checkpoint, its tensors on the CPU, bit for bit as saved, in shape and dtype.

    Raises:
        ValueError: If neither file can be read, or the file is something else or of another format; the
            message says what is wrong with it.
    """
    path = Path(path)
    try:
        return _read(path)
    except ValueError as error:
        if not previous_path(path).exists():
            raise
        checkpoint = _read(previous_path(path))
        _log.warning(
            "%s; going on from the checkpoint before it, %s, of step %d",
            *(error, previous_path(path), checkpoint.step),
        )
        return checkpoint


def previous_path(path: Path) -> Path:
    """Say where the checkpoint before the one at ``path`` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Put weights into a module that must match them exactly.

    Args:
        module: The network to fill.
        weights: Tensors by name.
        source: Where they come from, for the message.

    Raises:
        ValueError: If names or shapes differ, or a number is not finite; the module is unchanged then.
    """
    check_fit(module, weights, source)
    require_finite(weights, source)
    module.load_state_dict(dict(weights))


def check_fit(module: nn.Module, weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse weights of another network; arguments as :func:`load_weights` takes them."""
    misfit = describe_misfit(module.state_dict(), weights)
    if misfit:
        raise ValueError(
            f"the weights in {source} do not fit this {type(module).__name__}: tensors {misfit}; "
            "build the network with the config the weights were saved with"
        )


def require_finite(weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse numbers that are NaN or infinite: they would be passed on as results.

    Raises:
        ValueError: If there is one; the message names ``source`` and a tensor.
    """
    bad = [name for name, each in weights.items() if not each.isfinite().all()]
    if bad:
        raise ValueError(
            f"{source} holds numbers that are not finite in {len(bad)} tensors (such as {bad[0]}); restore "
            "it, or train anew"
        )


def describe_misfit(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> str:
    """Count the tensors that are missing, unknown or of another shape, and name one of each kind."""
    missing, unknown = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    differing = [
        f"{name} {list(weights[name].shape)} instead of {list(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if own[name].shape != weights[name].shape
    ]
    problems = {"missing": missing, "unknown": unknown, "of another shape": differing}
    return ", ".join(f"{len(names)} {what} (such as {names[0]})" for what, names in problems.items() if names)


def versions() -> dict[str, str]:
    """Name the versions of all software that numbers depend on, for :attr:`Checkpoint.provenance`."""
    packages = {name: metadata.version(name) for name in ("clip2scene", "torch", "numpy", "safetensors")}
    return {"python": platform.python_version(), **packages}


def _keep_previous(path: Path) -> None:
    """Give the checkpoint at ``path`` its second name, if it is one; the first stays until it is replaced."""
    try:
        _header(path)
    except ValueError:
        return
    second = path.with_name(f".previous-{path.name}")  # one name: what a kill leaves is removed by the next
    second.unlink(missing_ok=True)
    try:
        os.link(path, second)
    except OSError:  # a file system without hard links
        os.replace(path, second)
    os.replace(second, previous_path(path))
    second.unlink(missing_ok=True)  # it stays when both names already meant one file


def _header(path: Path) -> dict[str, str]:
    """Read the header's texts, refusing files that are no checkpoints or cut short."""
    if not path.is_file():
        raise ValueError(f"there is no checkpoint at {path}; name the file that training wrote")
    try:
        with safe_open(path, framework="pt") as opened:
            header = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is damaged or no checkpoint (a safetensors file was expected, got {path.stat().st_size} "
            f"bytes that read as: {error}); take another or train anew"
        ) from None
    if not {_KEY, "sha256"} <= header.keys():
        raise ValueError(f"{path} is a safetensors file, but no checkpoint of clip2scene; name another")
    return header


def _read(path: Path) -> Checkpoint:
    header = _header(path)
    try:
        with safe_open(path, framework="pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged ({in_a_sentence(error)}); take another or train anew") from None
    if _seal(header[_KEY], tensors) != header["sha256"]:
        raise ValueError(f"{path} is damaged: its content is not what was saved; take another or train anew")
    content = json.loads(header[_KEY])
    if content["format"] != FORMAT:
        raise ValueError(
            f"{path} has checkpoint format {content['format']}, but this version reads {FORMAT}; "
            "use the version that wrote it"
        )
    return Checkpoint(
        step=content["step"],
        config=content["config"],
        provenance=content["provenance"],
        **{name: _unpack(packed, tensors) for name, packed in content["state"].items()},
    )


def _seal(text: str, tensors: Mapping[str, Tensor]) -> str:
    return hashlib.sha256((text + fingerprint(tensors)).encode()).hexdigest()


def _detach(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring tensors to the CPU, each in memory of its own, as safetensors wants them."""
    taken: set[int] = set()
    own = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        if plain.untyped_storage().data_ptr() in taken:
            plain = plain.clone()
        taken.add(plain.untyped_storage().data_ptr())
        own[name] = plain
    return own


def _pack(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401 - whatever a state holds
    """Turn nested state into JSON values; tensors go into ``tensors``, named after their place."""
    if isinstance(value, Tensor):
        while place in tensors:  # keys may hold dots themselves
            place += "_"
        tensors[place] = value
        return {"tensor": place}
    if isinstance(value, Mapping):
        return {"dict": [[key, _pack(each, f"{place}.{key}", tensors)] for key, each in value.items()]}
    if isinstance(value, (tuple, list)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(each, f"{place}.{number}", tensors) for number, each in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"a checkpoint cannot hold {place}, which is a {type(value).__name__}")


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401 - whatever a state holds
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(each, tensors) for key, each in content}
    parts = (_unpack(each, tensors) for each in content)
    return tuple(parts) if kind == "tuple" else list(parts)
