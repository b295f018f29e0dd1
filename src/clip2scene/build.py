"""The door where settings stop: recipes go in, objects come out. What lies below knows no recipe."""

import hashlib
import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene import build_teacher
from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.mapping import map_classes
from clip2scene.classes.tables import CLASS_SETS
from clip2scene.config import DataConfig, Layout, Recipe
from clip2scene.datasets import LOADERS, Dataset
from clip2scene.datasets.dataset import OpenOptions
from clip2scene.datasets.label_layer import Layers
from clip2scene.datasets.label_subset import Subset, choose
from clip2scene.datasets.mixed.table import MIX, read_sources, sources_to_json
from clip2scene.datasets.recognise import check_layout, layout_of
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.distill.augment import Augmentation
from clip2scene.distill.items import ItemOptions
from clip2scene.distill.lift import PairingOptions, Teacher
from clip2scene.distill.losses.objective import (
    KL,
    PPKT,
    SCR,
    KeepText,
    Lovasz,
    Objective,
    ReverseCE,
    Similarity,
    SLidR,
    StCR,
    Term,
)
from clip2scene.distill.losses.scr import class_weights
from clip2scene.io import read_json, write_json
from clip2scene.student import NETWORKS
from clip2scene.student.inputs import InputOptions
from clip2scene.student.model import Embedder, ProjectionHeads, similarity_head
from clip2scene.teacher.backbone import ImageBackbone
from clip2scene.teacher.clip.load import Clip
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.prompts import (
    TextSpace,
)
from clip2scene.types import Prompts, Sample

SMALL_CLIP = Path(__file__).parent / "assets" / "toytown-clip"
"""The image-text model that ships with the package; it was trained on toytown's words."""

CONTRAST_CHANNELS = 64
"""Channels of the space in which PPKT and SLidR compare points with a backbone's pixels (SLidR: 64)."""

PPKT_PAIRS = 4096
"""Pixel-point pairs of a step in PPKT's InfoNCE, or in the feature similarity; as many of each sample."""

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


def data_found(root: Path, expected: DataConfig | None = None) -> DataConfig:
    """Say how data are opened that may lie in another layout than is expected: in that one's own classes.

    Args:
        root: The data set.
        expected: How it is opened where it is in that layout, or in none that is known.

    Raises:
        ValueError: If nothing is expected, and it looks like no data set.
    """
    found = layout_of(root, first="" if expected is None else expected.layout) if root.is_dir() else None
    if expected is not None and found in (None, expected.layout):
        return expected
    if found is None:
        raise ValueError(f"{root} is no data set in a known layout (docs/data.md); name one")
    return DataConfig(layout=cast(Layout, found))


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
            write_json(run / name, _content_to_keep(data, root, name))
    if own_files:
        map_classes(prompt_classes(data, run), evaluation_classes(data, run))


def _content_to_keep(data: DataConfig, root: Path, name: str) -> Any:  # noqa: ANN401 - JSON
    if name == MIX:
        return sources_to_json(read_sources(root, data.classes))
    return read_json(root / name)


