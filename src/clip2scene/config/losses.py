"""What is minimised."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.checks import check_range, refuse


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
        check_range("--loss.weight", self.weight, least=0)
        check_range("--loss.temperature", self.temperature, above=0)
        check_range("--loss.cosine-temperature", self.cosine_temperature, above=0)
        check_range("--loss.contrast-temperature", self.contrast_temperature, above=0)
        check_range("--loss.kl-temperature", self.kl_temperature, above=0)
        check_range("--loss.class-balance", self.class_balance, least=0, most=1)
        check_range("--loss.lovasz", self.lovasz, least=0)
        if self.class_balance and self.form != "point-cross-entropy":
            refuse(
                "--loss.class-balance", f"0 with {self.form}: it weighs a cross-entropy", self.class_balance
            )
        if self.backbone is not None and self.form not in ("pixel-infonce", "superpixel-infonce"):
            refuse("--loss.backbone", f"left out with {self.form}: it is for the rivals", self.backbone)
        if self.lovasz and not self.over_classes:
            refuse("--loss.lovasz", f"0 with {self.form}, which has no classes", self.lovasz)

    @property
    def over_classes(self) -> bool:
        """Whether targets are classes; the other forms compare points with pixels."""
        return self.form in ("point-cross-entropy", "class-infonce")


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
        check_range("--consistency.weight", self.weight, least=0)
        check_range("--consistency.cell-size", self.cell_size, above=0)
        check_range("--consistency.pairs", self.pairs, least=1)
        check_range("--consistency.temperature", self.temperature, above=0)


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
    superpoint_mean: bool = False
    """Whether the points of a superpoint share their mean logits; needs ``teacher.superpoint_vote``."""
    unseen: bool = False
    """Whether points that nobody teaches learn from own answers too; the released code computes that term
    and throws it away."""

    def __post_init__(self) -> None:
        check_range("--self-training.probability", self.probability, least=0, most=1)
        check_range("--self-training.start", self.start, least=0, most=1)
        check_range("--self-training.confidence", self.confidence, least=0, most=1)

    @property
    def is_on(self) -> bool:
        """Whether own answers are ever asked for."""
        return self.probability > 0 or self.unseen
