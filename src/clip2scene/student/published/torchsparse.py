"""MinkUNet and SPVCNN on torchsparse: the files of CLIP2Scene, SPVNAS and OpenPCSeg.

A kernel is ``[offsets, in, out]``. The offsets of an odd kernel run x fastest and z slowest, as
MinkowskiEngine's; those of an even one run x slowest and z fastest. That of a 1x1x1 convolution is
``[in, out]``.
"""

import torch
from torch import Tensor

from clip2scene.student.published.layout import Layout, x_fastest_to_slowest

_PARTS = {
    "first": ("net.0", "net.1"),
    "second": ("net.3", "net.4"),
    "shortcut": ("downsample.0", "downsample.1"),
}


def _rename(path: list[str]) -> tuple[str, str] | None:
    match path:
        case ["stem", layer]:
            return f"stem.{3 * int(layer)}", f"stem.{3 * int(layer) + 1}"
        case ["point_layers", layer]:
            return f"point_transforms.{layer}.0", f"point_transforms.{layer}.1"
        case ["descents", stage, "down"]:
            return f"stage{int(stage) + 1}.0.net.0", f"stage{int(stage) + 1}.0.net.1"
        case ["ascents", stage, "up"]:
            return f"up{int(stage) + 1}.0.net.0", f"up{int(stage) + 1}.0.net.1"
        case ["descents", stage, "blocks", block, part]:
            there = f"stage{int(stage) + 1}.{int(block) + 1}"
            return f"{there}.{_PARTS[part][0]}", f"{there}.{_PARTS[part][1]}"
        case ["ascents", stage, "blocks", block, part]:
            there = f"up{int(stage) + 1}.1.{block}"
            return f"{there}.{_PARTS[part][0]}", f"{there}.{_PARTS[part][1]}"
    return None


def _to_ours(kernel: Tensor, shape: torch.Size) -> Tensor:
    return x_fastest_to_slowest(kernel, shape) if shape[0] % 2 else kernel


TORCHSPARSE = Layout(
    "torchsparse (SPVCNN, SPVNAS's MinkUNet)",
    "stem.0.kernel",
    _rename,
    "kernel",
    _to_ours,
    lambda weight: weight if weight.ndim == 2 else None,
    heads=("classifier", "point_mapping_local", "point_mapping_global", "point_mapping_global_random"),
    spare=("text_embeddings",),
    idle=("point_transforms",),
    brightest=255.0,
)
