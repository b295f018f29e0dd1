"""Every knob, as frozen dataclasses that refuse bad values when they are made.

Paths are never here: they are arguments. ``build/`` is the only reader of these classes; what lies below
it takes plain keyword arguments.
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_type_hints

Layout = Literal[
    "nuscenes", "pandaset", "semantic-kitti", "kitti-object", "kitti-raw", "drive-log", "scannet", "rgbd"
]


def _require(condition: bool, what: str, got: object) -> None:
    if not condition:
        raise ValueError(f"{what}, got {got!r}; correct the recipe or the option of that name")


@dataclass(frozen=True)
class DataConfig:
    """Where samples come from, and how points meet pixels."""

    layout: Layout = "nuscenes"
    """The on-disk layout of the data root."""
    classes: Literal["own", "toytown", "scannet-200"] = "own"
    """The data set's own classes, or those of nuScenes' or SemanticKITTI's that the embedded world has. A
    drive log with a ``classes.json`` has those of that file; rooms have ScanNet's 20, or its 200."""
    min_depth: float = 1.0
    """Nearest depth at which a point is paired with a pixel, in metres."""
    occlusion_test: bool = True
    """Whether pairs hidden behind nearer points are dropped."""
    words: Literal["own", "nuscenes", "semantic-kitti", "cityscapes", "scannet", "all"] = "own"
    """The class set whose words teach; answers are judged in ``classes`` (docs/words.md says how)."""
    sweeps: int = 1
    """Lidar sweeps that a sample teaches with, the keyframe's own included; the paper has 3."""
    merge_sweeps: bool = False
    """Whether the sweeps are one dense cloud, in learning and in use, or an item of the batch each."""
    moved_test: bool = True
    """Whether points of earlier sweeps that have moved away since are left out of pairs and merged clouds."""
    frame_step: int = 20
    """Of a room's recording, every so many frames is asked for."""
    views: int = 16
    """Of these, at most so many are looked at, spread evenly."""
    most_skipped: float = 0.5
    """Share of the frames asked for that may be unusable, in 0..1; above it, a room is refused."""

    def __post_init__(self) -> None:
        _require(self.min_depth > 0, "min_depth must be positive metres", self.min_depth)
        _require(1 <= self.sweeps <= 10, "sweeps must lie in 1..10", self.sweeps)
        _require(self.frame_step >= 1, "frame_step must be 1 or more", self.frame_step)
        _require(self.views >= 1, "views must be 1 or more", self.views)
        _require(0 <= self.most_skipped <= 1, "most_skipped must lie in 0..1", self.most_skipped)
        in_rooms = self.classes != "toytown" or self.layout not in ("scannet", "rgbd")
        _require(
            in_rooms,
            f"classes toytown are for layouts of streets, {self.layout} has own and scannet-200",
            "toytown",
        )
        of_rooms = self.classes != "scannet-200" or self.layout in ("scannet", "rgbd")
        _require(of_rooms, "classes scannet-200 are for the layouts scannet and rgbd", self.layout)
        merged = not self.merge_sweeps or self.sweeps > 1
        _require(merged, "merge_sweeps needs sweeps above 1", self.sweeps)


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
    window: int | None = None
    """Side in pixels of windows slid over the image, at each scale; None looks at it whole."""
    window_overlap: float = 0.5
    """Share of a window's side that the next one covers too, in 0..0.9."""
    precision: Literal["float16", "int8"] = "float16"
    """What the image-text model's maps are rounded to, kept or not; int8 takes half the space."""
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
        size = self.working_size
        _require(size is None or min(size) > 0, "working_size must be positive pixels", size)
        _require(self.window is None or self.window > 0, "window must be positive pixels", self.window)
        overlap = self.window_overlap
        _require(0 <= overlap <= 0.9, "window_overlap must lie in 0..0.9", overlap)
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
        _require(self.weight >= 0, "weight must not be negative", self.weight)
        _require(self.temperature > 0, "temperature must be positive", self.temperature)
        for name in ("cosine_temperature", "contrast_temperature", "kl_temperature"):
            _require(getattr(self, name) > 0, f"{name} must be positive", getattr(self, name))
        _require(0 <= self.class_balance <= 1, "class_balance must lie in 0..1", self.class_balance)
        balanced = self.form == "point-cross-entropy" or self.class_balance == 0
        _require(
            balanced, f"class_balance belongs to point-cross-entropy, with {self.form} it must be 0", self
        )
        contrasts = self.backbone is None or self.form in ("pixel-infonce", "superpixel-infonce")
        _require(
            contrasts, f"a backbone is for the rivals, with {self.form} it must be left out", self.backbone
        )
        _require(self.lovasz >= 0, "lovasz must not be negative", self.lovasz)
        classes = not self.lovasz or self.form in ("point-cross-entropy", "class-infonce")
        _require(classes, f"lovasz needs classes to ask for, with {self.form} it must be 0", self.lovasz)


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
        _require(self.weight >= 0, "weight must not be negative", self.weight)
        _require(self.cell_size > 0, "cell_size must be positive metres", self.cell_size)
        _require(self.pairs is None or self.pairs > 0, "pairs must be positive", self.pairs)
        _require(self.temperature > 0, "temperature must be positive", self.temperature)


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
            _require(0 <= getattr(self, name) <= 1, f"{name} must lie in 0..1", getattr(self, name))

    @property
    def is_on(self) -> bool:
        """Whether own answers are ever asked for."""
        return self.probability > 0 or self.unseen


