"""What of a ROS recording goes where in a drive log: clouds, images, frames and poses."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets.checks import check_name
from clip2scene.datasets.convert.lidar_odometry import SOURCE
from clip2scene.datasets.convert.nearest import nearest_clouds
from clip2scene.datasets.convert.point_times import PointClock, find_clock
from clip2scene.datasets.convert.ros_bag import TRANSFORMS, Bag, Message
from clip2scene.datasets.convert.ros_frames import FrameTree, PoseLog, TransformLog, nearest_axes
from clip2scene.datasets.convert.ros_messages import Lens, frame_name, read_lens, read_points, stamp_us
from clip2scene.datasets.convert.ros_topics import Topics, Wanted, choose_topics
from clip2scene.datasets.drive_log.files import check_axes
from clip2scene.datasets.moments import spans_fault
from clip2scene.geometry.distortion import Distortion
from clip2scene.geometry.projection import check_rigid
from clip2scene.parallel import progress_bar
from clip2scene.types import Camera

__all__ = ["Plan", "Stream", "Wanted", "plan_log"]


@dataclass(frozen=True)
class Stream:
    """The messages of one sensor.

    Attributes:
        topic: Its topic.
        frame: The frame its messages name.
        times_us: When they were measured, strictly rising.
        names: The cloud's name by the moment of each message to be written.
        cloud_times_us: Of an image, its cloud's moment by its own.
        camera: Of a camera, how it sees, from the clouds' frame.
        distortion: Of a camera, what its lens does to the images; None where they are undistorted.
    """

    topic: str
    frame: str
    times_us: list[int] = field(repr=False)
    names: dict[int, str] = field(default_factory=dict, repr=False)
    cloud_times_us: dict[int, int] = field(default_factory=dict, repr=False)
    camera: Camera | None = None
    distortion: Distortion | None = None


@dataclass(frozen=True)
class Plan:
    """What is to be written.

    Attributes:
        clouds: The lidar's messages.
        images: The cameras' messages.
        ego_from_lidar: Where the lidar stands in the frame of the poses.
        axes: Where its axes point.
        world_from_ego: The pose at a moment in microseconds; None where there are no poses.
        point_clock: How the clouds' points tell their moments; None where they do not.
        notes: What was chosen.
    """

    clouds: Stream
    images: tuple[Stream, ...]
    ego_from_lidar: Float[Tensor, "4 4"]
    axes: str
    world_from_ego: Callable[[int], Float[Tensor, "4 4"]] | None
    point_clock: PointClock | None
    notes: tuple[str, ...]


@dataclass
class _Found:
    """What the first reading finds.

    Attributes:
        times_us: Of each sensor's messages, by topic.
        frames: Frame of each sensor's messages, by topic.
        infos: First calibration, by topic.
        transforms: Everything of ``/tf`` and ``/tf_static``.
        poses: Of the topic of poses.
        pose_frames: World and vehicle, as that topic names them.
        point_times: Least and greatest time of a point by the stamp of each cloud that tells them.
    """

    times_us: dict[str, list[int]] = field(default_factory=dict)
    frames: dict[str, str] = field(default_factory=dict)
    infos: dict[str, Message] = field(default_factory=dict)
    transforms: TransformLog = field(default_factory=TransformLog)
    poses: PoseLog = field(default_factory=PoseLog)
    pose_frames: tuple[str, str] | None = None
    point_times: dict[int, tuple[float, float]] = field(default_factory=dict)


def plan_log(bag: Bag, wanted: Wanted, most_apart_us: int) -> Plan:
    """Read a bag for moments, frames and calibrations, and decide what is to be written.

    Args:
        bag: The open bag.
        wanted: What the user chose.
        most_apart_us: The farthest that an image may be from its cloud, in microseconds.

    Raises:
        ValueError: If topics cannot be chosen, a calibration or transform is missing or changes, or a
            sensor's time jumps backwards.
    """
    topics = choose_topics(bag, wanted)
    if wanted.axes is not None:
        check_axes(wanted.axes, "axes")
    _check_names(bag, topics)
    found = _read(bag, topics)
    tree = found.transforms.tree()
    names = {time_us: f"{number:06d}" for number, time_us in enumerate(found.times_us[topics.clouds])}
    lidar = found.frames[topics.clouds]
    clouds = Stream(topics.clouds, lidar, list(names), names)
    images = []
    for topic, info in topics.images.items():
        stream = Stream(topic, found.frames[topic], found.times_us[topic])
        mine = nearest_clouds(clouds.times_us, stream.times_us, most_apart_us)
        lens = _lens(topic, info, found)
        camera = _camera(topic, stream.frame, lens, tree, lidar)
        named = {time_us: names[cloud_us] for time_us, cloud_us in mine.items()}
        images.append(
            replace(stream, names=named, cloud_times_us=mine, camera=camera, distortion=lens.distortion)
        )
    ego, pose, told = _ego_motion(topics, found, tree, lidar, wanted)
    ego_from_lidar = tree.fixed(ego, lidar)
    notes = [f"clouds of {topics.clouds} in the frame {lidar}", *told, *topics.notes]
    notes += [
        f"images of {each.topic} are distorted ({each.distortion.model}), and undistorted when they are read"
        for each in images
        if each.distortion
    ]
    notes += [
        f"images of {each.topic} are undistorted, as its name says: k and d of the calibration are left out"
        for each in images
        if is_straight(each.topic)
    ]
    notes += _check_clocks(bag, clouds, images, found, has_poses=pose is not None)
    axes = wanted.axes or nearest_axes(ego_from_lidar)
    clock = find_clock([*found.point_times.values()], [*found.point_times])
    return Plan(clouds, tuple(images), ego_from_lidar, axes, pose, clock, tuple(notes))


def _check_clocks(
    bag: Bag, clouds: Stream, images: Sequence[Stream], found: _Found, *, has_poses: bool
) -> list[str]:
    """Say how many images fit a cloud, and why none of a camera's does.

    Raises:
        ValueError: If no image at all fits a cloud, or no pose and no cloud are of one time.
    """
    logs = [found.poses] if found.poses.times_us else [*found.transforms.passing.values()]
    posed = sorted(time_us for log in logs for time_us in log.times_us)
    fault = spans_fault(clouds.times_us, posed) if has_poses else None
    if fault:
        raise ValueError(f"{bag.path}: poses {fault}")
    notes, fits = [], False
    for each in images:
        fits |= bool(each.names)
        text = f"{len(each.names)} of {len(each.times_us)} images of {each.topic} fit a cloud"
        why = spans_fault(clouds.times_us, each.times_us) or "lie too far from every cloud (--most-apart-ms)"
        notes.append(text if each.names else f"{text}: they {why}")
    if images and not fits:
        raise ValueError(f"{bag.path}: nothing could be learnt from the log: {'; '.join(notes)}")
    return notes


def _check_names(bag: Bag, topics: Topics) -> None:
    """Refuse cameras that would share a folder, or whose folder could not be made."""
    names = [camera_name(topic) for topic in topics.images]
    for name in names:
        check_name(name, bag.path)
    if len(set(names)) < len(names):
        raise ValueError(
            f"two of {', '.join(topics.images)} are of one camera; name one topic of each camera"
        )


def _read(bag: Bag, topics: Topics) -> _Found:
    """Read the bag for the first time."""
    found = _Found()
    sensors = {topics.clouds, *topics.images}
    names = {*sensors, *topics.images.values(), *bag.of_kind(TRANSFORMS)}
    names |= set() if topics.poses is None else {topics.poses}
    total = sum(bag.counts[topic] for topic in names)
    for topic, message in progress_bar(bag.messages(names), desc="looking", unit="message", total=total):
        if topic in sensors:
            _add_moment(found, topic, message)
            if topic == topics.clouds:
                _add_point_times(found, topic, message)
        elif topic == topics.poses:
            _add_pose(found, topic, message)
        elif bag.kinds[topic] == TRANSFORMS:
            found.transforms.add(message, topic)
        else:
            first = found.infos.setdefault(topic, message)
            same = (np.array_equal(getattr(first, key), getattr(message, key)) for key in "kdrp")
            if not all(same) or (first.width, first.height) != (message.width, message.height):
                raise ValueError(f"{topic} changes its calibration; convert each part of {bag.path} alone")
    for topic in sensors:
        if topic not in found.times_us:
            raise ValueError(f"{bag.path} holds no message of {topic}, though it lists some; restore it")
    return found


def _add_moment(found: _Found, topic: str, message: Message) -> None:
    """Note when a sensor measured, and in which frame."""
    time_us, frame = stamp_us(message, topic), frame_name(message.header.frame_id)
    times = found.times_us.setdefault(topic, [])
    if times and time_us < times[-1]:
        raise ValueError(
            f"the time of {topic} jumps backwards, from {times[-1]} us to {time_us} us; expected one "
            "recording without a restart of its clock: cut it there, and convert each part alone"
        )
    if found.frames.setdefault(topic, frame) != frame:
        raise ValueError(
            f"{topic} has messages of the frames {found.frames[topic]} and {frame}, expected one"
        )
    if not times or time_us > times[-1]:
        times.append(time_us)


def _add_point_times(found: _Found, topic: str, message: Message) -> None:
    """Note from when to when a cloud's points were measured, if they tell."""
    times = read_points(message, topic).times
    if times is not None and len(times):
        found.point_times[stamp_us(message, topic)] = float(times.min()), float(times.max())


