"""The door where settings stop: recipes go in, objects come out. What lies below knows no recipe."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet, keep_known
from clip2scene.classes.mapping import known_words, map_classes
from clip2scene.classes.tables import CLASS_SETS
from clip2scene.config import DataConfig, LossConfig, Recipe, TeacherConfig
from clip2scene.datasets import LOADERS, Dataset
from clip2scene.datasets.dataset import OpenOptions
from clip2scene.datasets.label_subset import Subset, choose
from clip2scene.datasets.recognise import check_layout
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.distill.augment import Augmentation
from clip2scene.distill.consolidate import ConsolidateOptions
from clip2scene.distill.items import ItemOptions
from clip2scene.distill.lift import PairingOptions, Teacher
from clip2scene.distill.losses.objective import KL, PPKT, SCR, KeepText, Lovasz, Objective, SLidR, StCR, Term
from clip2scene.distill.losses.scr import class_weights
from clip2scene.io import hash_files, read_json, write_json
from clip2scene.student import NETWORKS
from clip2scene.student.inputs import InputOptions
from clip2scene.student.model import Embedder, ProjectionHeads
from clip2scene.teacher.backbone import ImageBackbone, backbone_of_clip, load_backbone
from clip2scene.teacher.class_table import ClassTable, read_class_table
from clip2scene.teacher.clip.folder import model_files
from clip2scene.teacher.clip.load import Clip, load_clip
from clip2scene.teacher.guided_filter import GuidedFilter
from clip2scene.teacher.label_maps import LabelMapTeacher, find_map
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.pamr import PixelAdaptive
from clip2scene.teacher.prompts import (
    TABLE_TEMPLATES,
    TEMPLATES,
    TOYTOWN_TEMPLATES,
    TextSpace,
    embed_prompts,
    refuse_alike,
)
from clip2scene.teacher.refine import Method, Refinement, SuperpixelMean
from clip2scene.teacher.score_maps import read_score_map
from clip2scene.teacher.segmenter import SegmenterTeacher, load_segmenter
from clip2scene.teacher.text_table import (
    TextTable,
    add_random_embeddings,
    add_short_names,
    names_of,
    one_hot_table,
    read_text_table,
)
from clip2scene.types import Prompts

SMALL_CLIP = Path(__file__).parent / "assets" / "toytown-clip"
"""The image-text model that ships with the package; it was trained on toytown's words."""

CONTRAST_CHANNELS = 64
"""Channels of the space in which PPKT and SLidR compare points with a backbone's pixels (SLidR: 64)."""

PPKT_PAIRS = 4096
"""Pixel-point pairs in PPKT's InfoNCE of a step, an equal share of each sample's."""

_LARGE = 1024  # channels of a ViT-L

_log = logging.getLogger(__name__)


def open_dataset(
    data: DataConfig,
    root: Path,
    *,
    split: str,
    labels: bool | Collection[str] = False,
    sweeps: int | None = None,
    need_images: bool = False,
) -> Dataset:
    """Open a split of the data set at ``root``: samples with points in metres, images of 0..255.

    Args:
        data: Its layout and classes.
        root: Where it lies.
        split: The name of the split.
        labels: False touches no label; True reads those of all samples; tokens, those of these samples.
        sweeps: Sweeps of each sample, 1 to 10, the keyframe's included; None takes as many as are trained on.
        need_images: Whether to leave out the samples without images, which have no pseudo-labels.

    Raises:
        ValueError: If the folder is in another layout, or as its loader says.
    """
    options = OpenOptions(
        split=split,
        classes=data.classes,
        labels=labels,
        sweeps=data.sweeps if sweeps is None else sweeps,
        need_images=need_images,
        frames=FrameChoice(data.frame_step, data.views, data.most_skipped),
    )
    check_layout(Path(root), data.layout)
    return LOADERS[data.layout].open(Path(root), options)


