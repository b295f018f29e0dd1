"""SPVNAS's MinkUNet and CLIP2Scene's SPVCNN on torchsparse 1.4."""

from typing import Any

import torch
import torchsparse
from torch import Tensor, nn
from torchsparse import SparseTensor
from torchsparse.nn import BatchNorm, Conv3d, ReLU
from torchsparse.nn import functional as of
from torchsparse.nn.utils import get_kernel_offsets


def normalised(source: int, target: int, edge: int = 3, **more: Any) -> list[nn.Module]:  # noqa: ANN401
    """Convolve without bias, then normalise."""
    return [Conv3d(source, target, kernel_size=edge, **more), BatchNorm(target)]


class Step(nn.Module):
    """One level down or up."""

    def __init__(self, source: int, target: int, *, up: bool = False) -> None:
        super().__init__()
        self.net = nn.Sequential(*normalised(source, target, 2, stride=2, transposed=up), ReLU())

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        """Change the resolution."""
        return self.net(voxels)


class Block(nn.Module):
    """Two convolutions around which the input is carried."""

    def __init__(self, source: int, target: int) -> None:
        super().__init__()
        self.net = nn.Sequential(*normalised(source, target), ReLU(), *normalised(target, target))
        self.downsample = nn.Sequential(*(normalised(source, target, 1) if source != target else []))
        self.relu = ReLU()

    def forward(self, voxels: SparseTensor) -> SparseTensor:
        """Return the rectified sum of the two ways."""
        return self.relu(self.net(voxels) + self.downsample(voxels))


class MinkUNet(nn.Module):
    """The network, its layers named as in the files; two blocks a stage.

    Args:
        channels: Of the input.
        widths: Of the stem and of the eight stages.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        first, ends = widths[0], (widths[0], widths[4], widths[6], widths[8])
        self.stem = nn.Sequential(*normalised(channels, first), ReLU(), *normalised(first, first), ReLU())
        for number in range(4):
            source, target = widths[number], widths[number + 1]
            blocks = Block(source, target), Block(target, target)
            setattr(self, f"stage{number + 1}", nn.Sequential(Step(source, source), *blocks))
        for number in range(4):
            source, target, beside = widths[4 + number], widths[5 + number], widths[3 - number]
            blocks = Block(target + beside, target), Block(target, target)
            up = nn.ModuleList([Step(source, target, up=True), nn.Sequential(*blocks)])
            setattr(self, f"up{number + 1}", up)
        self.point_transforms = nn.ModuleList(
            nn.Sequential(nn.Linear(source, target), nn.BatchNorm1d(target), nn.ReLU())
            for source, target in zip(ends[:-1], ends[1:], strict=True)
        )
        self.classifier = nn.Sequential(nn.Linear(self.head_channels(ends), 5))

    def head_channels(self, ends: tuple[int, ...]) -> int:
        """Say how many channels precede the head."""
        return ends[-1]

    def forward(self, coordinates: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what precedes the head, and the head's answer, per (batch, x, y, z) of a voxel.

        On the CPU, torchsparse 1.4.0 looks all rows up in the batch of the first: each cloud runs alone.
        """
        rows = [torch.nonzero(coordinates[:, 0] == item)[:, 0] for item in coordinates[:, 0].unique()]
        batch_last = coordinates[:, [1, 2, 3, 0]].int()
        out = torch.cat([self.run(batch_last[each], features[each]) for each in rows])
        out = out[torch.argsort(torch.cat(rows))]
        return out, self.classifier(out)

    def run(self, coordinates: Tensor, features: Tensor) -> Tensor:
        """Run one cloud up to the head."""
        stages = self.descend(coordinates, features)
        out = stages.pop()
        for number in range(1, 5):
            out = self.ascend(number, out, stages.pop())
        return out.F

    def descend(self, coordinates: Tensor, features: Tensor) -> list[SparseTensor]:
        """Return the stem's answer and that of the four stages."""
        stages = [self.stem(SparseTensor(features, coordinates))]
        for number in range(1, 5):
            stages.append(getattr(self, f"stage{number}")(stages[-1]))
        return stages

    def ascend(self, number: int, voxels: SparseTensor, skip: SparseTensor) -> SparseTensor:
        """Go one level up and merge."""
        up, blocks = getattr(self, f"up{number}")
        return blocks(torchsparse.cat([up(voxels), skip]))


class SPVCNN(MinkUNet):
    """The same with a branch on the points, of which every voxel is one; features of three depths."""

    def head_channels(self, ends: tuple[int, ...]) -> int:
        """Say how many channels precede the head."""
        return sum(ends[1:])

    def run(self, coordinates: Tensor, features: Tensor) -> Tensor:
        """Run one cloud up to the head."""
        stages = self.descend(coordinates, features)
        points = coordinates.float()
        at_points = to_points(stages[0], points)
        out = stages.pop()
        depths = []
        for number, transform in enumerate(self.point_transforms):
            at_points = to_points(out, points) + transform(at_points)
            depths.append(at_points)
            if number < 2:
                out = to_voxels(at_points, points, out)
                for ascent in (1 + 2 * number, 2 + 2 * number):
                    out = self.ascend(ascent, out, stages.pop())
        return torch.cat(depths, dim=1)


def to_points(voxels: SparseTensor, points: Tensor) -> Tensor:
    """Interpolate at points with the engine's own functions, as SPVNAS uses them."""
    edge = voxels.s[0]
    wanted = of.sphash(own_cells(points, edge), get_kernel_offsets(2, voxels.s, 1))
    rows = of.sphashquery(wanted, of.sphash(voxels.C))
    weights = of.calc_ti_weights(points, rows, scale=edge)
    return of.spdevoxelize(voxels.F, rows.t().contiguous(), weights.t().contiguous())


def to_voxels(features: Tensor, points: Tensor, voxels: SparseTensor) -> SparseTensor:
    """Average points in voxels with the engine's own functions, as SPVNAS uses them."""
    rows = of.sphashquery(of.sphash(own_cells(points, voxels.s[0])), of.sphash(voxels.C))
    counts = of.spcount(rows.int(), len(voxels.C))
    made = SparseTensor(of.spvoxelize(features, rows, counts), voxels.C, voxels.s)
    made.cmaps, made.kmaps = voxels.cmaps, voxels.kmaps
    return made


def own_cells(points: Tensor, edge: int) -> Tensor:
    """Return the corner of each point's cell, and its batch."""
    return torch.cat([(points[:, :3] / edge).floor().int() * edge, points[:, 3:].int()], dim=1)
