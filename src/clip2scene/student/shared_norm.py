"""Batch normalisation over the rows of all ranks: as if one process had them all.

``torch.nn.SyncBatchNorm`` takes no tensors of a CPU.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clip2scene.ranks import Ranks


def shared_batch_norm(
    rows: Float[Tensor, "rows channels"], norm: nn.BatchNorm1d, ranks: Ranks
) -> Float[Tensor, "rows channels"]:
    """Normalise each channel over the rows of all ranks, and move the running statistics.

    Args:
        rows: Of this rank, one or more.
        norm: Its weights and running statistics, those of all ranks alike.
        ranks: All of them call this, each with its rows.
    """
    count, mean, variance = _statistics(rows.detach(), ranks)
    with torch.no_grad():
        assert norm.running_mean is not None and norm.running_var is not None
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean.to(rows.dtype), norm.momentum)
        unbiased = variance * count / (count - 1)
        norm.running_var.lerp_(unbiased.to(rows.dtype), norm.momentum)
    scale = (variance + norm.eps).rsqrt()
    return _Normalise.apply(rows, norm.weight, norm.bias, mean, scale, count, ranks)


def _statistics(rows: Tensor, ranks: Ranks) -> tuple[Tensor, Tensor, Tensor]:
    """Give number, means and variances of the rows of all ranks, in float64 (Chan et al. 1979)."""
    variance, mean = torch.var_mean(rows, 0, correction=0)
    own = torch.cat([mean.new_tensor([len(rows)]), mean, variance]).double()
    table = own.new_zeros(ranks.size, len(own))
    table[ranks.rank] = own
    counts, means, variances = ranks.sum_(table).split([1, *2 * [rows.shape[1]]], 1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    return count, mean, (counts * (variances + (means - mean) ** 2)).sum(0) / count


class _Normalise(torch.autograd.Function):
    """Normalisation by statistics of all rows, with the gradient that flows through these to all ranks."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor, *statistics: Any) -> Tensor:  # noqa: ANN401
        mean, scale, ctx.count, ctx.ranks = statistics
        mean, scale = mean.to(rows.dtype), scale.to(rows.dtype)
        ctx.save_for_backward(rows, weight, mean, scale)
        return ((rows - mean).mul_(scale * weight)).add_(bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        rows, weight, mean, scale = ctx.saved_tensors
        normalised = (rows - mean).mul_(scale)
        own = torch.stack([gradient.sum(0), (gradient * normalised).sum(0)])
        of_bias, of_weight = ctx.ranks.sum_(own.to(torch.float64, copy=True)).div_(ctx.count).to(rows.dtype)
        of_rows = (gradient - of_bias).sub_(normalised.mul_(of_weight)).mul_(weight * scale)
        return of_rows, own[1], own[0], None, None, None, None
