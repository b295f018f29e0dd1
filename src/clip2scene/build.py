"""The door where settings stop: recipes go in, objects come out."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clip2scene import losses
from clip2scene.batch import Batch, PixelLesson
from clip2scene.checkpoint import hash_files
from clip2scene.class_set import ClassSet, keep_known
from clip2scene.config import DataConfig, LossConfig, OptimiserConfig, Recipe, TeacherConfig
from clip2scene.consistency import packed_consistency, spatial_temporal_consistency
from clip2scene.contrast import kl_divergence, pixel_point_infonce, superpixel_infonce
from clip2scene.datasets.drive_log import DriveLog
from clip2scene.datasets.drive_log_classes import class_set_to_json, read_class_set
from clip2scene.datasets.kitti import KittiObject
from clip2scene.datasets.kitti_raw import KittiRaw
from clip2scene.datasets.nuscenes import NuScenes
from clip2scene.datasets.pandaset import PandaSet
from clip2scene.datasets.semantic_kitti import SemanticKitti
from clip2scene.files import write_json
from clip2scene.indoor import LAYOUTS as INDOOR
from clip2scene.indoor import Rooms, indoor_classes, open_rooms
from clip2scene.judging import judge_map
from clip2scene.labels import CLASS_SETS, NUSCENES, PANDASET, SEMANTIC_KITTI, TOYTOWN, TOYTOWN_KITTI
from clip2scene.student.embedder import Embedder, Heads
from clip2scene.student.minkunet import minkunet14a, minkunet18, minkunet34
from clip2scene.student.spvcnn import SPVCNN
from clip2scene.teacher.backbone import ImageBackbone, backbone_of_clip, load_backbone
from clip2scene.teacher.clip import Clip, load_clip
from clip2scene.teacher.label_maps import LabelMapTeacher
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.model_folder import model_files
from clip2scene.teacher.prompts import (
    TABLE_TEMPLATES,
    TEMPLATES,
    TOYTOWN_TEMPLATES,
    TextSpace,
    TextTable,
    embed_prompts,
    read_text_table,
)
from clip2scene.teacher.vocabulary import add_short_names, add_stand_ins, unrelated_names
from clip2scene.types import Prompts

SMALL_CLIP = Path(__file__).parent / "assets" / "toytown-clip"
"""The image-text model that ships with the package; it knows toytown's words."""

CONTRAST_CHANNELS = 64
"""Size of the space in which PPKT and SLidR compare points with an image backbone's pixels (SLidR: 64)."""

_log = logging.getLogger(__name__)

DataSet = NuScenes | PandaSet | SemanticKitti | KittiObject | KittiRaw | DriveLog | Rooms

KITTI = {"semantic-kitti": SemanticKitti, "kitti-object": KittiObject, "kitti-raw": KittiRaw}
"""Layouts in which images may be missing, and classes are SemanticKITTI's."""

NETWORKS = {"spvcnn": SPVCNN, "minkunet14a": minkunet14a, "minkunet18": minkunet18, "minkunet34": minkunet34}


OWN_CLASSES = "classes.json"
"""Where a drive log, and a run that learnt from it, keep their classes."""


def judged_classes(data: DataConfig, folder: Path | None = None) -> ClassSet:
    """Say which classes answers are judged in.

    Args:
        data: Names them, but for a drive log with classes of its own.
        folder: That drive log, or a run that learnt from it; other layouts need none.
    """
    if data.layout == "drive-log":
        assert folder is not None, "a drive log's classes are in a file of its own"
        if (folder / OWN_CLASSES).exists():
            return read_class_set(folder)
        if data.words != "own":
            return CLASS_SETS[data.words]
    if data.layout == "pandaset":
        return PANDASET
    if data.layout in INDOOR:
        return indoor_classes(data)
    if data.layout in KITTI:
        return TOYTOWN_KITTI if data.classes == "toytown" else SEMANTIC_KITTI
    return TOYTOWN if data.classes == "toytown" else NUSCENES


def keep_own_classes(data: DataConfig, root: Path, run: Path) -> None:
    """Write the classes of a drive log into a run's folder, so that it can be used when the data are gone.

    Raises:
        ValueError: If they cannot be read, or cannot judge answers in the words that teach.
    """
    if data.layout == "drive-log" and (root / OWN_CLASSES).exists():
        class_set = read_class_set(root)
        judge_map(spoken_classes(data, root), class_set)
        write_json(run / OWN_CLASSES, class_set_to_json(class_set))


