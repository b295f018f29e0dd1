"""Segments.ai: a sequence a scene, its clouds as PCD, its labels as the attributes of a label.

::

    OUT/task_attributes.json           the classes, as the attributes of the data set
    OUT/SCENE/clouds/TOKEN.pcd         float32 x y z intensity (or rgb)
    OUT/SCENE/sample.json              the attributes of a sample: frames with their clouds, poses and times
    OUT/SCENE/label.json               the attributes of its label

A scene of more than :data:`MOST_FRAMES` clouds goes on in ``sample-2.json``, ``label-2.json``, ... Labels are
semantic: all points of a class are one annotation, whose id is that of its category; 0 is no label.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from clip2scene.classes.class_set import ClassSet
from clip2scene.handover.clouds import read_pcd_positions, write_pcd
from clip2scene.handover.found import (
    MOST_BYTES,
    FoundLabels,
    Table,
    as_records,
    whole_number,
    whole_numbers,
)
from clip2scene.handover.frames import Frame
from clip2scene.io import read_json, write_atomically, write_json

MOST_FRAMES = 100
"""Clouds of one sequence."""

VERSION = "0.1"
LABELSET = "ground-truth"
FINISHED = ("LABELED", "REVIEWING_IN_PROGRESS", "REVIEWED", "VERIFIED")
"""What the tool calls labels that a person has handed in."""


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write the classes as categories, from 1 on."""
    rows = zip(classes.classes, classes.colours, strict=True)
    categories = [
        {"name": name, "id": number, "color": list(colour)} for number, (name, colour) in enumerate(rows, 1)
    ]
    write_json(
        folder / "task_attributes.json",
        {"format_version": VERSION, "categories": categories},
    )


def write_scene(folder: Path, frames: Iterator[Frame], classes: ClassSet) -> None:
    """Write the sequences of a scene."""
    for part, first in enumerate(frames, 1):
        end = "" if part == 1 else f"-{part}"
        place = folder / first.scene
        attributes = list[dict[str, Any]]()
        with write_atomically(place / f"label{end}.json") as temporary, temporary.open("w") as stream:
            stream.write('{"format_version": "0.1", "frames": [')
            for frame in chain([first], islice(frames, MOST_FRAMES - 1)):
                write_pcd(place / "clouds" / f"{frame.name}.pcd", frame)
                stream.write(",\n" if attributes else "\n")
                json.dump(_label(frame), stream, separators=(",", ":"))
                attributes.append(_sample(frame))
            stream.write("]}\n")
        write_json(place / f"sample{end}.json", {"frames": attributes})


def _label(frame: Frame) -> dict[str, Any]:
    """Give the label of a frame."""
    ids = frame.labels + 1
    found = [number for number in np.unique(ids).tolist() if number]
    annotations = [{"id": number, "category_id": number, "track_id": number} for number in found]
    label = {"format_version": VERSION, "annotations": annotations, "point_annotations": ids.tolist()}
    return label if frame.time_us is None else {**label, "timestamp": str(frame.time_us * 1000)}


def _sample(frame: Frame) -> dict[str, Any]:
    """Give the attributes of a frame; its address is that of the file, until it is uploaded."""
    sample: dict[str, Any] = {
        "name": frame.name,
        "pcd": {"url": f"{frame.scene}/clouds/{frame.name}.pcd", "type": "pcd"},
    }
    if frame.time_us is not None:
        sample["timestamp"] = str(frame.time_us * 1000)  # nanoseconds, which float64 would not hold
    if frame.pose is not None:
        place, turn = frame.pose[:3, 3].tolist(), Rotation.from_matrix(frame.pose[:3, :3]).as_quat()
        sample["ego_pose"] = {
            "position": dict(zip("xyz", place, strict=True)),
            "heading": dict(zip(("qx", "qy", "qz", "qw"), turn.tolist(), strict=True)),
        }
    return sample


def read_labels(source: Path, tokens: Sequence[str]) -> Iterator[FoundLabels]:
    """Read labels out of what :func:`write_scene` wrote, or out of a release file of Segments.ai.

    Samples are known by the names of their frames; those of single clouds by their own.

    Raises:
        ValueError: If a file is broken.
    """
    wanted = set(tokens)
    if source.is_file():
        for file, sample, label, names in _of_release(source):
            yield from _of_sample(file, sample, label, names, wanted, None)
        return
    table = source / "task_attributes.json"
    names = _categories(table, read_json(table, most=MOST_BYTES))
    for path in sorted(source.glob("*/sample*.json")):
        label_path = path.with_name(path.name.replace("sample", "label", 1))
        if label_path.exists():
            sample, label = (read_json(each, most=MOST_BYTES) for each in (path, label_path))
            yield from _of_sample(label_path, sample, label, names, wanted, path.parent / "clouds")


def _of_release(path: Path) -> Iterator[tuple[Path, Any, Any, Table]]:
    """Go through the samples of a release that people have labelled; pre-labels are none of theirs."""
    content = read_json(path, most=MOST_BYTES)
    open_labels = Counter[str]()
    with as_records(path, "a release file of Segments.ai"):
        dataset = content["dataset"]
        names = _categories(path, dataset["task_attributes"])
        for sample in dataset["samples"]:
            label = sample["labels"].get(LABELSET) or {"label_status": "UNLABELED"}
            status = str(label.get("label_status", FINISHED[0]))
            if status in FINISHED:
                named = {"name": sample["name"], **sample["attributes"]}
                yield path, named, label["attributes"], names
            else:
                open_labels[status] += 1
    if open_labels and open_labels.total() == len(dataset["samples"]):
        told = ", ".join(f"{count} {status}" for status, count in open_labels.items())
        raise ValueError(
            f"{path} has no sample that people have labelled: {told}; expected {', '.join(FINISHED)} in the "
            f"labelset {LABELSET}: finish some in the tool, and release again"
        )


def _categories(path: Path, attributes: Any) -> Table:  # noqa: ANN401 - whatever JSON can hold
    with as_records(path, "categories of Segments.ai"):
        return {whole_number(each["id"]): str(each["name"]) for each in attributes["categories"]}


def _of_sample(
    path: Path,
    sample: Any,  # noqa: ANN401 - whatever JSON can hold
    label: Any,  # noqa: ANN401
    categories: Table,
    wanted: set[str],
    clouds: Path | None,
) -> Iterator[FoundLabels]:
    """Read the labels of a sequence, or of a single cloud."""
    with as_records(path, "labels of Segments.ai"):
        frames = sample.get("frames", [sample])
        labels = label.get("frames", [label])
        if len(frames) != len(labels):
            raise ValueError(f"{path} has {len(labels)} frames of labels, but {len(frames)} of clouds")
        for frame, each in zip(frames, labels, strict=True):
            token = str(frame["name"])
            if token not in wanted:
                continue
            names = {
                whole_number(one["id"]): categories[whole_number(one["category_id"])]
                for one in each["annotations"]
            }
            ids = whole_numbers(each["point_annotations"])
            cloud = None if clouds is None else clouds / f"{token}.pcd"
            positions = read_pcd_positions(cloud) if cloud is not None and cloud.exists() else None
            yield FoundLabels(token, path, ids, names, frozenset([0]), positions)
