"""Recordings of ROS 2: a bag's folder, or one of its files, ``.mcap`` or ``.db3``.

Bags come from strangers. The library rosbags can build readers out of the message definitions that a bag
carries, by writing and running Python code; that is never done here. Messages are read by the standard
definitions, which come with the library, and a bag whose own definitions differ is refused.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLOUD = "sensor_msgs/msg/PointCloud2"
IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
ODOMETRY, POSE = "nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped"

KINDS = (CLOUD, IMAGE, COMPRESSED_IMAGE, CAMERA_INFO, TRANSFORMS, ODOMETRY, POSE)
"""The message types that are read."""

Message = Any
"""A message, whose fields have the names of its definition."""


@dataclass(frozen=True)
class Bag:
    """An open bag.

    Attributes:
        path: Its folder or file.
        kinds: Message type of each topic.
        counts: How many messages each topic has.
        reader: Of the library.
        store: Standard message definitions, of the library.
    """

    path: Path
    kinds: dict[str, str]
    counts: dict[str, int]
    reader: Any = field(repr=False)
    store: Any = field(repr=False)

    def of_kind(self, *kinds: str) -> list[str]:
        """List the topics of some message types that have messages."""
        return [topic for topic, kind in self.kinds.items() if kind in kinds and self.counts[topic]]

    def listing(self) -> str:
        """List all topics, one a line."""
        rows = [f"{self.counts[topic]:8d}  {kind:36}  {topic}" for topic, kind in sorted(self.kinds.items())]
        return "\n".join(["messages  type                                  topic", *rows])

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, Message]]:
        """Read the messages of some topics in the order they were recorded, one at a time.

        Yields:
            The topic and the message.

        Raises:
            ValueError: If the bag is broken or ends too early.
        """
        wanted = set(topics)
        connections = [each for each in self.reader.connections if each.topic in wanted]
        if not connections:
            return
        try:
            for connection, _, content in self.reader.messages(connections):
                yield connection.topic, self.store.deserialize_cdr(content, connection.msgtype)
        except Exception as error:  # the library, its decompressors and its database have many
            raise _broken(self.path, error) from None


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag and list its topics.

    Args:
        path: A bag's folder, which holds ``metadata.yaml``, or an ``.mcap`` or ``.db3`` file.

    Yields:
        The bag.

    Raises:
        ValueError: If the library rosbags is missing, there is no such bag, it is broken, or it defines a
            message type in a way of its own.
    """
    try:
        from rosbags.rosbag2 import Reader
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise ValueError(f"{path} needs rosbags; install clip2scene[ros]") from None
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} is missing; check its name")
    _check_kind(path)
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise ValueError(
            f"{path} holds no metadata.yaml, so it is no whole ROS 2 bag; name its .mcap or .db3 file instead"
        )
    reader = None
    try:
        reader = Reader(path)
        reader.open()
        topics = [(each.topic, each.msgtype, each.msgcount, each.digest) for each in reader.connections]
    except Exception as error:  # as above
        if reader is not None and reader.is_open:
            reader.close()
        raise _broken(path, error) from None
    store, kinds, counts = get_typestore(Stores.ROS2_HUMBLE), dict[str, str](), dict[str, int]()
    try:
        for topic, kind, count, digest in topics:
            if kinds.setdefault(topic, kind) != kind:
                raise ValueError(f"{path} has messages of two types in {topic}: {kinds[topic]} and {kind}")
            if kind in KINDS and digest and digest != store.hash_rihs01(kind):
                raise ValueError(f"{path} defines {kind} of {topic} in a way of its own, which is not read")
            counts[topic] = counts.get(topic, 0) + count
        yield Bag(path, kinds, counts, reader, store)
    finally:
        reader.close()


def _check_kind(path: Path) -> None:
    """Refuse a recording of ROS 1, and a file of another kind, by what it begins with.

    Raises:
        ValueError: If it is one.
    """
    files = [path] if path.is_file() else sorted(file for file in path.glob("*.bag") if file.is_file())
    head = b""
    if files:
        with files[0].open("rb") as stream:
            head = stream.read(16)
    if head.startswith(b"#ROSBAG V"):
        raise ValueError(
            f"{path} is a recording of ROS 1, expected one of ROS 2; convert it (rosbags-convert --src "
            f"{files[0]} --dst bag), and then that"
        )
    if path.is_file() and head and not head.startswith((b"\x89MCAP0\r\n", b"SQLite format 3\0")):
        raise ValueError(
            f"{path} is no recording of ROS 2: it begins with {head[:8]!r}, expected an .mcap or .db3 file, "
            "or their folder; name that"
        )


def _broken(path: Path, error: Exception) -> ValueError:
    """Say in one sentence that a bag cannot be read."""
    why = " ".join(str(error).split()) or type(error).__name__
    if "rofile is not ros2" in why:
        return ValueError(f"{path} is an MCAP file of ROS 1 or another system; only ROS 2's are read")
    return ValueError(
        f"{path} cannot be read as a ROS 2 bag ({why[:200]}); it may be cut short: restore it, or repair it "
        "(ros2 bag reindex, mcap recover)"
    )
