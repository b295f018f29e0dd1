"""Recordings of ROS 2: a bag's folder, or one of its files, ``.mcap`` or ``.db3``; and of ROS 1: ``.bag``.

Bags come from strangers. The library rosbags can build readers out of the message definitions that a bag
carries, by writing and running Python code; that is never done here. Messages are read by the standard
definitions, which come with the library, and a bag whose own definitions differ is refused. What is
compressed is unpacked with bounds.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clip2scene.datasets.convert.ros_unpack import bound_library
from clip2scene.io import regular_file

CLOUD = "sensor_msgs/msg/PointCloud2"
IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
ODOMETRY, POSE = "nav_msgs/msg/Odometry", "geometry_msgs/msg/PoseStamped"

KINDS = (CLOUD, IMAGE, COMPRESSED_IMAGE, CAMERA_INFO, TRANSFORMS, ODOMETRY, POSE)
"""The message types that are read."""

_OLD_NAMES = {"tf/msg/tfMessage": TRANSFORMS}
"""What ROS 1 called some of them before; they hold the same."""

_MOST_METADATA = 1 << 22
"""Bytes of ``metadata.yaml``."""

_TRANSFORMS_MD5 = "94810edda583a504dfda3829e70d7eec"
"""Of ROS 1's definition, which the library does not carry."""

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
        parse: Makes a message of its bytes, by the standard definition of a type.
    """

    path: Path
    kinds: dict[str, str]
    counts: dict[str, int]
    reader: Any = field(repr=False)
    parse: Callable[[bytes, str], Message] = field(repr=False)

    def of_kind(self, *kinds: str) -> list[str]:
        """List the topics of some message types that have messages."""
        return [topic for topic, kind in self.kinds.items() if kind in kinds and self.counts[topic]]

    def qos(self, topic: str) -> list[Any]:
        """Give the quality of service that a topic was offered with; ROS 1 has none."""
        found = [each.ext for each in self.reader.connections if each.topic == topic]
        return list(getattr(found[0], "offered_qos_profiles", []))

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
        return ((topic, message) for topic, _, message in self.recorded(topics))

    def recorded(self, topics: Iterable[str]) -> Iterator[tuple[str, int, Message]]:
        """Read them with the moment each was recorded, in nanoseconds; as :meth:`messages`."""
        wanted = set(topics)
        connections = [each for each in self.reader.connections if each.topic in wanted]
        if not connections:
            return
        try:
            for connection, time_ns, content in self.reader.messages(connections):
                yield connection.topic, time_ns, self.parse(content, self.kinds[connection.topic])
        except Exception as error:  # the library, its decompressors and its database have many
            raise _broken(self.path, error) from None


@contextmanager
def open_bag(path: Path) -> Iterator[Bag]:
    """Open a bag and list its topics.

    Args:
        path: A bag's folder, which holds ``metadata.yaml``, or an ``.mcap``, ``.db3`` or (ROS 1) ``.bag``
            file.

    Yields:
        The bag.

    Raises:
        ValueError: If the library rosbags is missing, there is no such bag, it is broken, or it defines a
            message type in a way of its own.
    """
    try:
        from rosbags.rosbag1 import Reader as Ros1Reader
        from rosbags.rosbag2 import Reader as Ros2Reader
    except ImportError:
        raise ValueError(f"{path} needs rosbags; install clip2scene[ros]") from None
    bound_library()
    path = Path(path)
    if not path.exists():
        raise ValueError(f"{path} is missing; check its name")
    old = _is_ros1(path)
    reader: Any = None
    try:
        reader = (Ros1Reader if old else Ros2Reader)(path)
        reader.open()
        topics = [(each.topic, each.msgtype, each.msgcount, each.digest) for each in reader.connections]
    except Exception as error:  # as above
        if reader is not None and getattr(reader, "is_open", False):
            reader.close()
        raise _broken(path, error) from None
    parse, digests = _definitions(old=old)
    kinds, counts = dict[str, str](), dict[str, int]()
    try:
        for topic, kind, count, digest in topics:
            kind = _OLD_NAMES.get(kind, kind)
            if kinds.setdefault(topic, kind) != kind:
                raise ValueError(f"{path} has messages of two types in {topic}: {kinds[topic]} and {kind}")
            if kind in KINDS and digest and digest != digests[kind]:
                raise ValueError(f"{path} defines {kind} of {topic} in a way of its own, which is not read")
            counts[topic] = counts.get(topic, 0) + count
        yield Bag(path, kinds, counts, reader, parse)
    finally:
        reader.close()


def _definitions(*, old: bool) -> tuple[Callable[[bytes, str], Message], dict[str, str]]:
    """Give what makes messages of bytes by the standard definitions, and the digests of these.

    Messages of ROS 1 are turned into those of ROS 2, whose fields have lower-case names.
    """
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    if not old:
        return store.deserialize_cdr, {kind: store.hash_rihs01(kind) for kind in KINDS}
    noetic = get_typestore(Stores.ROS1_NOETIC)
    digests = {kind: noetic.generate_msgdef(kind)[1] for kind in KINDS if kind != TRANSFORMS}

    def parse(content: bytes, kind: str) -> Message:
        return store.deserialize_cdr(store.ros1_to_cdr(content, kind), kind)

    return parse, digests | {TRANSFORMS: _TRANSFORMS_MD5}


def _is_ros1(path: Path) -> bool:
    """Tell a recording of ROS 1 from one of ROS 2 by what it begins with.

    Raises:
        ValueError: If it is neither, or a folder that holds no bag of ROS 2.
    """
    if path.is_dir():
        if not (path / "metadata.yaml").is_file():
            bags = sorted(file.name for file in path.glob("*.bag") if file.is_file())
            raise ValueError(
                f"{path} holds no metadata.yaml, so it is no whole ROS 2 bag; name "
                + (f"one of its bags of ROS 1, such as {bags[0]}" if bags else "its .mcap or .db3 file")
                + " instead"
            )
        size = (path / "metadata.yaml").stat().st_size
        if size > _MOST_METADATA:
            raise ValueError(
                f"{path / 'metadata.yaml'} has {size / 1e6:.1f} MB, which no bag's list of topics and files "
                "needs; write it anew (ros2 bag reindex), or name an .mcap or .db3 file of the bag"
            )
        return False
    with regular_file(path).open("rb") as stream:
        head = stream.read(16)
    if head and not head.startswith((b"#ROSBAG V", b"\x89MCAP0\r\n", b"SQLite format 3\0")):
        raise ValueError(
            f"{path} is no recording of ROS: it begins with {head[:8]!r}, expected an .mcap or .db3 file, "
            "or their folder, or a .bag of ROS 1; name that"
        )
    return head.startswith(b"#ROSBAG V")


def _broken(path: Path, error: Exception) -> ValueError:
    """Say in one sentence that a bag cannot be read."""
    why = " ".join(str(error).split()) or type(error).__name__
    if "rofile is not ros2" in why:
        return ValueError(f"{path} is an MCAP file of ROS 1 or another system; only ROS 2's are read")
    if "would unpack" in why:
        return ValueError(f"{path} is refused: {why}")
    return ValueError(
        f"{path} cannot be read as a bag of ROS ({why[:200]}); it may be cut short: restore it, or repair it "
        "(ros2 bag reindex, mcap recover; rosbag reindex for ROS 1)"
    )
