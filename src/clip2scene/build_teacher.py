"""The teacher's part of the door where settings stop: its text space, its prompts, the image model itself."""

import logging
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from clip2scene.classes.class_set import ClassSet, keep_known
from clip2scene.classes.mapping import known_words
from clip2scene.config import LossConfig, TeacherConfig
from clip2scene.datasets import Dataset
from clip2scene.distill.consolidate import ConsolidateOptions
from clip2scene.io import hash_files
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

_LARGE = 1024  # channels of a ViT-L

_log = logging.getLogger(__name__)


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
        if not dataset.class_set.train_id_of_raw:
            raise ValueError(
                "label maps hold the numbers of one data set's classes, and the sources of this mixture have "
                "different ones; mix data with the same classes, or take another --teacher.kind"
            )
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
    segmenter = load_segmenter(weights, words, working_size=teacher.working_size, masks=teacher.proxy)
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


def consolidate_options(teacher: TeacherConfig) -> ConsolidateOptions:
    """Say how the pseudo-labels of a drive are gathered: edge of a place in metres, and least share."""
    return ConsolidateOptions(teacher.place_size, teacher.least_share)


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
