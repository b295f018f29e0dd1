"""SpUNet on spconv: the files of Pointcept.

A kernel is ``[x, y, z, in, out]`` in files of spconv 1, ``[out, x, y, z, in]`` in those of spconv 2, where
x, y, z stand for the axes in the order the program gives coordinates in; Pointcept's is x, y, z.

A 1x1x1 convolution of spconv 2 keeps its numbers as ``[out, 1, 1, 1, in]`` and reads them as if they were
``[in, out]`` (upstream issue 450): its matrix is those numbers in their order on the disk, cut into rows of
``out``. The same holds for the head.
"""

import torch
from torch import Tensor

from clip2scene.student.published.layout import Layout, edge_of

_PARTS = {"first": ("conv1", "bn1"), "second": ("conv2", "bn2"), "shortcut": ("proj.0", "proj.1")}


def _rename(path: list[str]) -> tuple[str, str] | None:
    match path:
        case ["stem"]:
            return "conv_input.0", "conv_input.1"
        case ["descents", stage, "down"]:
            return f"down.{stage}.0", f"down.{stage}.1"
        case ["ascents", stage, "up"]:
            return f"up.{3 - int(stage)}.0", f"up.{3 - int(stage)}.1"
        case [side, stage, "blocks", block, part]:
            there = f"enc.{stage}" if side == "descents" else f"dec.{3 - int(stage)}"
            return f"{there}.block{block}.{_PARTS[part][0]}", f"{there}.block{block}.{_PARTS[part][1]}"
    return None


def _to_ours(kernel: Tensor, shape: torch.Size) -> Tensor:
    if shape[0] == 1 and kernel.numel() == shape.numel():
        return kernel.reshape(shape)
    cube = (edge_of(shape),) * 3
    ways = []
    if kernel.ndim == 5 and kernel.shape[1:4] == cube:
        ways.append(kernel.permute(1, 2, 3, 4, 0).flatten(0, 2))
    if kernel.ndim == 5 and kernel.shape[:3] == cube:
        ways.append(kernel.flatten(0, 2))
    if not ways:
        raise ValueError("another number of offsets")
    return next((way for way in ways if way.shape == shape), ways[0])  # 3 channels and an edge of 3 fit both


def _to_matrix(kernel: Tensor) -> Tensor | None:
    if kernel.ndim != 5 or kernel.numel() != kernel.shape[-1] * max(kernel.shape[0], kernel.shape[3]):
        return None
    spconv2 = kernel.shape[1:4] == (1, 1, 1)
    inputs, outputs = (kernel.shape[4], kernel.shape[0]) if spconv2 else kernel.shape[-2:]
    return kernel.reshape(inputs, outputs).t()


SPCONV = Layout(
    "spconv (Pointcept's SpUNet)",
    "conv_input.0.weight",
    _rename,
    "weight",
    _to_ours,
    _to_matrix,
    heads=("final",),
    epsilon=1e-3,
)
