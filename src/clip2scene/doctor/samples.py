"""What ``doctor`` finds in single samples: their points, images and labels, and how well these fit."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.datasets import Dataset
from clip2scene.datasets.checks import is_cut
from clip2scene.distill.lift import PairingOptions, find_pairs
from clip2scene.doctor.edge_score import Velocity, score_image
from clip2scene.doctor.lidar_edges import LidarEdges, find_lidar_edges
from clip2scene.geometry.cloud_statistics import CloudStatistics, describe_cloud
from clip2scene.geometry.depth import count_contradicted
from clip2scene.types import Sample

MOVING_CAMERA = "the moving camera"
"""Name of the one camera that all frames of a room come from."""


@dataclass(frozen=True)
class CameraView:
    """What was found in one image.

    Attributes:
        camera: Its camera's name.
        visible: Share of the cloud's points that it sees, in 0..1.
        scores: How well edges lie on its edges (:func:`clip2scene.doctor.edge_score.score_image`);
            None if that was not asked for.
        depth: How many points the depth image beside it confirms, and how many it contradicts
            (:func:`clip2scene.geometry.depth.count_contradicted`); None where depth is not measured.
        is_cut: Whether its principal point lies where only that of a cut image does
            (:func:`clip2scene.datasets.checks.is_cut`).
    """

    camera: str
    visible: float
    scores: Float[Tensor, "axes steps"] | None = None
    depth: tuple[int, int] | None = None
    is_cut: bool = False


@dataclass(frozen=True)
class Measured:
    """What was found in one sample.

    Attributes:
        token: The sample's name.
        faults: What cannot be read, a sentence each.
        num_points: Of its cloud.
        ranges: 1st, 50th and 99th percentile of the points' range, in metres; in a room, from its middle.
        views: One for each image that could be read.
        labels: How often there is each train id.
        seconds: Spent on reading the cloud and all images.
        statistics: Of its cloud; None where that could not be read.
        camera_up: Where the upper edges of its images point on average, in the cloud's frame; of length 1
            where all agree, None without cameras.
    """

    token: str
    faults: tuple[str, ...]
    num_points: int = 0
    ranges: tuple[float, float, float] = (0.0, 0.0, 0.0)
    views: tuple[CameraView, ...] = ()
    labels: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    statistics: CloudStatistics | None = None
    camera_up: tuple[float, float, float] | None = None


def measure_sample(
    dataset: Dataset, number: int, *, pairing: PairingOptions, velocity: Velocity | None, align: bool = True
) -> Measured:
    """Read one sample whole, and measure its parts.

    Args:
        dataset: The samples.
        number: Which one.
        pairing: What decides which points a camera sees, as for :func:`clip2scene.distill.lift.find_pairs`.
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
    seconds, faults, views = time.perf_counter() - start, [], []
    positions, viewpoint = sample.cloud.positions, dataset.viewpoint
    edges = find_lidar_edges(positions, viewpoint) if align and viewpoint is not None else None
    for view in range(len(sample.cameras)):
        start = time.perf_counter()
        try:
            image = sample.read_image(view)
            seconds += time.perf_counter() - start
            views.append(_measure_view(sample, view, image, edges, velocity, pairing))
        except ValueError as error:
            faults.append(str(error))
    middle = positions.mean(0) if viewpoint is None else torch.tensor(viewpoint)
    near, half, far = np.percentile((positions - middle).norm(dim=1), [1, 50, 99]).tolist()
    labels = Counter[int]() if sample.labels is None else count_labels(sample.labels)
    ranges, up = (near, half, far), None
    if sample.cameras:
        x, y, z = torch.stack([-each.camera_from_lidar[1, :3] for each in sample.cameras]).mean(0).tolist()
        up = (x, y, z)
    found = describe_cloud(sample.cloud, indoors=dataset.indoors)
    return Measured(token, tuple(faults), len(positions), ranges, tuple(views), labels, seconds, found, up)


def names_of_cameras(measured: Sequence[Measured]) -> list[str]:
    """Name the cameras of all images that could be read."""
    return list(dict.fromkeys(view.camera for each in measured for view in each.views))


def count_labels(labels: Int[Tensor, " points"]) -> Counter[int]:
    """Count how often there is each train id."""
    values, counts = labels.unique(return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _measure_view(
    sample: Sample,
    view: int,
    image: UInt8[Tensor, "height width 3"],
    edges: LidarEdges | None,
    velocity: Velocity | None,
    pairing: PairingOptions,
) -> CameraView:
    """Say how much one camera sees, and how well it fits: its image, or the depth measured beside it."""
    camera, positions = sample.cameras[view], sample.cloud.positions
    depth = None if sample.read_depth is None else sample.read_depth(view)
    alone = replace(sample, cameras=(camera,), read_depth=None if depth is None else lambda _: depth)
    visible = len(find_pairs(positions, alone, pairing)) / len(positions)
    cut = is_cut(camera.intrinsics, (camera.width, camera.height))
    if depth is not None:
        return CameraView(MOVING_CAMERA, visible, None, count_contradicted(positions, depth), cut)
    scores = None if edges is None else score_image(image, camera, positions, edges, velocity)
    return CameraView(camera.name, visible, scores, is_cut=cut)
