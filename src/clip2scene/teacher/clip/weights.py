"""A model's weights: shapes first, off the files' headers, then numbers; and the model that they fit.

A config may say anything, and a model is as large as its config. So a model is laid out without numbers
first, and compared with what the files hold; only one that fits takes memory.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from clip2scene.io import read_torch, regular_file
from clip2scene.teacher.clip.folder import WEIGHTS, listing

Shapes = Mapping[str, tuple[int, ...]]
Model = TypeVar("Model", bound=nn.Module)

_NO_PART = ("input_resolution", "context_length", "vocab_size")
"""Three numbers that OpenAI keeps among the weights."""


@dataclass(frozen=True)
class Weights:
    """Weights of which nothing but the shapes need be in memory.

    Attributes:
        source: Folder or file they come from.
        shapes: Of each tensor, by name.
        read: Reads the tensors, by the same names.
    """

    source: Path
    shapes: Shapes
    read: Callable[[], Mapping[str, Tensor]]

    @classmethod
    def held(cls, source: Path, tensors: Mapping[str, Tensor]) -> "Weights":
        """Take tensors that are in memory already."""
        return cls(source, {name: tuple(each.shape) for name, each in tensors.items()}, lambda: tensors)


def open_weights(folder: Path) -> Weights:
    """Open a folder's weights, whole or in shards, and read the shapes in their headers.

    Safetensors are preferred; ``pytorch_model.bin`` is read, whole, only as far as it holds plain tensors.

    Raises:
        ValueError: If there are none, or they are damaged.
    """
    paths = next((found for each in WEIGHTS if (found := sorted(folder.glob(each)))), None)
    if paths is None:
        raise ValueError(
            f"{folder} holds no weights: expected model.safetensors, got {listing(folder)}; "
            "copy the file there"
        )
    shards = re.search(r"-of-(\d+)", paths[0].stem)
    if shards and len(paths) != int(shards[1]):
        raise ValueError(
            f"{folder} holds {len(paths)} of the {int(shards[1])} files that its weights are spread over; "
            "copy the others there"
        )
    if paths[0].suffix != ".safetensors":
        return Weights.held(folder, {name: each for path in paths for name, each in _read_bin(path).items()})
    shapes = {name: shape for path in paths for name, shape in read_shapes(path).items()}
    return Weights(folder, shapes, lambda: {n: each for path in paths for n, each in load_file(path).items()})


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of a safetensors file's tensors off its header.

    Raises:
        ValueError: If the file is damaged, or its header does not fit its size.
    """
    try:
        with safe_open(regular_file(path), framework="pt") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error}); fetch or copy it anew") from None


def _read_bin(path: Path) -> Mapping[str, Tensor]:
    content = read_torch(path)
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(each, Tensor) for name, each in content.items()
    ):
        raise ValueError(f"{path} cannot be read (it holds no tensors by name); fetch or copy it anew")
    return content


def build_model(make: Callable[[], Model], weights: Weights) -> Model:
    """Make a model and fill it with weights of exactly its names and shapes, in single precision.

    Args:
        make: Makes it with fresh weights; called twice, the first time for shapes alone.
        weights: Of the same model.

    Raises:
        ValueError: If a weight is missing, unknown, of another shape or not finite; the message names the
            first few. Those of shape are found before the model takes memory.
    """
    with torch.device("meta"), _Undrawn():
        _check_fit({name: tuple(each.shape) for name, each in make().state_dict().items()}, weights)
    model = make().float()
    model.load_state_dict({n: each for n, each in weights.read().items() if _is_part(n)}, strict=False)
    check_numbers(model, weights.source)
    return model.eval()


class _Undrawn(TorchFunctionMode):
    """Draws no numbers for empty tensors: torch would import its compiler to do so, for over a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        kwargs = kwargs or {}
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **kwargs)


def check_numbers(model: nn.Module, source: Path) -> None:
    """Refuse weights that are not finite, and variances below zero, from which the same comes.

    Raises:
        ValueError: If there are some; the message names the first few.
    """
    bad = [
        name
        for name, each in model.state_dict().items()
        if not each.isfinite().all() or (name.endswith("running_var") and (each < 0).any())
    ]
    if bad:
        raise ValueError(
            f"the weights in {source} hold numbers that are not finite ({_first(bad)}); fetch them anew"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting and from drawing progress bars."""
    from transformers import logging  # late: slow to import

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def count_parts(shapes: Shapes, prefix: str) -> int:
    """Count what is numbered after ``prefix`` in the names of weights."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})


def _check_fit(expected: Shapes, weights: Weights) -> None:
    """Refuse weights that are missing, unknown, or of another shape."""
    given = {name: shape for name, shape in weights.shapes.items() if _is_part(name)}
    # A counter of training has no part in a forward pass; some files have dropped it.
    needed = [name for name in expected if not name.endswith("num_batches_tracked")]
    faults = [f"{name} is missing" for name in needed if name not in given]
    faults += [f"{name} is unknown" for name in given if name not in expected]
    faults += [
        f"{name} has shape {given[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in given and given[name] != shape
    ]
    if faults:
        raise ValueError(
            f"the weights in {weights.source} do not fit its config: {_first(faults, '; ')}; "
            "take config and weights from one and the same model"
        )


def _is_part(name: str) -> bool:
    """Tell weights from what else lies among them: OpenAI's numbers, a counter of older transformers."""
    return name not in _NO_PART and not name.endswith("position_ids")


def _first(names: list[str], between: str = ", ") -> str:
    return between.join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
