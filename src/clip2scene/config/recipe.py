"""One experiment, whole, and its form on disk."""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_type_hints

from clip2scene.config.data import DataConfig, TeacherConfig
from clip2scene.config.labels import LabelsConfig, TuningConfig
from clip2scene.config.losses import ConsistencyConfig, LossConfig, SelfTrainingConfig
from clip2scene.config.require import require
from clip2scene.config.student import AugmentConfig, OptimiserConfig, StudentConfig


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
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    """What is minimised beside it: agreement within small cells over time."""
    self_training: SelfTrainingConfig = field(default_factory=SelfTrainingConfig)
    """When the student's own answers are asked for."""
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    """Which true labels are seen, if it learns from labels."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """How it goes on from a network that has learnt before."""
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
        require(self.steps > 0, "steps must be positive", self.steps)
        require(self.batch_size > 0, "batch_size must be positive", self.batch_size)
        something = self.loss.weight > 0 or self.consistency.weight > 0
        require(something, "loss.weight or consistency.weight must be above 0", 0)
        own = self.self_training.is_on
        averaged = not own or self.self_training.source == "same-pass" or self.optimiser.average > 0
        require(averaged, "self_training.source=average needs optimiser.average above 0", 0)
        pieces = not self.self_training.settle or self.teacher.superpoint_vote
        require(pieces, "self_training.settle needs teacher.superpoint_vote", self.self_training)
        classes = self.loss.form in ("point-cross-entropy", "class-infonce")
        require(classes or not own, f"self-training needs a loss over classes, not {self.loss.form}", own)
        alone = classes or self.consistency.weight == 0
        require(
            alone, f"consistency needs a loss over classes, not {self.loss.form}", self.consistency.weight
        )
        own_words = self.data.words == "own"
        taught = self.supervision == "label-free" or (
            classes and own_words and self.consistency.weight == 0 and not own
        )
        require(taught, "learning from labels knows the data's own classes and no pixels", self)
        plain = self.labels == LabelsConfig() and self.tuning == TuningConfig()
        supervised = self.supervision == "labels"
        require(plain or supervised, "labels and tuning are for supervision=labels", self.supervision)
        painted = self.teacher.kind == "maskclip" or own_words
        pictured = self.loss.backbone not in (None, "own")
        regions = self.teacher.kind == "maskclip" or pictured or self.loss.form != "superpixel-infonce"
        require(regions, "class maps have no features to average in superpixels; name a loss.backbone", 0)
        towers = self.teacher.kind == "maskclip" or self.loss.backbone != "own"
        require(towers, "class maps have no image tower, so loss.backbone cannot be own", self.loss.backbone)
        require(painted, "class maps speak the data's own classes, so words must be own", self.data.words)

    @property
    def keep(self) -> Literal["classes", "maps", "superpixels"]:
        """What is needed of the teacher: classes, its own features too, or regions of the images as well."""
        if self.loss.form == "superpixel-infonce":
            return "superpixels"
        fused = self.consistency.weight > 0 and self.consistency.form == "paper"
        return "maps" if fused or self.loss.form == "pixel-infonce" else "classes"


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