def spoken_classes(data: DataConfig, folder: Path | None = None) -> ClassSet:
    """Say whose words teach; ``folder`` as for :func:`judged_classes`."""
    return judged_classes(data, folder) if data.words == "own" else CLASS_SETS[data.words]


def build_dataset(
    data: DataConfig,
    root: Path,
    *,
    split: str,
    with_labels: bool,
    sweeps: int = 1,
    need_images: bool = False,
) -> DataSet:
    """Open a split of the data set that lies at ``root``, each sample with so many sweeps.

    Where images may be missing, ``need_images`` leaves out the samples that a teacher could say nothing of.
    """
    if data.layout == "pandaset":
        return PandaSet(root, split=split, with_labels=with_labels, sweeps=sweeps)
    root = Path(root)
    if data.layout in INDOOR:
        return open_rooms(
            data, root, split=split, with_labels=with_labels, sweeps=sweeps, need_images=need_images
        )
    class_set = judged_classes(data, root)
    if data.layout == "drive-log":  # only its own file says what the numbers of its labels mean
        return DriveLog(
            root,
            split=split,
            with_labels=with_labels,
            class_set=None if with_labels else class_set,
            sweeps=sweeps,
            need_images=need_images,
        )
    if data.layout in KITTI:
        return KITTI[data.layout](
            root,
            split=split,
            with_labels=with_labels,
            class_set=class_set,
            sweeps=sweeps,
            need_images=need_images,
        )
    return NuScenes(root, split=split, with_labels=with_labels, class_set=class_set, sweeps=sweeps)


def count_images(dataset: DataSet) -> int:
    """Count the samples that have images; KITTI's are a download of their own."""
    return len(dataset) if isinstance(dataset, NuScenes | PandaSet) else dataset.num_images


