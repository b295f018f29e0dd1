"""SemanticKITTI's label files: one uint32 a point, whose lower 16 bits say what it is, the upper which."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt32
from torch import Tensor

from clip2scene.classes.tables import SEMANTIC_KITTI, TOYTOWN_KITTI, ClassSet, train_ids
from clip2scene.datasets.checks import find_class_set, read_records
from clip2scene.io import write_atomically

RAW_OF_CLASS = {
    **{"car": 10, "bicycle": 11, "motorcycle": 15, "truck": 18, "other vehicle": 20, "person": 30},
    **{"bicyclist": 31, "motorcyclist": 32, "road": 40, "parking": 44, "sidewalk": 48, "other ground": 49},
    **{"building": 50, "fence": 51, "vegetation": 70, "trunk": 71, "terrain": 72, "pole": 80},
    **{"traffic sign": 81},
}
"""The raw id a prediction is written with, by class: that of a thing standing still."""

_IDS_WITHOUT_CLASS = (0, 1, 52, 99)  # unlabelled, outlier, other structure, other object


def street_classes(classes: str) -> ClassSet:
    """Give SemanticKITTI's classes, or those of them that toytown has; all of KITTI's layouts have these."""
    return find_class_set(classes, {"own": SEMANTIC_KITTI, "toytown": TOYTOWN_KITTI})


def read_labels(path: Path, num_points: int, class_set: ClassSet = SEMANTIC_KITTI) -> Int[Tensor, " points"]:
    """Read the labels of a cloud as train ids; moving things count as standing ones.

    Args:
        path: The file.
        num_points: How many points its cloud has.
        class_set: The classes to translate to.

    Raises:
        ValueError: If the file is missing or truncated, there is not one label for each point, or a raw id is
            none of SemanticKITTI's.
    """
    raw = (read_records(path, "<u4")[:, 0] & 0xFFFF).astype(np.int64)
    if len(raw) != num_points:
        raise ValueError(f"{path} holds {len(raw)} labels, but its cloud {num_points} points; restore one")
    found = np.flatnonzero(np.bincount(raw)).tolist()
    unknown = set(found).difference(_IDS_WITHOUT_CLASS, SEMANTIC_KITTI.train_id_of_raw)
    if unknown:
        raise ValueError(
            f"{path} holds the labels {sorted(unknown)[:5]}, which are none of SemanticKITTI's; expected "
            "uint32 with a raw id in the lower 16 bits; restore the file"
        )
    return train_ids(torch.from_numpy(raw), class_set)


def write_labels(path: Path, labels: Int[Tensor, " points"], class_set: ClassSet = SEMANTIC_KITTI) -> None:
    """Write predictions as the benchmark wants them; the file appears when it is whole.

    Args:
        path: The file.
        labels: Train id of each point; ``IGNORE_LABEL`` is written as 0, unlabelled.
        class_set: What the train ids mean: SemanticKITTI's classes, or some of them.

    Raises:
        ValueError: If a class is none of SemanticKITTI's, or a train id none of the class set's.
    """
    raw = raw_ids(class_set)
    if len(labels) and not -1 <= int(labels.min()) <= int(labels.max()) < len(class_set):
        raise ValueError(f"expected train ids in -1..{len(class_set) - 1}, got {labels.unique().tolist()}")
    with write_atomically(path) as temporary:
        temporary.write_bytes(raw[labels.cpu().numpy()].tobytes())


def raw_ids(class_set: ClassSet) -> UInt32[np.ndarray, " classes_and_none"]:
    """Give the raw id of each class, and last, where ``IGNORE_LABEL`` leads, 0.

    Raises:
        ValueError: If a class is none of SemanticKITTI's.
    """
    foreign = [name for name in class_set.classes if name not in RAW_OF_CLASS]
    if foreign:
        raise ValueError(
            f"{', '.join(foreign)} of class set {class_set.name!r}: no such class in SemanticKITTI, so a "
            "label file cannot hold it; expected SemanticKITTI's classes or some of them"
        )
    return np.array([*(RAW_OF_CLASS[name] for name in class_set.classes), 0], dtype="<u4")


def prediction_path(out: Path, token: str) -> Path:
    """Say where the predictions for a sample lie in a submission to the benchmark.

    Example:
        >>> prediction_path(Path("out"), "11-000042").as_posix()
        'out/sequences/11/predictions/000042.label'
    """
    sequence, _, name = token.rpartition("-")
    return Path(out) / "sequences" / sequence / "predictions" / f"{name}.label"
