"""Settings to data: which classes a layout has, and its samples."""

from collections.abc import Collection
from pathlib import Path

from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.mapping import map_classes
from clip2scene.classes.tables import CLASS_SETS
from clip2scene.config import DataConfig, Recipe
from clip2scene.datasets import LOADERS, Dataset
from clip2scene.datasets.dataset import OpenOptions
from clip2scene.datasets.label_subset import Subset, choose
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.io import read_json, write_json


def open_dataset(
    data: DataConfig,
    root: Path,
    *,
    split: str,
    labels: bool | Collection[str] = False,
    sweeps: int | None = None,
    need_images: bool = False,
) -> Dataset:
    """Open a split of the data set that lies at ``root``.

    Args:
        data: Its layout and classes.
        root: Where it lies.
        split: The name of the split.
        labels: False touches no label; True reads those of all samples; tokens, those of these samples.
        sweeps: Sweeps of each sample; None takes as many as are trained with.
        need_images: Whether to leave out the samples without images, which have no pseudo-labels.
    """
    options = OpenOptions(
        split=split,
        classes=data.classes,
        labels=labels,
        sweeps=data.sweeps if sweeps is None else sweeps,
        need_images=need_images,
        frames=FrameChoice(data.frame_step, data.views, data.most_skipped),
    )
    return LOADERS[data.layout].open(Path(root), options)


def evaluation_classes(data: DataConfig, folder: Path | None = None) -> ClassSet:
    """Say which classes predictions are evaluated in.

    Args:
        data: Names them, but for a drive log with classes of its own.
        folder: That drive log, or a run that was trained on it; other layouts need none.
    """
    return LOADERS[data.layout].class_set_of(data.classes, folder, data.words)


def prompt_classes(data: DataConfig, folder: Path | None = None) -> ClassSet:
    """Say which classes are prompted; ``folder`` as for :func:`evaluation_classes`."""
    return evaluation_classes(data, folder) if data.words == "own" else CLASS_SETS[data.words]


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
