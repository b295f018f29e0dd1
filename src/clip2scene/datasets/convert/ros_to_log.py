"""Recordings of ROS become drive logs.

A bag is read for moments, frames and calibrations, then for the clouds' odometry where it is asked for, and
then for clouds and images. Only one message is held at a time.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from clip2scene.datasets.clouds import Spread, intensity_max, say_taken, turn_from
from clip2scene.datasets.convert.lidar_odometry import SOURCE, estimate_poses
from clip2scene.datasets.convert.ros_bag import Bag, Message, open_bag
from clip2scene.datasets.convert.ros_messages import Points, read_picture, read_points, stamp_us
from clip2scene.datasets.convert.ros_plan import Plan, Stream, Wanted, plan_log
from clip2scene.datasets.drive_log.files import (
    VEHICLE_REACH_M,
    check_drive,
    read_calibration,
    read_poses,
)
from clip2scene.datasets.drive_log.writer import (
    Converted,
    new_log,
    write_calibration,
    write_cloud,
    write_image,
    write_image_times,
    write_poses,
)
from clip2scene.geometry.deskew import deskew as deskew_points
from clip2scene.geometry.distortion import StraightView
from clip2scene.geometry.projection import invert_rigid
from clip2scene.parallel import progress_bar
from clip2scene.types import Camera

MOST_APART_MS = 50.0
"""An image this near to a cloud in time may belong to it."""


@dataclass
class _Written:
    """What has become of the bag so far.

    Attributes:
        poses: ``world_from_ego`` by moment.
        names: Name of the cloud taken at a moment.
        image_times: By camera and name.
        dropped: Points that were left out.
        spreads: Of each cloud's intensities.
        taken: From which fields these were taken, where it must be said.
        skipped: How many clouds and images were left out, by reason.
        deskewed: How many clouds were deskewed, and how many not, by reason.
        farthest_m: That deskewing moved a point.
    """

    poses: dict[int, Float[Tensor, "4 4"]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    image_times: dict[tuple[str, str], int] = field(default_factory=dict)
    dropped: int = 0
    spreads: list[Spread] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    skipped: dict[str, int] = field(default_factory=dict)
    deskewed: dict[str, int] = field(default_factory=dict)
    farthest_m: float = 0.0


def convert_bag(
    path: Path,
    out: Path,
    *,
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
    most_apart_ms: float = MOST_APART_MS,
    deskew: Literal["auto", "off"] = "auto",
) -> Converted:
    """Turn a bag of ROS 2 or ROS 1 into a drive log.

    A cloud stays in its sensor's frame. Where its points tell their moments and poses are known, they are
    brought to where the sensor stood at the cloud's stamp. Each image goes to the cloud nearest in time, and
    a cloud takes one image of each camera: the nearest. Poses at the moments of clouds and images are written
    to ``poses.csv``; what was taken when no pose is known is left out and counted. Points that are not
    finite, or whose intensity is not, and those exactly at the sensor are dropped and counted.

    Args:
        path: The bag's folder, or its ``.mcap``, ``.db3`` or ``.bag`` file.
        out: New folder for the log; it appears when it is whole.
        wanted: Topics and frames, where they cannot be chosen for you.
        most_apart_ms: The farthest that an image may be from its cloud, in milliseconds.
        deskew: Whether the vehicle's motion is taken out of clouds whose points tell their moments; off for
            drivers that have done so.

    Raises:
        ValueError: If the bag cannot be read, topics cannot be chosen, a calibration or transform is missing,
            a sensor's time jumps backwards, or nothing is left to write.
    """
    if not 0 <= most_apart_ms <= 1000:
        raise ValueError(f"most_apart_ms must lie in 0..1000, got {most_apart_ms}")
    with new_log(out) as log, open_bag(path) as bag:
        plan = plan_log(bag, wanted, round(1000 * most_apart_ms))
        if wanted.poses == SOURCE:
            plan = _with_odometry(bag, plan)
        written = _write_sensors(bag, plan, log, deskew="off" if plan.world_from_ego is None else deskew)
        if not written.names:
            raise ValueError(
                f"none of the {len(plan.clouds.times_us)} clouds of {plan.clouds.topic} in {bag.path} can be "
                f"used: {_reasons(written.skipped)}; record what is missing, or choose other topics "
                "(poses: none, if only poses are missing)"
            )
        views = _write_small_files(bag, plan, log, written)
    notes = [*plan.notes, *(f"the clouds' {taken}" for taken in sorted(written.taken))]
    notes += [
        f"undistorted images of {name} keep {100 * view.share:.0f} % of the area"
        for name, view in views.items()
    ]
    if written.skipped:
        notes.append(f"left out {_reasons(written.skipped)}")
    notes += [f"{count} clouds {what}" for what, count in sorted(written.deskewed.items())]
    if written.farthest_m:
        notes.append(f"deskewing moved points by up to {written.farthest_m:.2f} m (--deskew off leaves them)")
    if written.dropped:
        notes.append(f"dropped {written.dropped} points that are not finite or lie exactly at the sensor")
    return Converted(len(written.names), len(written.image_times), tuple(notes))


def _with_odometry(bag: Bag, plan: Plan) -> Plan:
    """Let a plan have the poses that the clouds tell by themselves."""
    turn = torch.eye(4, dtype=torch.float64)
    turn[:3, :3] = torch.from_numpy(turn_from(plan.axes, "axes"))

    def clouds() -> Iterator[tuple[int, Float32[np.ndarray, "_ 3"]]]:
        for topic, message, time_us in _fresh(bag, {plan.clouds.topic: plan.clouds}, "odometry"):
            positions = read_points(message, topic).positions
            if len(positions):
                yield time_us, (positions @ turn[:3, :3].numpy().T).astype(np.float32)

    way = estimate_poses(clouds(), str(bag.path))
    upright_from_ego = turn @ invert_rigid(plan.ego_from_lidar)
    return replace(
        plan,
        world_from_ego=lambda time_us: way.world_from_ego(time_us) @ upright_from_ego,
        notes=(*plan.notes, f"poses by KISS-ICP, of {len(way.times_us)} clouds as they were recorded"),
    )


def _write_small_files(bag: Bag, plan: Plan, log: Path, written: _Written) -> Mapping[str, StraightView]:
    """Write calibration and, if there are any, poses and times of images; give the undistorted views."""
    lidar = {
        "axes": plan.axes,
        "intensity_max": intensity_max(written.spreads),
        "ego_from_lidar": plan.ego_from_lidar.tolist(),
    }
    distortions = {
        each.camera.name: each.distortion for each in plan.images if each.camera and each.distortion
    }
    cameras = [each.camera for each in plan.images if each.camera]
    write_calibration(log / "calibration.json", lidar, cameras, distortions)
    if plan.world_from_ego is not None:
        write_poses(log, written.poses, written.names)
        write_image_times(log, written.image_times)
    try:
        calibration = read_calibration(log / "calibration.json")
        if plan.world_from_ego is not None:
            check_drive(log / "poses.csv", *read_poses(log / "poses.csv"))
    except ValueError as error:
        raise ValueError(f"{bag.path}: {error}".replace(f"{log}/", "")) from None
    return calibration.views


def _write_sensors(bag: Bag, plan: Plan, log: Path, *, deskew: str) -> _Written:
    """Read the bag for the second time and write clouds and images."""
    written = _Written()
    streams = {stream.topic: stream for stream in (plan.clouds, *plan.images)}
    for topic, message, time_us in _fresh(bag, streams, "writing"):
        stream = streams[topic]
        name = stream.names.get(time_us)
        if name is None:
            continue
        if plan.world_from_ego is not None:
            cloud_us = stream.cloud_times_us.get(time_us, time_us)
            try:
                poses = {moment: plan.world_from_ego(moment) for moment in (cloud_us, time_us)}
            except ValueError:
                what = "clouds" if stream.camera is None else f"images of {stream.camera.name}"
                _count(written.skipped, f"{what} taken when no pose is known")
                continue
        else:
            poses = {}
        if stream.camera is None:
            points = read_points(message, topic)
            if deskew != "off":
                points = _deskew(points, time_us, plan, written)
            if not _write_points(message, points, log, name, written):
                continue
            written.names[time_us] = name
        else:
            _write_picture(message, topic, log, name, stream.camera)
            written.image_times[stream.camera.name, name] = time_us
        written.poses.update(poses)
    _drop_lonely_images(log, written)
    return written


def _deskew(points: Points, time_us: int, plan: Plan, written: _Written) -> Points:
    """Take the vehicle's motion out of a cloud, if it can be done, and note whether it was.

    The vehicle's own points, which move with the lidar, stay.
    """
    clock, times = plan.point_clock, points.times
    offsets_us = None if clock is None or times is None else clock.offsets_us(times, time_us)
    if offsets_us is None:
        _count(written.deskewed, "are not deskewed, as their points tell no moments (or those of no sweep)")
        return points
    ego, mount = plan.world_from_ego, plan.ego_from_lidar
    assert ego is not None
    level = points.positions @ turn_from(plan.axes, "axes")[:2].T
    away = (np.abs(level) >= VEHICLE_REACH_M).any(axis=1)
    moved = points.positions.copy()
    try:
        moved[away] = deskew_points(
            moved[away], offsets_us[away], time_us, lambda moment: ego(moment) @ mount
        )
    except ValueError:
        _count(
            written.deskewed, "are not deskewed, as no pose is known when some of their points were measured"
        )
        return points
    _count(written.deskewed, "are deskewed by their points' moments")
    steps = np.linalg.norm(moved - points.positions, axis=1)
    written.farthest_m = max(written.farthest_m, float(steps.max(initial=0)))
    return replace(points, positions=moved)


def _write_points(message: Message, points: Points, log: Path, name: str, written: _Written) -> bool:
    """Write a cloud unless it is empty; say whether it was written."""
    written.dropped += points.dropped
    if not len(points.positions):
        _count(written.skipped, "clouds without a point")
        return False
    write_cloud(log, name, points.positions, points.intensity)
    written.spreads.append(Spread.of(points.intensity))
    taken = say_taken(each.name for each in message.fields)
    if taken:
        written.taken.add(taken)
    return True


def _write_picture(message: Message, topic: str, log: Path, name: str, camera: Camera) -> None:
    """Write an image of the size that its calibration is for."""
    picture = read_picture(message, topic)
    if (picture.width, picture.height) != (camera.width, camera.height):
        raise ValueError(
            f"{topic} has images of {picture.width}x{picture.height}, but they are calibrated for "
            f"{camera.width}x{camera.height}; name the topic of their own calibration with camera_infos"
        )
    write_image(log, camera.name, name, picture.suffix, picture.content)


def _drop_lonely_images(log: Path, written: _Written) -> None:
    """Remove the images whose cloud was left out."""
    kept = set(written.names.values())
    for camera, name in [key for key in written.image_times if key[1] not in kept]:
        del written.image_times[camera, name]
        for path in (log / "images" / camera).glob(f"{name}.*"):
            path.unlink()


def _fresh(bag: Bag, streams: dict[str, Stream], what: str) -> Iterator[tuple[str, Message, int]]:
    """Read messages with their moments, repeated ones once."""
    last: dict[str, int] = {}
    total = sum(bag.counts[topic] for topic in streams)
    for topic, message in progress_bar(bag.messages(streams), desc=what, unit="message", total=total):
        time_us = stamp_us(message, topic)
        if last.get(topic) != time_us:
            last[topic] = time_us
            yield topic, message, time_us


def _count(counts: dict[str, int], reason: str) -> None:
    counts[reason] = counts.get(reason, 0) + 1


def _reasons(skipped: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in skipped.items()) or "there are none"
