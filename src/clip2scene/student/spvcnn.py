"""SPVCNN: a sparse U-Net with a point-wise branch (SPVConv; Tang et al., SPVNAS, 2020).

The variant of CLIP2Scene: features of three depths side by side, 21,773,568 parameters at width 1 and one
input channel. Two deliberate differences from its released code, neither with a parameter: a voxel takes
the mean of its points, not the first; and the point branch works on the points where they really are,
interpolating between voxel centres, where the released code has one point per voxel, at the voxel's corner.
``CornerSPVCNN`` undoes the second one, for weights that were trained with the released code.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clip2scene.student.blocks import Ascent, ConvNorm, Descent, RowNorm, check_widths
from clip2scene.student.point_voxel import VoxelizedPoints


class PointLayer(nn.Module):
    """Point-wise MLP layer: linear, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)
        self.norm = RowNorm(out_channels)

    def forward(self, features: Float[Tensor, "points channels"]) -> Float[Tensor, "points out"]:
        """Apply the layer to each point."""
        return self.norm(self.linear(features), relu=True)


class SPVCNN(nn.Module):
    """A sparse U-Net and three point-wise layers; concatenates the point features of three depths.

    Args:
        in_channels: Channels of the points' features.
        width: Factor on all channels; 1 is the paper's.
        voxel_size: Edge of the finest voxels, in metres.

    Attributes:
        out_channels: 480 at width 1: 256 at stride 16, 128 at stride 4 and 96 at stride 1.
        at_corners: Whether the point branch has one point per voxel, at the voxel's lower corner, whose
            features all points of the voxel take.
    """

    at_corners = False

    def __init__(self, in_channels: int, width: float = 1.0, *, voxel_size: float = 0.1) -> None:
        super().__init__()
        if not voxel_size > 0:
            raise ValueError(f"Wrong voxel_size: expected a positive length in metres, got {voxel_size}.")
        channels = [round(width * full) for full in (32, 32, 64, 128, 256, 256, 128, 96, 96)]
        channels = list(check_widths(channels, 9, "widths of SPVCNN's stages"))
        self.voxel_size = voxel_size
        self.stem = nn.Sequential(ConvNorm(in_channels, channels[0]), ConvNorm(channels[0], channels[0]))
        self.descents = nn.ModuleList(Descent(channels[i], channels[i + 1], 2) for i in range(4))
        self.ascents = nn.ModuleList(
            Ascent(channels[4 + i], channels[3 - i], channels[5 + i], 2) for i in range(4)
        )
        self.point_layers = nn.ModuleList(
            [
                PointLayer(channels[0], channels[4]),
                PointLayer(channels[4], channels[6]),
                PointLayer(channels[6], channels[8]),
            ]
        )
        self.out_channels = channels[4] + channels[6] + channels[8]

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """Its parts from input to output, for layer-wise learning-rate decay."""
        first, second, third = self.point_layers
        return (self.stem, *self.descents, first, *self.ascents[:2], second, *self.ascents[2:], third)

    def forward(
        self,
        positions: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        batch_of_point: Int[Tensor, " points"],
    ) -> Float[Tensor, "points out"]:
        """Compute the features of each point.

        Args:
            positions: Points of all clouds of the batch, in metres.
            features: What was measured at each; a voxel takes the mean of its points.
            batch_of_point: Index of each point's cloud. Clouds interact in batch normalisation alone.

        Raises:
            ValueError: If there is no point, or if a position is not finite or too far away.
        """
        measured = VoxelizedPoints(positions, batch_of_point, self.voxel_size)
        stages = [self.stem(measured.to_voxels(features))]
        points = measured.at_corners() if self.at_corners else measured
        at_points = points.interpolate(stages[0])
        for descend in self.descents:
            stages.append(descend(stages[-1]))
        out = stages.pop()
        depths = []
        for number, point_layer in enumerate(self.point_layers):
            at_points = points.interpolate(out) + point_layer(at_points)
            depths.append(at_points)
            if number < 2:
                out = points.to_voxels(at_points, out.level)
                for ascend in self.ascents[2 * number : 2 * number + 2]:
                    out = ascend(out, stages.pop())
        out = torch.cat(depths, dim=1)
        return out.index_select(0, measured.voxel_of_point) if self.at_corners else out


class CornerSPVCNN(SPVCNN):
    """SPVCNN whose point branch is at the voxels' corners; equals the released code with the same weights."""

    at_corners = True