def _add_pose(found: _Found, topic: str, message: Message) -> None:
    """Note where the vehicle stood."""
    time_us = stamp_us(message, topic)
    if found.poses.times_us and time_us < found.poses.times_us[-1]:
        raise ValueError(
            f"the time of {topic} jumps backwards, from {found.poses.times_us[-1]} us to {time_us} us; "
            "expected one recording without a restart of its clock: cut it there, and convert each part alone"
        )
    frames = frame_name(message.header.frame_id), frame_name(getattr(message, "child_frame_id", ""))
    if found.pose_frames is not None and frames != found.pose_frames:
        raise ValueError(
            f"{topic} has poses of the frames {found.pose_frames} and {frames}, expected one pair"
        )
    found.pose_frames = frames
    pose = message.pose.pose if hasattr(message.pose, "pose") else message.pose
    found.poses.add(time_us, pose.position, pose.orientation)


def _lens(topic: str, info: str, found: _Found) -> Lens:
    """Read the calibration that belongs to a camera's images."""
    if info not in found.infos:
        raise ValueError(f"there is no message of {info}, the calibration of {topic}; restore the bag")
    return read_lens(found.infos[info], info, rectified=is_straight(topic))


def _camera(topic: str, frame: str, lens: Lens, tree: FrameTree, lidar: str) -> Camera:
    """Place a camera in the clouds' frame."""
    motion = lens.camera_from_optical @ tree.fixed(frame, lidar)
    check_rigid(motion, f"the way from the lidar to the camera of {topic}")
    return Camera(camera_name(topic), lens.intrinsics, motion, lens.width, lens.height)