@dataclass(frozen=True)
class LabelsConfig:
    """Which true labels are seen, where any are (:mod:`clip2scene.subsets`)."""

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
    """Share of the labelled scenes or keyframes that nothing is learnt from: the checkpoint that is best on
    them is kept. 0 keeps the last one."""
    absent: Literal["refuse", "allow"] = "refuse"
    """What to do when a class has no labelled point, though not all labels are seen: refuse, or learn the
    others."""

    def __post_init__(self) -> None:
        _require(0 < self.fraction <= 1, "labels.fraction must lie above 0 and up to 1", self.fraction)
        _require(self.count is None or self.count > 0, "labels.count must be positive", self.count)
        few = self.points_per_scene is None or self.points_per_scene > 0
        _require(few, "labels.points_per_scene must be positive", self.points_per_scene)
        _require(0 <= self.holdout < 1, "labels.holdout must lie in 0..1", self.holdout)
        once = len(set(self.classes)) == len(self.classes)
        _require(once, "labels.classes must all be different", self.classes)

    @property
    def are_all(self) -> bool:
        """Whether every label of the split is seen."""
        some = self.count is not None or self.points_per_scene is not None or self.classes
        return self.fraction == 1.0 and not some


@dataclass(frozen=True)
class TuningConfig:
    """How a network that has learnt before goes on with labels."""

    head: Literal["words", "classifier"] = "words"
    """Who answers for the classes: the layer into the text space, or a linear classifier beside it."""
    start: Literal["words", "random"] = "words"
    """What the classifier begins with: the classes' texts seen through the layer into the text space, so that
    it answers as that one does; or chance, as in the papers."""
    freeze: bool = False
    """Whether the backbone stays as it is, its batch statistics too (linear probing)."""
    head_rate: float = 1.0
    """Factor on the classifier's learning rate; the backbone's is the optimiser's."""
    layer_decay: float = 1.0
    """Factor in 0..1 on the learning rate from one stage of the backbone to the one before it."""
    keep_words: float = 0.0
    """Weight of a term that holds every point's embedding near the one it had at the start (1 - cosine), so
    that words can still be asked for; 0 lets them fade."""

    def __post_init__(self) -> None:
        _require(self.head_rate > 0, "tuning.head_rate must be positive", self.head_rate)
        _require(
            0 < self.layer_decay <= 1, "tuning.layer_decay must lie above 0 and up to 1", self.layer_decay
        )
        _require(self.keep_words >= 0, "tuning.keep_words must not be negative", self.keep_words)
        moves = not self.freeze or self.keep_words == 0
        _require(moves, "a frozen backbone keeps its words, so tuning.keep_words must be 0", self.keep_words)


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
        _require(self.steps > 0, "steps must be positive", self.steps)
        _require(self.batch_size > 0, "batch_size must be positive", self.batch_size)
        something = self.loss.weight > 0 or self.consistency.weight > 0
        _require(something, "loss.weight or consistency.weight must be above 0", 0)
        own = self.self_training.is_on
        averaged = not own or self.self_training.source == "same-pass" or self.optimiser.average > 0
        _require(averaged, "self_training.source=average needs optimiser.average above 0", 0)
        pieces = not self.self_training.settle or self.teacher.superpoint_vote
        _require(pieces, "self_training.settle needs teacher.superpoint_vote", self.self_training)
        classes = self.loss.form in ("point-cross-entropy", "class-infonce")
        _require(classes or not own, f"self-training needs a loss over classes, not {self.loss.form}", own)
        alone = classes or self.consistency.weight == 0
        _require(
            alone, f"consistency needs a loss over classes, not {self.loss.form}", self.consistency.weight
        )
        own_words = self.data.words == "own"
        taught = self.supervision == "label-free" or (
            classes and own_words and self.consistency.weight == 0 and not own
        )
        _require(taught, "learning from labels knows the data's own classes and no pixels", self)
        plain = self.labels == LabelsConfig() and self.tuning == TuningConfig()
        _require(plain or self.supervision == "labels", "labels and tuning are for supervision=labels", self)
        painted = self.teacher.kind == "maskclip" or own_words
        pictured = self.loss.backbone not in (None, "own")
        regions = self.teacher.kind == "maskclip" or pictured or self.loss.form != "superpixel-infonce"
        _require(regions, "class maps have no features to average in superpixels; name a loss.backbone", 0)
        towers = self.teacher.kind == "maskclip" or self.loss.backbone != "own"
        _require(towers, "class maps have no image tower, so loss.backbone cannot be own", self.loss.backbone)
        _require(painted, "class maps speak the data's own classes, so words must be own", self.data.words)

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
