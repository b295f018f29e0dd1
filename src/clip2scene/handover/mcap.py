"""MCAP, for Foxglove, Lichtblick and ROS 2: a bag a scene, its clouds as PointCloud2 with a label.

::

    OUT/SCENE/SCENE.mcap, metadata.yaml
      /clip2scene/points      sensor_msgs/PointCloud2 in the frame lidar: x y z intensity rgb label confidence
      /clip2scene/classes     std_msgs/String, once: the classes as JSON; label is their id, 0 is none
      /tf                     tf2_msgs/TFMessage: lidar in map, where it is known

``rgb`` is the colour of the class, packed as PCL does. Clouds without a time are a tenth of a second apart.
"""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from scipy.spatial.transform import Rotation

from clip2scene.classes.class_set import ClassSet
from clip2scene.datasets.clouds.pcd import pack_colours
from clip2scene.datasets.convert.ros_bag import TRANSFORMS, Message
from clip2scene.datasets.convert.ros_writer import STRING, BagWriter, fields_of, make_cloud, new_bag
from clip2scene.handover.clouds import as_records
from clip2scene.handover.frames import Frame, with_none

POINTS, CLASSES, POSES = "/clip2scene/points", "/clip2scene/classes", "/tf"

_STEP_US = 100_000


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write nothing: each bag has its classes."""


def write_scene(folder: Path, frames: Iterator[Frame], classes: ClassSet) -> None:
    """Write the bag of a scene."""
    colours = with_none(classes)
    for first in frames:
        with new_bag(folder / first.scene) as bag:
            bag.write(CLASSES, 1000 * _time_us(first), bag.make(STRING, data=_listed(classes)))
            for frame in chain([first], frames):
                _write_points(bag, frame, colours)
                if frame.pose is not None:
                    _write_pose(bag, frame)


def _time_us(frame: Frame) -> int:
    return frame.number * _STEP_US if frame.time_us is None else frame.time_us


def _listed(classes: ClassSet) -> str:
    """List the classes as JSON."""
    rows = zip(classes.classes, classes.colours, strict=True)
    listed = [{"id": number, "name": name, "colour": colour} for number, (name, colour) in enumerate(rows, 1)]
    return json.dumps({"none": 0, "classes": listed})


def _header(bag: BagWriter, time_us: int, frame: str) -> Message:
    """Say when and in which frame something was measured."""
    seconds, rest = divmod(time_us, 1_000_000)
    stamp = bag.make("builtin_interfaces/msg/Time", sec=seconds, nanosec=1000 * rest)
    return bag.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)


def _write_points(bag: BagWriter, frame: Frame, colours: UInt8[np.ndarray, "classes_and_none 3"]) -> None:
    """Write a cloud and its labels."""
    columns = {axis: frame.positions[:, number] for number, axis in enumerate("xyz")}
    if frame.intensity is not None:
        columns["intensity"] = frame.intensity
    columns["rgb"] = pack_colours(colours[frame.labels]).view("<f4")
    columns["label"] = (frame.labels + 1).astype("<u2")
    if frame.confidence is not None:
        columns["confidence"] = frame.confidence
    table, time_us = as_records(columns), _time_us(frame)
    fields, header = fields_of(bag.make, table.dtype), _header(bag, time_us, "lidar")
    bag.write(POINTS, 1000 * time_us, make_cloud(bag.make, header, fields, table))


def _write_pose(bag: BagWriter, frame: Frame) -> None:
    """Write where the lidar stood."""
    assert frame.pose is not None
    place = dict(zip("xyz", frame.pose[:3, 3].tolist(), strict=True))
    turn = dict(zip("xyzw", Rotation.from_matrix(frame.pose[:3, :3]).as_quat().tolist(), strict=True))
    motion = bag.make(
        "geometry_msgs/msg/Transform",
        translation=bag.make("geometry_msgs/msg/Vector3", **place),
        rotation=bag.make("geometry_msgs/msg/Quaternion", **turn),
    )
    time_us = _time_us(frame)
    stamped = bag.make(
        "geometry_msgs/msg/TransformStamped",
        header=_header(bag, time_us, "map"),
        child_frame_id="lidar",
        transform=motion,
    )
    bag.write(POSES, 1000 * time_us, bag.make(TRANSFORMS, transforms=[stamped]))
