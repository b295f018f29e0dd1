"""Sparse convolutions: gather, multiply, scatter, one kernel offset at a time.

Written as one autograd function, so that nothing but the input and the weight is kept for the backward
pass. The loop over (at most 27) kernel offsets keeps its buffers small enough for the cache, which is
several times faster on a CPU than gathering everything at once. With
``torch.set_float32_matmul_precision("medium")`` the products run twice as fast on many CPUs; that is a
choice for the program to make, not for a library.

This is the readable reference; :mod:`clip2scene.student.sparse.cpu_kernels` is its faster twin for the CPU.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip2scene.student.sparse import cpu_kernels
from clip2scene.student.sparse.finish import Finish
from clip2scene.student.sparse.kernel_map import KernelMap
from clip2scene.student.sparse.measured import Work, compiled_wins
from clip2scene.student.sparse.tensor import SparseTensor


class _SparseConvolution(torch.autograd.Function):
    """Convolution with its hand-written gradient, by the compiled kernels where they win."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, pairs: KernelMap) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(features, weight)
        ctx.pairs = pairs
        return _choose("convolve", features, weight.shape[2])(features, weight, pairs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # noqa: ANN401
        features, weight = ctx.saved_tensors
        pairs, gradient = ctx.pairs, gradient.contiguous()
        of_features = of_weight = None
        if ctx.needs_input_grad[0]:
            across = weight.transpose(1, 2)
            of_features = _choose("convolve", gradient, across.shape[2])(gradient, across, pairs.transposed)
        if ctx.needs_input_grad[1]:
            of_weight = _choose("weight_gradient", features, gradient.shape[1])(features, gradient, pairs)
        return of_features, of_weight, None


def gather_multiply_scatter(
    features: Float[Tensor, " sources in"], weight: Float[Tensor, " offsets in out"], pairs: KernelMap
) -> Float[Tensor, "targets out"]:
    """Sum, into each target row, its source rows times their offset's matrix.

    Half-precision products are summed in float32.
    """
    summed = torch.float32 if features.dtype.itemsize == 2 else features.dtype
    if pairs.centre is None:
        out = features.new_zeros(pairs.num_targets, weight.shape[2], dtype=summed)
    else:
        out = torch.mm(features, weight[pairs.centre]).to(summed)
    grouped = zip(weight, pairs.sources.split(pairs.counts), pairs.targets.split(pairs.counts), strict=True)
    for matrix, sources, targets in grouped:
        if len(sources):
            out.index_add_(0, targets, torch.mm(features.index_select(0, sources), matrix).to(summed))
    return out.to(features.dtype)


def weight_gradient(
    features: Float[Tensor, " sources in"], gradient: Float[Tensor, "targets out"], pairs: KernelMap
) -> Float[Tensor, " offsets in out"]:
    """Return the gradient of the weight, given the gradient of :func:`gather_multiply_scatter`'s result.

    The gradient of the features needs no function of its own: it is the same convolution with the pairs and
    every matrix transposed.
    """
    out = features.new_zeros(len(pairs.counts), features.shape[1], gradient.shape[1])
    if pairs.centre is not None:
        torch.mm(features.t(), gradient, out=out[pairs.centre])
    grouped = zip(out, pairs.sources.split(pairs.counts), pairs.targets.split(pairs.counts), strict=True)
    for matrix, sources, targets in grouped:
        if len(sources):
            there = gradient.index_select(0, targets)
            torch.mm(features.index_select(0, sources).t(), there, out=matrix)
    return out


_PATHS: dict[str, tuple[Work, Work]] = {
    "convolve": (gather_multiply_scatter, cpu_kernels.convolve),
    "weight_gradient": (weight_gradient, cpu_kernels.weight_gradient),
}


def _choose(work: str, rows: Float[Tensor, "rows channels"], columns: int) -> Work:
    """Choose between plain torch and the compiled kernels."""
    plain, compiled = _PATHS[work]
    if not cpu_kernels.usable(rows, columns):
        return plain
    return compiled if compiled_wins(work, max(rows.shape[1], columns), plain, compiled) else plain


def sparse_convolution(
    features: Float[Tensor, " sources in"],
    weight: Float[Tensor, " offsets in out"],
    pairs: KernelMap,
    finish: Finish | None = None,
) -> Float[Tensor, "targets out"]:
    """Convolve the features of the source voxels onto the target voxels.

    Under autocast the product runs in autocast's type and is returned in it, like ``conv3d``.

    Args:
        features: Rows of the source voxels.
        weight: One matrix per kernel offset.
        pairs: Which source meets which target under which offset.
        finish: What is done to the sums at last; it has no gradient.
    """
    device = features.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        features, weight = features.to(dtype), weight.to(dtype)
    features = features.contiguous()
    if finish is None:
        return _SparseConvolution.apply(features, weight, pairs)
    if _choose("convolve", features, weight.shape[2]) is cpu_kernels.convolve:
        return cpu_kernels.convolve(features, weight, pairs, finish)
    return finish(gather_multiply_scatter(features, weight, pairs))


class SparseConv3d(nn.Module):
    """Sparse convolution without bias: submanifold, strided (kernel 2, stride 2) or its transpose.

    A submanifold convolution keeps the set of occupied voxels; its value at each is ``conv3d``'s with zero
    padding. A strided one goes one level coarser, to every cell that holds a voxel. A transposed one goes one
    level finer, to the voxels that are occupied there.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Edge in voxels: odd for stride 1, else 2.
        stride: 1 or 2, in voxels.
        transposed: Upsample; needs stride 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        possible = (stride == 2 and kernel_size == 2) or (
            stride == 1 and kernel_size % 2 == 1 and not transposed
        )
        if not possible:
            raise ValueError(
                "Unsupported sparse convolution: expected stride 1 with an odd kernel, or stride 2 with "
                f"kernel 2, got stride {stride}, kernel {kernel_size}, transposed {transposed}."
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size, self.stride, self.transposed = kernel_size, stride, transposed
        self.weight = nn.Parameter(torch.empty(kernel_size**3, in_channels, out_channels))
        bound = 1 / math.sqrt((out_channels if transposed else in_channels) * kernel_size**3)
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, inputs: SparseTensor, finish: Finish | None = None) -> SparseTensor:
        """Convolve; raises ValueError when asked to go up from the finest level."""
        pyramid, level = inputs.pyramid, inputs.level
        if self.stride == 1:
            pairs = pyramid.neighbours(level, self.kernel_size)
        elif self.transposed:
            if level == 0:
                raise ValueError("Cannot go up from the finest level: expected level 1 or coarser, got 0.")
            level -= 1
            pairs = pyramid.descent(level).transposed
        else:
            pairs = pyramid.descent(level)
            level += 1
        rows = sparse_convolution(inputs.features, self.weight, pairs, finish)
        return SparseTensor(rows, pyramid, level)

    def extra_repr(self) -> str:
        """Describe the layer for printing."""
        kind = "up" if self.transposed else "down" if self.stride == 2 else "submanifold"
        return f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, {kind}"