def is_straight(topic: str) -> bool:
    """Say by a topic's name whether its images are rectified or undistorted already.

    Example:
        >>> is_straight("/front/rect/image/compressed"), is_straight("/front/image_undistorted")
        (True, True)
        >>> is_straight("/front/direct/image_raw"), is_straight("/front/image_unrectified")
        (False, False)
    """
    words = re.split("[^a-z]+", topic.lower())
    return any(re.fullmatch("rect(ified)?|undist(ort|orted)?", word) for word in words)


def camera_name(topic: str) -> str:
    """Name a camera by its topic, less what is the same for all.

    Example:
        >>> camera_name("/front/image_raw/compressed")
        'front'
    """
    parts = [part for part in topic.split("/") if part and part != "compressed"]
    if len(parts) > 1 and parts[-1].startswith("image"):
        parts = parts[:-1]
    return "_".join(parts)


def _ego_motion(
    topics: Topics, found: _Found, tree: FrameTree, lidar: str, wanted: Wanted
) -> tuple[str, Callable[[int], Float[Tensor, "4 4"]] | None, list[str]]:
    """Choose the vehicle's frame and where its poses come from: a topic of poses, transforms, or nowhere."""
    if wanted.world_frame is not None and (topics.poses is not None or wanted.poses in ("none", SOURCE)):
        raise ValueError(
            f"world_frame {wanted.world_frame} goes with poses of transforms, but they are those of "
            f"{topics.poses or wanted.poses}; leave it out, or ask for poses: tf"
        )
    if wanted.poses == SOURCE:
        return wanted.ego_frame or _vehicle(tree, lidar), None, []
    if topics.poses is not None:
        world, child = found.pose_frames or ("", "")
        ego = wanted.ego_frame or child or _vehicle(tree, lidar)
        way, child_from_ego = found.poses.trajectory(topics.poses), tree.fixed(child or ego, ego)
        note = f"poses of {topics.poses}: {ego} in {world or 'the world'}"
        return ego, lambda time_us: way.world_from_ego(time_us) @ child_from_ego, [note]
    ego = wanted.ego_frame or _vehicle(tree, lidar)
    above = tree.ancestors(ego)
    moving = [tree.edges[name].parent for name in above[:-1] if tree.edges[name].moves]
    world_or_none = wanted.world_frame or next(iter(moving), None)
    if wanted.poses == "tf" and world_or_none is None:
        raise ValueError(
            f"poses of transforms are asked for, but none moves from {ego} up to {above[-1]}; name another "
            "topic of poses, or none"
        )
    if wanted.poses == "none" or world_or_none is None:
        why = "none were wanted" if wanted.poses == "none" else "the bag tells none"
        note = f"no poses ({why}): one sweep a sample, and images count as taken when their clouds were"
        return ego, None, [note]
    world = world_or_none
    if world not in above:
        raise ValueError(
            f"no transform leads from {ego} up to {world}, only to {', '.join(above[1:]) or 'nowhere'}; name "
            "one of these as world_frame"
        )
    return ego, lambda time_us: tree.at(world, ego, time_us), [f"poses of transforms: {ego} in {world}"]


def _vehicle(tree: FrameTree, lidar: str) -> str:
    """Name the vehicle's frame: base_link where the lidar is fixed to it, else the lidar's own."""
    try:
        tree.fixed("base_link", lidar)
    except ValueError:
        return lidar
    return "base_link"
