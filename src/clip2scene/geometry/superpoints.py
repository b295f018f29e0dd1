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

from clip2scene.geometry.beams import BeamSpacing, beam_spacing

FARTHEST = 500.0  # metres; no lidar of a vehicle reaches farther

CELLS_ACROSS, CELLS_DOWN = 1.8, 1.5
"""Size of a cell in gaps between firings, and between rings: a lost return or two shall part nothing."""

USUAL = BeamSpacing(0.5, 4 / 3)
"""Degrees; of 32 beams, where a cloud does not tell its own."""


def find_superpoints(
    positions: Float[Tensor, "points 3"],
    *,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
    across: float | None = None,
    down: float | None = None,
    along: float = 0.02,
    ground_height: float = 0.3,
) -> Int[Tensor, " points"]:
    """Split a sweep into connected pieces, ground left out.

    Points are sorted into cells of the sensor's own view (azimuth, elevation, logarithm of the range), where
    a spinning lidar samples evenly at any distance. Occupied cells that touch, be it at a corner, are one
    piece; the view has no seam.

    Args:
        positions: z up, in metres.
        viewpoint: Where the lidar stands in their frame, in metres.
        across: Width of a cell, in degrees; somewhat more than the gap between two firings. By default it
            follows from the cloud (:func:`~clip2scene.geometry.beams.beam_spacing`).
        down: Height of a cell, in degrees; somewhat more than the gap between two rings. By default it
            follows from the cloud.
        along: Length of a cell, as a fraction of the range.
        ground_height: Points up to this far above the ground belong to it, in metres.

    Returns:
        Number of each point's superpoint, from 0; -1 for the ground.

    Raises:
        ValueError: If a cell's size is not positive.
    """
    found = torch.full((len(positions),), -1)
    x, y, z = (positions.double() - torch.tensor(viewpoint, dtype=torch.double)).T.contiguous().numpy()
    ranges = np.maximum(np.sqrt(x**2 + y**2 + z**2), 0.1)
    azimuth, elevation = np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin((z / ranges).clip(-1, 1)))
    if across is None or down is None:
        spacing = beam_spacing(azimuth, elevation) or USUAL
        across = CELLS_ACROSS * spacing.across if across is None else across
        down = CELLS_DOWN * spacing.down if down is None else down
    if min(across, down, along) <= 0:
        raise ValueError(
            f"cells need positive sizes, got {across} and {down} degrees and {along} of the range"
        )
    standing = height_above_ground(positions) > ground_height
    if not standing.any():
        return found
    columns = max(1, int(360 / across))  # of equal width, a little wider than asked for
    cells = np.floor([azimuth * (columns / 360), elevation / down, np.log(ranges) / along])
    found[standing] = connected_pieces(torch.from_numpy(cells).long()[:, standing], around=columns)
    return found


def connected_pieces(cells: Int[Tensor, "3 points"], *, around: int | None = None) -> Int[Tensor, " points"]:
    """Number the pieces of a grid whose occupied cells touch, be it at a corner.

    Only occupied cells cost time and memory, however large the grid is.

    Args:
        cells: Indices of each point's cell; at least one point.
        around: After so many of the first index, cells begin again; None where they do not.

    Returns:
        Piece of each point, numbered from 0 by each piece's first cell.
    """
    cells = cells - cells.amin(1, keepdim=True)
    # One more of each than there are, so that cells at opposite borders do not touch.
    _, rows, length = (cells.amax(1) + 2).tolist()
    keys, cell_of_point = torch.unique((cells[0] * rows + cells[1]) * length + cells[2], return_inverse=True)
    columns = [1, rows - 1, rows, rows + 1]  # those ahead of a cell's own
    if around is not None:
        columns += [column - around * rows for column in columns[1:]]
    next_in_column = np.flatnonzero(np.diff(keys.numpy()) == 1)
    links = [np.stack([next_in_column, next_in_column + 1])]
    links += [_touching(keys.numpy(), column * length) for column in columns]
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(keys), len(keys)))
    return torch.from_numpy(connected_components(graph, directed=False)[1]).long()[cell_of_point]


def _touching(keys: Int[np.ndarray, " cells"], step: int) -> Int[np.ndarray, "2 links"]:
    """Link each occupied cell to those at most one key from the place ``step`` ahead of it."""
    start = np.searchsorted(keys, -step - 1)  # before it, that place is before all cells
    places = keys[start:] + step
    links, at = [], np.searchsorted(keys, places - 1)
    for number in range(3):
        there = np.minimum(at + number, len(keys) - 1)
        here = np.flatnonzero(np.abs(keys[there] - places) <= 1)
        links.append(np.stack([start + here, there[here]]))
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
