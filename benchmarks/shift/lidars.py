"""Other lidars in the streets of the evaluated split: other beams, views and mounts at the same moments."""

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.mapping import map_classes
from clip2scene.classes.tables import NUSCENES
from clip2scene.toytown.lidars import LIDARS
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import Town
from clip2scene.types import IGNORE_LABEL, PointCloud

OWN = "spinning-32"
"""The lidar that the data set itself is recorded with."""

OTHERS = tuple(name for name in LIDARS if name != OWN)


def record(
    town: Town, moment_us: int, lidar: str, evaluated: ClassSet
) -> tuple[PointCloud, Int[Tensor, " points"]]:
    """Record the sweep of a lidar that ends at a moment, the same each time.

    Args:
        town: The street.
        moment_us: Since the drive began.
        lidar: A name in :data:`clip2scene.toytown.lidars.LIDARS`.
        evaluated: Classes of the labels.

    Returns:
        The cloud in the lidar's frame, and the train id of each point.
    """
    rng = np.random.default_rng([town.seed, 1, moment_us])
    sweep = lidar_sweep(town, moment_us / 1e6, rng, lidar=LIDARS[lidar])
    cloud = PointCloud(torch.from_numpy(sweep.positions), torch.from_numpy(sweep.intensity)[:, None])
    train_ids = torch.cat([map_classes(NUSCENES, evaluated), torch.tensor([IGNORE_LABEL])])
    return cloud, train_ids[torch.from_numpy(sweep.labels).long()]


def same_cloud(recorded: PointCloud, stored: PointCloud) -> bool:
    """Say whether a sweep is the one that a data set holds."""
    return len(recorded) == len(stored) and torch.allclose(recorded.positions, stored.positions, atol=1e-4)
