"""How another program stores the weights of a network that is one of ours: names, and shapes of kernels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Rename = Callable[[list[str]], tuple[str, str] | None]


@dataclass(frozen=True)
class Layout:
    """One program's way to name and lay out weights.

    Attributes:
        title: What to call it in messages.
        anchor: A tensor that every file of this layout has, and no file of another.
        rename: Gives, for the path of one of our convolutions or linear layers with its normalisation, the
            path of their layer and of its normalisation; None where their network has no such place.
        weight: How their sparse convolutions name their weight.
        to_ours: Lays a kernel out as ours, ``[offsets, in, out]`` with offsets x slowest and z fastest, given
            the shape that ours has. Raises ValueError where it cannot; the result may still differ in shape.
        to_matrix: Lays the weight of a head out as ``nn.Linear`` does, ``[out, in]``; None where the layer is
            no matrix.
        heads: First parts of the names of layers that may follow the backbone.
        spare: First parts of the names of tensors that are neither backbone nor head.
        idle: First parts of the names of layers that a network may own without using them.
        epsilon: What their normalisations add to the variance.
        brightest: Largest intensity that their networks of one input channel were trained on, where a file
            does not say; 255 is nuScenes' own.
    """

    title: str
    anchor: str
    rename: Rename
    weight: str
    to_ours: Callable[[Tensor, torch.Size], Tensor]
    to_matrix: Callable[[Tensor], Tensor | None]
    heads: tuple[str, ...]
    spare: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    epsilon: float = 1e-5
    brightest: float = 1.0


def edge_of(shape: torch.Size) -> int:
    """Return the edge of a kernel of ours, of shape ``[offsets, in, out]``."""
    return round(shape[0] ** (1 / 3))


def x_fastest_to_slowest(kernel: Tensor, shape: torch.Size) -> Tensor:
    """Turn ``[offsets, in, out]`` whose offsets run x first into our order, z first.

    That of a 1x1x1 convolution may come as ``[in, out]``.

    Raises:
        ValueError: If the kernel has another number of offsets than ``shape``.
    """
    if shape[0] == 1 and kernel.ndim == 2:
        return kernel[None]
    if kernel.ndim != 3 or len(kernel) != shape[0]:
        raise ValueError("another number of offsets")
    cube = kernel.unflatten(0, (edge_of(shape),) * 3)
    return cube.permute(2, 1, 0, 3, 4).flatten(0, 2)
