"""What a cloud was seen from, and in: upright or not, in a room or outside, by one sensor or by many.

Each is a share or a length that sets the two cases far apart. Measured on sweeps of toytown and of three real
lidars, and on toytown's rooms: :func:`share_below` is at most 0.11 for upright sweeps and 0.99 or more for
those turned upside down (but one, where another surface is taken for the ground); :func:`ceiling_height` is
2.6 m in rooms and at most 0.3 m in streets; :func:`share_behind` is at most 0.05 for a sweep seen from the
origin, and 0.19 or more for eight of them put together.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.geometry.ground import Ground, estimate_ground

_NEAR_M = 25.0  # along x and y; farther off, a street may go downhill
_OFF_M = 0.3  # from the plane, for a point to stand on it or hang under it
_CELL_DEG = 0.5
_BEHIND = 1.5  # times as far as another point in the same direction
_OWN_M = 1.0  # nearer points are the vehicle's own
_MOST_POINTS = 50_000


def share_below(positions: Float[Tensor, "points 3"], ground: Ground) -> float:
    """Say how much of what is not on a ground lies below it.

    Args:
        positions: In metres.
        ground: Their ground, as far as anybody can tell.

    Returns:
        A share of the points around the origin that are off the plane, in 0..1; 0 where there are none.
    """
    above = ground.height_above(positions[(positions[:, :2].abs() < _NEAR_M).all(1)])
    off = above[above.abs() > _OFF_M]
    return float((off < 0).double().mean()) if len(off) else 0.0


def ceiling_height(positions: Float[Tensor, "points 3"]) -> float:
    """Measure how high the ceiling of a room lies above its floor.

    Args:
        positions: z up, in metres, in any frame.

    Returns:
        Metres; about 0 where the lowest and the highest points are the same surface, as on a street, and NaN
        where either is none.
    """
    middle = positions.double().median(0).values
    about = (positions.double() - middle).float()
    floor, ceiling = (
        estimate_ground(about * about.new_tensor([1.0, 1.0, sign]), reach=4.0, cell=0.2, band=0.06)
        for sign in (1, -1)
    )
    if floor is None or ceiling is None:
        return float("nan")
    return -ceiling.height - floor.height


def share_behind(positions: Float[Tensor, "points 3"]) -> float:
    """Say how many points lie far behind others as seen from the origin, where one sensor cannot see them.

    Args:
        positions: In metres.

    Returns:
        A share of the points, in 0..1, of every so many of them.
    """
    points = positions[:: max(1, len(positions) // _MOST_POINTS) | 1].double()
    ranges = points.norm(dim=1)
    points, ranges = points[ranges > _OWN_M], ranges[ranges > _OWN_M]
    if not len(points):
        return 0.0
    azimuth = torch.atan2(points[:, 1], points[:, 0]).rad2deg()
    elevation = (points[:, 2] / ranges).clamp(-1, 1).asin().rad2deg()
    cells = ((azimuth + 180) / _CELL_DEG).long() * 1000 + ((elevation + 90) / _CELL_DEG).long()
    _, place = torch.unique(cells, return_inverse=True)
    nearest = torch.full((int(place.max()) + 1,), np.inf, dtype=torch.float64)
    nearest.scatter_reduce_(0, place, ranges, "amin")
    return float((ranges > _BEHIND * nearest[place]).double().mean())
