"""The network, its augmentation and its optimiser."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.checks import check_range

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
    """Whether a point's height over the sensor, in metres, is an input beside the intensity (paper: no)."""
    superpoint_mean: bool = False
    """Superpoint mean: whether predictions are of the mean logits within each superpoint."""

    def __post_init__(self) -> None:
        check_range("--student.width", self.width, above=0)
        check_range("--student.voxel-size", self.voxel_size, above=0)


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
        check_range("--augment.scale", self.scale, least=0, most=0.5)


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
    average: float = 0.0
    """Decay in 0..1 of the EMA of the weights, which is evaluated and saved; 0 keeps the last weights."""

    def __post_init__(self) -> None:
        check_range("--optimiser.learning-rate", self.learning_rate, above=0)
        check_range("--optimiser.weight-decay", self.weight_decay, least=0)
        check_range("--optimiser.average", self.average, least=0, below=1)
