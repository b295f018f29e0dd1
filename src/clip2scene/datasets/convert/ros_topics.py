"""Which topics of a ROS recording are used: chosen by the user, or where there is no doubt."""

from collections.abc import Sequence
from dataclasses import dataclass

from clip2scene.datasets.convert.lidar_odometry import SOURCE
from clip2scene.datasets.convert.ros_bag import (
    CAMERA_INFO,
    CLOUD,
    COMPRESSED_IMAGE,
    IMAGE,
    ODOMETRY,
    POSE,
    TRANSFORMS,
    Bag,
)


@dataclass(frozen=True)
class Wanted:
    """What the user chose; what is left out is chosen where there is one candidate.

    Attributes:
        clouds: Topic of the clouds.
        images: Topics of images, one for each camera; none means every camera that has a calibration.
        camera_infos: Topics of their calibrations, in the same order; none means ``camera_info`` beside each.
        poses: Topic of poses; ``tf`` for transforms, ``kiss-icp`` to estimate them from the clouds,
            ``none`` for no poses.
        ego_frame: The vehicle's frame.
        world_frame: The frame that transforms are followed up to; by default the first that the vehicle
            moves in.
        axes: Where the lidar's x, y and z point; by default what the transforms say.
    """

    clouds: str | None = None
    images: tuple[str, ...] = ()
    camera_infos: tuple[str, ...] = ()
    poses: str | None = None
    ego_frame: str | None = None
    world_frame: str | None = None
    axes: str | None = None


@dataclass(frozen=True)
class Topics:
    """The topics that are used.

    Attributes:
        clouds: Of the lidar.
        images: Topic of the calibration, by topic of images.
        poses: Of poses; None where transforms tell them, or nothing.
        notes: What was left out, and why.
    """

    clouds: str
    images: dict[str, str]
    poses: str | None
    notes: tuple[str, ...] = ()


def choose_topics(bag: Bag, wanted: Wanted) -> Topics:
    """Choose topics.

    Raises:
        ValueError: If a topic is missing or of another type, or there is doubt; the message lists what there
            is.
    """
    clouds = _one(bag, wanted.clouds, (CLOUD,), "clouds")
    notes: list[str] = []
    if wanted.images:
        for topic in wanted.images:
            _check(bag, topic, (IMAGE, COMPRESSED_IMAGE), "images")
        infos = wanted.camera_infos or tuple(_info(bag, topic) for topic in wanted.images)
        for topic in infos:
            _check(bag, topic, (CAMERA_INFO,), "camera_infos")
        if len(infos) != len(wanted.images) or len(set(wanted.images)) < len(wanted.images):
            raise ValueError(
                f"expected different images and as many camera_infos, got {', '.join(wanted.images)} and "
                f"{', '.join(infos)}"
            )
        images = dict(zip(wanted.images, infos, strict=True))
    elif wanted.camera_infos:
        raise ValueError("camera_infos are named but no images; name both in the same order")
    else:
        images = _all_cameras(bag, notes)
    poses = None
    if wanted.poses not in ("tf", "none", SOURCE):
        poses = _poses(bag, wanted.poses)
    return Topics(clouds, images, poses, tuple(notes))


def _poses(bag: Bag, wanted: str | None) -> str | None:
    """Choose the topic of poses; None where transforms are to tell them.

    A pose by itself may be a goal or a landmark, so such topics are taken only when they are named.
    """
    if wanted is not None:
        return _one(bag, wanted, (ODOMETRY, POSE), "poses")
    candidates = bag.of_kind(ODOMETRY)
    by_transforms = any("static" not in topic for topic in bag.of_kind(TRANSFORMS))
    if not candidates or (len(candidates) > 1 and by_transforms):
        return None
    return _one(bag, None, (ODOMETRY,), "poses")


def _all_cameras(bag: Bag, notes: list[str]) -> dict[str, str]:
    """Take every camera that has a calibration and one topic of images."""
    cameras: dict[str, list[str]] = {}
    for topic in bag.of_kind(IMAGE, COMPRESSED_IMAGE):
        if "depth" in topic.lower():
            continue
        try:
            cameras.setdefault(_info(bag, topic), []).append(topic)
        except ValueError:
            notes.append(f"{topic} is left out, as there is no camera_info beside it")
    doubtful = next((topics for topics in cameras.values() if len(topics) > 1), None)
    if doubtful:
        raise ValueError(
            f"{bag.path} has the images of one camera in {' and '.join(sorted(doubtful))}; name with images "
            "one topic of each camera"
        )
    return {topics[0]: info for info, topics in sorted(cameras.items())}


def _info(bag: Bag, topic: str) -> str:
    """Find the calibration beside a topic of images, or above it."""
    parts = topic.split("/")
    for count in range(len(parts) - 1, max(len(parts) - 4, 0), -1):
        beside = "/".join([*parts[:count], "camera_info"])
        if beside in bag.of_kind(CAMERA_INFO):
            return beside
    raise ValueError(
        f"{bag.path} has no calibration for {topic}: expected messages in {'/'.join(parts[:-1])}/camera_info"
        f"; name the topic with camera_infos, or record it\n{bag.listing()}"
    )


def _one(bag: Bag, wanted: str | None, kinds: Sequence[str], option: str) -> str:
    """Take the topic that was named, or the only one of its kind."""
    if wanted is not None:
        _check(bag, wanted, kinds, option)
        return wanted
    candidates = bag.of_kind(*kinds)
    if len(candidates) != 1:
        got = f"{len(candidates)} topics" if candidates else "no message"
        raise ValueError(
            f"{bag.path} has {got} of {' or '.join(kinds)}; "
            + (f"name one with {option}" if candidates else "there is nothing to convert")
            + f"\n{bag.listing()}"
        )
    return candidates[0]


def _check(bag: Bag, topic: str, kinds: Sequence[str], option: str) -> None:
    """Refuse a topic that is not there, is of another type, or has no message."""
    if topic not in bag.of_kind(*kinds):
        kind = (
            f"{bag.counts[topic]} messages of {bag.kinds[topic]}" if topic in bag.kinds else "no such topic"
        )
        raise ValueError(
            f"{option}: expected {topic} of {bag.path} to hold {' or '.join(kinds)}, got {kind}\n"
            f"{bag.listing()}"
        )