def build_student(
    recipe: Recipe, *, in_channels: int, text_channels: int, pixel_channels: int | None = None
) -> Embedder:
    """Make the 3D network with fresh weights.

    Args:
        recipe: Which network.
        in_channels: What the sensor measures beside positions.
        text_channels: Size of the text space.
        pixel_channels: Of the image backbone, where the recipe names one.
    """
    student, loss = recipe.student, recipe.loss
    in_channels += student.sees_height
    backbone = NETWORKS[student.network](in_channels, width=student.width, voxel_size=student.voxel_size)
    temperature = loss.cosine_temperature if loss.cosine else None
    local = None
    if recipe.consistency.weight > 0:
        local = Heads(backbone.out_channels, text_channels, text_channels)  # type: ignore[arg-type]
    elif pixel_channels is not None:
        local = Heads(backbone.out_channels, pixel_channels, CONTRAST_CHANNELS)  # type: ignore[arg-type]
    return Embedder(
        backbone,
        text_channels,
        cosine_temperature=temperature,
        sees_height=student.sees_height,
        settles=student.settles,
        local=local,
    )


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
        return unrelated_names(class_set.classes)
    path = Path(weights)
    table = add_short_names(read_text_table(path, path.with_name(names_of(path))))
    lacking = [
        name
        for name, names in zip(class_set.classes, class_set.prompts, strict=True)
        if all(table.unknown_words(each) for each in (name, *names))
    ]
    if lacking:
        _log.warning("no text embedding for %s: each gets a direction of its own", ", ".join(lacking))
    return add_stand_ins(table, lacking)


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
    teacher: TeacherConfig, space: TextSpace, prompts: Prompts, dataset: DataSet
) -> MaskClip | LabelMapTeacher:
    """Make the image model that answers for pixels."""
    if teacher.kind == "label-maps":
        return LabelMapTeacher(dataset.label_map_path, prompts.embeddings)
    assert isinstance(space, Clip)
    return MaskClip(
        space,
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


class Objective:
    """What a recipe minimises.

    Args:
        recipe: Which terms, and how classes weigh.
        histogram: Targets of each class in the whole split, for class balance.
    """

    def __init__(self, recipe: Recipe, histogram: Int[Tensor, "classes"]) -> None:
        self.recipe = recipe
        self.loss = recipe.loss
        balance = recipe.loss.class_balance
        self.weights = losses.class_weights(histogram, balance) if balance else None
        self.contrasts = recipe.loss.form not in ("point-cross-entropy", "class-infonce")
        self.names_classes = not self.contrasts or recipe.loss.backbone is not None

    def semantic(
        self, logits: Float[Tensor, "targets classes"], targets: Int[Tensor, "targets"]
    ) -> Float[Tensor, ""]:
        """Compare logits with the classes asked for: text-anchored semantic consistency (SCR)."""
        if self.loss.form == "class-infonce":
            value = losses.class_infonce(logits, targets, temperature=self.loss.temperature)
        else:
            weights = None if self.weights is None else self.weights.to(logits.device)
            value = losses.point_cross_entropy(logits, targets, class_weights=weights)
        if self.loss.lovasz:
            value = value + self.loss.lovasz * losses.lovasz_softmax(logits, targets)
        return self.loss.weight * value

    def contrast(
        self, student: Embedder, described: Float[Tensor, "points hidden"], batch: Batch, prompts: Prompts
    ) -> Float[Tensor, ""]:
        """Compare points with pixels: the rivals PPKT and SLidR, and the KL baseline."""
        pixels = batch.pixels
        assert pixels is not None
        seeing = described.index_select(0, pixels.points)
        if self.loss.form == "kl-divergence":
            logits = prompts.best_name(student.compare(seeing, prompts.embeddings))
            return kl_divergence(logits, pixels.logits, temperature=self.loss.kl_temperature)
        temperature, regions = self.loss.contrast_temperature, pixels.superpixels
        seen = _seen_by(pixels, prompts) if regions is None else regions.embeddings
        if student.local is None:  # the pixels are where the words are
            points = student.embed(seeing)
        else:
            points, seen = student.local.points(seeing), student.local.pixels(seen)
        if regions is None:
            return pixel_point_infonce(points, seen, temperature=temperature)
        if student.local is not None:
            seen = nn.functional.normalize(seen, dim=1)
        return superpixel_infonce(points, regions.of_pair, seen, temperature=temperature)

    def consistency(
        self, student: Embedder, described: Float[Tensor, "points hidden"], batch: Batch, prompts: Prompts
    ) -> Float[Tensor, ""]:
        """Draw together what lies in one cell: spatial-temporal consistency (StCR); zero if it is off."""
        settings, pixels = self.recipe.consistency, batch.pixels
        if student.local is None or pixels is None or batch.cells is None:
            return described.new_zeros(())
        cells, labels = batch.cells[pixels.points], pixels.logits.argmax(1)
        text = _class_directions(prompts)
        # With nothing else to teach the layer into the text space, this term does.
        points = (student.local.points if self.loss.weight else student.head)(
            described.index_select(0, pixels.points)
        )
        if settings.form == "released-code":
            return settings.weight * packed_consistency(points, labels, cells, text)
        layer = student.local.pixels
        seen = pixels.embeddings
        pixel_features = (
            layer(text).index_select(0, labels) if seen is None else layer(seen)
        )  # class maps have texts alone
        value = spatial_temporal_consistency(
            points,
            pixel_features,
            labels,
            cells,
            text,
            temperature=settings.temperature,
            guard=settings.guard,
        )
        return settings.weight * value


def _seen_by(pixels: PixelLesson, prompts: Prompts) -> Float[Tensor, "pairs channels"]:
    """Give the teacher's embedding at each pair; one that has nothing but classes has their texts."""
    if pixels.embeddings is not None:
        return pixels.embeddings
    return _class_directions(prompts)[pixels.logits.argmax(1)]


def _class_directions(prompts: Prompts) -> Float[Tensor, "classes channels"]:
    """Give each class the mean direction of its names."""
    sums = prompts.embeddings.new_zeros(len(prompts.classes), prompts.embeddings.shape[1])
    return nn.functional.normalize(sums.index_add_(0, prompts.class_of_name, prompts.embeddings), dim=1)


def build_optimiser(optimiser: OptimiserConfig, student: nn.Module) -> torch.optim.Optimizer:
    """Make the optimiser; SGD is the released code's (momentum 0.9, dampening 0.1)."""
    rate, decay = optimiser.learning_rate, optimiser.weight_decay
    if optimiser.name == "sgd":
        return torch.optim.SGD(student.parameters(), rate, momentum=0.9, dampening=0.1, weight_decay=decay)
    return torch.optim.AdamW(student.parameters(), rate, weight_decay=decay)


def learning_rate(optimiser: OptimiserConfig, progress: float) -> float:
    """Give the learning rate at ``progress`` in 0..1 of the run.

    Cosine: from the highest value to 0. One-cycle: a linear rise over the first tenth, then the cosine.
    """
    rise = 0.1 if optimiser.schedule == "one-cycle" else 0.0
    if progress < rise:
        return optimiser.learning_rate * (0.04 + 0.96 * progress / rise)
    fall = torch.tensor(torch.pi * (progress - rise) / (1 - rise))
    return optimiser.learning_rate * 0.5 * (1 + float(torch.cos(fall)))
