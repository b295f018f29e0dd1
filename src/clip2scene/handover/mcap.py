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
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from scipy.spatial.transform import Rotation

from clip2scene.classes.class_set import ClassSet
from clip2scene.handover.clouds import as_records, pack_colours
from clip2scene.handover.frames import Frame, with_none

POINTS, CLASSES, TRANSFORMS = "/clip2scene/points", "/clip2scene/classes", "/tf"

_STEP_US = 100_000
_NUMBERS = {"<f4": 7, "<u2": 4}  # of PointField
_KINDS = {
    POINTS: "sensor_msgs/msg/PointCloud2",
    CLASSES: "std_msgs/msg/String",
    TRANSFORMS: "tf2_msgs/msg/TFMessage",
}


def write_classes(folder: Path, classes: ClassSet) -> None:
    """Write nothing: each bag has its classes."""


def write_scene(folder: Path, frames: Iterator[Frame], classes: ClassSet) -> None:
    """Write the bag of a scene."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    colours = with_none(classes)
    for first in frames:
        with Writer(folder / first.scene, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            bag = _Bag(writer, get_typestore(Stores.ROS2_HUMBLE))
            bag.write(CLASSES, _time_us(first), data=_listed(classes))
            for frame in chain([first], frames):
                bag.write_points(frame, colours)
                if frame.pose is not None:
                    bag.write_pose(frame)


def _time_us(frame: Frame) -> int:
    return frame.number * _STEP_US if frame.time_us is None else frame.time_us


def _listed(classes: ClassSet) -> str:
    """List the classes as JSON."""
    rows = zip(classes.classes, classes.colours, strict=True)
    listed = [{"id": number, "name": name, "colour": colour} for number, (name, colour) in enumerate(rows, 1)]
    return json.dumps({"none": 0, "classes": listed})


@dataclass
class _Bag:
    """A bag that is being written.

    Attributes:
        writer: Of rosbags.
        store: Standard message definitions.
        links: Of the topics that have messages.
    """

    writer: Any
    store: Any
    links: dict[str, Any] = field(default_factory=dict)

    def make(self, kind: str, **values: Any) -> Any:  # noqa: ANN401 - messages
        """Make a message."""
        return self.store.types[kind](**values)

    def write(self, topic: str, time_us: int, **values: Any) -> None:  # noqa: ANN401
        """Write the message of a topic."""
        kind = _KINDS[topic]
        if topic not in self.links:
            self.links[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        content = self.store.serialize_cdr(self.make(kind, **values), kind)
        self.writer.write(self.links[topic], 1000 * time_us, content)

    def header(self, time_us: int, frame: str) -> Any:  # noqa: ANN401
        """Say when and in which frame something was measured."""
        seconds, rest = divmod(time_us, 1_000_000)
        stamp = self.make("builtin_interfaces/msg/Time", sec=seconds, nanosec=1000 * rest)
        return self.make("std_msgs/msg/Header", stamp=stamp, frame_id=frame)

    def write_points(self, frame: Frame, colours: UInt8[np.ndarray, "classes_and_none 3"]) -> None:
        """Write a cloud and its labels."""
        columns = {axis: frame.positions[:, number] for number, axis in enumerate("xyz")}
        if frame.intensity is not None:
            columns["intensity"] = frame.intensity
        columns["rgb"] = pack_colours(colours[frame.labels]).view("<f4")
        columns["label"] = (frame.labels + 1).astype("<u2")
        if frame.confidence is not None:
            columns["confidence"] = frame.confidence
        table = as_records(columns)
        dtype = table.dtype
        fields = [
            self.make(
                "sensor_msgs/msg/PointField",
                name=name,
                offset=int(dtype.fields[name][1]),  # type: ignore[index]
                datatype=_NUMBERS[dtype[name].str],
                count=1,
            )
            for name in columns
        ]
        self.write(
            POINTS,
            _time_us(frame),
            header=self.header(_time_us(frame), "lidar"),
            height=1,
            width=len(table),
            fields=fields,
            is_bigendian=False,
            point_step=dtype.itemsize,
            row_step=table.nbytes,
            data=table.view(np.uint8).reshape(-1),
            is_dense=True,
        )

    def write_pose(self, frame: Frame) -> None:
        """Write where the lidar stood."""
        assert frame.pose is not None
        place = dict(zip("xyz", frame.pose[:3, 3].tolist(), strict=True))
        turn = dict(zip("xyzw", Rotation.from_matrix(frame.pose[:3, :3]).as_quat().tolist(), strict=True))
        motion = self.make(
            "geometry_msgs/msg/Transform",
            translation=self.make("geometry_msgs/msg/Vector3", **place),
            rotation=self.make("geometry_msgs/msg/Quaternion", **turn),
        )
        stamped = self.make(
            "geometry_msgs/msg/TransformStamped",
            header=self.header(_time_us(frame), "map"),
            child_frame_id="lidar",
            transform=motion,
        )
        self.write(TRANSFORMS, _time_us(frame), transforms=[stamped])
