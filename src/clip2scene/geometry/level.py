"""A cloud brought level: z against gravity, and the height of each point above the ground beneath it.

What a student learns must not hang on how a sensor is mounted. A :class:`Levelling` turns a cloud so that the
plane of the ground around the sensor (:mod:`clip2scene.geometry.ground`) is horizontal and lies at z = 0. On
a hill the ground leaves that plane, so heights are measured from a surface: lowest points of map cells are
fitted by values at knots, bilinear in between, whose bend is penalised (a thin plate). Cells whose lowest
point stands on something, a roof or a hedge, lie above the surface and are left out step by step (Tukey's
biweight); the first surface is the plane. Kerbs are too short to be followed, so a sidewalk stays higher than
the road.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from scipy.linalg import solveh_banded

from clip2scene.geometry.ground import Ground, estimate_ground, lowest_points

REACH = 48.0
"""How far the surface reaches from the sensor, in metres along x and y; beyond it, its border goes on."""
SPACING = 8.0
"""Between its knots, in metres."""
CELL_M = 1.0
"""Edge of the map cells whose lowest points it is fitted to, in metres."""

_STIFFNESS = 5.0  # weight of a bend beside a cell's misfit
_ABOVE = (*[0.6] * 8, *[0.35] * 3)  # metres above the surface at which a cell no longer counts, by round
_BELOW = 1.5  # the same below it
_LEVEL = Ground(0.0, 0.0, 0.0, 0.0)
_KNOTS = int(2 * REACH / SPACING) + 1


@dataclass(frozen=True)
class Levelling:
    """How a cloud is brought level, found once and applied to its points.

    Attributes:
        ground: The plane of the ground, in the cloud's own frame; its ``share`` is 0 where none was found and
            the lowest points took its place.
        knots: Height of the surface over that plane, in metres, knot by knot along x, then y, of the level
            frame.
    """

    ground: Ground
    knots: Float64[np.ndarray, "knots knots"]

    def __call__(
        self, positions: Float[Any, "points 3"]
    ) -> tuple[Float32[np.ndarray, "points 3"], Float32[np.ndarray, " points"]]:
        """Turn points level.

        Args:
            positions: Of the cloud it was found for, in metres; an array, or a tensor on the CPU.

        Returns:
            The points in the level frame, in metres: z up, the ground below the sensor at z = 0, turned as
            little as can be. And the height of each above the ground beneath it.
        """
        turned = _turned(np.asarray(positions), self.ground)
        heights = turned[:, 2] - _surface_at(self.knots, turned[:, :2])
        return turned.astype(np.float32), heights.astype(np.float32)


def find_levelling(positions: Float[Any, "points 3"], *, ground: Ground | None = None) -> Levelling:
    """Find how a cloud is brought level.

    Args:
        positions: z roughly up, in metres, the sensor near x = y = 0; an array, or a tensor on the CPU.
        ground: The plane of the ground where it is known, in place of the estimate.

    Returns:
        The levelling. Where there is no ground, nothing is turned, and the lowest hundredth of the points
        around the sensor is taken for the ground, with a share of 0.

    Raises:
        ValueError: If a position is not finite.
    """
    points = np.asarray(positions)
    if not np.isfinite(points).all():
        raise ValueError(
            "positions are not finite, so there is no ground to find; drop NaN and infinite points"
        )
    plane = ground or estimate_ground(points) or _lowest(points)
    if not plane.share:
        return Levelling(plane, np.zeros((_KNOTS, _KNOTS)))
    return Levelling(plane, fit_surface(_turned(points, plane)))


def _lowest(points: Float[np.ndarray, "points 3"]) -> Ground:
    """Take the lowest points around the sensor for a level ground."""
    near = points[(np.abs(points[:, :2]) < REACH / 2).all(1), 2]
    heights = near if len(near) else points[:, 2]
    return Ground(float(np.percentile(heights, 1)), 0.0, 0.0, 0.0) if len(heights) else _LEVEL


def _turned(points: Float[np.ndarray, "points 3"], plane: Ground) -> Float64[np.ndarray, "points 3"]:
    """Turn points by the least rotation that brings the plane's normal upright, and set it to z = 0."""
    normal = np.array([-plane.slope_x, -plane.slope_y, 1.0])
    normal /= np.linalg.norm(normal)
    x, y, z = normal
    turn = np.array(
        [
            [1 - x * x / (1 + z), -x * y / (1 + z), -x],
            [-x * y / (1 + z), 1 - y * y / (1 + z), -y],
            [x, y, z],
        ]
    )
    turned = np.einsum("ij,pj->pi", turn, points.astype(np.float64))
    turned[:, 2] -= plane.height * z
    return turned


