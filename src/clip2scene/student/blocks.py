"""Blocks of the sparse U-Nets: normalised convolutions, residual blocks, encoder and decoder stages."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clip2scene.ranks import here
from clip2scene.student.shared_norm import shared_batch_norm
from clip2scene.student.sparse import SparseConv3d, SparseTensor
from clip2scene.student.sparse.finish import Finish


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation over rows, with an optional ReLU in place.

    A lone row in training (a cloud within one coarse voxel) has no variance: it is normalised by the running
    statistics, and leaves them unchanged, where ``BatchNorm1d`` would raise.

    Attributes:
        over_ranks: Whether the rows of all ranks are one batch, where several train together.
    """

    over_ranks = True

    def forward(self, rows: Float[Tensor, "rows channels"], *, relu: bool = False) -> Tensor:
        """Normalise each channel over the rows, then apply ReLU if asked to."""
        if self.training and self.over_ranks and here().size > 1:
            out = shared_batch_norm(rows, self, here())
        elif self.training and len(rows) == 1:
            out = F.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        else:
            out = super().forward(rows)
        return F.relu_(out) if relu else out

    def frozen(self, *, relu: bool) -> Finish:
        """Give what it does in evaluation: one scale and one shift of each channel, then ReLU if asked to."""
        assert self.running_mean is not None and self.running_var is not None
        scale = self.weight * torch.rsqrt(self.running_var + self.eps)
        return Finish(scale, self.bias - self.running_mean * scale, relu)


class ConvNorm(nn.Module):
    """Sparse convolution without bias, batch normalisation, and ReLU unless switched off."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        transposed: bool = False,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.conv = SparseConv3d(in_channels, out_channels, kernel_size, stride=stride, transposed=transposed)
        self.norm = RowNorm(out_channels)
        self.relu = relu

    def forward(self, inputs: SparseTensor) -> SparseTensor:
        """Apply them in this order; as one where nothing is learned."""
        if not self.training and not torch.is_grad_enabled():
            return self.conv(inputs, self.norm.frozen(relu=self.relu))
        out = self.conv(inputs)
        return out.replace(self.norm(out.features, relu=self.relu))


class ResidualBlock(nn.Module):
    """Residual block (BasicBlock): two 3x3x3 convolutions and a shortcut.

    The shortcut is the identity, or a 1x1x1 convolution with normalisation where the channels differ.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(in_channels, out_channels)
        self.second = ConvNorm(out_channels, out_channels, relu=False)
        self.shortcut = (
            ConvNorm(in_channels, out_channels, 1, relu=False) if in_channels != out_channels else None
        )

    def forward(self, inputs: SparseTensor) -> SparseTensor:
        """Return the ReLU of the sum of both branches."""
        shortcut = inputs if self.shortcut is None else self.shortcut(inputs)
        out = self.second(self.first(inputs))
        return out.replace(F.relu_(out.features.add_(shortcut.features)))


def residual_blocks(in_channels: int, out_channels: int, num_blocks: int) -> nn.Sequential:
    """Chain residual blocks; the first changes the number of channels."""
    channels = [in_channels, *[out_channels] * num_blocks]
    return nn.Sequential(*(ResidualBlock(*pair) for pair in zip(channels[:-1], channels[1:], strict=True)))


class Descent(nn.Module):
    """Encoder stage of a U-Net: strided convolution (kernel 2, stride 2), then residual blocks.

    The number of channels changes in the first block, or in the strided convolution if ``widens_first``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, num_blocks: int, *, widens_first: bool = False
    ) -> None:
        super().__init__()
        below = out_channels if widens_first else in_channels
        self.down = ConvNorm(in_channels, below, 2, stride=2)
        self.blocks = residual_blocks(below, out_channels, num_blocks)

    def forward(self, inputs: SparseTensor) -> SparseTensor:
        """Halve the resolution: voxels of a level to those of the next coarser one."""
        return self.blocks(self.down(inputs))


class Ascent(nn.Module):
    """Decoder stage of a U-Net: transposed convolution, skip connection (concatenated), residual blocks."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, num_blocks: int) -> None:
        super().__init__()
        self.up = ConvNorm(in_channels, out_channels, 2, stride=2, transposed=True)
        self.blocks = residual_blocks(out_channels + skip_channels, out_channels, num_blocks)

    def forward(self, inputs: SparseTensor, skip: SparseTensor) -> SparseTensor:
        """Double the resolution and concatenate the encoder's features of that level."""
        up = self.up(inputs)
        return self.blocks(up.replace(torch.cat([up.features, skip.features], dim=1)))


def check_widths(widths: Sequence[int], expected: int, name: str) -> tuple[int, ...]:
    """Return the widths as a tuple; raise ValueError unless there are ``expected`` positive ones."""
    if len(widths) != expected or min(widths, default=0) < 1:
        raise ValueError(f"Wrong {name}: expected {expected} positive integers, got {tuple(widths)}.")
    return tuple(widths)
