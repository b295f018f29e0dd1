"""Pieces of a cloud: what hangs together once the ground is taken away; in NumPy, without torch.

:mod:`clip2scene.geometry.superpoints` says what they are for, and gives them as tensors.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clip2scene.geometry.beams import BeamSpacing, beam_spacing

FARTHEST = 500.0  # metres; no lidar of a vehicle reaches farther

_ALONG = 0.02  # length of a cell, as a fraction of the range
_CUBE_M = 0.2  # edge of the cubes that a map's points are sorted into
_GROUND_M = 0.3  # points up to this far above the ground belong to it
_CELL_M, _WIDEST = 1.0, 9  # of the map that the ground is found on; what is wider, in cells, is ground

CELLS_ACROSS, CELLS_DOWN = 1.8, 1.5
"""Size of a cell in gaps between firings, and between rings: a lost return or two shall part nothing."""

USUAL = BeamSpacing(0.5, 4 / 3)
"""Degrees; of 32 beams, where a cloud does not tell its own."""


def find_pieces(
    positions: Float[np.ndarray, "points 3"],
    *,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
    across: float | None = None,
    down: float | None = None,
) -> Int[np.ndarray, " points"]:
    """Split a sweep into connected pieces, ground left out: its superpoints.

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

    Returns:
        Number of each point's piece, from 0; -1 for the ground.

    Raises:
        ValueError: If a cell's size is not positive.
    """
    found = np.full(len(positions), -1)
    x, y, z = np.ascontiguousarray((positions.astype(np.float64) - np.array(viewpoint)).T)
    ranges = np.maximum(np.sqrt(x**2 + y**2 + z**2), 0.1)
    azimuth, elevation = np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin((z / ranges).clip(-1, 1)))
    if across is None or down is None:
        spacing = beam_spacing(azimuth, elevation) or USUAL
        across = CELLS_ACROSS * spacing.across if across is None else across
        down = CELLS_DOWN * spacing.down if down is None else down
    if min(across, down) <= 0:
        raise ValueError(f"cells need positive sizes, got {across} and {down} degrees")
    standing = np.flatnonzero(heights_of(positions) > _GROUND_M)
    if not len(standing):
        return found
    columns = max(1, int(360 / across))  # of equal width, a little wider than asked for
    azimuth, elevation, ranges = azimuth[standing], elevation[standing], ranges[standing]
    cells = np.floor([azimuth * (columns / 360), elevation / down, np.log(ranges) / _ALONG])
    found[standing] = connected_pieces(cells.astype(np.int64), around=columns)
    return found


def find_map_pieces(positions: Float[np.ndarray, "points 3"]) -> Int[np.ndarray, " points"]:
    """Split a part of a map into connected pieces, ground left out.

    A map was seen from many places, so its points are sorted into cubes; those that touch, be it at a corner,
    are one piece. Cubes and the cells of the ground lie where they would in any other part of the map.

    Args:
        positions: z up, in metres; at most a kilometre wide.

    Returns:
        Number of each point's piece, from 0; -1 for the ground.
    """
    found = np.full(len(positions), -1)
    standing = heights_of(positions, aligned=True) > _GROUND_M
    if standing.any():
        found[standing] = connected_pieces(np.floor(positions[standing] / _CUBE_M).astype(np.int64).T)
    return found


def connected_pieces(
    cells: Int[np.ndarray, "3 points"], *, around: int | None = None
) -> Int[np.ndarray, " points"]:
    """Number the pieces of a grid whose occupied cells touch, be it at a corner.

    Only occupied cells cost time and memory, however large the grid is.

    Args:
        cells: Indices of each point's cell; at least one point.
        around: After so many of the first index, cells begin again; None where they do not.

    Returns:
        Piece of each point, numbered from 0 by each piece's first cell.
    """
    cells = cells - cells.min(1, keepdims=True)
    # One more of each than there are, so that cells at opposite borders do not touch.
    _, rows, length = (cells.max(1) + 2).tolist()
    keys, cell_of_point = np.unique((cells[0] * rows + cells[1]) * length + cells[2], return_inverse=True)
    columns = [1, rows - 1, rows, rows + 1]  # those ahead of a cell's own
    if around is not None:
        columns += [column - around * rows for column in columns[1:]]
    next_in_column = np.flatnonzero(np.diff(keys) == 1)
    links = [np.stack([next_in_column, next_in_column + 1])]
    links += [_touching(keys, column * length) for column in columns]
    first, second = np.concatenate(links, axis=1)
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(keys), len(keys)))
    return connected_components(graph, directed=False)[1].astype(np.int64)[cell_of_point]


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


def heights_of(
    positions: Float[np.ndarray, "points 3"], *, aligned: bool = False
) -> Float[np.ndarray, " points"]:
    """Say how far each point stands above the ground.

    The ground is the lowest point of each cell of a map, after a morphological opening: bumps narrower than
    nine metres are taken off, slopes stay.

    Args:
        positions: z up, in metres.
        aligned: Whether ``positions`` are a part of a map, at most a kilometre wide: cells lie where they
            would in any other part. Else points that lie farther out than a lidar reaches share a cell.

    Returns:
        Metres; slightly negative below the ground's lowest points.
    """
    if not len(positions):
        return positions[:, 2]
    points = np.ascontiguousarray(positions.T, np.float64)
    if aligned:
        cells = np.floor(points[:2] / _CELL_M).astype(np.int64)
        column, row = cells - cells.min(1, keepdims=True)
    else:
        level = points[:2].clip(-FARTHEST, FARTHEST)  # a stray point far out must not make the map huge
        column, row = ((level - level.min(1, keepdims=True)) / _CELL_M).astype(np.int64)
    size = int(column.max()) + 1, int(row.max()) + 1
    lowest = np.full(size, np.inf)
    np.minimum.at(lowest.reshape(-1), column * size[1] + row, points[2])
    nearest = ndimage.distance_transform_edt(np.isinf(lowest), return_distances=False, return_indices=True)
    ground = ndimage.grey_opening(lowest[tuple(nearest)], size=_WIDEST, mode="nearest")
    return (points[2] - ground[column, row]).astype(positions.dtype)
