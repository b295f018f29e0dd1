"""Every knob, as frozen dataclasses that refuse bad values when they are made.

Paths are never here: they are arguments. ``build.py`` is the only reader of these classes; what lies below
it takes plain keyword arguments.
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_type_hints


def _require(condition: bool, what: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{what}, got {got!r}; correct the recipe or the option of that name")


@dataclass(frozen=True)
class DataConfig:
    """Where samples come from, and how points meet pixels."""

    layout: Literal["nuscenes", "pandaset"] = "nuscenes"
    """The on-disk layout of the data root."""
    classes: Literal["own", "toytown"] = "own"
    """The data set's own classes, or the twelve of nuScenes' sixteen that the embedded world has."""
    min_depth: float = 1.0
    """Nearest depth at which a point is paired with a pixel, in metres."""
    occlusion_test: bool = True
    """Whether pairs hidden behind nearer points are dropped."""

    def __post_init__(self) -> None:
        _require(self.min_depth > 0, "min_depth must be positive metres", self.min_depth)


@dataclass(frozen=True)
class TeacherConfig:
    """Who says what a pixel is."""

    kind: Literal["maskclip", "label-maps"] = "maskclip"
    """An image-text model read densely, or class maps written by any 2D segmenter."""
    trained_on_2d_labels: bool = False
    """Whether the teacher ever saw labelled images; results are reported in two classes by this."""
    working_size: tuple[int, int] | None = None
    """Height and width at which images are looked at, in pixels; None keeps each image's own size."""
    scales: tuple[float, ...] = (1.0,)
    """Factors on that size at which images are looked at too; the answers are averaged."""
    key_smoothing: float = 0.0
    """Cells whose best score is below this take over the scores of cells with like keys; 0 is off."""
    prompt_denoising: float = 0.0
    """Classes whose best score in an image is below this are silenced in it; 0 is off, MaskCLIP's is 0.5."""
    superpoint_vote: bool = False
    """Whether the points of a piece of the cloud that stands alone settle on one class by vote."""
    templates: Literal["all", "toytown"] = "all"
    """Sentences around each class name: all 85, or the few made of toytown's words."""

    def __post_init__(self) -> None:
        positive = bool(self.scales) and min(self.scales) > 0
        _require(positive, "scales must be one or more positive factors", self.scales)
        for name in ("key_smoothing", "prompt_denoising"):
            _require(0 <= getattr(self, name) <= 1, f"{name} must lie in 0..1", getattr(self, name))


@dataclass(frozen=True)
class StudentConfig:
    """The 3D network."""

    network: Literal["spvcnn", "minkunet14a", "minkunet18", "minkunet34"] = "spvcnn"
    """Its architecture."""
    width: float = 1.0
    """Factor on its channel counts, above 0."""
    voxel_size: float = 0.1
    """Edge of a voxel, in metres."""
    sees_height: bool = False
    """Whether a point's height over the sensor is an input, beside the intensity; the paper's is not."""
    settles: bool = False
    """Whether the points of a superpoint share one embedding when the network answers."""

    def __post_init__(self) -> None:
        _require(self.width > 0, "width must be positive", self.width)
        _require(self.voxel_size > 0, "voxel_size must be positive metres", self.voxel_size)


@dataclass(frozen=True)
class LossConfig:
    """What the student is asked for at each pair."""

    form: Literal["point-cross-entropy", "class-infonce"] = "point-cross-entropy"
    """Semantic consistency as the released code computes it, or as the paper's Eq. 1 defines it."""
    temperature: float = 0.5
    """Divides the logits of the class-wise InfoNCE (paper, Sec. 4: 0.5)."""
    cosine: bool = False
    """Whether point embeddings are brought to unit length before they meet the text."""
    cosine_temperature: float = 0.05
    """Divides the logits when ``cosine`` is set."""
    class_balance: float = 0.0
    """Power in 0..1 by which rare classes weigh more; 0 counts every point alike."""
    lovasz: float = 0.0
    """Weight of an added Lovasz-softmax term, 0 to leave it out."""

    def __post_init__(self) -> None:
        _require(self.temperature > 0, "temperature must be positive", self.temperature)
        _require(self.cosine_temperature > 0, "cosine_temperature must be positive", self.cosine_temperature)
        _require(0 <= self.class_balance <= 1, "class_balance must lie in 0..1", self.class_balance)
        balanced = self.form == "point-cross-entropy" or self.class_balance == 0
        _require(
            balanced, "class_balance belongs to point-cross-entropy, with class-infonce it must be 0", self
        )
        _require(self.lovasz >= 0, "lovasz must not be negative", self.lovasz)


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
        _require(0 <= self.scale <= 0.5, "scale must lie in 0..0.5", self.scale)


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
        _require(self.learning_rate > 0, "learning_rate must be positive", self.learning_rate)
        _require(self.weight_decay >= 0, "weight_decay must not be negative", self.weight_decay)
        _require(0 <= self.average < 1, "average must lie in 0..1", self.average)


@dataclass(frozen=True)
class Recipe:
    """One experiment, whole."""

    name: str
    """What it is called in tables."""
    supervision: Literal["label-free", "labels"] = "label-free"
    """Whether points are taught by the teacher, or (to know the ceiling) by their true labels."""
    data: DataConfig = field(default_factory=DataConfig)
    """Samples and pairs."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The image model."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The 3D network."""
    loss: LossConfig = field(default_factory=LossConfig)
    """What is minimised."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Random motions of the cloud."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """How it is minimised."""
    steps: int = 120_000
    """Optimiser steps in all."""
    batch_size: int = 4
    """Samples in a step."""
    seed: int = 0
    """Fixes initial weights, order and augmentation."""

    def __post_init__(self) -> None:
        _require(self.steps > 0, "steps must be positive", self.steps)
        _require(self.batch_size > 0, "batch_size must be positive", self.batch_size)


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Turn a recipe into plain values fit for JSON."""
    return asdict(recipe)


def from_dict(values: dict[str, Any], kind: type = Recipe) -> Any:  # noqa: ANN401 - an instance of ``kind``
    """Rebuild a recipe from :func:`to_dict`'s values.

    Raises:
        ValueError: If a key is unknown, as when a run was written by a newer version.
    """
    known = {each.name for each in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"unknown setting {', '.join(unknown)} for {kind.__name__}; expected some of "
            f"{', '.join(sorted(known))}. "
            "The run may come from another version of clip2scene"
        )
    hints = get_type_hints(kind)
    built = {
        name: from_dict(value, hints[name]) if is_dataclass(hints[name]) else value
        for name, value in values.items()
    }
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in built.items()})
