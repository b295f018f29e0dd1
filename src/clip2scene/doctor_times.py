"""When the parts of samples were recorded, and how fast the vehicle drove: what ``doctor`` finds there."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.geometry import invert_rigid
from clip2scene.types import Moments

MOST_STEP_US = 1_500_000
"""Between two samples farther apart, nothing is said about the vehicle's motion."""

Velocity = tuple[Float[Tensor, "3"], Float[Tensor, "3"]]


@runtime_checkable
class Timed(Protocol):
    """A data set that tells moments."""

    @property
    def tokens(self) -> Sequence[str]:
        """Name the samples."""

    def moments(self, index: int) -> Moments:
        """Tell when and where a sample was recorded."""


def find_velocities(dataset: object, numbers: Sequence[int]) -> dict[int, Velocity | None]:
    """Give the lidar's velocity at some samples, from its poses there and at a neighbouring sample.

    Returns:
        For each number: metres and radians a second in the lidar's frame; None where that is not told.
    """
    if not isinstance(dataset, Timed):
        return dict.fromkeys(numbers)
    return {number: _velocity(dataset, number) for number in numbers}


def velocity_between(
    world_from_first: Float[Tensor, "4 4"], world_from_second: Float[Tensor, "4 4"], seconds: float
) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]]:
    """Give the lidar's mean velocity from one pose to another.

    Args:
        world_from_first: Where the lidar stood.
        world_from_second: Where it stood ``seconds`` later, or earlier if negative.
        seconds: Not 0.

    Returns:
        Metres a second and radians a second about its axes, in the lidar's first frame.

    Example:
        >>> ahead = torch.eye(4).double()
        >>> ahead[0, 3] = 4.0
        >>> velocity_between(torch.eye(4).double(), ahead, 0.5)[0].tolist()
        [8.0, 0.0, 0.0]
    """
    way = invert_rigid(world_from_first) @ world_from_second
    turn = torch.stack([way[2, 1] - way[1, 2], way[0, 2] - way[2, 0], way[1, 0] - way[0, 1]]) / 2
    return (way[:3, 3] / seconds).float(), (turn / seconds).float()


def _velocity(dataset: Timed, number: int) -> Velocity | None:
    own = dataset.moments(number)
    for neighbour in (number + 1, number - 1):
        if not 0 <= neighbour < len(dataset.tokens):
            continue
        other = dataset.moments(neighbour)
        if own.drive != other.drive or own.cloud_us is None or other.cloud_us is None:
            continue
        if own.world_from_cloud is None or other.world_from_cloud is None:
            continue
        passed_us = other.cloud_us - own.cloud_us
        if 0 < abs(passed_us) <= MOST_STEP_US:
            return velocity_between(own.world_from_cloud, other.world_from_cloud, passed_us / 1e6)
    return None
