"""What a student is given of a cloud: level positions, intensities of no unit, heights above the ground.

A lidar that is mounted elsewhere, tilted, or of another make gives other numbers for the same street. Each
option of :class:`InputOptions` takes one of these differences away, in training and in use alike.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.geometry.ground import Ground
from clip2scene.geometry.level import Levelling, find_levelling
from clip2scene.geometry.terrain import Terrain
from clip2scene.types import PointCloud

HEIGHT_UNIT = 2.0  # metres: brings heights to about the size of intensities

Height = Literal["none", "sensor", "ground"]
Intensity = Literal["value", "quantile", "none"]


@dataclass(frozen=True)
class InputOptions:
    """What a student is given.

    Attributes:
        height: The height of a point as one more input: none, its z in the cloud's frame (over the sensor, or
            with ``level`` over the plane of the ground), or its height above the ground beneath it. It is in
            units of :data:`HEIGHT_UNIT`. Convolutions alone know where things are relative to each other.
        level: Whether the cloud is brought level (:mod:`clip2scene.geometry.level`).
        turns: Yaws, in degrees, at which it sees a cloud in use; its features are the mean over them. In
            training, clouds are turned at random.
        intensity: As it is; its quantile within the cloud, -1 to 1, so that units and responses of sensors
            fall away; or zeros. In quantiles, 0 is the median as well as a cloud without intensity.
    """

    height: Height = "none"
    level: bool = False
    intensity: Intensity = "value"
    turns: tuple[float, ...] = (0.0,)

    @property
    def needs_ground(self) -> bool:
        """Whether the ground has to be found."""
        return self.level or self.height == "ground"

    def find_levelling(
        self, positions: Float[Tensor, "points 3"], ground: Ground | None = None
    ) -> Levelling | None:
        """Find how a cloud is brought level, if it is; ``ground`` is its plane where that is known."""
        return find_levelling(positions.detach().cpu(), ground=ground) if self.needs_ground else None


@dataclass(frozen=True)
class Prepared:
    """A cloud on its way into a student.

    Attributes:
        cloud: Positions as the network gets them, in metres; features of the sensor alone.
        heights: Above the ground beneath each point, in metres; None where z is taken, or no height.
    """

    cloud: PointCloud
    heights: Float[Tensor, " points"] | None = None


def prepare(cloud: PointCloud, options: InputOptions, levelling: Levelling | Terrain | None) -> Prepared:
    """Take away what hangs on the sensor and its mount, as far as the options say.

    Args:
        cloud: As a loader gives it.
        options: What the student is given.
        levelling: Of this cloud (:meth:`InputOptions.find_levelling`), or of the map that it is a part of.
    """
    features = cloud.features
    if options.intensity == "none":
        features = torch.zeros_like(features)
    elif options.intensity == "quantile":
        features = quantiles(features)
    if levelling is None:
        return Prepared(PointCloud(cloud.positions, features))
    turned = levelling(cloud.positions.detach().cpu())
    level, heights = (torch.from_numpy(each).to(cloud.positions.device) for each in turned)
    positions = level if options.level else cloud.positions
    return Prepared(PointCloud(positions, features), heights if options.height == "ground" else None)


def with_height(prepared: Prepared, options: InputOptions) -> PointCloud:
    """Add the height to the features, where it is an input."""
    cloud = prepared.cloud
    if options.height == "none":
        return cloud
    heights = cloud.positions[:, 2] if prepared.heights is None else prepared.heights
    return replace(cloud, features=torch.cat([cloud.features, heights[:, None] / HEIGHT_UNIT], dim=1))


def prepare_cloud(cloud: PointCloud, options: InputOptions, *, ground: Ground | None = None) -> PointCloud:
    """Make of a whole cloud what a student is given: positions in metres and all its features.

    Args:
        cloud: As a loader gives it.
        options: What the student is given.
        ground: The plane of the ground where it is known, in place of the estimate.
    """
    levelling = options.find_levelling(cloud.positions, ground)
    return with_height(prepare(cloud, options, levelling), options)


def quantiles(values: Float[Tensor, "points channels"]) -> Float[Tensor, "points channels"]:
    """Give the rank of each value within its channel, -1 the lowest and 1 the highest; 0 where all are equal.

    Equal values share the middle of their ranks.
    """
    ranks = torch.zeros_like(values)
    for channel in range(values.shape[1]):
        _, place, counts = torch.unique(values[:, channel], return_inverse=True, return_counts=True)
        if len(counts) > 1:
            middles = counts.cumsum(0) - (counts + 1) / 2  # of the ranks 0 .. points - 1
            ranks[:, channel] = (2 * middles / (len(values) - 1) - 1)[place].to(values.dtype)
    return ranks
