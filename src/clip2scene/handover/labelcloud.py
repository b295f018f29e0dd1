"""labelCloud: clouds, an int8 for each of their points, and one list of classes.

::

    OUT/pointclouds/TOKEN.bin               float32 x y z intensity; or TOKEN.ply with colours
    OUT/labels/_classes.json                the classes, from 1 on; 0 is unlabeled
    OUT/labels/segmentation/TOKEN.bin       int8 a point

The tool is started in OUT, whose folders are those it looks for by default.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.checks import read_records
from clip2scene.datasets.clouds import read_ply, write_ply
from clip2scene.handover.clouds import read_record_positions, write_records
from clip2scene.handover.found import FoundLabels, as_records, whole_number
from clip2scene.handover.frames import NONE_COLOUR, Frame
from clip2scene.io import read_json, write_atomically, write_json

MOST_CLASSES = 126
"""What int8 has room for beside 0."""

UNLABELLED = "unlabeled"
_LABELS = Path("labels", "segmentation")


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write the classes.

    Raises:
        ValueError: If there are more than int8 has room for.
    """
    if len(classes) > MOST_CLASSES:
        raise ValueError(
            f"labelCloud has room for {MOST_CLASSES} classes, {classes.name!r} has {len(classes)}; export to "
            "another tool"
        )
    rows = zip((UNLABELLED, *classes.classes), (NONE_COLOUR, *classes.colours), strict=True)
    listed = [
        {"name": name, "id": number, "color": "#{:02x}{:02x}{:02x}".format(*colour)}
        for number, (name, colour) in enumerate(rows)
    ]
    about = {"default": 0, "type": "semantic_segmentation", "format": "binary"}
    write_json(folder / "labels" / "_classes.json", {"classes": listed, **about})


def write_scene(folder: Path, frames: Iterator[Frame], classes: ClassSet) -> None:
    """Write the clouds of a scene and their labels; all scenes lie in the same folders."""
    for frame in frames:
        cloud = folder / "pointclouds" / f"{frame.name}.bin"
        if frame.colours is None:
            write_records(cloud, frame)
        else:
            write_ply(
                cloud.with_name(f"{frame.name}.ply"),
                torch.from_numpy(frame.positions),
                torch.from_numpy(frame.colours),
            )
        with write_atomically(folder / _LABELS / f"{frame.name}.bin") as temporary:
            temporary.write_bytes((frame.labels + 1).astype("i1").tobytes())


def read_labels(source: Path, tokens: Sequence[str]) -> Iterator[FoundLabels]:
    """Read the labels that labelCloud saved.

    Raises:
        ValueError: If a file is missing or broken.
    """
    table = source / "labels" / "_classes.json"
    content = read_json(table, most=1 << 20)
    with as_records(table, "classes of labelCloud"):
        names = {whole_number(each["id"]): str(each["name"]) for each in content["classes"]}
        none = {number for number, name in names.items() if name == UNLABELLED}
    for token in tokens:
        path, clouds = source / _LABELS / f"{token}.bin", source / "pointclouds"
        if not path.exists():
            continue
        positions = None
        if (clouds / f"{token}.bin").exists():
            positions = read_record_positions(clouds / f"{token}.bin")
        elif (clouds / f"{token}.ply").exists():
            columns = read_ply(clouds / f"{token}.ply")
            with as_records(clouds / f"{token}.ply", "x, y and z"):
                positions = np.stack([columns[axis] for axis in "xyz"], axis=1)
        ids = read_records(path, "i1")[:, 0].astype(np.int64)
        yield FoundLabels(token, path, ids, names, frozenset(none), positions)
