"""The surface of a street in the world: street coordinates bent by a curvature and lifted by a relief."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from clip2scene.toytown.town.relief import Relief

_WHEELS = (2.6, 1.6)
"""Metres between a vehicle's axles, and between the wheels of one."""


@dataclass(frozen=True)
class Surface:
    """Where street coordinates lie in the world.

    Attributes:
        curvature: Of the main road, 1/metres, positive to the left.
        relief: The lie of the land; None where it is level.
    """

    curvature: float
    relief: Relief | None = None

    def world_from_street(self, street: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Bend (s, d, height above the ground) into the world."""
        s, d, height = street.T
        if self.relief is not None:
            height = height + self.relief.height(s, d)
            street = np.stack([s, d, height], 1)
        if self.curvature == 0.0:
            return street
        radius = 1.0 / self.curvature
        angle = s * self.curvature
        return np.stack([(radius - d) * np.sin(angle), radius - (radius - d) * np.cos(angle), height], 1)

    def street_from_world(self, world: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Undo :meth:`world_from_street`."""
        street = world
        if self.curvature != 0.0:
            x, y, height = world.T
            radius = world.dtype.type(1.0 / self.curvature)
            sign = np.sign(radius)
            angle = np.arctan2(x * sign, (radius - y) * sign)
            street = np.stack([angle * radius, radius - sign * np.hypot(x, radius - y), height], 1)
        if self.relief is None:
            return street
        return np.column_stack([street[:, :2], street[:, 2] - self.relief.height(street[:, 0], street[:, 1])])

    def ground_height(self, world: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        """Height of the bare ground under some places, without kerbs, metres."""
        return world[:, 2] - self.street_from_world(world)[:, 2]

    def on_wheels(self, pose: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
        """Pitch and roll a vehicle's level pose so that its four wheels stand on the relief."""
        if self.relief is None:
            return pose
        (long, wide), tilted = _WHEELS, pose.copy()
        offsets = np.array([[long, 0, 0], [-long, 0, 0], [0, wide, 0], [0, -wide, 0]]) / 2
        front, back, left, right = self.ground_height(offsets @ pose[:3, :3].T + pose[:3, 3])
        ahead = pose[:3, 0] + [0, 0, (front - back) / long]
        up = np.cross(ahead, pose[:3, 1] + [0, 0, (left - right) / wide])
        ahead, up = ahead / np.linalg.norm(ahead), up / np.linalg.norm(up)
        tilted[:3, :3] = np.stack([ahead, np.cross(up, ahead), up], 1)
        return tilted
