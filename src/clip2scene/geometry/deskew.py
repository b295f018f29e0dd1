"""Sweeps freed of the sensor's motion while they were measured.

A lidar that turns measures each point from another place. With the moment of each point and poses over time,
all points are brought to where the sensor stood at one moment, the sweep's own.
"""

from collections.abc import Callable
from math import ceil, floor

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.spatial.transform import Rotation, Slerp
from torch import Tensor

from clip2scene.geometry.projection import invert_rigid

_STEP_US = 1000
"""Poses are asked for this often; in between, rotation and translation go at constant speed."""


def deskew(
    positions: Float32[np.ndarray, "points 3"],
    offsets_us: Float64[np.ndarray, " points"],
    time_us: int,
    world_from_sensor: Callable[[int], Float[Tensor, "4 4"]],
) -> Float32[np.ndarray, "points 3"]:
    """Bring points to the sensor's frame at one moment.

    What moved by itself stays where it was when it was measured.

    Args:
        positions: In the sensor's frame at each point's own moment, in metres.
        offsets_us: How long after ``time_us`` each was measured, in microseconds; negative before.
        time_us: The moment to bring them to.
        world_from_sensor: The sensor's pose at a moment in microseconds, in float64; between the poses that
            it gives every millisecond, rotations are interpolated by slerp and translations linearly.

    Returns:
        The positions, in their order.

    Raises:
        ValueError: As ``world_from_sensor`` does, where a pose is not known.
    """
    if not len(positions):
        return positions
    first, last = floor(offsets_us.min()), ceil(offsets_us.max())
    knots = np.unique([*range(first, last, _STEP_US), last, max(last, first + 1)])
    sensor_from_world = invert_rigid(world_from_sensor(time_us))
    ways = np.stack([(sensor_from_world @ world_from_sensor(time_us + int(knot))).numpy() for knot in knots])
    turns = Slerp(knots, Rotation.from_matrix(ways[:, :3, :3]))(offsets_us)
    moved = turns.apply(positions.astype(np.float64))
    for axis in range(3):
        moved[:, axis] += np.interp(offsets_us, knots, ways[:, axis, 3])
    return moved.astype(np.float32)
