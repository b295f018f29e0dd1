"""Spatial-temporal consistency (StCR) within small grid cells (CLIP2Scene, Sec. 3.3).

Scatter operations over pixel-point pairs: memory grows with the pairs, not with cells times slots.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

Guard = Literal["none", "unit", "centred"]

SLOTS = 8
"""Points that the released code keeps of a cell."""


def guarded(features: Float[Tensor, "rows channels"], guard: Guard) -> Float[Tensor, "rows channels"]:
    """Rule out collapse, the trivial solution in which all features are one vector.

    Eq. 2 has no minimum when that vector can grow. At unit length it cannot, but one common direction still
    is the best solution. Features that are centred first cannot share a direction: if all are equal they
    become zero.

    Args:
        features: Of all pairs in the batch.
        guard: "none" (the paper and its code), "unit" length, or "centred": the batch's mean taken off, then
            unit length.
    """
    if guard == "none":
        return features
    if guard == "centred":
        features = features - features.mean(0, keepdim=True)
    return F.normalize(features, dim=1, eps=1e-6)


def spatial_temporal_consistency(
    points: Float[Tensor, "pairs channels"],
    pixels: Float[Tensor, "pairs channels"],
    labels: Int[Tensor, " pairs"],
    cells: Int[Tensor, " pairs"],
    text: Float[Tensor, "classes channels"],
    *,
    temperature: float = 1.0,
    guard: Guard = "centred",
) -> Float[Tensor, ""]:
    """Attention-pooled consistency within cells: StCR (CLIP2Scene, Sec. 3.3, Eq. 2 to 4).

    In each cell, pixel features x and point features p are fused to f = sum of a x + b p (Eq. 3). The
    attention weights a and b are a softmax of <x, t> / lambda and <p, t> / lambda over the cell (Eq. 4), with
    t the text of the pair's pseudo-label. The loss is the sum over pairs of 1 - sigmoid(<p, f>), divided by
    the number of cells (Eq. 2).

    Args:
        points: Point feature of each pair; a point that two cameras see is in two pairs.
        pixels: Pixel feature of each pair.
        labels: Pseudo-label of each pair: the teacher's class at its pixel.
        cells: Cell of each pair's point: any numbers, equal for pairs of one cell.
        text: Text embedding of each class.
        temperature: lambda; 1 in the paper.
        guard: What rules out collapse; see :func:`guarded`.

    Returns:
        The loss, 0 or more; a differentiable zero without pairs.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    if not len(cells):
        return points.sum() * 0.0
    points, pixels = guarded(points, guard), guarded(pixels, guard)
    cell, number = _numbered(cells)
    scores = torch.cat([_score(pixels, text, labels), _score(points, text, labels)]) / temperature
    weights = softmax_within(scores, torch.cat([cell, cell]), number)
    for_pixels, for_points = weights.unflatten(0, (2, -1))[..., None]
    fused = points.new_zeros(number, points.shape[1])
    fused = fused.index_add(0, cell, for_pixels * pixels + for_points * points)
    agreement = (points * fused.index_select(0, cell)).sum(1).sigmoid()
    return (1 - agreement).sum() / number


def _score(
    features: Float[Tensor, "pairs channels"],
    text: Float[Tensor, "classes channels"],
    labels: Int[Tensor, " pairs"],
) -> Float[Tensor, " pairs"]:
    """Dot product of each feature with the text of its own class, without a row of channels per pair."""
    return (features @ text.T).gather(1, labels[:, None])[:, 0]


def packed_consistency(
    points: Float[Tensor, "pairs channels"],
    labels: Int[Tensor, " pairs"],
    cells: Int[Tensor, " pairs"],
    text: Float[Tensor, "classes channels"],
) -> Float[Tensor, ""]:
    """StCR as CLIP2Scene's released code computes it, for comparison.

    It differs from the paper: pixels take no part; a cell has one text, that of its first pair; only its
    first eight pairs count; and the mean runs over eight slots whether filled or not, an empty one costing
    1/2. Its code packs cells x 8 x features; this is the same value without the pack. (There, a score of
    exactly zero counts as an empty slot; here it does not.)

    Args:
        points: Point feature of each pair as the projection head gives it, neither centred nor normalised.
        labels: Pseudo-label of each pair.
        cells: Cell of each pair's point.
        text: Text embedding of each class.

    Returns:
        The loss, in 0..1; a differentiable zero without pairs.
    """
    if not len(cells):
        return points.sum() * 0.0
    cell, number = _numbered(cells)
    order = torch.argsort(cell, stable=True)
    counts = torch.bincount(cell, minlength=number)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(order), device=cell.device) - starts[cell[order]]
    first = order[rank == 0]
    kept = order[rank < SLOTS]
    points, cell = points[kept], cell[kept]
    weights = softmax_within((points * text[labels[first]][cell]).sum(1), cell, number)
    fused = points.new_zeros(number, points.shape[1]).index_add(0, cell, weights[:, None] * points)
    agreement = (points * fused.index_select(0, cell)).sum(1).sigmoid()
    empty = SLOTS * number - len(kept)
    return ((1 - agreement).sum() + 0.5 * empty) / (SLOTS * number)


def softmax_within(
    scores: Float[Tensor, " rows"], groups: Int[Tensor, " rows"], number: int
) -> Float[Tensor, " rows"]:
    """Softmax over the rows of each group.

    Args:
        scores: Of any size; the largest of a group is taken off before the exponential.
        groups: Group of each row, in 0..number - 1.
        number: How many groups.

    Returns:
        Weights in 0..1 that sum to 1 within each group.
    """
    highest = scores.new_full((number,), -torch.inf).scatter_reduce(0, groups, scores.detach(), "amax")
    grown = (scores - highest[groups]).exp()
    return grown / grown.new_zeros(number).index_add(0, groups, grown)[groups]


def _numbered(cells: Int[Tensor, " pairs"]) -> tuple[Int[Tensor, " pairs"], int]:
    """Number the cells that hold a pair from 0 on."""
    present, cell = cells.unique(return_inverse=True)
    return cell, len(present)
