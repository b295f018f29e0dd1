"""What is minimised."""

from dataclasses import dataclass
from typing import Literal

from clip2scene.config.checks import check_range, refuse


@dataclass(frozen=True)
class LossConfig:
    """The loss at each pixel-point pair, or at each labelled point."""

    form: Literal[
        "point-cross-entropy", "class-infonce", "kl-divergence", "pixel-infonce", "superpixel-infonce"
    ] = "point-cross-entropy"
    """Semantic consistency regularisation (SCR) as the released code computes it, or as the paper's Eq. 1
    defines it; the paper's KL baseline; and the rivals PPKT (pixel-point InfoNCE) and SLidR (superpixel
    InfoNCE), which compare features and know no classes."""
    weight: float = 1.0
    """Factor on the term; 0 trains on consistency alone (the paper's row "w/o SCR")."""
    temperature: float = 0.5
    """Temperature: divides the logits of the class-wise InfoNCE (paper, Sec. 4: 0.5)."""
    bounded: bool = False
    """Whether the class-wise InfoNCE has the positives in its denominator too, so that it is never below 0.
    Eq. 1 as written has the negatives alone there, and falls without bound as embeddings grow."""
    backbone: str | None = None
    """The image features in the rivals' InfoNCE: None, the teacher's embeddings in the text space; "own", the
    teacher's last feature map before its pooling; or the folder of any frozen vision model. With the latter
    two, points and pixels each have a projection head into a common space of 64 channels, as in the rivals'
    papers, and the text head is trained behind a stop-gradient: its loss does not move the backbone."""
    contrast_temperature: float = 0.07
    """Temperature: divides the logits of the rivals' InfoNCE (PPKT and SLidR: 0.07)."""
    kl_temperature: float = 1.0
    """Temperature: divides both sides' logits in the KL baseline (released code: 1)."""
    cosine: bool = False
    """Whether logits are cosines: point embeddings are brought to unit length before they meet the text."""
    cosine_temperature: float = 0.05
    """Temperature: divides the logits when ``cosine`` is set."""
    class_balance: float = 0.0
    """Power in 0..1 by which rare classes weigh more; 0 counts every point alike."""
    lovasz: float = 0.0
    """Weight of an added Lovasz-softmax term, 0 to leave it out."""
    generalised: float = 0.0
    """q in 0..1 of the generalised cross-entropy, for noisy labels: a target that the network holds to be
    unlikely counts for less. 0 is the plain one, 1 half the mean absolute error; published: 0.7."""
    reverse: float = 0.0
    """Weight of an added reverse cross-entropy, which makes the cross-entropy symmetric, for noisy labels; 0
    leaves it out; published: 0.1 to 1."""
    similarity: float = 0.0
    """Weight of an added feature similarity: 1 less the cosine of a point's feature, through an MLP head, and
    the teacher's embedding of its pixel (ScaLR, CleverDistiller); 0 leaves it out."""

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
        if self.bounded and self.form != "class-infonce":
            refuse("--loss.bounded", f"left out with {self.form}: it is for class-infonce", self.bounded)
        if self.backbone is not None and self.form not in ("pixel-infonce", "superpixel-infonce"):
            refuse("--loss.backbone", f"left out with {self.form}: it is for the rivals", self.backbone)
        check_range("--loss.generalised", self.generalised, least=0, most=1)
        check_range("--loss.reverse", self.reverse, least=0)
        check_range("--loss.similarity", self.similarity, least=0)
        if self.similarity and not (self.over_classes and self.backbone is None):
            refuse("--loss.similarity", f"0 with {self.form}, which compares features", self.similarity)
        for name in ("generalised", "reverse"):
            if getattr(self, name) and self.form != "point-cross-entropy":
                refuse(f"--loss.{name}", f"0 with {self.form}: it is a cross-entropy's", getattr(self, name))
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
    """What keeps all features from collapsing to one growing vector, the term's trivial solution."""

    def __post_init__(self) -> None:
        check_range("--consistency.weight", self.weight, least=0)
        check_range("--consistency.cell-size", self.cell_size, above=0)
        check_range("--consistency.pairs", self.pairs, least=1)
        check_range("--consistency.temperature", self.temperature, above=0)


@dataclass(frozen=True)
class SelfTrainingConfig:
    """Switchable self-training (S3, Sec. 3.3): own predictions take turns with the pseudo-labels."""

    probability: float = 0.0
    """Share of targets in 0..1 that are self-training predictions, the student's own; 0 is off, the released
    code has 0.5, and 1 (these alone) is the paper's row "ST"."""
    start: float = 0.5
    """Share of the run before it begins, in 0..1; the paper starts after 10 of 20 epochs."""
    switch: Literal["step", "point"] = "step"
    """Whether one draw decides for a whole step, as in the released code, or one for each point."""
    source: Literal["same-pass", "average"] = "same-pass"
    """Whether the predictions are of the weights in training, or of their EMA (as in a mean teacher)."""
    confidence: float = 0.0
    """Least probability in 0..1 at which a self-training prediction becomes a target."""
    superpoint_mean: bool = False
    """Whether the points of a superpoint share their mean logits; needs ``teacher.superpoint_vote``."""
    unseen: bool = False
    """Whether points without a pseudo-label are trained on self-training predictions too; the released code
    computes that term and throws it away."""
    lead: float = 0.1
    """For a second round (pretrain --second-round): by how much the first round's student must be surer of a
    point than the teacher, for its label to count; each by its rank, 0..1, among all points that it gives
    that class. 0 asks for no lead, 1 leaves the teacher's labels as they are."""

    def __post_init__(self) -> None:
        check_range("--self-training.probability", self.probability, least=0, most=1)
        check_range("--self-training.start", self.start, least=0, most=1)
        check_range("--self-training.confidence", self.confidence, least=0, most=1)
        check_range("--self-training.lead", self.lead, least=0, most=1)

    @property
    def is_on(self) -> bool:
        """Whether any target is a self-training prediction."""
        return self.probability > 0 or self.unseen
