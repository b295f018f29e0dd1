"""Res16UNet (MinkUNet) on MinkowskiEngine 0.5."""

from typing import Any

import MinkowskiEngine as ME  # noqa: N817 - what its users call it
from torch import Tensor, nn


def convolution(source: int, target: int, edge: int, stride: int = 1) -> nn.Module:
    """Convolve without bias."""
    return ME.MinkowskiConvolution(source, target, kernel_size=edge, stride=stride, dimension=3)


class Block(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = convolution(source, target, 3), ME.MinkowskiBatchNorm(target)
        self.conv2, self.norm2 = convolution(target, target, 3), ME.MinkowskiBatchNorm(target)
        if source != target:
            self.downsample = nn.Sequential(convolution(source, target, 1), ME.MinkowskiBatchNorm(target))
        self.relu = ME.MinkowskiReLU()

    def forward(self, voxels: Any) -> Any:  # noqa: ANN401 - the engine's tensor
        """Return the rectified sum of the two ways."""
        lifted = self.downsample(voxels) if hasattr(self, "downsample") else voxels
        inner = self.relu(self.norm1(self.conv1(voxels)))
        return self.relu(self.norm2(self.conv2(inner)) + lifted)


def chain(source: int, target: int, count: int) -> nn.Sequential:
    """Put blocks one after another."""
    return nn.Sequential(*(Block(target if number else source, target) for number in range(count)))


class Res16UNet(nn.Module):
    """The network, its layers named as in the files.

    Args:
        channels: Of the input.
        layers: Blocks of the eight stages.
        planes: Widths of the eight stages.
        stem: Width of the first convolution.
        edge: Edge of the first convolution.
    """

    def __init__(
        self, channels: int, layers: tuple[int, ...], planes: tuple[int, ...], *, stem: int, edge: int
    ) -> None:
        super().__init__()
        self.conv0p1s1, self.bn0 = convolution(channels, stem, edge), ME.MinkowskiBatchNorm(stem)
        widths = [stem, *planes[:4]]
        for stage in range(4):
            below = widths[stage]
            setattr(self, f"conv{stage + 1}p{2**stage}s2", convolution(below, below, 2, 2))
            setattr(self, f"bn{stage + 1}", ME.MinkowskiBatchNorm(below))
            setattr(self, f"block{stage + 1}", chain(below, widths[stage + 1], layers[stage]))
        for stage in range(4, 8):
            source, target = planes[stage - 1], planes[stage]
            up = ME.MinkowskiConvolutionTranspose(source, target, kernel_size=2, stride=2, dimension=3)
            setattr(self, f"convtr{stage}p{2 ** (8 - stage)}s2", up)
            setattr(self, f"bntr{stage}", ME.MinkowskiBatchNorm(target))
            setattr(self, f"block{stage + 1}", chain(target + widths[7 - stage], target, layers[stage]))
        self.final = ME.MinkowskiConvolution(planes[7], 5, kernel_size=1, bias=True, dimension=3)
        self.relu = ME.MinkowskiReLU()

    def forward(self, coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what precedes the head, and the head's answer, per (batch, x, y, z) of a voxel."""
        out = ME.SparseTensor(features, coordinates=coordinates.int())
        out = self.relu(self.bn0(self.conv0p1s1(out)))
        skips = []
        for stage in range(1, 5):
            skips.append(out)
            out = self._part(f"bn{stage}")(self._part(f"conv{stage}p{2 ** (stage - 1)}s2")(out))
            out = self._part(f"block{stage}")(self.relu(out))
        for stage in range(4, 8):
            out = self._part(f"bntr{stage}")(self._part(f"convtr{stage}p{2 ** (8 - stage)}s2")(out))
            out = self._part(f"block{stage + 1}")(ME.cat(self.relu(out), skips.pop()))
        place = {tuple(each): row for row, each in enumerate(out.C.tolist())}  # the engine sorts as it likes
        rows = [place[tuple(each)] for each in coordinates.tolist()]
        return out.F[rows], self.final(out).F[rows]

    def _part(self, name: str) -> nn.Module:
        return getattr(self, name)
