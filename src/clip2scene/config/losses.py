"""What is minimised."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.require import require


@dataclass(frozen=True)
class LossConfig:
    """What the student is asked for at each pair."""

    form: Literal[
        "point-cross-entropy", "class-infonce", "kl-divergence", "pixel-infonce", "superpixel-infonce"
    ] = "point-cross-entropy"
    """Semantic consistency as the released code computes it, or as the paper's Eq. 1 defines it; the paper's
    KL baseline; and the rivals PPKT (pixels) and SLidR (superpixels), which know pixels and no classes."""
    weight: float = 1.0
    """Factor on the term; 0 leaves consistency alone to teach (the paper's row "w/o SCR")."""
    temperature: float = 0.5
    """Divides the logits of the class-wise InfoNCE (paper, Sec. 4: 0.5)."""
    backbone: str | None = None
    """Whose picture of the pixels the rivals contrast with: None, the teacher's embeddings, which words are
    compared with; "own", the teacher's last map before its pooling; or the folder of any frozen vision model.
    With the latter two, points and pixels each learn a layer into a common space of 64 channels, as in the
    rivals' papers, and the words are learnt beside, by a layer that teaches the network nothing."""
    contrast_temperature: float = 0.07
    """Divides the logits of the rivals' contrasts (PPKT and SLidR: 0.07)."""
    kl_temperature: float = 1.0
    """Divides both sides' logits in the KL baseline (released code: 1)."""
    cosine: bool = False
    """Whether point embeddings are brought to unit length before they meet the text."""
    cosine_temperature: float = 0.05
    """Divides the logits when ``cosine`` is set."""
    class_balance: float = 0.0
    """Power in 0..1 by which rare classes weigh more; 0 counts every point alike."""
    lovasz: float = 0.0
    """Weight of an added Lovasz-softmax term, 0 to leave it out."""

    def __post_init__(self) -> None:
        require(self.weight >= 0, "weight must not be negative", self.weight)
        require(self.temperature > 0, "temperature must be positive", self.temperature)
        for name in ("cosine_temperature", "contrast_temperature", "kl_temperature"):
            require(getattr(self, name) > 0, f"{name} must be positive", getattr(self, name))
        require(0 <= self.class_balance <= 1, "class_balance must lie in 0..1", self.class_balance)
        balanced = self.form == "point-cross-entropy" or self.class_balance == 0
        require(
            balanced, f"class_balance belongs to point-cross-entropy, with {self.form} it must be 0", self
        )
        contrasts = self.backbone is None or self.form in ("pixel-infonce", "superpixel-infonce")
        require(
            contrasts, f"a backbone is for the rivals, with {self.form} it must be left out", self.backbone
        )
        require(self.lovasz >= 0, "lovasz must not be negative", self.lovasz)
        classes = not self.lovasz or self.form in ("point-cross-entropy", "class-infonce")
        require(classes, f"lovasz needs classes to ask for, with {self.form} it must be 0", self.lovasz)


@dataclass(frozen=True)
class ConsistencyConfig:
    """Spatial-temporal consistency (StCR), the paper's Eq. 2 to 4."""

    weight: float = 0.0
    """Factor on the term, 0 to leave it out; the paper adds it as it is (1)."""
    form: Literal["paper", "released-code"] = "paper"
    """Pixel and point features fused per cell (Eq. 3), or point features alone, at most eight a cell."""
    cell_size: float = 0.1
    """Edge of a grid cell, in metres; the paper does not say, the released code has 0.1."""
    temperature: float = 1.0
    """Divides the scores that weigh the features (lambda of Eq. 4; paper: 1)."""
    pairs: int | None = 16384
    """About how many pixel-point pairs a step compares, in whole cells drawn at random; None takes all."""
    guard: Literal["none", "unit", "centred"] = "centred"
    """What keeps all features from becoming one growing vector, the term's trivial solution."""

    def __post_init__(self) -> None:
        require(self.weight >= 0, "weight must not be negative", self.weight)
        require(self.cell_size > 0, "cell_size must be positive metres", self.cell_size)
        require(self.pairs is None or self.pairs > 0, "pairs must be positive", self.pairs)
        require(self.temperature > 0, "temperature must be positive", self.temperature)


@dataclass(frozen=True)
class SelfTrainingConfig:
    """Switchable self-training (S3, Sec. 3.3): the student's own answers take turns with the teacher's."""

    probability: float = 0.0
    """Share of targets that are the student's own answers; 0 is off, the released code has 0.5, and 1 (own
    answers only) is the paper's row "ST"."""
    start: float = 0.5
    """Share of the run before it begins; the paper starts after 10 of 20 epochs."""
    switch: Literal["step", "point"] = "step"
    """Whether one draw decides for a whole step, as in the released code, or one for each point."""
    source: Literal["same-pass", "average"] = "same-pass"
    """Whether the answers are the learning weights' own, or the running mean's (an EMA teacher)."""
    confidence: float = 0.0
    """Least share that an own answer needs to be asked for."""
    settle: bool = False
    """Whether the points of a superpoint share their own answer; needs ``teacher.superpoint_vote``."""
    unseen: bool = False
    """Whether points that nobody teaches learn from own answers too; the released code computes that term
    and throws it away."""

    def __post_init__(self) -> None:
        for name in ("probability", "start", "confidence"):
            require(0 <= getattr(self, name) <= 1, f"{name} must lie in 0..1", getattr(self, name))

    @property
    def is_on(self) -> bool:
        """Whether own answers are ever asked for."""
        return self.probability > 0 or self.unseen