def choose_labels(recipe: Recipe, dataset: Dataset, among: Collection[str] | None = None) -> Subset:
    """Choose the samples of a split that a recipe uses the labels of, and how many points of each.

    Args:
        recipe: How many, and which first.
        dataset: The split.
        among: Samples that have labels; None means all.

    Raises:
        ValueError: If none is chosen, or the recipe's ranking names what the split lacks.
    """
    labels = recipe.labels
    by_scene = labels.by == "scene"
    return choose(
        {token: dataset.scene_of(token) if by_scene else token for token in dataset.tokens},
        among=among,
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


def item_options(recipe: Recipe) -> ItemOptions:
    """Say what a training item holds: true labels, or pixel-point pairs drawn for PPKT, in cells for StCR."""
    consistency, augment = recipe.consistency, recipe.augment
    with_cells = recipe.loss.form != "pixel-infonce" and consistency.weight > 0
    of_pairs = recipe.loss.form == "pixel-infonce" or (recipe.loss.similarity > 0 and not with_cells)
    return ItemOptions(
        from_labels=recipe.supervision == "labels",
        pairs=PPKT_PAIRS // recipe.batch_size if of_pairs else None,
        cell_size=consistency.cell_size if with_cells else None,
        cell_pairs=None if consistency.pairs is None else max(1, consistency.pairs // recipe.batch_size),
        inputs=input_options(recipe),
        augmentation=Augmentation(**vars(augment)),
        viewpoint=viewpoint_of(recipe.data),
    )


def input_options(recipe: Recipe) -> InputOptions:
    """Say what a student is given of a cloud; rooms, whose z is up, are taken as they are."""
    student = recipe.student
    if LOADERS[recipe.data.layout].indoors:
        height = "sensor" if student.height == "ground" else student.height
        return InputOptions(height, False, student.intensity, student.turns)
    return InputOptions(student.height, student.level, student.intensity, student.turns)


def viewpoint_of(data: DataConfig) -> tuple[float, float, float]:
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
    embedder = Embedder(
        backbone,
        text_channels,
        cosine_temperature=temperature,
        inputs=inputs,
        superpoint_mean=student.superpoint_mean,
        viewpoint=viewpoint_of(recipe.data),
        local=local,
        num_classes=num_classes if recipe.tuning.head == "classifier" else None,
    )
    if loss.similarity:
        embedder.similarity = similarity_head(embedder.head.in_features, text_channels)
    return embedder


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
    weights = class_weights(histogram, loss.class_balance) if loss.class_balance else None
    if loss.form in rivals:
        terms.append(rivals[loss.form])
    if loss.weight and (loss.form not in rivals or loss.backbone is not None):
        terms.append(
            SCR(
                "class-infonce" if loss.form == "class-infonce" else "point-cross-entropy",
                loss.weight,
                loss.temperature,
                weights,
                detached=loss.form in rivals,  # beside a rival, SCR trains the text head alone
                bounded=loss.bounded,
                q=loss.generalised,
                name="scr" if recipe.supervision == "label-free" else "supervised",
            )
        )
    if loss.reverse * loss.weight:
        terms.append(ReverseCE(loss.reverse * loss.weight, weights))
    if loss.lovasz * loss.weight:
        terms.append(Lovasz(loss.lovasz * loss.weight))
    if loss.similarity:
        terms.append(Similarity(loss.similarity))
    if consistency.weight:
        form, weight, temperature = consistency.form, consistency.weight, consistency.temperature
        terms.append(StCR(form, weight, temperature, consistency.guard, own_head=loss.weight > 0))
    if recipe.tuning.keep_words:
        terms.append(KeepText(recipe.tuning.keep_words))
    return Objective(tuple(terms))


@runtime_checkable
class Rest(Protocol):
    """Labels the points of a sample that nobody labelled by hand."""

    @property
    def fingerprint(self) -> str:
        """Hash what decides these labels."""

    def __call__(self, sample: Sample) -> Int[Tensor, " points"]:
        """Give the train id of each point of the keyframe."""


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
        layers: Labels by hand of some samples, in the place of the data set's own; None where there are none.
        rest: Beside them, labels the other points of these samples; None leaves these out.
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
    layers: Layers | None = None
    rest: Rest | None = None

    @property
    def by_hand(self) -> str | None:
        """Hash of the labels by hand and of what labels the rest; None without."""
        if self.layers is None or self.rest is None:
            return None if self.layers is None else self.layers.fingerprint
        return hashlib.sha256(f"{self.layers.fingerprint} {self.rest.fingerprint}".encode()).hexdigest()

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
    dataset = open_dataset(recipe.data, Path(data_root), split="train", need_images=label_free)
    return experiment_on(dataset, recipe, Path(data_root), teacher_weights)


def experiment_on(
    dataset: Dataset, recipe: Recipe, data_root: Path, teacher_weights: str | None = None
) -> Experiment:
    """Open what a recipe is trained on beside a train split that is open already.

    Args:
        dataset: The split; no label of it is read.
        recipe: As for :func:`open_experiment`.
        data_root: Where it lies.
        teacher_weights: As for :func:`open_experiment`.

    Raises:
        ValueError: If the teacher, its prompts or the backbone are unfit.
    """
    data, root = recipe.data, data_root
    classes = prompt_classes(data, root)
    require_classes(classes, root)
    space = build_teacher.open_text_space(recipe.teacher, teacher_weights, classes)
    prompts = build_teacher.build_prompts(recipe.teacher, space, classes, partly=data.words != "own")
    teacher = None
    if recipe.supervision == "label-free":
        teacher = build_teacher.build_teacher(recipe.teacher, space, prompts, dataset, teacher_weights)
    backbone = build_teacher.build_backbone(recipe.loss, space)
    return Experiment(recipe, root, "train", dataset, False, prompts, teacher, backbone, space)
