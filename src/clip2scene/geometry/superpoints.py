"""Superpoints: the pieces a cloud falls into once the ground is taken away; votes and means within them.

Pseudo-labels are often wrong in parts: the wheel of a car is a bicycle, its window a house. A piece of the
cloud that stands alone is one thing, so its points may take one class. No label is needed for that, and no
image either.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clip2scene.geometry.pieces import find_map_pieces, find_pieces, heights_of


def find_superpoints(
    positions: Float[Tensor, "points 3"],
    *,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
    across: float | None = None,
    down: float | None = None,
) -> Int[Tensor, " points"]:
    """Split a sweep into connected pieces, ground left out.

    Args:
        positions: z up, in metres.
        viewpoint: Where the lidar stands in their frame, in metres.
        across: Width of a cell, in degrees (:func:`clip2scene.geometry.pieces.find_pieces`).
        down: Height of a cell, in degrees.

    Returns:
        Number of each point's superpoint, from 0; -1 for the ground; on the CPU.

    Raises:
        ValueError: If a cell's size is not positive.
    """
    found = find_pieces(positions.detach().cpu().numpy(), viewpoint=viewpoint, across=across, down=down)
    return torch.from_numpy(found)


def cut_rest(
    superpoints: Int[Tensor, " points"],
    positions: Float[Tensor, "points 3"],
    *,
    edge: float,
    upright: bool = False,
) -> Int[Tensor, " points"]:
    """Number what belongs to no superpoint, which is the ground, in squares; so every point is of a piece.

    Args:
        superpoints: What :func:`find_superpoints` returned, -1 for the ground.
        positions: In metres.
        edge: Of a square, in metres.
        upright: Whether to cut along z too, as where walls are among it.

    Returns:
        Number of each point's piece, from 0; those of superpoints stay as they are.
    """
    rest = superpoints < 0
    if not rest.any():
        return superpoints
    cells = (positions[rest, : 3 if upright else 2].double() / edge).floor().long()
    squares = torch.unique(cells, dim=0, return_inverse=True)[1]
    found = superpoints.clone()
    found[rest] = squares + int(superpoints.max()) + 1
    return found


def find_map_superpoints(positions: Float[Tensor, "points 3"]) -> Int[Tensor, " points"]:
    """Split a part of a map into connected pieces, ground left out.

    Args:
        positions: z up, in metres; at most a kilometre wide.

    Returns:
        Number of each point's superpoint, from 0; -1 for the ground; on the CPU.
    """
    return torch.from_numpy(find_map_pieces(positions.detach().cpu().numpy()))


def height_above_ground(positions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """Say how far each point stands above the ground (:func:`clip2scene.geometry.pieces.heights_of`).

    Returns:
        Metres; slightly negative below the ground's lowest points.
    """
    return torch.from_numpy(heights_of(positions.detach().cpu().numpy())).to(positions)


def vote(
    superpoints: Int[Tensor, " points"],
    logits: Float[Tensor, "points classes"],
    visible: Bool[Tensor, " points"],
) -> Int[Tensor, " points"]:
    """Give the points of each superpoint one class: that of the highest summed logits.

    Args:
        superpoints: What :func:`find_superpoints` returned.
        logits: How well each class fits each point; summed over the points, so that many who are unsure
            outweigh a few who are sure.
        visible: Which points have a vote: those that a camera sees.

    Returns:
        The class with the highest sum at every point of a superpoint, those without a vote included;
        the point's own best class on the ground; -1 where nobody voted.
    """
    votes = torch.where(visible[:, None], logits, 0.0)
    own = torch.where(visible, votes.argmax(1), -1)
    inside = superpoints >= 0
    if not inside.any():
        return own
    ballot = votes.new_zeros(int(superpoints.max()) + 1, logits.shape[1])
    ballot.index_add_(0, superpoints[inside], votes[inside])
    winner = torch.where(ballot.any(1), ballot.argmax(1), -1)  # all zero: nobody voted
    return torch.where(inside, winner[superpoints.clamp(min=0)], own)


def average_within(
    superpoints: Int[Tensor, " points"], values: Float[Tensor, "points channels"]
) -> Float[Tensor, "points channels"]:
    """Give the points of each superpoint their mean; those of the ground keep their own value.

    Args:
        superpoints: What :func:`find_superpoints` returned.
        values: Of each point.

    Returns:
        The superpoint means, in the type and unit of ``values``.
    """
    inside = superpoints >= 0
    if not inside.any():
        return values
    pieces = superpoints[inside]
    counts = torch.bincount(pieces)
    sums = values.new_zeros(len(counts), values.shape[1]).index_add_(0, pieces, values[inside])
    means = values.clone()
    means[inside] = (sums / counts.clamp(min=1)[:, None])[pieces]
    return means
