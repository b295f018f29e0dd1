"""Shifts of a cloud: what another mount, tilt, sensor or weather would have made of the same points.

Each is a function from a cloud to a cloud and the points it is made of. Only the numbers of the points
change: what another mount would have seen past a corner is not there, so a shift says how a student takes to
numbers that it was not taught, and no more.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.types import PointCloud

NOTHING = -1
"""Index of a shifted point that was not in the cloud."""

AS_IT_IS = ("", "as it is")
"""Family and name of the cloud that is not shifted."""


@dataclass(frozen=True)
class Shifted:
    """A cloud, and where its points come from.

    Attributes:
        cloud: The shifted points.
        kept: Index of each in the cloud that was shifted, :data:`NOTHING` for a point that was not there.
    """

    cloud: PointCloud
    kept: Int[Tensor, " points"]


Apply = Callable[[PointCloud, Int[Tensor, " points"], torch.Generator], Shifted]
"""Shifts a cloud, given the ring of each of its points, 0 the lowest, and a generator for what is drawn."""


@dataclass(frozen=True)
class Shift:
    """One shift of a family.

    Attributes:
        name: What it does, within its family.
        strength: Its place in the family, of which 0 is the cloud as it is.
        apply: Does it.
    """

    name: str
    strength: float
    apply: Apply


def raise_mount(cloud: PointCloud, height_m: float) -> Shifted:
    """Mount the sensor higher by so many metres: all points are lower in its frame."""
    return _moved(cloud, cloud.positions - torch.tensor([0.0, 0.0, height_m]))


def turn(cloud: PointCloud, axis: str, angle_deg: float) -> Shifted:
    """Turn the sensor on its mount; its points turn the other way.

    Args:
        cloud: x forward, y left, z up.
        axis: ``yaw``, positive to the left; ``pitch``, positive nose up; ``roll``, positive left side up.
        angle_deg: Degrees.
    """
    angle = torch.deg2rad(torch.tensor(angle_deg, dtype=torch.float64))
    first, second = {"yaw": (0, 1), "pitch": (0, 2), "roll": (1, 2)}[axis]
    sensor_from_old = torch.eye(3, dtype=torch.float64)
    sensor_from_old[first, first] = sensor_from_old[second, second] = angle.cos()
    sensor_from_old[first, second], sensor_from_old[second, first] = angle.sin(), -angle.sin()
    return _moved(cloud, (cloud.positions.double() @ sensor_from_old.T).float())


def scale(cloud: PointCloud, factor: float) -> Shifted:
    """Make the world larger by a factor, as in a country of wider streets, or in a wrong unit."""
    return _moved(cloud, cloud.positions * factor)


def change_intensity(
    cloud: PointCloud, change: Callable[[Float[Tensor, "points 1"]], Float[Tensor, "points 1"]]
) -> Shifted:
    """Measure intensity on another scale, clipped to 0..1."""
    return Shifted(PointCloud(cloud.positions, change(cloud.features).clamp(0, 1)), _all(cloud))


def shuffle_intensity(cloud: PointCloud, generator: torch.Generator) -> Shifted:
    """Deal the intensities out among the points: their distribution stays, their meaning does not."""
    order = torch.randperm(len(cloud), generator=generator)
    return Shifted(PointCloud(cloud.positions, cloud.features[order]), _all(cloud))


def thin_rings(cloud: PointCloud, rings: Int[Tensor, " points"], every: int) -> Shifted:
    """Keep every so many-th ring, beginning with the lowest."""
    return _taken(cloud, (rings % every == 0).nonzero()[:, 0])


def blur_ranges(cloud: PointCloud, deviation_m: float, generator: torch.Generator) -> Shifted:
    """Measure ranges with normal errors of a standard deviation; no point comes nearer than 0.1 m."""
    ranges = cloud.positions.norm(dim=1, keepdim=True)
    measured = ranges + deviation_m * torch.randn(ranges.shape, generator=generator)
    return _moved(cloud, cloud.positions / ranges.clamp_min(1e-6) * measured.clamp_min(0.1))


def thin_points(cloud: PointCloud, share: float, generator: torch.Generator) -> Shifted:
    """Keep a share of the points, drawn at random, in their order."""
    kept = torch.randperm(len(cloud), generator=generator)[: max(1, round(share * len(cloud)))]
    return _taken(cloud, kept.sort().values)


def narrow_view(cloud: PointCloud, width_deg: float) -> Shifted:
    """See straight ahead only, in a sector so many degrees wide."""
    azimuth = torch.atan2(cloud.positions[:, 1], cloud.positions[:, 0])
    return _taken(cloud, (torch.rad2deg(azimuth).abs() <= width_deg / 2).nonzero()[:, 0])


def add_rain(cloud: PointCloud, share: float, generator: torch.Generator) -> Shifted:
    """Add returns of drops, so many for each point: near, weak, along the beams of points drawn at random.

    Their ranges are 1 m and an exponential of 4 m more, up to the point's own; a drop hides nothing.
    """
    chosen = torch.randint(len(cloud), (round(share * len(cloud)),), generator=generator)
    beams = cloud.positions[chosen]
    ranges = beams.norm(dim=1, keepdim=True)
    near = 1 + torch.empty(ranges.shape).exponential_(1 / 4, generator=generator)
    drops = beams / ranges.clamp_min(1e-6) * near.minimum(ranges)
    weak = 0.1 * torch.rand((len(chosen), cloud.features.shape[1]), generator=generator)
    joined = PointCloud(torch.cat([cloud.positions, drops]), torch.cat([cloud.features, weak]))
    return Shifted(joined, torch.cat([_all(cloud), torch.full((len(chosen),), NOTHING)]))


def cut_range(cloud: PointCloud, reach_m: float) -> Shifted:
    """Drop what is farther away than a sensor of so many metres reaches."""
    return _taken(cloud, (cloud.positions.norm(dim=1) <= reach_m).nonzero()[:, 0])


def _all(cloud: PointCloud) -> Int[Tensor, " points"]:
    return torch.arange(len(cloud))


def _moved(cloud: PointCloud, positions: Float[Tensor, "points 3"]) -> Shifted:
    return Shifted(PointCloud(positions, cloud.features), _all(cloud))


def _taken(cloud: PointCloud, kept: Int[Tensor, " kept"]) -> Shifted:
    return Shifted(PointCloud(cloud.positions[kept], cloud.features[kept]), kept)


def _turns(axis: str, *angles_deg: float) -> tuple[Shift, ...]:
    """List turns about an axis."""
    return tuple(
        Shift(f"{angle:+g} degrees", angle, lambda cloud, rings, draw, angle=angle: turn(cloud, axis, angle))
        for angle in angles_deg
    )


def _intensity(name: str, place: float, change: Callable[[Tensor], Tensor]) -> Shift:
    return Shift(name, place, lambda cloud, rings, draw: change_intensity(cloud, change))


_TILTS_DEG = (-5.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 5.0)

GRID: dict[str, tuple[Shift, ...]] = {
    "mount": tuple(
        Shift(f"{height:+g} m", height, lambda cloud, rings, draw, height=height: raise_mount(cloud, height))
        for height in (-1.0, -0.5, -0.3, -0.2, 0.2, 0.3, 0.5, 1.0)
    ),
    "pitch": _turns("pitch", *_TILTS_DEG),
    "roll": _turns("roll", *_TILTS_DEG),
    "yaw": _turns("yaw", 45.0, 90.0),
    "scale": tuple(
        Shift(f"x {factor:g}", factor - 1, lambda cloud, rings, draw, factor=factor: scale(cloud, factor))
        for factor in (0.9, 1.1)
    ),
    "intensity": (
        _intensity("none", 1, torch.zeros_like),
        _intensity("halved", 2, lambda intensity: intensity / 2),
        _intensity("doubled", 3, lambda intensity: 2 * intensity),
        _intensity("gamma 0.5", 4, torch.sqrt),
        _intensity("gamma 2", 5, torch.square),
        Shift("shuffled", 6, lambda cloud, rings, draw: shuffle_intensity(cloud, draw)),
    ),
    "rings": (
        Shift("every 2nd", 1, lambda cloud, rings, draw: thin_rings(cloud, rings, 2)),
        Shift("every 4th", 2, lambda cloud, rings, draw: thin_rings(cloud, rings, 4)),
    ),
    "range noise": (
        Shift("5 cm", 5, lambda cloud, rings, draw: blur_ranges(cloud, 0.05, draw)),
        Shift("10 cm", 10, lambda cloud, rings, draw: blur_ranges(cloud, 0.1, draw)),
    ),
    "density": (
        Shift("half", 1, lambda cloud, rings, draw: thin_points(cloud, 1 / 2, draw)),
        Shift("a quarter", 2, lambda cloud, rings, draw: thin_points(cloud, 1 / 4, draw)),
    ),
    "view": (
        Shift("120 degrees ahead", 1, lambda cloud, rings, draw: narrow_view(cloud, 120)),
        Shift("up to 30 m", 2, lambda cloud, rings, draw: cut_range(cloud, 30)),
    ),
    "rain": (Shift("2 % more points", 1, lambda cloud, rings, draw: add_rain(cloud, 0.02, draw)),),
}
"""Shifts by family, each in the order of strength."""
