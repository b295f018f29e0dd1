"""Where things end in a point cloud: beams that meet something, beside beams that meet what lies farther off.

Such an end is seen in an image as an edge, whatever the thing looks like; so ends tell whether clouds and
images fit together (:mod:`clip2scene.doctor.edge_score`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

MIN_RANGE_M = 2.0
"""Nearer points are often the vehicle's own."""

OPEN_RANGE_M = 40.0
"""Farther off, a beam without a return may have met something dark or grazed."""

_REACH_DEG = (1.3, 3.0)  # where a neighbouring beam is looked for: around the lidar, and up or down
_FLATTENING = 5.0  # neighbours around have nearly the same elevation, neighbours above the same azimuth
_NEIGHBOURS = 8


@dataclass(frozen=True)
class LidarEdges:
    """Ends of things.

    Attributes:
        positions: Half a beam beyond the last point of a thing, at that point's range; in the cloud's frame.
        reaches: From the last point to there; the end lies within as much again.
    """

    positions: Float[Tensor, "ends 3"]
    reaches: Float[Tensor, "ends 3"]

    def __len__(self) -> int:
        """Count them."""
        return len(self.positions)


@dataclass(frozen=True)
class _Beams:
    """A cloud in polar coordinates around the lidar.

    Attributes:
        directions: Unit vectors.
        ranges: Metres.
        angles: Azimuth and elevation, radians.
    """

    directions: Float[np.ndarray, "points 3"]
    ranges: Float[np.ndarray, " points"]
    angles: Float[np.ndarray, "points 2"]

    def between(
        self, first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]
    ) -> Float[np.ndarray, " pairs"]:
        """Measure the angle between beams, radians."""
        cosine = (self.directions[first] * self.directions[second]).sum(1)
        return np.maximum(np.arccos(np.clip(cosine, -1, 1)), 1e-4)


def find_lidar_edges(
    positions: Float[Tensor, "points 3"], viewpoint: Sequence[float] = (0.0, 0.0, 0.0)
) -> LidarEdges:
    """Find the ends of things around and above each other.

    A point ends something when the next beam outwards meets something at least a tenth and 0.5 m farther
    off, or nothing. Slanted ground, where ranges grow from beam to beam, ends nowhere: the inverse range of a
    plane changes evenly with the angle, so only changes above three times those before and after count. No
    order of the points and no ring number is needed. How far the farther point's beam is turned does not
    matter: where the vehicle's motion was taken out of a cloud, it has moved against the nearer one.

    Args:
        positions: One sweep, in metres.
        viewpoint: Where the lidar stands.

    Returns:
        The ends; none in an empty cloud.
    """
    offsets = positions.double().numpy() - np.asarray(viewpoint)
    ranges = np.linalg.norm(offsets, axis=1)
    offsets, ranges = offsets[ranges > MIN_RANGE_M], ranges[ranges > MIN_RANGE_M]
    ends, reaches = [np.zeros((0, 3))], [np.zeros((0, 3))]
    if len(ranges) > _NEIGHBOURS:
        directions = offsets / ranges[:, None]
        elevations = np.arcsin(np.clip(directions[:, 2], -1, 1))
        angles = np.stack([np.arctan2(offsets[:, 1], offsets[:, 0]), elevations], 1)
        beams = _Beams(directions, ranges, angles)
        for axis in (0, 1):
            above, below = _neighbours(beams, axis)
            step = _usual_step(beams, above)
            for outer, inner in ((above, below), (below, above)):
                last, reach = _ends(beams, outer, inner, axis, step)
                ends.append(directions[last] * ranges[last, None] + reach + np.asarray(viewpoint))
                reaches.append(reach)
    return LidarEdges(
        torch.from_numpy(np.concatenate(ends)).float(), torch.from_numpy(np.concatenate(reaches)).float()
    )


