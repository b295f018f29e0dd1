"""One experiment, whole, and its form on disk."""

from dataclasses import asdict, dataclass, field, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from clip2scene.config.checks import check_range, refuse
from clip2scene.config.data import DataConfig
from clip2scene.config.labels import LabelsConfig, TuningConfig
from clip2scene.config.losses import ConsistencyConfig, LossConfig, SelfTrainingConfig
from clip2scene.config.student import AugmentConfig, OptimiserConfig, StudentConfig
from clip2scene.config.teacher import TeacherConfig
from clip2scene.io import without_place


@dataclass(frozen=True)
class Recipe:
    """One experiment, whole."""

    name: str
    """What it is called in tables."""
    supervision: Literal["label-free", "labels"] = "label-free"
    """Whether targets are the teacher's pseudo-labels, or (to know the ceiling) true labels."""
    data: DataConfig = field(default_factory=DataConfig)
    """Samples and pairs."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """The image model."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """The 3D network."""
    loss: LossConfig = field(default_factory=LossConfig)
    """The loss at pairs, or at labelled points."""
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    """Spatial-temporal consistency (StCR) beside it: agreement within small cells over time."""
    self_training: SelfTrainingConfig = field(default_factory=SelfTrainingConfig)
    """When the student is trained on its own predictions (S3)."""
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    """Which true labels are used, if it is trained on labels."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """How it is fine-tuned: its head, what that begins with, what stays frozen."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Random motions of the cloud."""
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    """The optimiser, its learning rate and its schedule."""
    steps: int = 120_000
    """Optimiser steps in all."""
    batch_size: int = 4
    """Samples in a step."""
    seed: int = 0
    """Fixes initial weights, order and augmentation."""

    def __post_init__(self) -> None:
        check_range("--steps", self.steps, least=1)
        check_range("--batch-size", self.batch_size, least=1)
        if not self.loss.weight and not self.consistency.weight:
            refuse("--loss.weight", "above 0 where --consistency.weight is 0, or nothing is minimised", 0)
        self._check_self_training()
        if self.supervision == "labels":
            self._check_supervised()
        elif self.labels != LabelsConfig() or self.tuning != TuningConfig():
            refuse("--supervision", "labels where labels or tuning are set", self.supervision)
        if self.consistency.weight and not self.loss.over_classes:
            refuse(
                "--consistency.weight",
                f"0 with {self.loss.form}, which has no classes",
                self.consistency.weight,
            )
        if self.teacher.kind != "maskclip":
            self._check_label_maps()
        if self.teacher.consolidate and self.data.layout in ("scannet", "rgbd", "kitti-object"):
            refuse(
                "--teacher.consolidate",
                f"off for the layout {self.data.layout}, whose samples are no moments of a drive",
                self.teacher.consolidate,
            )

    def _check_self_training(self) -> None:
        """Refuse self-training that lacks what it draws on."""
        own = self.self_training
        if own.superpoint_mean and not self.teacher.superpoint_vote:
            refuse(
                "--self-training.superpoint-mean",
                "off without --teacher.superpoint-vote",
                own.superpoint_mean,
            )
        if not own.is_on:
            return
        if own.source == "average" and not self.optimiser.average:
            refuse("--self-training.source", "same-pass without an --optimiser.average above 0", own.source)
        if not self.loss.over_classes:
            refuse(
                "--self-training.probability",
                f"0 with {self.loss.form}, which has no classes",
                own.probability,
            )

    def _check_supervised(self) -> None:
        """Refuse losses that labels of points cannot have."""
        if not self.loss.over_classes:
            refuse("--loss.form", "point-cross-entropy or class-infonce to train on labels", self.loss.form)
        if self.data.words != "own":
            refuse("--data.words", "own to train on labels, which are of the data's classes", self.data.words)
        for name, weight in (
            ("--consistency.weight", self.consistency.weight),
            ("--loss.similarity", self.loss.similarity),
        ):
            if weight:
                refuse(name, "0 to train on labels, which uses no pixels", weight)
        if self.self_training.is_on:
            refuse("--self-training.probability", "0 to train on labels", self.self_training.probability)

    def _check_label_maps(self) -> None:
        """Refuse what label maps and segmenters have not: features, an image tower, free prompts."""
        if self.loss.form == "superpixel-infonce" and self.loss.backbone in (None, "own"):
            refuse(
                "--loss.backbone", "a vision model's folder: label maps have no features", self.loss.backbone
            )
        if self.loss.similarity:
            refuse("--loss.similarity", "0: label maps have no features", self.loss.similarity)
        if self.loss.backbone == "own":
            refuse(
                "--loss.backbone",
                "a vision model's folder: label maps have no image tower",
                self.loss.backbone,
            )
        if self.data.words != "own":
            refuse("--data.words", "own: label maps hold the data's own classes", self.data.words)

    @property
    def keep(self) -> Literal["classes", "maps", "superpixels"]:
        """What is kept of the teacher: pseudo-labels, its feature maps too, or superpixels as well."""
        if self.loss.form == "superpixel-infonce":
            return "superpixels"
        fused = self.consistency.weight > 0 and self.consistency.form == "paper"
        with_features = fused or self.loss.form == "pixel-infonce" or self.loss.similarity > 0
        return "maps" if with_features else "classes"


