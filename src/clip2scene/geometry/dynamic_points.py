"""Dynamic points: which points of an earlier sweep lie on things that have moved away since.

Not caught: what moved and has only the sky or no return behind it; the lowest strip of a thing, where the
beam below meets the road in front of it; the edge of a thing's old place that lies within the window of where
it is now; and earlier points that the keyframe cannot see because something has moved in front of them (see
:func:`clip2scene.geometry.projection.drop_occluded`). A vehicle that slid along itself still covers most of
its old points: these are kept. Wrongly called are a few points of still things that are thinner than the gap
between beams, such as bicycles and poles.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor


def seen_through(
    earlier: Float[Tensor, "points 3"],
    keyframe: Float[Tensor, "key 3"],
    *,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
    cell: float = 0.25,
    across: float = 0.75,
    down: float = 1.5,
    tolerance: float = 0.02,
    slack: float = 0.2,
) -> Bool[Tensor, " points"]:
    """Find dynamic points: earlier points that the keyframe's beams now pass through.

    Every return in the window around a moved point's direction lies clearly behind it, and there is one in
    the window's lower half: what stands on the ground blocks the beam below it too. All others are kept.

    Args:
        earlier: Points of one earlier sweep, transformed into the keyframe's frame, in metres.
        keyframe: The keyframe's points, in metres.
        viewpoint: Where the keyframe's lidar stands in that frame, in metres.
        cell: Edge of a cell of direction around the keyframe's lidar, 0..10 degrees.
        across: Reach of the window to each side, 0..45 degrees; more than half the spacing of firings.
        down: Reach of the window up and down, 0..45 degrees; more than the spacing of the lidar's rings.
        tolerance: How much farther than the point a return must lie, as a fraction of the point's range.
        slack: The same in metres, added.

    Returns:
        True for the points that have moved away.

    Raises:
        ValueError: If a position is not finite, or a number out of range.

    Example:
        >>> wall = torch.tensor([[20.0, y / 10, z / 10] for y in range(-30, 31) for z in range(-30, 31)])
        >>> seen_through(torch.tensor([[10.0, 0.0, 0.0], [19.9, 0.0, 0.0]]), wall).tolist()
        [True, False]
    """
    free = free_space(keyframe, viewpoint=viewpoint, cell=cell, across=across, down=down)
    return free.seen_through(earlier, tolerance=tolerance, slack=slack)


@dataclass(frozen=True)
class FreeSpace:
    """How far the beams of one sweep went at least, in every direction.

    Attributes:
        viewpoint: Where its lidar stands in its frame, in metres.
        reach: The range, by cell of direction, in metres; rows from straight down to straight up, columns
            around. 0 where no return bounds what is free.
    """

    viewpoint: tuple[float, float, float]
    reach: Float[Tensor, "rows columns"]

    def seen_through(
        self, points: Float[Tensor, "points 3"], *, tolerance: float = 0.02, slack: float = 0.2
    ) -> Bool[Tensor, " points"]:
        """Find the points that the beams pass through; arguments and errors as for :func:`seen_through`.

        Args:
            points: Of another moment, transformed into this sweep's frame, in metres.
            tolerance: How much farther than the point a return must lie, as a fraction of the point's range.
            slack: The same in metres, added.
        """
        if min(tolerance, slack) < 0:
            raise ValueError(f"expected tolerance and slack of 0 or more, got {tolerance} and {slack}")
        _check_finite(points)
        ranges, cells = _directions(points - points.new_tensor(self.viewpoint), *self.reach.shape)
        return self.reach.flatten()[cells] > ranges * (1 + tolerance) + slack


def free_space(
    keyframe: Float[Tensor, "key 3"],
    *,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
    cell: float = 0.25,
    across: float = 0.75,
    down: float = 1.5,
) -> FreeSpace:
    """Find what a sweep shows to be free, to compare several others with it; arguments as above."""
    if not 0 < cell <= 10 or not 0 <= min(across, down) <= max(across, down) <= 45:
        numbers = f"{cell}, {across} and {down}"
        raise ValueError(f"expected a cell in 0..10 and reaches in 0..45 degrees, got {numbers}")
    _check_finite(keyframe)
    size = round(180 / cell), round(360 / cell)
    ranges, cells = _directions(keyframe - keyframe.new_tensor(viewpoint), *size)
    nearest = keyframe.new_full(size, torch.inf).flatten().scatter_reduce(0, cells, ranges, "amin")
    below, above = _nearest_below_and_above(nearest.view(size), round(down / cell), round(across / cell))
    return FreeSpace(viewpoint, torch.where(below.isfinite(), torch.minimum(below, above), 0.0))


def _check_finite(positions: Float[Tensor, "points 3"]) -> None:
    if not positions.isfinite().all():
        raise ValueError("positions hold numbers that are not finite; drop those points first")


def _directions(
    offsets: Float[Tensor, "points 3"], rows: int, columns: int
) -> tuple[Float[Tensor, " points"], Int[Tensor, " points"]]:
    """Return the range of each point and the cell of its direction; rows count upwards from straight down."""
    x, y, z = offsets.unbind(dim=1)
    up = torch.atan2(z, torch.hypot(x, y)) / torch.pi + 0.5
    around = torch.atan2(y, x) / (2 * torch.pi) + 0.5
    row = (up * rows).long().clamp(max=rows - 1)
    column = (around * columns).long() % columns
    return offsets.norm(dim=1), row * columns + column


def _nearest_below_and_above(
    ranges: Float[Tensor, "rows columns"], reach_rows: int, reach_columns: int
) -> tuple[Float[Tensor, "rows columns"], Float[Tensor, "rows columns"]]:
    """Find the least range in the lower and in the upper half of the window around each cell.

    Both halves hold the cell's own row. The first and last columns are neighbours.
    """
    nearness = F.pad(-ranges[None, None], (reach_columns, reach_columns, 0, 0), mode="circular")
    nearness = F.max_pool2d(nearness, (1, 2 * reach_columns + 1), stride=1)
    halves = []
    for pad in ((0, 0, reach_rows, 0), (0, 0, 0, reach_rows)):
        padded = F.pad(nearness, pad, value=-torch.inf)
        halves.append(-F.max_pool2d(padded, (reach_rows + 1, 1), stride=1)[0, 0])
    return halves[0], halves[1]
