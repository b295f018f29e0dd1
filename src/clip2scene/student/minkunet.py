"""MinkUNet: a residual U-Net of sparse convolutions (Choy et al., "4D Spatio-Temporal ConvNets", 2019).

Matched to Res16UNet of its authors as the papers around CLIP2Scene use it: a 3x3x3 stem (CLIP2Scene's and
SLidR's settings; the authors' own default is 5x5x5), four encoder stages (kernel 2, stride 2), four decoder
stages with skip connections, BasicBlocks, no bias but in the normalisation. The backbone of 14A with 3 input
channels has 8,013,152 parameters, Res16UNet34C with one has 37,842,976.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from clip2scene.student.blocks import Ascent, ConvNorm, Descent, check_widths
from clip2scene.student.point_voxel import VoxelizedPoints
from clip2scene.student.sparse import SparseTensor


class MinkUNet(nn.Module):
    """A residual U-Net on voxels; each point takes the features of its voxel.

    Args:
        in_channels: Channels of the points' features.
        layers: Residual blocks of the four encoder stages and the four decoder stages.
        planes: Channels after each of these eight stages.
        voxel_size: Edge of the finest voxels, in metres.
        stem_channels: Channels of the stem, the convolutions before the first encoder stage.
        stem_kernel: Edge of the stem's kernels in voxels, odd.
        stem_layers: Convolutions of the stem; SPVNAS's MinkUNet has two.
        widens_first: Whether an encoder stage changes the number of channels in its strided convolution, as
            Pointcept's SpUNet does, and not in its first residual block.

    Attributes:
        out_channels: Channels of the result, the last of ``planes``.
    """

    def __init__(
        self,
        in_channels: int,
        layers: Sequence[int] = (1, 1, 1, 1, 1, 1, 1, 1),
        planes: Sequence[int] = (32, 64, 128, 256, 128, 128, 96, 96),
        *,
        voxel_size: float = 0.1,
        stem_channels: int = 32,
        stem_kernel: int = 3,
        stem_layers: int = 1,
        widens_first: bool = False,
    ) -> None:
        super().__init__()
        layers = check_widths(layers, 8, "number of blocks of MinkUNet's stages")
        planes = check_widths(planes, 8, "widths of MinkUNet's stages")
        if not voxel_size > 0:
            raise ValueError(f"Wrong voxel_size: expected a positive length in metres, got {voxel_size}.")
        self.voxel_size = voxel_size
        self.out_channels = planes[-1]
        stem = [ConvNorm(in_channels, stem_channels, stem_kernel)]
        stem += [ConvNorm(stem_channels, stem_channels, stem_kernel) for _ in range(stem_layers - 1)]
        self.stem = nn.Sequential(*stem) if stem_layers > 1 else stem[0]
        down = (stem_channels, *planes[:4])
        self.descents = nn.ModuleList(
            Descent(down[i], down[i + 1], layers[i], widens_first=widens_first) for i in range(4)
        )
        up = planes[3:]
        skips = down[-2::-1]
        self.ascents = nn.ModuleList(Ascent(up[i], skips[i], up[i + 1], layers[4 + i]) for i in range(4))

    @property
    def stages(self) -> tuple[nn.Module, ...]:
        """Its parts from input to output, for layer-wise learning-rate decay."""
        return (self.stem, *self.descents, *self.ascents)

    def forward(
        self,
        positions: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        batch_of_point: Int[Tensor, " points"],
    ) -> Float[Tensor, "points out"]:
        """Compute the features of each point, which all points of a voxel share.

        Args:
            positions: Points of all clouds of the batch, in metres.
            features: What was measured at each; a voxel takes the mean of its points.
            batch_of_point: Index of each point's cloud. Clouds interact in batch normalisation alone.

        Raises:
            ValueError: If there is no point, or if a position is not finite or too far away.
        """
        points, out = self.voxel_features(positions, features, batch_of_point)
        return points.nearest(out)

    def voxel_features(
        self,
        positions: Float[Tensor, "points 3"],
        features: Float[Tensor, "points channels"],
        batch_of_point: Int[Tensor, " points"],
    ) -> tuple[VoxelizedPoints, SparseTensor]:
        """Compute the features of each voxel, and say which points it has; :meth:`forward` has the rest."""
        points = VoxelizedPoints(positions, batch_of_point, self.voxel_size)
        stages = [self.stem(points.to_voxels(features))]
        for descend in self.descents:
            stages.append(descend(stages[-1]))
        out = stages.pop()
        for ascend in self.ascents:
            out = ascend(out, stages.pop())
        return points, out


def minkunet14a(in_channels: int, *, width: float = 1.0, voxel_size: float = 0.1) -> MinkUNet:
    """Build MinkUNet14A, one block a stage; ``width`` scales all channels (0.5 halves them)."""
    return _scaled(in_channels, (1,) * 8, (32, 64, 128, 256, 128, 128, 96, 96), width, voxel_size)


def minkunet18(in_channels: int, *, width: float = 1.0, voxel_size: float = 0.1) -> MinkUNet:
    """Build MinkUNet18A, two blocks a stage; ``width`` scales all channels."""
    return _scaled(in_channels, (2,) * 8, (32, 64, 128, 256, 128, 128, 96, 96), width, voxel_size)


def minkunet34(in_channels: int, *, width: float = 1.0, voxel_size: float = 0.1) -> MinkUNet:
    """Build MinkUNet34C, the network of SLidR's tables; ``width`` scales all channels."""
    return _scaled(
        in_channels, (2, 3, 4, 6, 2, 2, 2, 2), (32, 64, 128, 256, 256, 128, 96, 96), width, voxel_size
    )


def minkunet18_spvnas(in_channels: int, *, width: float = 1.0, voxel_size: float = 0.1) -> MinkUNet:
    """Build the MinkUNet of SPVNAS and OpenPCSeg: two stem convolutions; ``width`` scales all channels."""
    return _scaled(
        in_channels, (2,) * 8, (32, 64, 128, 256, 256, 128, 96, 96), width, voxel_size, stem_layers=2
    )


def spunet34(in_channels: int, *, width: float = 1.0, voxel_size: float = 0.1) -> MinkUNet:
    """Build Pointcept's SpUNet34C: a stem of edge 5, descents that widen; ``width`` scales all channels."""
    planes = (32, 64, 128, 256, 256, 128, 96, 96)
    layers = (2, 3, 4, 6, 2, 2, 2, 2)
    return _scaled(in_channels, layers, planes, width, voxel_size, stem_kernel=5, widens_first=True)


def _scaled(
    in_channels: int,
    layers: Sequence[int],
    planes: Sequence[int],
    width: float,
    voxel_size: float,
    **more: Any,  # noqa: ANN401 - the other options of MinkUNet
) -> MinkUNet:
    scaled = [round(width * channels) for channels in planes]
    stem = round(width * 32)
    return MinkUNet(in_channels, layers, scaled, voxel_size=voxel_size, stem_channels=stem, **more)
