"""Where the lidar stood, by its clouds alone: KISS-ICP, for drives whose poses nobody recorded.

Vizzo et al., "KISS-ICP: In Defense of Point-to-Point ICP", RA-L 2023. The rings that a lidar draws on level
ground move along with it, so they pull an estimate towards standing still; most points of the ground are left
out before.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from clip2scene.geometry.ground import estimate_ground
from clip2scene.geometry.trajectory import MOST_GAP_US, Trajectory

SOURCE = "kiss-icp"
"""What asks for it in the place of a topic of poses."""

_GROUND_M = 0.3
"""Points below this height above the ground are of it."""

_GROUND_KEPT = 20
"""One of so many points of the ground is kept, as height, pitch and roll may hang on them."""

_NEAREST_M, _FARTHEST_M, _VOXEL_M = 1.5, 100.0, 1.0


def estimate_poses(clouds: Iterable[tuple[int, Float32[np.ndarray, "_ 3"]]], name: str) -> Trajectory:
    """Follow the lidar from cloud to cloud.

    Nothing of the vehicle's motion during a turn is taken out. The same clouds give the same poses. After a
    gap of more than 1 s it begins anew, at the origin.

    Args:
        clouds: Moment in microseconds, rising, and positions in metres: x forward, y left, z up.
        name: What they are of, for messages.

    Returns:
        ``world_from_lidar`` at the clouds' moments; the world is where the first cloud's lidar stood.

    Raises:
        ValueError: If the library is missing, or there is no cloud.
    """
    times: list[int] = []
    poses: list[Float64[Tensor, "4 4"]] = []
    odometry = _new_odometry(name)
    for time_us, positions in clouds:
        if times and time_us - times[-1] > MOST_GAP_US:
            odometry = _new_odometry(name)
        odometry.register_frame(_thin_ground(positions).astype(np.float64), np.zeros(0))
        times.append(time_us)
        poses.append(torch.from_numpy(np.array(odometry.last_pose, dtype=np.float64)))
    if not poses:
        raise ValueError(f"{name} holds no cloud, so no pose can be estimated")
    return Trajectory(tuple(times), torch.stack(poses), f"the lidar's odometry of {name}")


def _thin_ground(positions: Float32[np.ndarray, "_ 3"]) -> Float32[np.ndarray, "_ 3"]:
    """Leave out most points of the ground, where it is found."""
    cloud = torch.from_numpy(positions)
    ground = estimate_ground(cloud)
    if ground is None:
        return positions
    kept = (ground.height_above(cloud) >= _GROUND_M).numpy()
    kept[::_GROUND_KEPT] = True
    return positions[kept]


def _new_odometry(name: str) -> Any:  # noqa: ANN401 - of the library
    """Make an odometry; one thread, so that sums have one order.

    Every setting is given, as the library takes those that are not from variables of the environment.
    """
    try:
        from kiss_icp.config import KISSConfig
        from kiss_icp.config.config import (
            AdaptiveThresholdConfig,
            DataConfig,
            MappingConfig,
            RegistrationConfig,
        )
        from kiss_icp.kiss_icp import KissICP
    except ImportError:
        raise ValueError(
            f"poses of {name} by its clouds need the library kiss-icp; install clip2scene[odometry]"
        ) from None
    return KissICP(
        KISSConfig(
            data=DataConfig(max_range=_FARTHEST_M, min_range=_NEAREST_M, deskew=False),
            mapping=MappingConfig(voxel_size=_VOXEL_M, max_points_per_voxel=20),
            registration=RegistrationConfig(
                max_num_iterations=500, convergence_criterion=1e-4, max_num_threads=1
            ),
            adaptive_threshold=AdaptiveThresholdConfig(
                fixed_threshold=None, initial_threshold=2.0, min_motion_th=0.1
            ),
        )
    )
