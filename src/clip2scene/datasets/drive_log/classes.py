"""Classes of one's own: ``classes.json`` of a drive log, and the label files whose numbers it explains."""

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.classes.class_set import ClassSet, train_ids
from clip2scene.datasets.checks import read_records
from clip2scene.datasets.drive_log.files import HEADER, read_checked
from clip2scene.io import read_array


def read_class_set(folder: Path) -> ClassSet:
    """Read ``classes.json`` of a folder, be it a drive log or a run that was trained on one.

    Raises:
        ValueError: If it is missing or not as described, a class or prompt is there twice, or two classes
            have the same id.
    """
    path = Path(folder) / "classes.json"
    rows = read_checked(path)["classes"]
    ids = [(raw, number) for number, row in enumerate(rows) for raw in row.get("ids", ())]
    if len(dict(ids)) < len(ids):
        raise ValueError(f"{path} gives an id to two classes, or twice; each stands for one class")
    try:
        return ClassSet(
            name="drive-log",
            classes=tuple(row["name"] for row in rows),
            prompts=tuple(tuple(row.get("prompts", (row["name"],))) for row in rows),
            colours=tuple(
                _colour(row["colour"] if "colour" in row else _some_colour(number))
                for number, row in enumerate(rows)
            ),
            train_id_of_raw=dict(ids),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def class_set_to_json(class_set: ClassSet) -> dict[str, Any]:
    """Turn a class set into what :func:`read_class_set` reads."""
    rows = zip(class_set.classes, class_set.prompts, class_set.colours, strict=True)
    return HEADER | {
        "classes": [
            {
                "name": name,
                "prompts": list(prompts),
                "ids": [raw for raw, train_id in class_set.train_id_of_raw.items() if train_id == number],
                "colour": list(colour),
            }
            for number, (name, prompts, colour) in enumerate(rows)
        ]
    }


def read_labels(path: Path, num_points: int, class_set: ClassSet) -> Int[Tensor, " points"]:
    """Read the train id of every point from ``NAME.npy`` (whole numbers) or ``NAME.label`` (SemanticKITTI's).

    Raises:
        ValueError: If the file is missing or broken, or holds not one whole number for each point.
    """
    if path.suffix == ".label":
        raw = (read_records(path, "<u4")[:, 0] & 0xFFFF).astype(np.int64)  # the thing's number stands above
    else:
        array = read_array(path)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise ValueError(
                f"{path} holds {array.dtype} of shape {array.shape}, expected one whole number for each "
                "point; write it anew"
            )
        raw = array.astype(np.int64)
    if len(raw) != num_points:
        raise ValueError(f"{path} holds {len(raw)} labels, but the cloud {num_points} points; write it anew")
    return train_ids(torch.from_numpy(raw), class_set)


def _colour(rgb: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = rgb
    return red, green, blue


def _some_colour(number: int) -> tuple[int, int, int]:
    """Choose a bright colour unlike those of the numbers near it."""
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.75, 0.6 + 0.4 * (number % 2))
    return round(255 * red), round(255 * green), round(255 * blue)
