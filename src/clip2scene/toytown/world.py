"""A town: a procedural street with everything on it, at any moment.

Skeleton of the signatures; bodies follow.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class Boxes:
    """The countable things of a town at one moment, in the world frame.

    Attributes:
        instances: Number of each thing in the town, from 0; the same at all times.
        labels: Train id of each.
        centres: Centre of each box, metres.
        sizes: Length (along the heading), width, height; metres.
        yaws: Heading, radians counter-clockwise from the world's x axis.
        velocities: Metres per second.
        moving: Whether the thing ever moves.
    """

    instances: Int[np.ndarray, "boxes"]
    labels: Int[np.ndarray, "boxes"]
    centres: Float[np.ndarray, "boxes 3"]
    sizes: Float[np.ndarray, "boxes 3"]
    yaws: Float[np.ndarray, "boxes"]
    velocities: Float[np.ndarray, "boxes 3"]
    moving: Bool[np.ndarray, "boxes"]


class Snapshot:
    """The town at one moment, ready for rays (see ``sensors.py``)."""


class Town:
    """A procedural street and everything on it.

    Attributes:
        seed: What it was built from.
        duration_s: The drive is laid out for times 0..duration_s (10 s); the ego keeps going beyond.
    """

    seed: int
    duration_s: float

    def world_from_ego(self, time_s: float) -> Float[np.ndarray, "4 4"]:
        """Pose of the ego vehicle (x forward, y left, z up, origin on the ground), float64."""
        raise NotImplementedError

    def at(self, time_s: float) -> Snapshot:
        """Freeze the town at one moment."""
        raise NotImplementedError

    def boxes(self, time_s: float) -> Boxes:
        """Boxes of the countable things (barriers, cycles, vehicles, people, cones) at one moment."""
        raise NotImplementedError


def build_town(seed: int) -> Town:
    """Build the town of a seed; the same seed always gives the same town."""
    raise NotImplementedError
