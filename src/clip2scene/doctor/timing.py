"""When the parts of samples were recorded, and how fast the vehicle drove: what ``doctor`` finds there."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.moments import SLOWEST_US, clock_fault, rate_fault, way_fault
from clip2scene.doctor.edge_score import Velocity
from clip2scene.doctor.report import Line
from clip2scene.geometry.projection import invert_rigid
from clip2scene.types import Timestamps

LONG_GAP_MS = 100
"""An image this much older or younger than its cloud shows moving things elsewhere."""

SAME_PLACE_M, SAME_PLACE_DEG = 2.0, 10.0
"""Two samples nearer to each other, in distance and in turn, show the same things."""

MOST_STEP_US = 1_500_000
"""Between two samples farther apart, nothing is said about the vehicle's motion."""


@runtime_checkable
class Timed(Protocol):
    """The part of a data set that tells times."""

    @property
    def tokens(self) -> Sequence[str]:
        """Name the samples."""

    def timestamps(self, index: int) -> Timestamps | None:
        """Tell when and where a sample was recorded, if the layout ever says."""


def find_velocities(dataset: Timed, numbers: Sequence[int]) -> dict[int, Velocity | None]:
    """Give the lidar's velocity at some samples, from its poses there and at a neighbouring sample.

    Returns:
        For each number: metres and radians a second in the lidar's frame; None where that is not told.
    """
    return {number: _velocity(dataset, number) for number in numbers}


def find_places(dataset: Timed, numbers: Sequence[int]) -> list[int]:
    """Number the places that samples were taken at; a vehicle that stands stays at one.

    Returns:
        For each sample, the first of ``numbers`` that was taken at the same place; itself where no pose is
        told.
    """
    places: list[int] = []
    known: list[tuple[int, str, Tensor]] = []
    for number in numbers:
        own = dataset.timestamps(number)
        if own is None or own.world_from_cloud is None:
            places.append(number)
            continue
        pose = own.world_from_cloud
        near = [place for place, drive, other in known if drive == own.drive and _is_near(pose, other)]
        places.append(near[0] if near else number)
        if not near:
            known.append((number, own.drive, pose))
    return places


def _is_near(first: Float[Tensor, "4 4"], second: Float[Tensor, "4 4"]) -> bool:
    way = invert_rigid(first) @ second
    turned = torch.rad2deg(((way[:3, :3].trace() - 1) / 2).clamp(-1, 1).acos())
    return float(way[:3, 3].norm()) < SAME_PLACE_M and float(turned) < SAME_PLACE_DEG


def velocity_between(
    world_from_first: Float[Tensor, "4 4"], world_from_second: Float[Tensor, "4 4"], seconds: float
) -> Velocity:
    """Give the lidar's mean velocity from one pose to another.

    Args:
        world_from_first: Where the lidar stood.
        world_from_second: Where it stood ``seconds`` later, or earlier if negative.
        seconds: Not 0.

    Returns:
        Metres a second and radians a second about its axes, in the lidar's first frame.

    Example:
        >>> ahead = torch.eye(4).double()
        >>> ahead[0, 3] = 4.0
        >>> velocity_between(torch.eye(4).double(), ahead, 0.5)[0].tolist()
        [8.0, 0.0, 0.0]
    """
    way = invert_rigid(world_from_first) @ world_from_second
    turn = torch.stack([way[2, 1] - way[1, 2], way[0, 2] - way[2, 0], way[1, 0] - way[0, 1]]) / 2
    return (way[:3, 3] / seconds).float(), (turn / seconds).float()


def _velocity(dataset: Timed, number: int) -> Velocity | None:
    own = dataset.timestamps(number)
    for neighbour in (number + 1, number - 1):
        if not 0 <= neighbour < len(dataset.tokens):
            continue
        other = dataset.timestamps(neighbour)
        if own is None or other is None or own.drive != other.drive:
            continue
        if own.cloud_us is None or other.cloud_us is None:
            continue
        if own.world_from_cloud is None or other.world_from_cloud is None:
            continue
        passed_us = other.cloud_us - own.cloud_us
        if 0 < abs(passed_us) <= MOST_STEP_US:
            return velocity_between(own.world_from_cloud, other.world_from_cloud, passed_us / 1e6)
    return None


def check_times(dataset: Timed, numbers: Sequence[int]) -> list[Line]:
    """Look for moments that run backwards or cannot be, and for large gaps between clouds, images and sweeps.

    Args:
        dataset: The samples.
        numbers: Which ones to check.

    Returns:
        Lines for the report.
    """
    near = {number for each in numbers for number in (each, each + 1) if number < len(dataset.tokens)}
    try:
        all_told = {number: dataset.timestamps(number) for number in sorted(near)}
    except ValueError as error:
        return [Line("fault", "times", str(error))]
    timestamps = {number: each for number, each in all_told.items() if each is not None}
    if not timestamps:
        return [Line("note", "times", "this layout tells no moments, so faults in time are hard to find")]
    told = [each for each in timestamps.values() if each.cloud_us is not None]
    if not told:
        return [Line("note", "times", "no moment of a cloud is told, so faults in time are hard to find")]
    return [*_order_of_clouds(dataset, timestamps), *_gaps_of_images(told), *_steps_of_sweeps(told)]


