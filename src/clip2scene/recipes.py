"""Named experiments. Each says what it costs and what came out; *not run* where nobody has run it."""

from dataclasses import replace

from clip2scene.config import (
    AugmentConfig,
    ConsistencyConfig,
    DataConfig,
    LossConfig,
    OptimiserConfig,
    Recipe,
    SelfTrainingConfig,
    StudentConfig,
    TeacherConfig,
    TuningConfig,
)
from clip2scene.teacher.maskclip import NEAR_AND_FAR

USUAL_TUNING = TuningConfig(head="classifier", start=None)
"""How a network is fine-tuned on labels, where no option says otherwise."""

SLOWED = 0.2
"""Factor on a recipe's learning rate for a pretrained backbone, in 0..1."""
AVERAGE = 0.99
"""Decay of the EMA of the weights that fine-tuning evaluates, where the recipe has none."""

SMALL_TEACHER = TeacherConfig(
    scales=NEAR_AND_FAR, window=64, window_overlap=0.0, superpoint_vote=True, templates="toytown"
)
"""The small CLIP through windows, at three scales; its answers are voted on within superpoints."""


def toytown() -> Recipe:
    """Train on the embedded world without labels, in minutes on two cores.

    Command: ``clip2scene pretrain toytown``. Clouds are brought level, so the mount does not matter;
    pseudo-labels are refined in the image and over the drive. mIoU 70.1 +- 0.5 on all points, 92 % of what
    true labels give (3 seeds, 2026-11-30; docs/results.md). The demo begins with weights that were trained
    before: :func:`toytown_onward`.
    """
    return Recipe(
        name="toytown",
        data=DataConfig(classes="toytown", sweeps=2),
        teacher=replace(SMALL_TEACHER, attention="cells", refine="pamr", consolidate=True),
        student=StudentConfig(
            network="minkunet14a",
            width=0.5,
            voxel_size=0.15,
            height="sensor",
            level=True,
            turns=(22.5, 60.0),
            superpoint_mean=True,
        ),
        loss=LossConfig(class_balance=0.5),
        augment=AugmentConfig(scale=0.05, thin_rings=0.2, drop_intensity=0.2, mix="polar"),
        optimiser=OptimiserConfig(
            name="adamw", learning_rate=5e-3, weight_decay=0.01, schedule="one-cycle", average=0.99
        ),
        steps=1350,
        batch_size=1,
    )


def toytown_onward() -> Recipe:
    """Go on from the student in the package, as on a drive of one's own: a third of the steps of ``toytown``.

    Command: ``make demo``, or ``clip2scene pretrain toytown-onward --start builtin``. What the student is
    given is as in ``toytown-general``, which trained the start. mIoU 75.8 +- 0.7 on all points, 96 % of what
    true labels give from the same start (3 seeds, 2026-11-30; docs/results.md).
    """
    base = toytown()
    student = replace(base.student, height="ground", intensity="quantile")
    return replace(base, name="toytown-onward", student=student, steps=450)


def toytown_general() -> Recipe:
    """Train the student that ships with the package, ``builtin``: for any lidar, mount and street.

    Commands: ``clip2scene make-toytown --out TOWN --scenes 240 --val-scenes 24 --keyframes 2 --sweeps 1
    --varied --seed 2``, then ``clip2scene pretrain toytown-general --data-root TOWN --out RUN`` and
    ``clip2scene pack-run RUN --out OUT --data-root TOWN``. The clouds are brought level, heights are over the
    ground beneath each point, intensities are quantiles or none, and rings, points, ranges and sectors are
    dropped at random.
    """
    return replace(
        toytown(),
        name="toytown-general",
        data=DataConfig(classes="toytown", sweeps=1),
        teacher=SMALL_TEACHER,
        student=toytown_onward().student,
        augment=AugmentConfig(
            scale=0.1,
            tilt=2.0,
            height=0.15,
            noise=0.04,
            rain=0.05,
            thin_rings=0.3,
            thin_points=0.3,
            cut_range=0.2,
            narrow=0.1,
            drop_intensity=0.3,
            mix="polar",
        ),
        steps=12_000,
    )


def own() -> Recipe:
    """Train on own recordings without labels, with any CLIP or SigLIP as the teacher.

    Command: ``clip2scene pretrain own --data-root LOG --teacher-weights CLIP --out RUN``; any other layout
    with ``--data.layout``. What the student is given, and how clouds change at random, is as in
    ``toytown-general``, so ``--start builtin`` fits; windows have the size that most CLIPs were trained on.
    On real recordings with CLIP this is *not run*.
    """
    return replace(
        toytown_general(),
        name="own",
        data=DataConfig(layout="drive-log"),
        teacher=TeacherConfig(window=224, window_overlap=0.0, superpoint_vote=True),
        steps=toytown().steps,
    )


def pandaset() -> Recipe:
    """Train on one real drive without lidar labels, on the class maps of a 2D segmenter.

    Command: ``clip2scene pretrain pandaset --data-root pandaset-002 --teacher-weights TABLE --out RUN``, with
    ``--start builtin`` from the student in the package. Figures and their caveats: docs/results.md.
    """
    return replace(
        own(),
        name="pandaset",
        data=DataConfig(layout="pandaset"),
        teacher=TeacherConfig(kind="label-maps", trained_on_2d_labels=True),
        student=replace(own().student, superpoint_mean=False),
        loss=LossConfig(class_balance=0.3),
        steps=500,
    )


