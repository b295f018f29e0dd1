"""Random changes to a cloud that keep its pixel-point pairs true.

A changed cloud no longer fits its cameras: pair points with pixels first, augment afterwards. What moves
points keeps their order, so pairs (which name points by number) need no change; what drops points says which
(:func:`clip2scene.distill.mix.keep_points` renumbers). All randomness comes from the generators passed in, so
a step can be repeated exactly.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clip2scene.distill.mix import Mix
from clip2scene.student.inputs import Prepared
from clip2scene.types import PointCloud

_FEWEST = 200  # points that are left, or nothing is dropped


@dataclass(frozen=True)
class Augmentation:
    """What changes at random, drawn anew for every sweep and step.

    Attributes:
        rotate: Turn about the vertical axis, by an angle even over the full circle.
        flip: Negate x, and y, each with probability one half.
        scale: Half-width of an even scale factor around 1, 0 to below 1.
        tilt: Half-width of an even pitch and roll, in degrees.
        height: Half-width of an even shift along z, of positions and heights, in metres.
        noise: Largest standard deviation of the range, in metres; even from 0.
        rain: Largest share of points that are met before their target, as by rain drops; they lose theirs.
        thin_rings: Probability that whole bands of elevation are dropped.
        thin_points: Probability that points are dropped at random.
        cut_range: Probability that points beyond some range are dropped.
        narrow: Probability that points outside of a sector are dropped.
        intensity: Half-width of the logarithm of gain and exponent of the intensities.
        drop_intensity: Probability that the intensity is taken away.
        mix: How samples are mixed.
        mix_share: Probability of it.
    """

    rotate: bool = True
    flip: bool = True
    scale: float = 0.0
    tilt: float = 0.0
    height: float = 0.0
    noise: float = 0.0
    rain: float = 0.0
    thin_rings: float = 0.0
    thin_points: float = 0.0
    cut_range: float = 0.0
    narrow: float = 0.0
    intensity: float = 0.0
    drop_intensity: float = 0.0
    mix: Mix = "none"
    mix_share: float = 0.5

    def __post_init__(self) -> None:
        """Refuse a scale that could turn a cloud inside out."""
        if not 0 <= self.scale < 1:
            raise ValueError(f"scale must be at least 0 and below 1, got {self.scale}")


def move_cloud(prepared: Prepared, how: Augmentation, generator: torch.Generator) -> Prepared:
    """Turn a cloud about the vertical axis, mirror it and change its size, at random.

    CLIP2Scene's augmentation (rotation and mirroring), with a scale as an option. The same draws are made
    whichever parts are switched on.

    Args:
        prepared: A cloud whose z axis points up, and maybe heights.
        how: Which of its motions are made.
        generator: Source of the draws.

    Returns:
        The same points in the same order with new positions, in metres; features are kept.
    """
    turn, mirror_x, mirror_y, size = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    angle = 2 * math.pi * turn if how.rotate else 0.0
    cos, sin = math.cos(angle), math.sin(angle)
    motion = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    if how.flip:
        motion[0] *= -1 if mirror_x < 0.5 else 1
        motion[1] *= -1 if mirror_y < 0.5 else 1
    factor = 1 + how.scale * (2 * size - 1)
    motion *= factor
    positions = prepared.cloud.positions
    heights = None if prepared.heights is None else prepared.heights * factor
    return Prepared(replace(prepared.cloud, positions=positions @ motion.to(positions).T), heights)


def tilt_cloud(prepared: Prepared, how: Augmentation, generator: torch.Generator) -> Prepared:
    """Pitch, roll and lift a cloud at random, as a sensor does that is mounted otherwise.

    Heights above an estimated ground know nothing of pitch and roll; what is lifted is an error of the
    estimate.
    """
    if not how.tilt and not how.height:
        return prepared
    pitch, roll, lift = (2 * torch.rand(3, generator=generator) - 1).tolist()
    pitch, roll, lift = math.radians(how.tilt * pitch), math.radians(how.tilt * roll), how.height * lift
    positions = prepared.cloud.positions
    about_y = [[math.cos(pitch), 0, math.sin(pitch)], [0, 1, 0], [-math.sin(pitch), 0, math.cos(pitch)]]
    about_x = [[1, 0, 0], [0, math.cos(roll), -math.sin(roll)], [0, math.sin(roll), math.cos(roll)]]
    turn = positions.new_tensor(about_y) @ positions.new_tensor(about_x)
    moved = positions @ turn.T + positions.new_tensor([0, 0, lift])
    heights = None if prepared.heights is None else prepared.heights + lift
    return Prepared(replace(prepared.cloud, positions=moved), heights)


def weather(
    cloud: PointCloud,
    how: Augmentation,
    generator: torch.Generator,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> tuple[PointCloud, Bool[Tensor, " points"]]:
    """Measure a cloud anew by a worse sensor: noise along the beams, drops that are met first, another gain.

    Args:
        cloud: As it was measured.
        how: Noise, rain and intensity are taken.
        generator: Source of the draws.
        viewpoint: Where the lidar stands in the cloud's frame, in metres.

    Returns:
        The points in the same order, and which of them lie on no thing any more.
    """
    fallen = torch.zeros(len(cloud), dtype=torch.bool)
    positions, features = cloud.positions, cloud.features
    if how.noise or how.rain:
        deviation, share = torch.rand(2, generator=generator).tolist()
        beams = positions - positions.new_tensor(viewpoint)
        ranges = beams.norm(dim=1).clamp(min=1e-3)
        longer = torch.randn(len(cloud), generator=generator) * (deviation * how.noise)
        fallen = torch.rand(len(cloud), generator=generator) < share * how.rain
        nearness = torch.rand(len(cloud), generator=generator)
        nearer = (1.0 + nearness**2 * 15.0).clamp(max=ranges) - ranges  # drops are seen within some metres
        positions = positions + beams / ranges[:, None] * torch.where(fallen, nearer, longer)[:, None]
    if how.intensity:
        gain, exponent = torch.exp(how.intensity * (2 * torch.rand(2, generator=generator) - 1)).tolist()
        features = (gain * features.clamp(min=0) ** exponent).clamp(max=1)
    return PointCloud(positions, features), fallen


def drop_intensity(prepared: Prepared, how: Augmentation, generator: torch.Generator) -> Prepared:
    """Take the intensity away at random, so that a cloud without is nothing new."""
    if not how.drop_intensity or torch.rand(1, generator=generator).item() >= how.drop_intensity:
        return prepared
    cloud = prepared.cloud
    return replace(prepared, cloud=replace(cloud, features=torch.zeros_like(cloud.features)))


def draw_kept(
    positions: Float[Tensor, "points 3"],
    how: Augmentation,
    generator: torch.Generator,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Bool[Tensor, " points"]:
    """Draw which points a lidar of fewer beams, a shorter reach or a narrower view would have seen.

    Rings are bands of elevation: a comb of random period (0.4 to 5 degrees) keeps a quarter to three quarters
    of each, or bands of a degree or less are dropped one by one, so a sensor's true rings need not be known.

    Args:
        positions: As they were measured, in metres.
        how: Rings, points, range and sector are taken.
        generator: Source of the draws.
        viewpoint: Where the lidar stands, in metres.
    """
    kept = torch.ones(len(positions), dtype=torch.bool)
    rings, points, far, sector = torch.rand(4, generator=generator).tolist()
    beams = positions - positions.new_tensor(viewpoint)
    if rings < how.thin_rings:
        kept &= _thin_rings(beams, generator)
    if points < how.thin_points:
        share = 0.2 + 0.8 * torch.rand(1, generator=generator).item()
        kept &= torch.rand(len(positions), generator=generator) < share
    if far < how.cut_range:
        kept &= beams.norm(dim=1) < 15.0 + 45.0 * torch.rand(1, generator=generator).item()
    if sector < how.narrow:
        start, width = torch.rand(2, generator=generator).tolist()
        azimuth = torch.rad2deg(torch.atan2(beams[:, 1], beams[:, 0])) - 360 * start
        kept &= azimuth % 360.0 < 60.0 + 240.0 * width
    return kept if kept.sum() >= _FEWEST else torch.ones_like(kept)


def _thin_rings(beams: Float[Tensor, "points 3"], generator: torch.Generator) -> Bool[Tensor, " points"]:
    """Keep some bands of elevation."""
    elevation = torch.rad2deg(torch.atan2(beams[:, 2], beams[:, :2].norm(dim=1)))
    which, size, share, phase = torch.rand(4, generator=generator).tolist()
    if which < 0.7:
        period = 0.4 * (5.0 / 0.4) ** size
        return (elevation / period + phase) % 1.0 < 0.25 + 0.5 * share
    band = (elevation / (0.3 + 0.7 * size) + phase).floor().long().clamp(-300, 300) + 300
    return torch.rand(601, generator=generator)[band] > 0.6 * share