def _order_of_clouds(dataset: Timed, timestamps: dict[int, Timestamps]) -> list[Line]:
    """Compare neighbouring samples of a drive."""
    steps_ms, between_ms, backwards = [], [], []
    lines: list[Line] = []
    for number, own in timestamps.items():
        following = timestamps.get(number + 1)
        if following is None or own.cloud_us is None or following.cloud_us is None:
            continue
        between_ms.append((following.cloud_us - own.cloud_us) / 1000)
        if following.drive != own.drive:
            continue
        steps_ms.append(between_ms[-1])
        if steps_ms[-1] <= 0:
            backwards.append(dataset.tokens[number + 1])
        elif not lines:
            lines += _jump(dataset.tokens[number + 1], own, following)
    if backwards:
        text = f"{len(backwards)} clouds are no later than the one before, the first is {backwards[0]}"
        return [Line("fault", "times", f"{text}; correct the timestamps or the order")]
    fault = rate_fault([1000 * step for step in steps_ms], SLOWEST_US)
    if fault:
        return [Line("fault", "times", f"clouds {fault}")]
    if lines:
        return lines
    if not steps_ms:
        return _alone(between_ms)
    text = (
        f"clouds follow each other by {np.median(steps_ms):.0f} ms (median), at most {max(steps_ms):.0f} ms"
    )
    return [Line("ok", "times", text)]


def _jump(token: str, own: Timestamps, following: Timestamps) -> list[Line]:
    """Name the second of two samples if no vehicle gets from one to the other in that time."""
    if own.world_from_cloud is None or following.world_from_cloud is None:
        return []
    assert own.cloud_us is not None and following.cloud_us is not None
    places = torch.stack([own.world_from_cloud[:3, 3], following.world_from_cloud[:3, 3]]).numpy()
    found = way_fault([own.cloud_us, following.cloud_us], places)
    return [Line("fault", "times", f"sample {token} {found[1]}")] if found else []


def _alone(between_ms: Sequence[float]) -> list[Line]:
    """Say what it means that no cloud follows another, where a drive has several."""
    if not between_ms:
        return []
    middle = float(np.median(between_ms))
    fault = rate_fault([1000 * middle], SLOWEST_US)
    text = (
        f"clouds {fault or f'lie {middle / 1000:.1f} s apart (median)'}; each counts as a drive of its own, "
    )
    return [Line("note", "times", f"{text}without earlier sweeps and without a known motion")]


def _gaps_of_images(told: Sequence[Timestamps]) -> list[Line]:
    """Compare images with their clouds, camera by camera."""
    lines = []
    moments_of: dict[str, list[tuple[int, int]]] = {}
    for each in told:
        for camera, taken_us in each.image_us.items():
            if taken_us is not None and each.cloud_us is not None:
                moments_of.setdefault(camera, []).append((each.cloud_us, taken_us))
    strange: dict[str, list[str]] = {}
    for camera, moments in moments_of.items():
        fault = clock_fault(*zip(*moments, strict=True))
        if fault:
            strange.setdefault(fault, []).append(camera)
            continue
        gaps = [(taken - cloud) / 1000 for cloud, taken in moments]
        middle, least, most = float(np.median(gaps)), min(gaps), max(gaps)
        text = f"{camera}: images {middle:+.0f} ms from their clouds ({least:+.0f} to {most:+.0f})"
        if max(abs(least), abs(most)) > LONG_GAP_MS:
            text += f"; beyond {LONG_GAP_MS} ms what moves is taught wrongly: pair clouds with nearer images"
            lines.append(Line("note", "times", text))
        elif most - least > LONG_GAP_MS / 2:
            lines.append(Line("note", "times", f"{text}; uneven: are images missing or mixed up?"))
        else:
            lines.append(Line("ok", "times", text))
    faults = [f"images of {', '.join(cameras)} {fault}" for fault, cameras in strange.items()]
    return [*(Line("fault", "times", fault) for fault in faults), *lines]


def _steps_of_sweeps(told: Sequence[Timestamps]) -> list[Line]:
    """Measure how far sweeps lie apart, where samples have several."""
    steps = [
        (late - early) / 1000
        for each in told
        for late, early in zip((each.cloud_us, *each.sweeps_us), each.sweeps_us, strict=False)
        if late is not None
    ]
    if not steps:
        return []
    text = f"sweeps lie {np.median(steps):.0f} ms apart (median), {min(steps):.0f} to {max(steps):.0f}"
    if min(steps) <= 0:
        return [Line("fault", "times", f"{text}; a sweep is no older than the next: correct the timestamps")]
    return [Line("ok", "times", text)]
