"""Superpoints: the pieces a cloud falls into once the ground is taken away; votes and means within them.

Pseudo-labels are often wrong in parts: the wheel of a car is a bicycle, its window a house. A piece of the
cloud that stands alone is one thing, so its points may take one class. No label is needed for that, and no
image either.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
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
    x, y, z = positions[standing].double().numpy().T
    ranges = np.maximum(np.sqrt(x**2 + y**2 + z**2), 0.1)
    azimuth, elevation = np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(z / ranges))
    cells = np.floor(np.stack([azimuth / across, elevation / down, np.log(ranges) / along])).astype(np.int64)
    cells -= cells.min(1, keepdims=True)
    occupied = np.zeros(cells.max(1) + 1, dtype=bool)
    occupied[tuple(cells)] = True
    pieces, _ = ndimage.label(occupied, np.ones((3, 3, 3)))
    found[standing] = torch.from_numpy(pieces[tuple(cells)].astype(np.int64) - 1)
    return found


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
    points = positions.double().numpy()
    level = np.clip(points[:, :2], -FARTHEST, FARTHEST)  # a stray point far out must not make the map huge
    column, row = np.floor((level - level.min(0)) / cell).astype(np.int64).T
    lowest = np.full((column.max() + 1, row.max() + 1), np.inf)
    np.minimum.at(lowest, (column, row), points[:, 2])
    nearest = ndimage.distance_transform_edt(np.isinf(lowest), return_distances=False, return_indices=True)
    ground = ndimage.grey_opening(lowest[tuple(nearest)], size=round(widest / cell), mode="nearest")
    return torch.from_numpy(points[:, 2] - ground[column, row]).to(positions)


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