def _neighbours(beams: _Beams, axis: int) -> tuple[Int[np.ndarray, " points"], Int[np.ndarray, " points"]]:
    """Find each beam's next one up and down an angle (0 azimuth, 1 elevation); -1 for none near."""
    stretch = np.where(np.arange(2) == axis, 1.0, _FLATTENING)
    turn = 2 * np.pi * stretch[0]
    keys = beams.angles * stretch
    keys[:, 0] = np.clip(keys[:, 0] % turn, 0, np.nextafter(turn, 0))
    tree = cKDTree(keys, boxsize=[turn, 0])
    reach = np.radians(_REACH_DEG[axis])
    _, found = tree.query(keys, k=_NEIGHBOURS, distance_upper_bound=reach)
    exists = found < len(keys)
    found = np.where(exists, found, 0)
    steps = beams.angles[found] - beams.angles[:, None]
    steps[..., 0] = (steps[..., 0] + np.pi) % (2 * np.pi) - np.pi
    along, aside = steps[..., axis], np.abs(steps[..., 1 - axis])
    sides = []
    for sign in (1, -1):
        fits = exists & (sign * along > 1e-5) & (aside < 0.35 * np.abs(along))
        nearest = np.where(fits, sign * along, np.inf).argmin(1)
        chosen = np.take_along_axis(found, nearest[:, None], 1)[:, 0]
        sides.append(np.where(fits.any(1), chosen, -1))
    return sides[0], sides[1]


def _usual_step(beams: _Beams, above: Int[np.ndarray, " points"]) -> float:
    """Measure the angle between neighbouring beams that meet one surface."""
    first = np.flatnonzero(above >= 0)
    second = above[first]
    same = np.abs(beams.ranges[first] - beams.ranges[second]) < 0.03 * beams.ranges[first]
    if not same.any():
        return 0.0
    return float(np.median(beams.between(first[same], second[same])))


def _slopes(
    beams: _Beams, first: Int[np.ndarray, " points"], second: Int[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """Change of inverse range for each radian from one beam to the other; 0 where one is missing (-1)."""
    change = 1 / beams.ranges[second] - 1 / beams.ranges[first]
    return np.where((first >= 0) & (second >= 0), change / beams.between(first, second), 0.0)


def _ends(
    beams: _Beams,
    outer: Int[np.ndarray, " points"],
    inner: Int[np.ndarray, " points"],
    axis: int,
    step: float,
) -> tuple[Int[np.ndarray, " ends"], Float[np.ndarray, "ends 3"]]:
    """Find the points beyond which something ends, going outwards along one angle.

    Args:
        beams: The cloud.
        outer: Each beam's next one outwards, -1 for none.
        inner: The next one inwards.
        axis: 0 around the lidar, 1 up or down.
        step: Usual angle between neighbouring beams.

    Returns:
        The last points, and the way from each to half a beam beyond.
    """
    ranges, own = beams.ranges, np.arange(len(outer))
    has_outer, has_inner = outer >= 0, inner >= 0
    gap, gap_inner = beams.between(own, outer), beams.between(own, inner)
    beyond = np.where(has_outer, ranges[outer], np.inf)
    fall = -_slopes(beams, own, outer)
    after = np.where(has_outer, outer[outer], -1)
    usual = np.maximum(-_slopes(beams, inner, own), -_slopes(beams, np.where(has_outer, outer, -1), after))
    jumps = has_outer & (gap < 2.5 * step) & (fall > 3 * np.maximum(usual, 0))
    jumps &= (ranges < 0.9 * beyond) & (beyond - ranges > 0.5)
    surface = has_inner & (np.abs(ranges - ranges[inner]) < 0.05 * ranges) & (gap_inner < 1.6 * step)
    opens = ~has_outer & surface & (ranges < OPEN_RANGE_M) & _inside_view(beams, axis, step)
    last = np.flatnonzero(jumps | opens)
    ways = (
        beams.directions[outer[last]] - beams.directions[last],
        beams.directions[last] - beams.directions[inner[last]],
    )
    way = np.where(jumps[last, None], *ways)
    width = np.full(len(last), step)
    if axis == 1:  # rings are not evenly spaced
        width = np.where(surface[last], gap_inner[last], np.minimum(gap[last], 1.5 * step))
    reach = way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)
    return last, reach * (width / 2 * ranges[last])[:, None]


def _inside_view(beams: _Beams, axis: int, step: float) -> Bool[np.ndarray, " points"]:
    """Tell which beams could have a neighbour on both sides: not those of the outermost rings."""
    elevations = beams.angles[:, 1]
    if axis == 0:
        return np.ones(len(elevations), dtype=bool)
    return (elevations < elevations.max() - 1.5 * step) & (elevations > elevations.min() + 1.5 * step)
