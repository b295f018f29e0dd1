"""Spatial-temporal consistency (StCR): what lies in one small cell should look alike (paper, Sec. 3.3).

Everything is scatter operations over pixel-point pairs: memory grows with the pairs, not with cells times
slots.
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
    """Take the trivial solutions away.

    Eq. 2 falls for ever when all features are one vector that grows; of unit length they cannot grow, but one
    common direction still is the best answer. Centred features cannot share a direction: if all are alike
    they are zero, which agrees with nothing.

    Args:
        features: Of all pairs in the batch.
        guard: "none" as the paper and its code have it, "unit" length, or "centred" on the batch's mean
            first.
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
    """Draw the points of a cell to what its pixels and points have in common (paper, Eq. 2 to 4).

    In each cell, pixel features x and point features p are fused to f = sum of a x + b p (Eq. 3). The weights
    a and b are a softmax of <x, t> / lambda and <p, t> / lambda over all of them (Eq. 4), with t the text of
    the pair's pixel. The loss is the sum over pairs of 1 - sigmoid(<p, f>), divided by the number of cells
    (Eq. 2).

    Args:
        points: Point feature of each pair; a point that two cameras see is in two pairs.
        pixels: Pixel feature of each pair.
        labels: Class that the teacher names at the pair's pixel.
        cells: Cell of each pair's point: any numbers, equal for pairs of one cell.
        text: Text embedding of each class.
        temperature: lambda; 1 in the paper.
        guard: See :func:`guarded`.

    Returns:
        The loss; zero without pairs, with gradients of zero.

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
    """Compare each feature with the text of its own class; rows of classes are shorter than of channels."""
    return (features @ text.T).gather(1, labels[:, None])[:, 0]


def packed_consistency(
    points: Float[Tensor, "pairs channels"],
    labels: Int[Tensor, " pairs"],
    cells: Int[Tensor, " pairs"],
    text: Float[Tensor, "classes channels"],
) -> Float[Tensor, ""]:
    """Compute the released code's form, for comparison.

    It differs from the paper: pixels take no part; a cell has one text, that of its first pair; only its
    first eight pairs count; and the mean runs over eight slots whether filled or not, an empty one costing
    1/2. Its code packs cells x 8 x features; this is the same value without the pack. (There, a score of
    exactly zero counts as an empty slot; here it does not.)

    Args:
        points: Point feature of each pair, as the layer gives it: neither centred nor of unit length.
        labels: Class that the teacher names at each pair.
        cells: Cell of each pair's point.
        text: Text embedding of each class.
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
    """Take a softmax over the rows of each group.

    Args:
        scores: Of any size; the largest of a group is taken off before the exponential.
        groups: Group of each row, below ``number``.
        number: How many groups.
    """
    highest = scores.new_full((number,), -torch.inf).scatter_reduce(0, groups, scores.detach(), "amax")
    grown = (scores - highest[groups]).exp()
    return grown / grown.new_zeros(number).index_add(0, groups, grown)[groups]


def _numbered(cells: Int[Tensor, " pairs"]) -> tuple[Int[Tensor, " pairs"], int]:
    """Number the cells that hold a pair from 0 on."""
    present, cell = cells.unique(return_inverse=True)
    return cell, len(present)