def evaluation_classes(data: DataConfig, folder: Path | None = None) -> ClassSet:
    """Name the evaluation classes, whose train ids predictions are evaluated in.

    Args:
        data: Names them, but for a drive log with classes of its own.
        folder: That drive log, or a run that was trained on it; other layouts need none.
    """
    return LOADERS[data.layout].class_set_of(data.classes, folder, data.words)


def prompt_classes(data: DataConfig, folder: Path | None = None) -> ClassSet:
    """Name the prompt classes, in the order of train ids; ``folder`` as for :func:`evaluation_classes`."""
    return evaluation_classes(data, folder) if data.words == "own" else CLASS_SETS[data.words]


def require_classes(classes: ClassSet, root: Path) -> None:
    """Refuse a list of one class: every point would be right.

    Raises:
        ValueError: If there are fewer than two.
    """
    if len(classes) < 2:
        raise ValueError(
            f"{root} has one class alone, {', '.join(classes.classes)}, so every point would be right; list "
            "another, such as one for everything else"
        )


def keep_own_files(data: DataConfig, root: Path, run: Path) -> None:
    """Copy a drive log's classes and calibration into a run's folder, to use the run when the data are gone.

    Raises:
        ValueError: If predictions in the prompted classes cannot be evaluated in these classes.
    """
    own_files = LOADERS[data.layout].own_files
    for name in own_files:
        if (root / name).exists():
            write_json(run / name, read_json(root / name))
    if own_files:
        map_classes(prompt_classes(data, run), evaluation_classes(data, run))


def choose_labels(recipe: Recipe, dataset: Dataset) -> Subset:
    """Choose the samples of a split that a recipe uses the labels of, and how many points of each.

    Raises:
        ValueError: If none is chosen, or the recipe's ranking names what the split lacks.
    """
    labels = recipe.labels
    by_scene = labels.by == "scene"
    return choose(
        {token: dataset.scene_of(token) if by_scene else token for token in dataset.tokens},
        fraction=labels.fraction,
        count=labels.count,
        order=labels.ranking or labels.order,
        draw=recipe.seed if labels.draw is None else labels.draw,
        points_per_scene=labels.points_per_scene,
        holdout=labels.holdout,
    )


def pairing_options(data: DataConfig) -> PairingOptions:
    """Say which points meet which pixels: least depth in metres, and the tests that drop pairs."""
    return PairingOptions(data.min_depth, data.occlusion_test, data.moved_test, data.merge_sweeps)


def consolidate_options(teacher: TeacherConfig) -> ConsolidateOptions:
    """Say how the pseudo-labels of a drive are gathered: edge of a place in metres, and least share."""
    return ConsolidateOptions(teacher.place_size, teacher.least_share)


