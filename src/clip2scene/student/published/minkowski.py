"""Res16UNet and MinkUNet on MinkowskiEngine: the files of SLidR, Seal and what builds on them, and PPKT.

A kernel is ``[offsets, in, out]`` whose offsets run x fastest and z slowest, for odd and even edges alike;
that of a 1x1x1 convolution is ``[in, out]``.
"""

from torch import Tensor

from clip2scene.student.published.layout import Layout, x_fastest_to_slowest

_PARTS = {
    "first": ("conv1", "norm1.bn"),
    "second": ("conv2", "norm2.bn"),
    "shortcut": ("downsample.0", "downsample.1.bn"),
}


def _rename(path: list[str]) -> tuple[str, str] | None:
    match path:
        case ["stem"]:
            return "conv0p1s1", "bn0.bn"
        case ["descents", stage, "down"]:
            number = int(stage) + 1
            return f"conv{number}p{2 ** int(stage)}s2", f"bn{number}.bn"
        case ["ascents", stage, "up"]:
            number = int(stage) + 4
            return f"convtr{number}p{16 >> int(stage)}s2", f"bntr{number}.bn"
        case [side, stage, "blocks", block, part]:
            number = int(stage) + (1 if side == "descents" else 5)
            conv, norm = _PARTS[part]
            return f"block{number}.{block}.{conv}", f"block{number}.{block}.{norm}"
    return None


def _to_matrix(kernel: Tensor) -> Tensor | None:
    if kernel.ndim == 3 and len(kernel) == 1:
        kernel = kernel[0]
    return kernel.t() if kernel.ndim == 2 else None


MINKOWSKI = Layout(
    "MinkowskiEngine (Res16UNet, MinkUNet)",
    "conv0p1s1.kernel",
    _rename,
    "kernel",
    x_fastest_to_slowest,
    _to_matrix,
    heads=("final", "local_feature", "classifier"),
    spare=("text_embeddings",),
    brightest=255.0,
)
