"""Superpoints: the pieces a cloud falls into once the ground is taken away; votes and means within them.

Pseudo-labels are often wrong in parts: the wheel of a car is a bicycle, its window a house. A piece of the
cloud that stands alone is one thing, so its points may take one class. No label is needed for that, and no
image either.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

FARTHEST = 500.0  # metres; no lidar of a vehicle reaches farther


def find_superpoints(
    positions: Float[Tensor, "points 3"],
    *,
    across: float = 0.9,
    down: float = 2.0,
    along: float = 0.02,
    ground_height: float = 0.3,
) -> Int[Tensor, " points"]:
    """Split a sweep into connected pieces, ground left out.

    Points are sorted into cells of the sensor's own view (azimuth, elevation, logarithm of the range), where
    a spinning lidar samples evenly at any distance. Occupied cells that touch, be it at a corner, are one
    piece.

    Args:
        positions: In the lidar frame, z up, in metres.
        across: Width of a cell, in degrees; somewhat more than the gap between two firings.
        down: Height of a cell, in degrees; somewhat more than the gap between two rings.
        along: Length of a cell, as a fraction of the range.
        ground_height: Points up to this far above the ground belong to it, in metres.

    Returns:
        Number of each point's superpoint, from 0; -1 for the ground.

    Raises:
        ValueError: If a cell's size is not positive.
    """
    if min(across, down, along) <= 0:
        raise ValueError(
            f"cells need positive sizes, got {across} and {down} degrees and {along} of the range"
        )
    found = torch.full((len(positions),), -1)
    standing = height_above_ground(positions) > ground_height
    if not standing.any():
        return found
    x, y, z = positions[standing].double().T.contiguous().numpy()
    ranges = np.maximum(np.sqrt(x**2 + y**2 + z**2), 0.1)
    azimuth, elevation = np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(z / ranges))
    cells = np.stack([azimuth / across, elevation / down, np.log(ranges) / along])
    found[standing] = connected_pieces(torch.from_numpy(np.floor(cells)).long())
    return found


def connected_pieces(cells: Int[Tensor, "3 points"]) -> Int[Tensor, " points"]:
    """Number the pieces of a grid whose occupied cells touch, be it at a corner.

    Only occupied cells cost time and memory, however large the grid is.

    Args:
        cells: Indices of each point's cell; at least one point.

    Returns:
        Piece of each point, numbered from 0 by each piece's first cell.
    """
    first, second, third = cells - cells.amin(1, keepdim=True)
    # One more of each than there are, so that cells at opposite borders do not touch.
    rows, length = int(second.max()) + 2, int(third.max()) + 2
    keys, cell_of_point = torch.unique((first * rows + second) * length + third, return_inverse=True)
    columns = (0, 1, rows - 1, rows, rows + 1)  # a column's own cells, and those ahead of it
    links = np.concatenate([_touching(keys.numpy(), column * length) for column in columns], axis=1)
    graph = coo_array((np.ones(links.shape[1], dtype=bool), tuple(links)), shape=(len(keys), len(keys)))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()[cell_of_point]


def _touching(keys: Int[np.ndarray, " cells"], step: int) -> Int[np.ndarray, "2 links"]:
    """Link each occupied cell to those at most one key from the place ``step`` ahead of it."""
    links, first = [], np.searchsorted(keys, keys + step - 1)
    for number in range(3):
        there = np.minimum(first + number, len(keys) - 1)
        here = np.flatnonzero(np.abs(keys[there] - keys - step) <= 1)
        links.append(np.stack([here, there[here]]))
    return np.concatenate(links, axis=1)


def height_above_ground(
    positions: Float[Tensor, "points 3"], *, cell: float = 1.0, widest: float = 9.0
) -> Float[Tensor, " points"]:
    """Say how far each point stands above the ground.

    The ground is the lowest point of each cell of a map, after a morphological opening: bumps narrower than
    ``widest`` are taken off, slopes stay.

    Args:
        positions: z up, in metres.
        cell: Edge of a map cell, in metres.
        widest: What is wider than this counts as ground, in metres.

    Returns:
        Metres; slightly negative below the ground's lowest points.
    """
    if not len(positions):
        return positions.new_zeros(0)
    points = positions.double()
    level = points[:, :2].clamp(-FARTHEST, FARTHEST)  # a stray point far out must not make the map huge
    column, row = ((level - level.amin(0)) / cell).long().unbind(1)
    size = int(column.max()) + 1, int(row.max()) + 1
    unknown = points.new_full((size[0] * size[1],), torch.inf)
    lowest = unknown.scatter_reduce(0, column * size[1] + row, points[:, 2], "amin").view(size).numpy()
    nearest = ndimage.distance_transform_edt(np.isinf(lowest), return_distances=False, return_indices=True)
    ground = ndimage.grey_opening(lowest[tuple(nearest)], size=round(widest / cell), mode="nearest")
    return (points[:, 2] - torch.from_numpy(ground)[column, row]).to(positions)


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