def item_options(recipe: Recipe) -> ItemOptions:
    """Say what a training item holds: true labels, or pixel-point pairs drawn for PPKT, in cells for StCR."""
    consistency, augment = recipe.consistency, recipe.augment
    with_cells = recipe.loss.form != "pixel-infonce" and consistency.weight > 0
    return ItemOptions(
        from_labels=recipe.supervision == "labels",
        pairs=PPKT_PAIRS // recipe.batch_size if recipe.loss.form == "pixel-infonce" else None,
        cell_size=consistency.cell_size if with_cells else None,
        cell_pairs=None if consistency.pairs is None else max(1, consistency.pairs // recipe.batch_size),
        inputs=input_options(recipe),
        augmentation=Augmentation(**vars(augment)),
        viewpoint=_viewpoint(recipe.data),
    )


def input_options(recipe: Recipe) -> InputOptions:
    """Say what a student is given of a cloud; rooms, whose z is up, are taken as they are."""
    student = recipe.student
    if LOADERS[recipe.data.layout].indoors:
        height = "sensor" if student.height == "ground" else student.height
        return InputOptions(height, False, student.intensity, student.turns)
    return InputOptions(student.height, student.level, student.intensity, student.turns)


def _viewpoint(data: DataConfig) -> tuple[float, float, float]:
    """Say where the lidar stands in a layout's clouds, in metres."""
    return getattr(LOADERS[data.layout], "viewpoint", None) or (0.0, 0.0, 0.0)


def build_student(
    recipe: Recipe,
    *,
    in_channels: int,
    text_channels: int,
    pixel_channels: int | None = None,
    num_classes: int | None = None,
) -> Embedder:
    """Make the 3D network with fresh weights: positions and features of points to ``points text`` embeddings.

    Args:
        recipe: Which network.
        in_channels: Channels that the sensor measures at each point beside its position.
        text_channels: Channels of the text space.
        pixel_channels: Of the image backbone, where the recipe names one.
        num_classes: Of the classifier, where the recipe has one.
    """
    student, loss = recipe.student, recipe.loss
    inputs = input_options(recipe)
    in_channels += inputs.height != "none"
    backbone = NETWORKS[student.network](in_channels, width=student.width, voxel_size=student.voxel_size)
    temperature = loss.cosine_temperature if loss.cosine else None
    local = None
    if recipe.consistency.weight > 0:
        local = ProjectionHeads(backbone.out_channels, text_channels, text_channels)  # type: ignore[arg-type]
    elif pixel_channels is not None:
        local = ProjectionHeads(backbone.out_channels, pixel_channels, CONTRAST_CHANNELS)  # type: ignore[arg-type]
    return Embedder(
        backbone,
        text_channels,
        cosine_temperature=temperature,
        inputs=inputs,
        superpoint_mean=student.superpoint_mean,
        viewpoint=_viewpoint(recipe.data),
        local=local,
        num_classes=num_classes if recipe.tuning.head == "classifier" else None,
    )


def build_objective(recipe: Recipe, histogram: Int[Tensor, " classes"]) -> Objective:
    """Choose the loss terms of a recipe; a term whose weight is 0 is left out.

    Args:
        recipe: Which terms, and how they are weighted.
        histogram: Target points of each class in the whole split, for class balance.
    """
    loss, consistency = recipe.loss, recipe.consistency
    rivals: dict[str, Term] = {
        "pixel-infonce": PPKT(loss.contrast_temperature),
        "superpixel-infonce": SLidR(loss.contrast_temperature),
        "kl-divergence": KL(loss.kl_temperature),
    }
    terms: list[Term] = []
    if loss.form in rivals:
        terms.append(rivals[loss.form])
    if loss.weight and (loss.form not in rivals or loss.backbone is not None):
        terms.append(
            SCR(
                "class-infonce" if loss.form == "class-infonce" else "point-cross-entropy",
                loss.weight,
                loss.temperature,
                class_weights(histogram, loss.class_balance) if loss.class_balance else None,
                detached=loss.form in rivals,  # beside a rival, SCR trains the text head alone
                bounded=loss.bounded,
                name="scr" if recipe.supervision == "label-free" else "supervised",
            )
        )
    if loss.lovasz * loss.weight:
        terms.append(Lovasz(loss.lovasz * loss.weight))
    if consistency.weight:
        form, weight, temperature = consistency.form, consistency.weight, consistency.temperature
        terms.append(StCR(form, weight, temperature, consistency.guard, own_head=loss.weight > 0))
    if recipe.tuning.keep_words:
        terms.append(KeepText(recipe.tuning.keep_words))
    return Objective(tuple(terms))


def open_text_space(teacher: TeacherConfig, weights: str | None, class_set: ClassSet) -> TextSpace:
    """Open the text encoder: an image-text model, or a table of text embeddings.

    Args:
        teacher: Which kind it is.
        weights: Folder of a model or ``hf:owner/name``, or for label maps a table's file. None is the small
            model in the package; for label maps, a vocabulary of the classes alone. A segmenter's table is
            named by its settings.
        class_set: Classes whose names a table is completed with.

    Raises:
        ValueError: If ``weights`` is neither.
    """
    if teacher.kind == "maskclip":
        return load_clip(weights or SMALL_CLIP)
    if teacher.kind == "segmenter" and not (
        weights and Path(weights).is_file()
    ):  # a file is a run's own table
        weights = teacher.text_table
    if weights is None:
        return one_hot_table(class_set.classes)
    path = Path(weights)
    table = add_short_names(read_text_table(path, path.with_name(names_of(path))))
    lacking = [
        name
        for name, names in zip(class_set.classes, class_set.prompts, strict=True)
        if all(table.unknown_words(each) for each in (name, *names))
    ]
    if lacking:
        _log.warning("no text embedding for %s: each gets a direction of its own", ", ".join(lacking))
    return add_random_embeddings(table, lacking)


def build_prompts(
    teacher: TeacherConfig, space: TextSpace, class_set: ClassSet, *, partly: bool = False
) -> Prompts:
    """Embed the names of classes in a text space, as unit vectors.

    Args:
        teacher: Decides the sentences around the names.
        space: The text encoder.
        class_set: The classes, in the order of train ids.
        partly: Leave out the classes that the space knows no name of, with a warning, instead of refusing.
    """
    if teacher.kind != "maskclip":  # a painted class has one place, that of its first known name
        named = zip(class_set.classes, class_set.prompts, strict=True)
        names = [[_first_known(space, (name, *others))] for name, others in named]
        return embed_prompts(space, class_set.classes, names, ("{}",))
    if partly:
        prompted, class_set = class_set, keep_known(class_set, space.unknown_words)
        lost = sorted(set(prompted.classes) - set(class_set.classes))
        if lost:
            _log.warning("the image-text model knows no name of %s: left out", ", ".join(lost))
    return embed_prompts(space, class_set.classes, class_set.prompts, _templates(teacher, space))


def place_words(teacher: TeacherConfig, space: TextSpace, names: Sequence[str]) -> Prompts:
    """Embed free words in a text space as unit vectors, each a class of its own.

    Raises:
        ValueError: If one is unknown, or two are the same to the text encoder.
    """
    prompts = embed_prompts(space, names, [[name] for name in names], _templates(teacher, space))
    refuse_alike(names, prompts.embeddings)
    return prompts


def _first_known(space: TextSpace, names: Sequence[str]) -> str:
    return next(name for name in names if not space.unknown_words(name))


def _templates(teacher: TeacherConfig, space: TextSpace) -> Sequence[str]:
    if teacher.kind != "maskclip" or isinstance(space, TextTable) or getattr(space, "table", None):
        return TABLE_TEMPLATES
    return TOYTOWN_TEMPLATES if teacher.templates == "toytown" else TEMPLATES


def build_teacher(
    teacher: TeacherConfig,
    space: TextSpace,
    prompts: Prompts,
    dataset: Dataset,
    weights: str | None = None,
) -> MaskClip | LabelMapTeacher | SegmenterTeacher:
    """Make the teacher: the image model that gives logits for pixels, or reads their classes from disk.

    Args:
        teacher: Which kind it is, and how it is run.
        space: The text encoder; of MaskCLIP, the image-text model.
        prompts: The classes.
        dataset: Whose images it labels.
        weights: Folder of a segmenter, or ``hf:owner/name``.

    Raises:
        ValueError: If a segmenter is unfit, or it is not known what its classes are among ours.
    """
    if teacher.kind == "segmenter":
        return _build_segmenter(teacher, space, prompts, dataset.class_set, weights)
    if teacher.kind == "label-maps":
        table = build_class_table(teacher, space, prompts, dataset.class_set)
        first = find_map(dataset.label_map_path(dataset.tokens[0], 0))
        if first.suffix != ".png":  # what all files will be refused for is said before the first is lifted
            _warn_of_lost(table, read_score_map(first).names)
        return LabelMapTeacher(dataset.label_map_path, prompts.embeddings, table, teacher.least_score)
    assert isinstance(space, Clip)
    return build_mask_clip(teacher, space)


def _build_segmenter(
    teacher: TeacherConfig, space: TextSpace, prompts: Prompts, class_set: ClassSet, weights: str | None
) -> SegmenterTeacher:
    if weights is None:
        raise ValueError(
            "--teacher.kind segmenter needs a network; name its folder, or hf:owner/name: --teacher-weights"
        )
    table = build_class_table(teacher, space, prompts, class_set)
    words = [name for names in class_set.prompts for name in names]
    segmenter = load_segmenter(weights, words, working_size=teacher.working_size)
    _warn_of_lost(table, segmenter.names)
    class_of_source = table.train_ids(segmenter.names)
    return SegmenterTeacher(segmenter, class_of_source, prompts.embeddings, teacher.least_score)


def build_class_table(
    teacher: TeacherConfig, space: TextSpace, prompts: Prompts, class_set: ClassSet
) -> ClassTable:
    """Say what another network's classes are among the prompt classes.

    Args:
        teacher: Names the user's own table, if there is one.
        space: The text encoder; a table of text embeddings places names that are no known words.
        prompts: The classes.
        class_set: The same classes, with all of their names.

    Raises:
        ValueError: If the user's table is damaged, or names what is no class.
    """
    nearest = partial(_nearest_class, space, prompts)
    rows = {} if teacher.class_table is None else read_class_table(teacher.class_table)
    return ClassTable(prompts.classes, known_words(class_set), rows, nearest)


def _nearest_class(space: TextSpace, prompts: Prompts, name: str) -> int | None:
    if space.unknown_words(name):
        return None
    return int(prompts.class_logits(space.encode_text([name])).argmax())


def _warn_of_lost(table: ClassTable, names: Sequence[str]) -> None:
    lost = table.without_source(names)
    if lost:
        _log.warning("none of the network's classes stands for %s: no point is labelled so", ", ".join(lost))


def build_mask_clip(teacher: TeacherConfig, clip: Clip) -> MaskClip:
    """Make MaskCLIP of an image-text model: dense features in its text space, one a cell of pixels."""
    plain = teacher.attention == "maskclip" and teacher.proxy is None
    if plain and clip.family == "vit" and clip.model.config.vision_config.hidden_size >= _LARGE:
        _say_that_it_collapses()
    return MaskClip(
        clip,
        key_smoothing=teacher.key_smoothing,
        prompt_denoising=teacher.prompt_denoising,
        working_size=teacher.working_size,
        scales=teacher.scales,
        window=teacher.window,
        overlap=teacher.window_overlap,
        attention=teacher.attention,
        proxy=_open_proxy(teacher),
    )


@cache
def _say_that_it_collapses() -> None:
    """Warn of a ViT-L, once."""
    _log.warning(
        "note: read by MaskCLIP, a ViT-L or larger gives far worse maps than a ViT-B/16 (published: 12.4 "
        "against 24.9 mIoU on Cityscapes); take a ViT-B/16 as --teacher-weights, or another "
        "--teacher.attention"
    )


def _open_proxy(teacher: TeacherConfig) -> ImageBackbone | None:
    """Open the second model of ProxyCLIP, if there is one."""
    if teacher.proxy is None:
        return None
    try:
        return load_backbone(teacher.proxy, space="features")
    except ValueError as error:
        raise ValueError(f"--teacher.proxy: {error}") from None


def hash_proxy(teacher: TeacherConfig) -> str:
    """Hash the bytes of the files of ProxyCLIP's second model; an empty text if there is none."""
    return "" if teacher.proxy is None else hash_files(Path(teacher.proxy))


def build_refinement(teacher: TeacherConfig) -> Refinement | None:
    """Say how the teacher's maps are refined in the image; None if they are not."""
    if teacher.refine == "none":
        return None
    methods: dict[str, Method] = {
        "pamr": PixelAdaptive(teacher.refine_rounds, teacher.refine_dilations),
        "guided": GuidedFilter(teacher.refine_radius, teacher.refine_epsilon),
        "superpixels": SuperpixelMean(teacher.refine_segments),
    }
    return Refinement(methods[teacher.refine], teacher.refine_pixels)


def hash_teacher(teacher_weights: str | None) -> str:
    """Hash the bytes of an image-text model's files (SHA-256); None is the small one in the package."""
    return hash_files(*model_files(teacher_weights or SMALL_CLIP))


def build_backbone(loss: LossConfig, space: TextSpace) -> ImageBackbone | None:
    """Open the image backbone of the rivals' InfoNCE, if it is not the teacher with its embeddings.

    Args:
        loss: Names it.
        space: The teacher's text space; of an image-text model, "own" takes the image tower.

    Raises:
        ValueError: If the folder holds no vision model.
    """
    if loss.backbone is None:
        return None
    if loss.backbone == "own":
        assert isinstance(space, Clip)
        return backbone_of_clip(space, space="features")
    return load_backbone(loss.backbone, space="features")


def hash_backbone(loss: LossConfig) -> str:
    """Hash the bytes of the rivals' image backbone's files; an empty text if they are the teacher's."""
    return "" if loss.backbone in (None, "own") else hash_files(Path(loss.backbone))


@dataclass(frozen=True)
class Experiment:
    """A split of a data set, and the teacher that labels its pixels.

    Attributes:
        recipe: What is trained, and how.
        data_root: The data set's folder.
        split: Which of its splits.
        dataset: That split, opened.
        with_labels: Whether it was opened with labels.
        prompts: The prompt classes, embedded in the teacher's text space.
        teacher: The image model that labels pixels; None where nobody does.
        backbone: The image model whose features the rivals' InfoNCE takes, where the recipe names one.
        space: The text encoder; None where it was not needed.
    """

    recipe: Recipe
    data_root: Path
    split: str
    dataset: Dataset
    with_labels: bool
    prompts: Prompts
    teacher: Teacher | None = None
    backbone: ImageBackbone | None = None
    space: TextSpace | None = None

    @property
    def device(self) -> torch.device:
        """Where its image models compute."""
        for each in (self.teacher, self.backbone):
            if isinstance(each, MaskClip | ImageBackbone):
                return each.device
        return torch.device("cpu")

    def to(self, device: torch.device) -> "Experiment":
        """Move its image models to a device; a backbone of the teacher's own tower moves with it."""
        teacher = self.teacher.to(device) if isinstance(self.teacher, MaskClip) else self.teacher
        space = self.space.to(device) if isinstance(self.space, Clip) else self.space
        backbone = None if self.backbone is None else self.backbone.to(device)
        return replace(self, teacher=teacher, space=space, backbone=backbone)

    def labelled(self, tokens: Collection[str]) -> "Experiment":
        """Open the split once more, with the labels of some samples, which must have them.

        Raises:
            ValueError: If a label is missing or damaged.
        """
        dataset = open_dataset(self.recipe.data, self.data_root, split=self.split, labels=tokens)
        return replace(self, dataset=dataset, with_labels=True)


def open_experiment(recipe: Recipe, data_root: Path, teacher_weights: str | None = None) -> Experiment:
    """Open all that a recipe is trained on: the train split, the prompts, the teacher. No label is read.

    Args:
        recipe: What is trained, and how.
        data_root: The data set.
        teacher_weights: Folder of the image-text model or ``hf:owner/name``, or file of text embeddings for
            label maps; None takes the model that ships with the package.

    Raises:
        ValueError: If the data, the teacher, its prompts or the backbone are unfit.
    """
    label_free = recipe.supervision == "label-free"
    data, root = recipe.data, Path(data_root)
    dataset = open_dataset(data, root, split="train", need_images=label_free)
    classes = prompt_classes(data, root)
    require_classes(classes, root)
    space = open_text_space(recipe.teacher, teacher_weights, classes)
    prompts = build_prompts(recipe.teacher, space, classes, partly=data.words != "own")
    teacher = None
    if label_free:
        teacher = build_teacher(recipe.teacher, space, prompts, dataset, teacher_weights)
    backbone = build_backbone(recipe.loss, space)
    return Experiment(recipe, root, "train", dataset, False, prompts, teacher, backbone, space)
