"""Settings to data: which classes a layout has, and its samples."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from clip2scene.build.indoor import LAYOUTS as INDOOR
from clip2scene.build.indoor import Rooms, indoor_classes, open_rooms
from clip2scene.classes.class_set import ClassSet
from clip2scene.classes.mapping import map_classes
from clip2scene.classes.tables import CLASS_SETS, NUSCENES, PANDASET, SEMANTIC_KITTI, TOYTOWN, TOYTOWN_KITTI
from clip2scene.config import DataConfig, Recipe
from clip2scene.datasets.drive_log.classes import class_set_to_json, read_class_set
from clip2scene.datasets.drive_log.files import HEADER, Calibration, read_calibration, read_checked
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.datasets.kitti.object import KittiObject
from clip2scene.datasets.kitti.raw import KittiRaw
from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.datasets.label_subset import Subset, choose
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.pandaset.loader import PandaSet
from clip2scene.io import write_json

DataSet = NuScenes | PandaSet | SemanticKitti | KittiObject | KittiRaw | DriveLog | Rooms

KITTI = {"semantic-kitti": SemanticKitti, "kitti-object": KittiObject, "kitti-raw": KittiRaw}
"""Layouts in which images may be missing, and classes are SemanticKITTI's."""

OWN_CLASSES = "classes.json"
"""Where a drive log, and a run that learnt from it, keep their classes."""

OWN_CALIBRATION = "calibration.json"
"""Where they keep how the lidar's clouds are to be read; a run's lists no cameras."""


def evaluation_classes(data: DataConfig, folder: Path | None = None) -> ClassSet:
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


def keep_own_files(data: DataConfig, root: Path, run: Path) -> None:
    """Write a drive log's classes and its lidar's axes and intensity into a run's folder.

    So the run can be used when the data are gone.

    Raises:
        ValueError: If they cannot be read, or cannot judge answers in the words that teach.
    """
    if data.layout != "drive-log":
        return
    lidar = read_checked(root / OWN_CALIBRATION).get("lidar", {})
    kept = {name: lidar[name] for name in ("axes", "intensity_max") if name in lidar}
    write_json(run / OWN_CALIBRATION, HEADER | {"lidar": kept, "cameras": []})
    if (root / OWN_CLASSES).exists():
        class_set = read_class_set(root)
        map_classes(prompt_classes(data, root), class_set)
        write_json(run / OWN_CLASSES, class_set_to_json(class_set))


def own_calibration(data: DataConfig, run: Path) -> Calibration | None:
    """Say how the clouds are to be read that a run learnt from a drive log; None for other layouts.

    Raises:
        ValueError: If the run does not tell: those of old versions did not keep it.
    """
    if data.layout != "drive-log":
        return None
    if not (run / OWN_CALIBRATION).exists():
        raise ValueError(
            f"{run} does not tell the axes and intensity of the drive log that it learnt from; copy the "
            f"log's {OWN_CALIBRATION} into it"
        )
    return read_calibration(run / OWN_CALIBRATION)


def prompt_classes(data: DataConfig, folder: Path | None = None) -> ClassSet:
    """Say whose words teach; ``folder`` as for :func:`evaluation_classes`."""
    return evaluation_classes(data, folder) if data.words == "own" else CLASS_SETS[data.words]


def build_dataset(
    data: DataConfig,
    root: Path,
    *,
    split: str,
    with_labels: bool,
    sweeps: int = 1,
    need_images: bool = False,
    labelled: Collection[str] | None = None,
) -> DataSet:
    """Open a split of the data set that lies at ``root``, each sample with so many sweeps.

    Where images may be missing, ``need_images`` leaves out the samples that a teacher could say nothing of.
    ``labelled`` names those whose labels are read, and so must be there; None is all. (nuScenes and PandaSet
    look for a sample's labels when it is read, and read those of any.)
    """
    if data.layout == "pandaset":
        return PandaSet(root, split=split, with_labels=with_labels, sweeps=sweeps)
    root = Path(root)
    if data.layout in INDOOR:
        return open_rooms(
            data,
            root,
            split=split,
            with_labels=with_labels,
            sweeps=sweeps,
            need_images=need_images,
            labelled=labelled,
        )
    class_set = evaluation_classes(data, root)
    if data.layout == "drive-log":  # only its own file says what the numbers of its labels mean
        return DriveLog(
            root,
            split=split,
            with_labels=with_labels,
            class_set=None if with_labels else class_set,
            sweeps=sweeps,
            need_images=need_images,
            labelled=labelled,
        )
    if data.layout in KITTI:
        some: dict[str, Any] = {"labelled": labelled} if data.layout == "semantic-kitti" else {}
        return KITTI[data.layout](
            root,
            split=split,
            with_labels=with_labels,
            class_set=class_set,
            sweeps=sweeps,
            need_images=need_images,
            **some,
        )
    return NuScenes(root, split=split, with_labels=with_labels, class_set=class_set, sweeps=sweeps)


def count_images(dataset: DataSet) -> int:
    """Count the samples that have images; KITTI's are a download of their own."""
    return len(dataset) if isinstance(dataset, NuScenes | PandaSet) else dataset.num_images


def choose_labels(recipe: Recipe, dataset: DataSet) -> Subset:
    """Choose the samples of a split that a recipe sees the labels of, and how many points of each.

    Raises:
        ValueError: If none is chosen, or the recipe's ranking names what the split lacks.
    """
    labels = recipe.labels
    units = {token: token for token in dataset.tokens}
    return choose(
        scenes_of(recipe.data, dataset) if labels.by == "scene" else units,
        fraction=labels.fraction,
        count=labels.count,
        order=labels.ranking or labels.order,
        draw=recipe.seed if labels.draw is None else labels.draw,
        points_per_scene=labels.points_per_scene,
        holdout=labels.holdout,
    )


def require_labels(data: DataConfig, root: Path, tokens: Collection[str]) -> None:
    """Refuse samples of the train split that are to be learnt from, but have no labels.

    Raises:
        ValueError: If the labels of one are not there.
    """
    build_dataset(data, root, split="train", with_labels=True, labelled=tokens)


def scenes_of(data: DataConfig, dataset: DataSet) -> dict[str, str]:
    """Name each sample's scene: a drive, or a room; single images and rooms are scenes of their own."""
    if isinstance(dataset, NuScenes):
        return dict(zip(dataset.tokens, dataset.scenes, strict=True))
    if data.layout in ("semantic-kitti", "kitti-raw"):
        return {token: token.rpartition("-")[0] for token in dataset.tokens}
    if data.layout in ("pandaset", "drive-log"):
        return dict.fromkeys(dataset.tokens, data.layout)
    return {token: token for token in dataset.tokens}
