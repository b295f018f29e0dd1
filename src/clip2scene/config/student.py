"""The network, and how it moves."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.require import require

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
    sees_height: bool = False
    """Whether a point's height over the sensor is an input, beside the intensity; the paper's is not."""
    settles: bool = False
    """Whether the points of a superpoint share one embedding when the network answers."""

    def __post_init__(self) -> None:
        require(self.width > 0, "width must be positive", self.width)
        require(self.voxel_size > 0, "voxel_size must be positive metres", self.voxel_size)


@dataclass(frozen=True)
class AugmentConfig:
    """Random motions of the cloud, drawn anew for every sample and step."""

    rotate: bool = True
    """Rotation about the vertical axis, uniform over the full turn."""
    flip: bool = True
    """Mirroring of x and of y, each with probability one half."""
    scale: float = 0.0
    """Half-width of a uniform scale factor around 1, in 0..0.5."""

    def __post_init__(self) -> None:
        require(0 <= self.scale <= 0.5, "scale must lie in 0..0.5", self.scale)


@dataclass(frozen=True)
class OptimiserConfig:
    """How weights move."""

    name: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum 0.9 and dampening 0.1 as the released code has it, or AdamW."""
    learning_rate: float = 0.1
    """The schedule's highest value."""
    weight_decay: float = 1e-4
    """Decay of the weights per step, relative to the learning rate."""
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    """Cosine to zero from the first step, or a short rise before it."""
    average: float = 0.0
    """Decay of a running mean of the weights in 0..1 that is judged and saved; 0 keeps the last weights."""

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, "learning_rate must be positive", self.learning_rate)
        require(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay)
        require(0 <= self.average < 1, "average must lie in 0..1", self.average)
