"""Which points are meant: the piece of the cloud under a click, or the pieces in a rectangle."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clip2scene.geometry.superpoints import cut_rest, find_superpoints
from clip2scene.types import Sample

SQUARE_M = 2.0
"""Edge of the squares that the ground is cut into, in metres; it is no superpoint."""
_CUBE_M = 0.3
"""Edge of the cubes that rooms are cut into, which are seen from no one place."""
_MOST_OF = 0.5  # of a piece's points lie in a rectangle that takes it


@dataclass(frozen=True)
class Eye:
    """What a rectangle on the page is seen through.

    Attributes:
        position: Where it is, in metres.
        wxyz: How it is turned, as a unit quaternion: from its own frame (x right, y down, z ahead).
        fov: Vertical field of view, in radians.
        aspect: Width of what is seen by its height.
    """

    position: tuple[float, float, float]
    wxyz: tuple[float, float, float, float]
    fov: float
    aspect: float

    @cached_property
    def rotation(self) -> Float[Tensor, "3 3"]:
        """Turn directions of its own frame into the world's."""
        w, x, y, z = self.wxyz
        return torch.tensor(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        )

    def sees_within(
        self, positions: Float[Tensor, "points 3"], low: tuple[float, float], high: tuple[float, float]
    ) -> Bool[Tensor, " points"]:
        """Say which points it sees in a rectangle; whatever is in front of them.

        Args:
            positions: In metres.
            low: Left and top of the rectangle, as shares of the picture's width and height, 0..1.
            high: Right and bottom.
        """
        across, down, ahead = (
            (positions - torch.tensor(self.position).to(positions)) @ self.rotation.to(positions)
        ).T
        half = float(torch.tensor(self.fov / 2).tan())
        left = 0.5 + across / (2 * half * self.aspect * ahead)
        top = 0.5 + down / (2 * half * ahead)
        inside = (left >= low[0]) & (left <= high[0]) & (top >= low[1]) & (top <= high[1])
        return inside & (ahead > 0)


def cut_cloud(
    sample: Sample, *, viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0), indoors: bool = False
) -> Int[Tensor, " points"]:
    """Cut the cloud of a sample into what one click takes: superpoints, and squares of the ground.

    Args:
        sample: Its keyframe is cut.
        viewpoint: Where the lidar stands, in metres.
        indoors: Whether it is a room, which is cut into cubes.

    Returns:
        Number of each point's piece, from 0.
    """
    positions = sample.cloud.positions
    if indoors:
        return cut_rest(torch.full((len(positions),), -1), positions, edge=_CUBE_M, upright=True)
    return cut_rest(find_superpoints(positions, viewpoint=viewpoint), positions, edge=SQUARE_M)


def pieces_within(
    pieces: Int[Tensor, " points"], drawn: Int[Tensor, " drawn"], inside: Bool[Tensor, " drawn"]
) -> Int[Tensor, " chosen"]:
    """Take the pieces of which most of what is drawn lies in a rectangle.

    Args:
        pieces: What :func:`cut_cloud` returned.
        drawn: Numbers of the points that are drawn.
        inside: Which of these lie in the rectangle.

    Returns:
        Numbers of all points of those pieces, rising.
    """
    count = int(pieces.max()) + 1
    all_drawn = torch.bincount(pieces[drawn], minlength=count)
    within = torch.bincount(pieces[drawn[inside]], minlength=count)
    taken = within > _MOST_OF * all_drawn.clamp(min=1)
    return taken[pieces].nonzero()[:, 0]
