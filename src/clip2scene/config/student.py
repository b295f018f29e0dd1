"""The network, its augmentation and its optimiser."""

import math
from dataclasses import dataclass
from typing import Literal

from clip2scene.config.checks import check_range, refuse

Network = Literal[
    "spvcnn",
    "minkunet14a",
    "minkunet18",
    "minkunet34",
    "spvcnn-corners",
    "minkunet18-spvnas",
    "spunet34",
]


@dataclass(frozen=True)
class StudentConfig:
    """The 3D network."""

    network: Network = "spvcnn"
    """Its architecture; the last three are those of published weights (docs/published_weights.md)."""
    width: float = 1.0
    """Factor on its channel counts, above 0."""
    voxel_size: float = 0.1
    """Edge of a voxel, in metres."""
    height: Literal["none", "sensor", "ground"] = "none"
    """A point's height as an input beside the intensity (paper: none): its z, over the sensor, or its height
    over the ground beneath it, which is estimated (in rooms its z); in metres."""
    level: bool = False
    """Whether clouds are brought level by the ground around the sensor; rooms never are."""
    intensity: Literal["value", "quantile", "none"] = "value"
    """The intensity as it is, its quantile within the cloud, or none."""
    superpoint_mean: bool = False
    """Superpoint mean: whether predictions are of the mean logits within each superpoint."""
    turns: tuple[float, ...] = (0.0,)
    """Yaws, in degrees, at which a cloud is predicted, for the mean over them; each costs a prediction."""

    def __post_init__(self) -> None:
        check_range("--student.width", self.width, above=0)
        check_range("--student.voxel-size", self.voxel_size, above=0)
        if not self.turns or not all(map(math.isfinite, self.turns)):
            refuse("--student.turns", "one or more angles in degrees", self.turns)


@dataclass(frozen=True)
class AugmentConfig:
    """Random motions of the cloud, drawn anew for every sample and step."""

    rotate: bool = True
    """Rotation about the vertical axis, uniform over the full turn."""
    flip: bool = True
    """Mirroring of x and of y, each with probability one half."""
    scale: float = 0.0
    """Half-width of a uniform scale factor around 1, in 0..0.5."""
    tilt: float = 0.0
    """Half-width of a uniform pitch and roll, in degrees, 0..20."""
    height: float = 0.0
    """Half-width of a uniform shift along z, and of the heights, in metres, 0..3."""
    noise: float = 0.0
    """Largest standard deviation of the range, in metres, 0..0.5; uniform from 0."""
    rain: float = 0.0
    """Largest share of points that are met near the sensor instead, 0..0.5; they lose their targets."""
    thin_rings: float = 0.0
    """Probability that bands of elevation are dropped, in 0..1."""
    thin_points: float = 0.0
    """Probability that points are dropped at random, up to four of five, in 0..1."""
    cut_range: float = 0.0
    """Probability that points beyond 15 to 60 metres are dropped, in 0..1."""
    narrow: float = 0.0
    """Probability that points outside of a sector of 60 to 300 degrees are dropped, in 0..1."""
    intensity: float = 0.0
    """Half-width of the logarithm of the intensities' gain and exponent, 0..2."""
    drop_intensity: float = 0.0
    """Probability that the intensity is taken away, in 0..1."""
    mix: Literal["none", "polar", "overlay"] = "none"
    """Mixing with another sample: a sector of it (PolarMix), or all of it (Mix3D)."""
    mix_share: float = 0.5
    """Probability that a sample is mixed, in 0..1."""

    def __post_init__(self) -> None:
        check_range("--augment.scale", self.scale, least=0, most=0.5)
        for name, most in (("tilt", 20), ("height", 3), ("noise", 0.5), ("rain", 0.5), ("intensity", 2)):
            check_range(f"--augment.{name}", getattr(self, name), least=0, most=most)
        shares = ("thin_rings", "thin_points", "cut_range", "narrow", "drop_intensity", "mix_share")
        for name in shares:
            check_range(f"--augment.{name.replace('_', '-')}", getattr(self, name), least=0, most=1)


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser, its learning rate and schedule, the EMA of the weights."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9 and dampening 0.1 as the released code has it, or AdamW."""
    learning_rate: float = 0.1
    """The schedule's highest value, above 0."""
    weight_decay: float = 1e-4
    """Decay of the weights per step, relative to the learning rate."""
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    """Cosine to zero from the first step, or a short rise before it."""
    batch_norm: Literal["all-ranks", "own-rank"] = "all-ranks"
    """Whose points batch statistics are of, where several processes train (docs/distributed.md): all of the
    step's, so that the result is that of one process; or each process's own, which saves it much waiting."""
    average: float = 0.0
    """Decay in 0..1 of the EMA of the weights, which is evaluated and saved; 0 keeps the last weights."""
    accumulate: int = 1
    """Batches of a step, 1 or more, whose gradients are averaged: for batches that memory does not hold
    (docs/distributed.md says what is equal)."""

    def __post_init__(self) -> None:
        check_range("--optimiser.accumulate", self.accumulate, least=1)
        check_range("--optimiser.learning-rate", self.learning_rate, above=0)
        check_range("--optimiser.weight-decay", self.weight_decay, least=0)
        check_range("--optimiser.average", self.average, least=0, below=1)
