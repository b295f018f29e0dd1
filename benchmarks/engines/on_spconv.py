"""Pointcept's SpUNet on spconv 2."""

from typing import Any

import spconv.pytorch as spconv
import torch
from spconv.core import ConvAlgo
from torch import Tensor, nn

NATIVE = ConvAlgo.Native  # the one that runs without a GPU


def norm(width: int) -> nn.Module:
    """Normalise as SpUNet does."""
    return nn.BatchNorm1d(width, eps=1e-3)


def same(source: int, target: int, edge: int, key: str | None) -> nn.Module:
    """Convolve on the same voxels, without bias."""
    return spconv.SubMConv3d(source, target, edge, padding=1, bias=False, indice_key=key, algo=NATIVE)


class Block(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, source: int, target: int, key: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = same(source, target, 3, key), norm(target)
        self.conv2, self.bn2 = same(target, target, 3, key), norm(target)
        if source != target:
            self.proj = spconv.SparseSequential(same(source, target, 1, None), norm(target))

    def forward(self, voxels: Any) -> Any:  # noqa: ANN401 - the engine's tensor
        """Return the rectified sum of the two ways."""
        lifted = self.proj(voxels) if hasattr(self, "proj") else voxels
        inner = self.conv1(voxels)
        inner = self.conv2(inner.replace_feature(torch.relu(self.bn1(inner.features))))
        return inner.replace_feature(torch.relu(self.bn2(inner.features) + lifted.features))


class Chain(nn.Module):
    """Blocks one after another."""

    def __init__(self, source: int, target: int, count: int, key: str) -> None:
        super().__init__()
        for number in range(count):
            setattr(self, f"block{number}", Block(target if number else source, target, key))

    def forward(self, voxels: Any) -> Any:  # noqa: ANN401 - the engine's tensor
        """Run them all."""
        for block in self.children():
            voxels = block(voxels)
        return voxels


class SpUNet(nn.Module):
    """The network, its layers named as in the files.

    Args:
        channels: Of the input.
        layers: Blocks of the eight stages.
        planes: Widths of the eight stages.
        stem: Width of the first convolution.
    """

    def __init__(self, channels: int, layers: tuple[int, ...], planes: tuple[int, ...], *, stem: int) -> None:
        super().__init__()
        relu = nn.ReLU()
        self.conv_input = spconv.SparseSequential(same(channels, stem, 5, "stem"), norm(stem), relu)
        self.down, self.enc, self.up, self.dec = (nn.ModuleList() for _ in range(4))
        widths = [stem, *planes[:4]]
        for stage in range(4):
            source, target = widths[stage], widths[stage + 1]
            more = {"bias": False, "indice_key": f"step{stage}", "algo": NATIVE}
            down = spconv.SparseConv3d(source, target, 2, stride=2, **more)
            self.down.append(spconv.SparseSequential(down, norm(target), relu))
            self.enc.append(Chain(target, target, layers[stage], f"level{stage + 1}"))
            below, out = planes[6 - stage], planes[7 - stage]
            up = spconv.SparseInverseConv3d(below, out, 2, **more)
            self.up.append(spconv.SparseSequential(up, norm(out), relu))
            self.dec.append(Chain(out + source, out, layers[7 - stage], f"level{stage}"))
        self.final = spconv.SubMConv3d(planes[7], 5, kernel_size=1, bias=True, algo=NATIVE)

    def forward(self, coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what precedes the head, and the head's answer, per (batch, x, y, z) of a voxel."""
        shape = (coordinates[:, 1:].max(0).values + 96).tolist()
        count = int(coordinates[:, 0].max()) + 1
        out = self.conv_input(spconv.SparseConvTensor(features, coordinates.int(), shape, count))
        skips = []
        for stage in range(4):
            skips.append(out)
            out = self.enc[stage](self.down[stage](out))
        for stage in reversed(range(4)):
            out, skip = self.up[stage](out), skips.pop()
            both = torch.cat([out.features, skip.features], dim=1)
            out = self.dec[stage](out.replace_feature(both))
        return out.features, self.final(out).features
