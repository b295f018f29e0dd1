"""Supervisely: a project of point clouds, a data set a scene, a figure of point indices for each class.

::

    OUT/meta.json                        the classes
    OUT/SCENE/pointcloud/TOKEN.pcd       float32 x y z intensity (or rgb)
    OUT/SCENE/ann/TOKEN.pcd.json         for each class, the indices of its points
    OUT/key_id_map.json                  the tool's own numbers, of which there are none yet

This is the format in which a project is downloaded, too. Points that are in no figure have no label.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from jaxtyping import Int64

from clip2scene.classes.class_set import ClassSet
from clip2scene.handover.clouds import read_pcd_positions, write_pcd
from clip2scene.handover.found import FoundLabels, as_records, whole_numbers
from clip2scene.handover.frames import Frame
from clip2scene.io import read_json, write_atomically, write_json

SHAPE = "point_cloud"
_NONE = -1
_MOST_JSON = 1 << 28
"""Bytes of a JSON file that is read."""


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write the classes of the project."""
    rows = zip(classes.classes, classes.colours, strict=True)
    listed = [
        {
            "title": name,
            "description": "",
            "shape": SHAPE,
            "color": "#{:02X}{:02X}{:02X}".format(*colour),
            "geometry_config": {},
            "hotkey": "",
        }
        for name, colour in rows
    ]
    write_json(folder / "meta.json", {"classes": listed, "tags": [], "projectType": "point_clouds"})
    write_json(folder / "key_id_map.json", {"tags": {}, "objects": {}, "figures": {}, "videos": {}})


def write_scene(folder: Path, frames: Iterator[Frame], classes: ClassSet) -> None:
    """Write the clouds of a scene and their annotations."""
    for frame in frames:
        place, name = folder / frame.scene, f"{frame.name}.pcd"
        write_pcd(place / "pointcloud" / name, frame)
        with write_atomically(place / "ann" / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(_annotation(frame, classes), separators=(",", ":")))


def _annotation(frame: Frame, classes: ClassSet) -> dict[str, Any]:
    """Give the annotation of a cloud: an object and a figure for each class that a point has."""
    objects, figures = [], []
    for train_id in np.unique(frame.labels[frame.labels >= 0]).tolist():
        title = classes.classes[train_id]
        whose, figure = (_key(frame.name, title, kind) for kind in ("object", "figure"))
        objects.append({"key": whose, "classTitle": title, "tags": []})
        indices = np.flatnonzero(frame.labels == train_id).tolist()
        figures.append(
            {"key": figure, "objectKey": whose, "geometryType": SHAPE, "geometry": {"indices": indices}}
        )
    about = {"description": "", "key": _key(frame.name, "", "cloud"), "tags": []}
    return {**about, "objects": objects, "figures": figures}


def _key(token: str, title: str, kind: str) -> str:
    """Make the key of an entry: 32 hexadecimal digits, the same at every export."""
    return uuid5(NAMESPACE_URL, f"clip2scene {kind} {token} {title}").hex


def read_labels(source: Path, tokens: Sequence[str]) -> Iterator[FoundLabels]:
    """Read the labels of a project in Supervisely's format.

    Raises:
        ValueError: If a file is broken, or an object has another shape than points.
    """
    read_json(source / "meta.json", most=_MOST_JSON)
    wanted = set(tokens)
    for path in sorted(source.glob("*/ann/*.pcd.json")):
        token = path.name.removesuffix(".pcd.json")
        cloud = path.parents[1] / "pointcloud" / f"{token}.pcd"
        if token not in wanted:
            continue
        positions = read_pcd_positions(cloud)
        content = read_json(path, most=_MOST_JSON)
        with as_records(path, "an annotation of Supervisely"):
            ids, names = _labels_of(path, content, len(positions))
        yield FoundLabels(token, path, ids, names, frozenset([_NONE]), positions)


def _labels_of(
    path: Path,
    content: Any,  # noqa: ANN401 - whatever JSON can hold
    points: int,
) -> tuple[Int64[np.ndarray, " points"], dict[int, str]]:
    """Give the number of each point's object, and what these are called; where two overlap, the last counts.

    Raises:
        ValueError: If a figure is no set of points, or names one that is not there.
    """
    title = {str(each["key"]): str(each["classTitle"]) for each in content["objects"]}
    ids, names = np.full(points, _NONE, np.int64), dict[int, str]()
    for number, figure in enumerate(content["figures"]):
        if figure["geometryType"] != SHAPE:
            raise ValueError(
                f"{path} has a figure of type {figure['geometryType']!r}, expected {SHAPE!r}, sets of "
                "points; turn it into one in the tool, or remove it"
            )
        indices = whole_numbers(figure["geometry"]["indices"])
        if len(indices) and not 0 <= indices.min() <= indices.max() < points:
            raise ValueError(
                f"{path} labels the points {indices.min()} to {indices.max()}, but its cloud has {points}; "
                "download cloud and annotation together"
            )
        ids[indices], names[number] = number, title[str(figure["objectKey"])]
    return ids, names
