"""The sensors of the ego vehicle: six cameras around it and a spinning lidar.

Skeleton of the signatures; bodies follow.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from clip2scene.toytown.world import Snapshot, Town

RINGS = 32


@dataclass(frozen=True)
class RigCamera:
    """One camera of the rig.

    Attributes:
        name: nuScenes' channel name, e.g. ``CAM_FRONT``.
        intrinsics: Pixels; integer pixel values are pixel centres.
        ego_from_camera: Pose on the vehicle; camera axes are x right, y down, z forward.
        width: Pixels.
        height: Pixels.
    """

    name: str
    intrinsics: Float[np.ndarray, "3 3"]
    ego_from_camera: Float[np.ndarray, "4 4"]
    width: int
    height: int


@dataclass(frozen=True)
class Render:
    """What a camera sees.

    Attributes:
        rgb: The picture.
        labels: Train id per pixel, ``IGNORE_LABEL`` for the sky.
        depth: Metres along the optical axis, infinite for the sky.
        instances: Number of the thing in the town per pixel, -1 for the sky.
    """

    rgb: UInt8[np.ndarray, "height width 3"]
    labels: Int[np.ndarray, "height width"]
    depth: Float[np.ndarray, "height width"]
    instances: Int[np.ndarray, "height width"]


@dataclass(frozen=True)
class Sweep:
    """One lidar revolution, motion-compensated into the lidar frame at its end.

    Attributes:
        positions: Metres, lidar frame (axes as the ego's) at the end of the revolution.
        intensity: 0..1.
        rings: Beam number, 0 the lowest.
        labels: Train id per point.
        instances: Number of the thing hit.
        times_s: When each point was measured, seconds before the end (<= 0).
    """

    positions: Float[np.ndarray, "points 3"]
    intensity: Float[np.ndarray, "points"]
    rings: Int[np.ndarray, "points"]
    labels: Int[np.ndarray, "points"]
    instances: Int[np.ndarray, "points"]
    times_s: Float[np.ndarray, "points"]


def camera_rig(width: int = 400, height: int = 224) -> tuple[RigCamera, ...]:
    """The six cameras, named and ordered as in nuScenes."""
    raise NotImplementedError


def ego_from_lidar() -> Float[np.ndarray, "4 4"]:
    """Pose of the lidar on the vehicle: 1.84 m up, axes parallel to the ego's."""
    raise NotImplementedError


def render_camera(
    snapshot: Snapshot,
    world_from_camera: Float[np.ndarray, "4 4"],
    intrinsics: Float[np.ndarray, "3 3"],
    width: int,
    height: int,
    rng: np.random.Generator,
    *,
    supersample: int = 1,
) -> Render:
    """Take a picture of the town."""
    raise NotImplementedError


def lidar_sweep(
    town: Town, end_time_s: float, rng: np.random.Generator, *, azimuth_steps: int = 720
) -> Sweep:
    """Turn the lidar once (50 ms), ending at ``end_time_s``."""
    raise NotImplementedError