def fit_surface(points: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, "knots knots"]:
    """Fit the surface to the lowest points of map cells: knots from -:data:`REACH` to it, along x, then y.

    The points are in the level frame, in metres, so that the plane of the ground is z = 0.

    A knot shares terms with those up to two away along an axis alone, so the system is a band. Solving it as
    one is less work, and too little for a threaded library to share out: threads that wait for each other on
    a busy machine take far longer than the sums.
    """
    lowest = lowest_of_map(points)
    corners, shares = _corners(lowest[:, :2])
    bends = _STIFFNESS * _bends(_KNOTS)
    flat, pairs = np.zeros(_KNOTS**2), [(i, j) for i in range(4) for j in range(i, 4)]
    places = np.stack([(corners[:, j] - corners[:, i]) * _KNOTS**2 + corners[:, i] for i, j in pairs], 1)
    products = np.stack([shares[:, i] * shares[:, j] for i, j in pairs], 1)
    for band in _ABOVE:
        above = lowest[:, 2] - (flat[corners] * shares).sum(1)
        weight = (1 - np.clip(np.where(above > 0, above / band, above / _BELOW), -1, 1) ** 2) ** 2
        terms = (weight[:, None] * products).ravel()
        system = bends + np.bincount(places.ravel(), weights=terms, minlength=bends.size).reshape(bends.shape)
        pull = (weight * lowest[:, 2])[:, None] * shares
        wanted = np.bincount(corners.ravel(), weights=pull.ravel(), minlength=_KNOTS**2)
        flat = solveh_banded(system, wanted, lower=True, check_finite=False)
    return flat.reshape(_KNOTS, _KNOTS)


def lowest_of_map(points: Float64[np.ndarray, "points 3"]) -> Float64[np.ndarray, "cells 3"]:
    """Take the lowest point of each map cell that lies less than :data:`REACH` from x = y = 0 and has any."""
    near = points[(np.abs(points[:, :2]) < REACH).all(1)]
    column, row = ((near[:, :2] + REACH) / CELL_M).astype(np.int64).T
    return lowest_points(near, column * int(2 * REACH / CELL_M) + row)


def _corners(
    places: Float64[np.ndarray, "places 2"],
) -> tuple[Int[np.ndarray, "places 4"], Float64[np.ndarray, "places 4"]]:
    """Give the four knots around each place, and their shares of the bilinear value there."""
    at = np.clip((places + REACH) / SPACING, 0, _KNOTS - 1 - 1e-9)
    low = at.astype(np.int64)
    (u, v), (i, j) = (at - low).T, low.T
    corners = np.stack(
        [i * _KNOTS + j, i * _KNOTS + j + 1, (i + 1) * _KNOTS + j, (i + 1) * _KNOTS + j + 1], 1
    )
    return corners, np.stack([(1 - u) * (1 - v), (1 - u) * v, u * (1 - v), u * v], 1)


def _surface_at(
    knots: Float64[np.ndarray, "knots knots"], places: Float64[np.ndarray, "places 2"]
) -> Float64[np.ndarray, " places"]:
    """Interpolate the surface."""
    corners, shares = _corners(places)
    return (knots.ravel()[corners] * shares).sum(1)


@cache
def _bends(knots: int) -> Float64[np.ndarray, "diagonals all"]:
    """Give the quadratic form of a thin plate's bend, and a slight pull to the plane, as lower diagonals."""
    second = np.diff(np.eye(knots), n=2, axis=0)
    first, one = np.diff(np.eye(knots), axis=0), np.eye(knots)
    rows = [np.kron(second, one), np.kron(one, second), np.sqrt(2) * np.kron(first, first)]
    whole = sum(each.T @ each for each in rows) + 1e-3 * np.eye(knots**2)
    below = [np.diagonal(whole, -offset) for offset in range(2 * knots + 1)]
    return np.stack([np.pad(each, (0, knots**2 - len(each))) for each in below])
