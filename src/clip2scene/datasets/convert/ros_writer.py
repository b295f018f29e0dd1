"""Writing recordings of ROS 2 as MCAP files, with the standard message definitions."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from clip2scene.datasets.convert.ros_bag import CLOUD, Message

FIELD = "sensor_msgs/msg/PointField"
STRING = "std_msgs/msg/String"
_NUMBERS = {"<f4": 7, "<u2": 4, "|u1": 2}  # of PointField


@dataclass
class BagWriter:
    """A recording that is being written.

    Attributes:
        writer: Of rosbags.
        store: Standard message definitions.
        links: Of the topics that have messages.
    """

    writer: Any
    store: Any
    links: dict[str, Any] = field(default_factory=dict)

    def make(self, kind: str, **values: Any) -> Message:  # noqa: ANN401 - fields of messages
        """Make a message of a type, such as ``std_msgs/msg/String``."""
        return self.store.types[kind](**values)

    def write(self, topic: str, time_ns: int, message: Message, *, qos: Sequence[Any] = ()) -> None:
        """Write a message that was recorded at a moment, in nanoseconds.

        The first of a topic tells its type, and may tell its quality of service, as the library has it.
        """
        kind = message.__msgtype__
        if topic not in self.links:
            self.links[topic] = self.writer.add_connection(
                topic, kind, typestore=self.store, offered_qos_profiles=qos
            )
        self.writer.write(self.links[topic], time_ns, self.store.serialize_cdr(message, kind))


@contextmanager
def new_bag(folder: Path) -> Iterator[BagWriter]:
    """Write a bag into a folder that is not there yet; the MCAP file in it has the folder's name."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        yield BagWriter(writer, get_typestore(Stores.ROS2_HUMBLE))


def lasting_qos() -> list[Any]:
    """Give the quality of service of a topic whose last message is there for whoever comes later."""
    from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

    ever, durable = QosTime(2147483647, 4294967295), QosDurability.TRANSIENT_LOCAL
    kept, sure, alive = QosHistory.KEEP_LAST, QosReliability.RELIABLE, QosLiveliness.AUTOMATIC
    return [Qos(kept, 1, sure, durable, ever, ever, alive, ever, avoid_ros_namespace_conventions=False)]


def fields_of(make: Any, dtype: np.dtype, start: int = 0) -> list[Message]:  # noqa: ANN401 - makes any message
    """Describe the columns of a table as ``PointField``.

    Args:
        make: :meth:`BagWriter.make`, or its like.
        dtype: Of the table: little-endian numbers with names.
        start: Byte of the point where the table's begin.
    """
    return [
        make(FIELD, name=name, offset=start + int(offset), datatype=_NUMBERS[kind.str], count=1)
        for name, (kind, offset, *_) in (dtype.fields or {}).items()
    ]


def make_cloud(
    make: Any,  # noqa: ANN401 - makes any message
    header: Message,
    fields: Sequence[Message],
    rows: Shaped[np.ndarray, " points"] | UInt8[np.ndarray, "points step"],
    *,
    height: int = 1,
    is_dense: bool = True,
) -> Message:
    """Make a ``PointCloud2``.

    Args:
        make: :meth:`BagWriter.make`, or its like.
        header: When and in which frame it was measured.
        fields: What a point holds.
        rows: The points: a table, or their bytes.
        height: Rows of the cloud; one for a cloud in no order.
        is_dense: Whether all of its points are finite.
    """
    content = np.ascontiguousarray(rows)
    step = content.itemsize if content.ndim == 1 else content.shape[1]
    return make(
        CLOUD,
        header=header,
        height=height,
        width=len(content) // height,
        fields=list(fields),
        is_bigendian=False,
        point_step=step,
        row_step=len(content) // height * step,
        data=content.view(np.uint8).reshape(-1),
        is_dense=is_dense,
    )