EARLIER_NAMES: dict[tuple[type, str], str] = {
    (StudentConfig, "settles"): "superpoint_mean",
    (SelfTrainingConfig, "settle"): "superpoint_mean",
}
"""What settings were called when older runs were written."""

EARLIER_VALUES: dict[tuple[type, str], tuple[str, dict[Any, Any]]] = {
    (StudentConfig, "sees_height"): ("height", {True: "sensor", False: "none"}),
}
"""Settings that had other values then: what they are called, and what each value is today."""


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """Turn a recipe into plain values fit for JSON: numbers, strings, lists, dictionaries."""
    return asdict(recipe)


def flat_settings(recipe: Recipe) -> dict[str, Any]:
    """List every setting by its name on the command line, to be shown to others.

    Returns:
        Numbers and None as they are; lists as text; of a path the last part alone.

    Example:
        >>> flat_settings(Recipe("mine"))["student.voxel-size"]
        0.1
    """
    return _flat(asdict(recipe), "")


def _flat(settings: dict[str, Any], before: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        place = f"{before}{name.replace('_', '-')}"
        if isinstance(value, dict):
            found |= _flat(value, f"{place}.")
        else:
            found[place] = without_place(value) if isinstance(value, (str, tuple)) else value
    return found


def from_dict(values: Any, kind: type = Recipe, section: str = "") -> Any:  # noqa: ANN401 - JSON, a ``kind``
    """Rebuild a recipe from :func:`to_dict`'s values, each of the type that its setting has.

    Args:
        values: As JSON gives them; tuples may be lists, whole numbers may stand for real ones.
        kind: What is rebuilt.
        section: Where it stands in the recipe, for the message.

    Raises:
        ValueError: If a key is unknown, as when a run was written by a newer version, or a value is of
            another type.
    """
    if not isinstance(values, dict):
        raise ValueError(
            f"{section or 'the recipe'} must be settings by name, got {values!r}; restore the file"
        )
    hints = get_type_hints(kind)
    values = dict(_today(kind, name, value) for name, value in values.items())
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(
            f"unknown setting {', '.join(unknown[:5])} for {kind.__name__}; expected some of "
            f"{', '.join(sorted(hints))}. "
            "The run may come from another version of clip2scene"
        )
    built = {}
    for name, value in values.items():
        hint, place = hints[name], f"{section}.{name}" if section else name
        read: Any = from_dict if is_dataclass(hint) else _read_value
        built[name] = read(value, hint, place)
    if kind is Recipe and "name" not in built:
        raise ValueError("the recipe has no name; restore the file")
    return kind(**built)


def _today(kind: type, name: str, value: Any) -> tuple[str, Any]:  # noqa: ANN401 - JSON
    """Give a setting its name and value of today."""
    if (kind, name) in EARLIER_VALUES and isinstance(value, bool):
        name, values = EARLIER_VALUES[kind, name]
        return name, values[value]
    return EARLIER_NAMES.get((kind, name), name), value


def _read_value(value: Any, hint: Any, place: str) -> Any:  # noqa: ANN401 - any type of a setting
    """Give a value as its setting's type has it, or refuse it."""
    if isinstance(value, list):
        value = tuple(value)
    if not _fits(value, hint):
        expected = hint.__name__ if isinstance(hint, type) and not get_origin(hint) else str(hint)
        expected = expected.replace("typing.", "").replace("Literal", "one of ")
        raise ValueError(
            f"setting {place} must be {expected}, got {value!r}; restore the file, or train anew"
        )
    return float(value) if type(value) is int and not _is_whole(hint) else value


def _is_whole(hint: Any) -> bool:  # noqa: ANN401 - a type, or a form of one
    """Tell whether a whole number stays one."""
    return hint is int or int in get_args(hint)


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401 - a type, or a form of one
    """Tell whether a value is of a setting's type; True is no number, and a whole number is a real one."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        hints = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return len(hints) == len(value) and all(map(_fits, value, hints))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)
