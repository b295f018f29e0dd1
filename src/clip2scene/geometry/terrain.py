"""The ground of a map, as a surface that goes on wherever the map does.

:mod:`clip2scene.geometry.level` brings the cloud of one sensor level by the ground around it. A map reaches
farther, over hills; its z points up already, so only heights are to be found. Windows of 96 m stand on a grid
of 48 m, and in each the surface is fitted as for a sweep: a plane, then knots 8 m apart that bend away from
it. Where windows overlap, a knot's height is their mean, and a window's share in it falls to nothing at its
border. So the surface has no seams, and at any place it follows from the points within 104 m along x and y,
however a map is cut.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

from clip2scene.geometry.ground import Ground, estimate_ground
from clip2scene.geometry.level import REACH, SPACING, fit_surface, lowest_of_map

_KNOTS_APART = int(REACH / SPACING)  # from a window's middle to the next one's
_UNSURE = 1e-3  # share of a window without a ground, beside those that have one

LowestIn = Callable[[Float64[np.ndarray, "2"], Float64[np.ndarray, "2"]], Float64[np.ndarray, "points 3"]]
"""Gives the lowest points of small cells of a map, of those whose x and y are from one corner to another."""


class _Window(NamedTuple):
    """The ground of a window, and how much it is to be trusted."""

    knots: Float64[np.ndarray, "knots knots"]
    share: float


class Terrain:
    """The ground of a map.

    Args:
        lowest_in: Gives at least the lowest point of each cell of
            :data:`~clip2scene.geometry.level.CELL_M`, in metres, z up.
    """

    def __init__(self, lowest_in: LowestIn) -> None:
        self.lowest_in = lowest_in
        self._windows: dict[tuple[int, int], _Window | None] = {}

    def __call__(
        self, positions: Float[Any, "points 3"]
    ) -> tuple[Float32[np.ndarray, "points 3"], Float32[np.ndarray, " points"]]:
        """Bring points to a level ground.

        Args:
            positions: Some of the map's, at least one, in metres; an array, or a tensor on the CPU.

        Returns:
            The points, moved along z so that the ground lies at z = 0 everywhere; and these heights.
        """
        points = np.asarray(positions)
        places = points[:, :2] / SPACING
        corners = np.floor(places).astype(np.int64)
        across, along = (places - corners).T
        first, last = corners.min(0), corners.max(0) + 1
        knots, (column, row) = self.knots(first, last), (corners - first).T
        flat, place = knots.ravel(), column * knots.shape[1] + row
        near = flat[place] * (1 - along) + flat[place + 1] * along
        place += knots.shape[1]
        far = flat[place] * (1 - along) + flat[place + 1] * along
        level = points.astype(np.float32)
        level[:, 2] -= near * (1 - across) + far * across
        return level, level[:, 2]

    def knots(self, first: Int[np.ndarray, "2"], last: Int[np.ndarray, "2"]) -> Float64[np.ndarray, "x y"]:
        """Give the heights of knots, from a first to a last one along x and y, in metres.

        Knots are numbered from that at x = y = 0. NaN where there is no point around.
        """
        sums, shares = np.zeros(last - first + 1), np.zeros(last - first + 1)
        low, high = first // _KNOTS_APART, -(-last // _KNOTS_APART)
        hat = 1 - np.abs(np.arange(-_KNOTS_APART, _KNOTS_APART + 1)) / _KNOTS_APART
        for x in range(low[0], high[0] + 1):
            for y in range(low[1], high[1] + 1):
                window = self._window(x, y)
                if window is None:
                    continue
                corner = np.array([x - 1, y - 1]) * _KNOTS_APART  # its first knot
                begin, end = np.maximum(first, corner), np.minimum(last, corner + 2 * _KNOTS_APART) + 1
                its = tuple(slice(*each) for each in zip(begin - corner, end - corner, strict=True))
                ours = tuple(slice(*each) for each in zip(begin - first, end - first, strict=True))
                weight = window.share * hat[its[0], None] * hat[None, its[1]]
                sums[ours] += weight * window.knots[its]
                shares[ours] += weight
        with np.errstate(invalid="ignore"):
            return sums / shares

    def _window(self, x: int, y: int) -> _Window | None:
        """Fit the ground of a window, once."""
        if (x, y) not in self._windows:
            middle = np.array([x, y]) * REACH
            lowest = lowest_of_map(self.lowest_in(middle - REACH, middle + REACH) - [*middle, 0.0])
            self._windows[x, y] = _fit(lowest) if len(lowest) else None
        return self._windows[x, y]


def _fit(lowest: Float64[np.ndarray, "points 3"]) -> _Window:
    """Fit a window's ground to lowest points around its middle."""
    plane = estimate_ground(lowest) or estimate_ground(lowest, reach=REACH)
    if plane is None:
        return _Window(np.full((2 * _KNOTS_APART + 1,) * 2, np.percentile(lowest[:, 2], 1)), _UNSURE)
    above = lowest.copy()
    above[:, 2] -= _height(plane, lowest[:, :2])
    offsets = np.arange(-_KNOTS_APART, _KNOTS_APART + 1) * SPACING
    places = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=2)
    return _Window(_height(plane, places) + fit_surface(above), plane.share)


def _height(plane: Ground, places: Float64[np.ndarray, "*places 2"]) -> Float64[np.ndarray, "*places"]:
    """Give the height of a plane at places along x and y."""
    return plane.height + plane.slope_x * places[..., 0] + plane.slope_y * places[..., 1]
