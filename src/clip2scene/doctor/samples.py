"""What ``doctor`` finds in single samples: their points, images and labels, and how well these fit."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.datasets import Dataset
from clip2scene.doctor.edge_score import Velocity, score_image
from clip2scene.doctor.lidar_edges import LidarEdges, find_lidar_edges
from clip2scene.geometry.depth import count_contradicted, drop_unconfirmed
from clip2scene.geometry.projection import drop_occluded, project_points
from clip2scene.types import Sample

MOVING_CAMERA = "the moving camera"
"""Name of the one camera that all frames of a room come from."""


@dataclass(frozen=True)
class CameraView:
    """What was found in one image.

    Attributes:
        camera: Its camera's name.
        seen: Share of the cloud's points that it sees.
        scores: How well silhouettes lie on its edges (:func:`clip2scene.doctor.edge_score.score_image`);
            None if that was not asked for.
        depth: How many points the depth image beside it confirms, and how many it contradicts
            (:func:`clip2scene.geometry.depth.count_contradicted`); None where depth is not measured.
    """

    camera: str
    seen: float
    scores: Float[Tensor, "axes steps"] | None = None
    depth: tuple[int, int] | None = None


@dataclass(frozen=True)
class Measured:
    """What was found in one sample.

    Attributes:
        token: The sample's name.
        faults: What cannot be read, a sentence each.
        num_points: Of its cloud.
        ranges: 1st, 50th and 99th percentile of the points' range, in metres; in a room, from its middle.
        looks: One for each image that could be read.
        labels: How often there is each train id.
        seconds: Spent on reading the cloud and all images.
    """

    token: str
    faults: tuple[str, ...]
    num_points: int = 0
    ranges: tuple[float, float, float] = (0.0, 0.0, 0.0)
    looks: tuple[CameraView, ...] = ()
    labels: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0


def measure_sample(
    dataset: Dataset, number: int, *, settings: dict[str, Any], velocity: Velocity | None, align: bool = True
) -> Measured:
    """Read one sample whole, and look at its parts.

    Args:
        dataset: The samples.
        number: Which one.
        settings: ``min_depth`` and ``occlusion_test``, which decide what a camera sees.
        velocity: Of the lidar, if it is known.
        align: Whether to score the calibration.

    Returns:
        What was found; a sample that cannot be read is a fault, never an error.
    """
    token, start = dataset.tokens[number], time.perf_counter()
    try:
        sample = dataset[number]
    except ValueError as error:
        return Measured(token, (str(error),))
    seconds, faults, looks = time.perf_counter() - start, [], []
    positions = sample.cloud.positions
    silhouettes = None
    if align and dataset.viewpoint is not None:  # a room was not seen from one place, so has no silhouettes
        silhouettes = find_lidar_edges(positions, dataset.viewpoint)
    for view in range(len(sample.cameras)):
        start = time.perf_counter()
        try:
            image = sample.read_image(view)
            seconds += time.perf_counter() - start
            if sample.read_depth is None:
                looks.append(_look(sample, view, image, silhouettes, velocity, settings))
            else:
                looks.append(_look_with_depth(sample, view, settings))
        except ValueError as error:
            faults.append(str(error))
    viewpoint = positions.mean(0) if dataset.viewpoint is None else torch.tensor(dataset.viewpoint)
    ranges = np.percentile((positions - viewpoint).norm(dim=1), [1, 50, 99])
    return Measured(
        token,
        tuple(faults),
        len(positions),
        (float(ranges[0]), float(ranges[1]), float(ranges[2])),
        tuple(looks),
        Counter() if sample.labels is None else count_labels(sample.labels),
        seconds,
    )


def names_of_cameras(measured: Sequence[Measured]) -> list[str]:
    """Name the cameras of all images that could be read."""
    return list(dict.fromkeys(look.camera for each in measured for look in each.looks))


def count_labels(labels: Int[Tensor, " points"]) -> Counter[int]:
    """Count how often there is each train id."""
    values, counts = labels.unique(return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _look(
    sample: Sample,
    view: int,
    image: UInt8[Tensor, "height width 3"],
    silhouettes: LidarEdges | None,
    velocity: Velocity | None,
    settings: dict[str, Any],
) -> CameraView:
    """Say how much one camera sees, and how well it fits."""
    camera, positions = sample.cameras[view], sample.cloud.positions
    pairs = project_points(positions, [camera], min_depth=settings["min_depth"])
    pairs = drop_occluded(pairs, [camera]) if settings["occlusion_test"] else pairs
    scores = None
    if silhouettes is not None:
        scores = score_image(image, camera, positions, silhouettes, velocity)
    return CameraView(camera.name, len(pairs) / len(positions), scores)


def _look_with_depth(sample: Sample, view: int, settings: dict[str, Any]) -> CameraView:
    """Say how much one frame of a room sees, and how well the depth measured there fits the cloud."""
    assert sample.read_depth is not None
    positions, image = sample.cloud.positions, sample.read_depth(view)
    pairs = project_points(positions, [sample.cameras[view]], min_depth=settings["min_depth"])
    if settings["occlusion_test"]:
        pairs = drop_unconfirmed(pairs, positions, lambda _: image)
    depth = count_contradicted(positions, image)
    return CameraView(MOVING_CAMERA, len(pairs) / len(positions), depth=depth)
