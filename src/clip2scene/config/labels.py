"""Which labels are used, and how a network is fine-tuned on them."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.checks import check_range, refuse


@dataclass(frozen=True)
class LabelsConfig:
    """Which true labels are used, where any are (:mod:`clip2scene.datasets.label_subset`)."""

    by: Literal["scene", "keyframe"] = "scene"
    """Whether whole scenes are labelled (SLidR's protocol) or single keyframes (CLIP2Scene's)."""
    fraction: float = 1.0
    """Share of the scenes or keyframes that is labelled, in 0..1."""
    count: int | None = None
    """How many scenes or keyframes are labelled, instead of a share."""
    order: Literal["hash", "stride"] = "hash"
    """Who is labelled first: by a hash of each name, nested; or every n-th, as the papers have it."""
    ranking: tuple[str, ...] = ()
    """Scenes or keyframes in the order in which they are labelled; stands over ``order``."""
    draw: int | None = 0
    """Which shuffle, for "hash" and for single points; None takes the run's seed."""
    points_per_scene: int | None = None
    """Labelled points of each scene or keyframe, shared evenly by its samples; None labels all."""
    classes: tuple[str, ...] = ()
    """The only classes that are labelled; none named means all."""
    holdout: float = 0.0
    """Share of the labelled scenes or keyframes that is held out, in 0..1, and not trained on: the checkpoint
    that is best on them is kept. 0 keeps the last one."""
    absent: Literal["refuse", "allow"] = "refuse"
    """What to do when a class has no labelled point to train on, though not all labels are used: refuse, or
    train on the others."""

    rest: Literal["start", "everywhere", "nothing"] = "start"
    """With labels by hand: what the points of these samples teach that nobody labelled. What the run that
    training begins with calls them, or nothing, as where it begins with no run; "everywhere" adds all other
    samples of the split, with what that run calls their points."""

    def __post_init__(self) -> None:
        check_range("--labels.fraction", self.fraction, above=0, most=1)
        check_range("--labels.count", self.count, least=1)
        check_range("--labels.points-per-scene", self.points_per_scene, least=1)
        check_range("--labels.holdout", self.holdout, least=0, below=1)
        if len(set(self.classes)) < len(self.classes):
            refuse("--labels.classes", "different names", self.classes)
        if self.rest == "everywhere" and not self.are_all:
            refuse("--labels.rest", "start, where --labels.* choose among samples or labels", self.rest)

    @property
    def are_all(self) -> bool:
        """Whether every label of the split is trained on: fraction 1, no holdout, no choice of points."""
        some = self.count is not None or self.points_per_scene is not None or self.classes
        return self.fraction == 1.0 and self.holdout == 0 and not some


@dataclass(frozen=True)
class TuningConfig:
    """How a pretrained network is fine-tuned on labels."""

    head: Literal["words", "classifier"] = "words"
    """What gives the logits: the text head (a layer into the text space) or a linear classifier beside it."""
    start: Literal["words", "random"] | None = "words"
    """What a new classifier begins with: "words", the text embeddings through the text head, so that it gives
    the same logits; or chance, as in the papers. None is words, if the start has a trained text head."""
    freeze: bool = False
    """Whether the backbone stays as it is, its batch statistics too (linear probing)."""
    fit: Literal["steps", "optimum"] = "steps"
    """How a classifier on a frozen backbone is found: by optimiser steps over moved clouds, or at once, as
    the one with the least cross-entropy (:mod:`clip2scene.training.linear_probe`), whatever it began with."""
    head_rate: float | None = None
    """Factor on the learning rate of the head in use; the backbone's is the optimiser's. None is 5 for a
    pretrained network, and 1 from chance."""
    layer_decay: float = 1.0
    """Factor in 0..1 on the learning rate from one stage of the backbone to the one before it."""
    keep_words: float = 0.0
    """Weight of a term that holds every point's embedding near the one it had at the start (1 - cosine), so
    that words can still be prompted; 0 lets them fade."""

    def __post_init__(self) -> None:
        check_range("--tuning.head-rate", self.head_rate, above=0)
        check_range("--tuning.layer-decay", self.layer_decay, above=0, most=1)
        check_range("--tuning.keep-words", self.keep_words, least=0)
        if self.freeze and self.keep_words:
            refuse(
                "--tuning.keep-words",
                "0 with --tuning.freeze: a frozen backbone keeps its words",
                self.keep_words,
            )
        if self.fit == "optimum" and not (self.freeze and self.head == "classifier"):
            refuse("--tuning.fit", "steps, without --tuning.freeze and --tuning.head classifier", self.fit)