def rooms() -> Recipe:
    """Train on the embedded rooms without labels of points, on class maps: the small CLIP knows no furniture.

    Command: ``make demo DATA=scannet``. In the embedded rooms the class maps are the truth, so the teacher is
    a stand-in trained on 2D labels, and a better one than there is. mIoU 76.9 on all points; with true labels
    of points 79.8 (seed 0, 2026-11-21; docs/results.md).
    """
    return replace(
        toytown(),
        name="rooms",
        data=DataConfig(layout="scannet", min_depth=0.3, frame_step=1),
        teacher=TeacherConfig(kind="label-maps", trained_on_2d_labels=True),
        student=StudentConfig(network="minkunet14a", width=0.5, voxel_size=0.06, height="sensor"),
        augment=AugmentConfig(scale=0.05),
        steps=900,
    )


def clip2scene() -> Recipe:
    """Pretrain on nuScenes as the paper writes it: Eq. 1, StCR over three sweeps (Eq. 2 to 4), S3.

    SPVCNN at 0.1 m, MaskCLIP teacher at the paper's 224 x 416 pixels, SGD with a cosine over 20 epochs of 600
    scenes (about 120,000 steps of 4 samples), self-training from the middle on. No guard, no occlusion test,
    no moved test: the paper has none. Published: 20.8 mIoU. Not run: needs nuScenes, CLIP ViT-B/16 and a GPU.

    Eq. 1 as written has no lower bound: on toytown it fell to -10^6 within 1100 steps and nothing was learnt
    (1.9 mIoU, docs/results.md). ``--loss.bounded`` puts the positives into the denominator, ``--loss.cosine``
    brings embeddings to unit length; ``clip2scene-code`` has the released code's cross-entropy.
    """
    return Recipe(
        name="clip2scene",
        data=DataConfig(occlusion_test=False, sweeps=3, moved_test=False),
        teacher=TeacherConfig(working_size=(224, 416)),
        loss=LossConfig(form="class-infonce"),
        consistency=ConsistencyConfig(weight=1.0, guard="none", pairs=None),
        self_training=SelfTrainingConfig(probability=0.5),
    )


def clip2scene_code() -> Recipe:
    """Pretrain on nuScenes as the released code does it. Not run, for the same reasons.

    Cross-entropy over classes for each point, StCR of points alone, self-training from epoch 12 of 20.
    """
    paper = clip2scene()
    return replace(
        paper,
        name="clip2scene-code",
        loss=LossConfig(form="point-cross-entropy"),
        consistency=replace(paper.consistency, form="released-code"),
        self_training=replace(paper.self_training, start=0.55),
    )


def slidr() -> Recipe:
    """Pretrain on nuScenes as SLidR does: MinkUNet-34 at 0.1 m, superpixel InfoNCE with an image tower.

    The image features are of the teacher's own tower; ``--loss.backbone FOLDER`` names another, such as
    SLidR's ResNet-50. Not run, for the same reasons; its network is what SLidR's published weights fit.
    """
    paper = clip2scene()
    return replace(
        paper,
        name="slidr",
        data=replace(paper.data, sweeps=1),
        student=StudentConfig(network="minkunet34"),
        loss=LossConfig(form="superpixel-infonce", backbone="own"),
        consistency=ConsistencyConfig(),
        self_training=SelfTrainingConfig(),
    )


def supervised(recipe: Recipe) -> Recipe:
    """Turn a recipe into its own ceiling: the same student, trained on the true labels of as many clouds.

    Earlier sweeps have no labels, so the ceiling is trained on keyframes alone, and takes a step for each of
    its recipe's sweeps.
    """
    classes = recipe.loss.form in ("point-cross-entropy", "class-infonce")
    sweeps = 1 if recipe.data.merge_sweeps else recipe.data.sweeps
    return replace(
        recipe,
        name=f"{recipe.name}-supervised",
        supervision="labels",
        data=replace(recipe.data, words="own", sweeps=recipe.data.seen_sweeps),
        loss=replace(recipe.loss, generalised=0.0, reverse=0.0, similarity=0.0) if classes else LossConfig(),
        consistency=ConsistencyConfig(),
        self_training=SelfTrainingConfig(),
        steps=recipe.steps * sweeps,
    )


def fine_tuned(recipe: Recipe, *, from_chance: bool = False) -> Recipe:
    """Turn a recipe into one that fine-tunes its student on labels of the data's classes, few or many.

    A classifier beside the text head; cross-entropy plus Lovasz-softmax, as SLidR and CLIP2Scene fine-tune;
    600 steps; an EMA of the weights. A pretrained backbone has a fifth of the recipe's learning rate, its new
    classifier all of it; from chance, everything has.
    """
    base, loss = supervised(recipe), recipe.loss
    share = 1.0 if from_chance else SLOWED
    optimiser = replace(
        base.optimiser,
        learning_rate=share * base.optimiser.learning_rate,
        average=base.optimiser.average or AVERAGE,
    )
    return replace(
        base,
        name=f"{recipe.name.removesuffix('-finetuned')}-finetuned",
        loss=LossConfig(
            cosine=loss.cosine,
            cosine_temperature=loss.cosine_temperature,
            class_balance=loss.class_balance,
            lovasz=1.0,
        ),
        tuning=TuningConfig(
            head="classifier", start="random" if from_chance else "words", head_rate=1 / share
        ),
        optimiser=optimiser,
        steps=600,
    )


RECIPES = {
    recipe.name: recipe
    for base in (
        toytown(),
        toytown_onward(),
        toytown_general(),
        own(),
        pandaset(),
        rooms(),
        clip2scene(),
        clip2scene_code(),
        slidr(),
    )
    for recipe in (base, supervised(base))
}
"""Every named experiment and its supervised ceiling."""


def named(name: str) -> Recipe:
    """Find a recipe by its name.

    Raises:
        ValueError: If there is none.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}, expected one of {', '.join(RECIPES)}")
    return RECIPES[name]
