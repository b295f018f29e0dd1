"""Settings to the teacher: its text space, the words in it, and who answers for pixels."""

import logging
from collections.abc import Sequence
from pathlib import Path

from clip2scene.classes.class_set import ClassSet, keep_known
from clip2scene.config import LossConfig, TeacherConfig
from clip2scene.datasets import Dataset
from clip2scene.io import hash_files
from clip2scene.teacher.backbone import ImageBackbone, backbone_of_clip, load_backbone
from clip2scene.teacher.clip.folder import model_files
from clip2scene.teacher.clip.load import Clip, load_clip
from clip2scene.teacher.label_maps import LabelMapTeacher
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.prompts import TABLE_TEMPLATES, TEMPLATES, TOYTOWN_TEMPLATES, TextSpace, embed_prompts
from clip2scene.teacher.text_table import (
    TextTable,
    add_random_embeddings,
    add_short_names,
    one_hot_table,
    read_text_table,
)
from clip2scene.types import Prompts

SMALL_CLIP = Path(__file__).parents[1] / "assets" / "toytown-clip"
"""The image-text model that ships with the package; it knows toytown's words."""

_log = logging.getLogger(__name__)


def open_text_space(teacher: TeacherConfig, weights: str | None, class_set: ClassSet) -> TextSpace:
    """Open what turns words into vectors: an image-text model, or a table of text embeddings.

    Args:
        teacher: Who will teach.
        weights: Folder or hub id of a model, or for label maps the file of a table. None is the small model
            in the package; for label maps, a vocabulary of the classes alone.
        class_set: Classes whose names a table is completed with.

    Raises:
        ValueError: If ``weights`` is neither.
    """
    if teacher.kind == "maskclip":
        return load_clip(weights or SMALL_CLIP)
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


def names_of(table: Path) -> str:
    """Say where the names of an ``.npy`` table are looked for: beside it, the part before the first dash.

    Example:
        >>> names_of(Path("lvis1203-clip-vit-b-32.npy")), names_of(Path("words.npy"))
        ('lvis1203-names.json', 'words-names.json')
    """
    return f"{table.stem.split('-')[0]}-names.json"


def build_prompts(
    teacher: TeacherConfig, space: TextSpace, class_set: ClassSet, *, partly: bool = False
) -> Prompts:
    """Place classes in a text space.

    Args:
        teacher: Decides the sentences around the names.
        space: What turns words into vectors.
        class_set: The classes.
        partly: Leave out the classes that the space knows no name of, with a warning, instead of refusing.
    """
    if teacher.kind == "label-maps":  # a painted class has one place, that of its first known name
        named = zip(class_set.classes, class_set.prompts, strict=True)
        names = [[_first_known(space, (name, *others))] for name, others in named]
        return embed_prompts(space, class_set.classes, names, ("{}",))
    if partly:
        asked, class_set = class_set, keep_known(class_set, space.unknown_words)
        lost = sorted(set(asked.classes) - set(class_set.classes))
        if lost:
            _log.warning("the image-text model knows no name of %s: left out", ", ".join(lost))
    return embed_prompts(space, class_set.classes, class_set.prompts, _templates(teacher, space))


def place_words(teacher: TeacherConfig, space: TextSpace, names: Sequence[str]) -> Prompts:
    """Place free words in a text space, each a class of its own."""
    return embed_prompts(space, names, [[name] for name in names], _templates(teacher, space))


def _first_known(space: TextSpace, names: Sequence[str]) -> str:
    return next(name for name in names if not space.unknown_words(name))


def _templates(teacher: TeacherConfig, space: TextSpace) -> Sequence[str]:
    if teacher.kind == "label-maps" or isinstance(space, TextTable) or getattr(space, "table", None):
        return TABLE_TEMPLATES
    return TOYTOWN_TEMPLATES if teacher.templates == "toytown" else TEMPLATES


def build_teacher(
    teacher: TeacherConfig, space: TextSpace, prompts: Prompts, dataset: Dataset
) -> MaskClip | LabelMapTeacher:
    """Make the image model that answers for pixels."""
    if teacher.kind == "label-maps":
        return LabelMapTeacher(dataset.label_map_path, prompts.embeddings)
    assert isinstance(space, Clip)
    return build_mask_clip(teacher, space)


def build_mask_clip(teacher: TeacherConfig, clip: Clip) -> MaskClip:
    """Make the dense reader of an image-text model, which needs no words to look."""
    return MaskClip(
        clip,
        key_smoothing=teacher.key_smoothing,
        prompt_denoising=teacher.prompt_denoising,
        working_size=teacher.working_size,
        scales=teacher.scales,
        window=teacher.window,
        overlap=teacher.window_overlap,
    )


def hash_teacher(teacher_weights: str | None) -> str:
    """Hash the files of an image-text model; None is the small one in the package."""
    return hash_files(*model_files(teacher_weights or SMALL_CLIP))


def build_backbone(loss: LossConfig, space: TextSpace) -> ImageBackbone | None:
    """Open the image model that the rivals contrast with, if it is not the teacher as it answers.

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
    """Hash the files of the image model that the rivals contrast with; nothing if they are the teacher's."""
    return "" if loss.backbone in (None, "own") else hash_files(Path(loss.backbone))
