"""Writes small bags of ROS 2 and ROS 1 with the library rosbags: a drive in the embedded world, its truth."""

import io
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from clip2scene.toytown.sensors import camera_rig, ego_from_lidar, lidar_sweep, render_camera
from clip2scene.toytown.town.world import build_town

rosbag1 = pytest.importorskip("rosbags.rosbag1")
rosbag2 = pytest.importorskip("rosbags.rosbag2")
typesys = pytest.importorskip("rosbags.typesys")

STORE = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
START_US = 1_700_000_000_000_000
SWEEPS_US = (500_000, 600_000, 700_000)
LEADS_US = {"front": 4_000, "rear": -12_000}
WIDTH, HEIGHT = 96, 64
RIG = {
    name: next(camera for camera in camera_rig(WIDTH, HEIGHT) if camera.name == rig)
    for name, rig in (("front", "CAM_FRONT"), ("rear", "CAM_BACK_LEFT"))
}
MAP_FROM_ODOM = np.eye(4)
MAP_FROM_ODOM[:3] = np.column_stack([Rotation.from_euler("z", 0.4).as_matrix(), [30.0, -7.0, 0.5]])


def kind(name):
    package, _, message = name.partition("/")
    return STORE.types[f"{package}/msg/{message}"]


def header(time_us, frame):
    seconds, rest = divmod(time_us, 1_000_000)
    return kind("std_msgs/Header")(kind("builtin_interfaces/Time")(seconds, 1000 * rest), frame)


def cloud_message(time_us, columns, *, frame="lidar", step=32, big=False, height=1, padding=0):
    """A cloud of named columns, each with its offset, number of type and values."""
    count = len(next(iter(columns.values()))[2])
    records = np.full((count, step), 0xA5, np.uint8)
    fields = []
    for name, (offset, number, values) in columns.items():
        dtype = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 8: "<f8"}[number]
        raw = np.asarray(values).astype(dtype)
        records[:, offset : offset + raw.itemsize] = raw[:, None].view(np.uint8).reshape(count, -1)
        fields.append(kind("sensor_msgs/PointField")(name, offset, number, 1))
    rows = records.reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    return kind("sensor_msgs/PointCloud2")(
        header(time_us, frame),
        height,
        count // height,
        fields,
        big,
        step,
        rows.shape[1],
        rows.reshape(-1),
        True,
    )


def image_message(time_us, pixels, *, frame, encoding="rgb8", padding=0):
    rows = np.pad(pixels.reshape(len(pixels), -1), ((0, 0), (0, padding)))
    height, width = pixels.shape[:2]
    return kind("sensor_msgs/Image")(
        header(time_us, frame), height, width, encoding, 0, rows.shape[1], rows.reshape(-1)
    )


def compressed_message(time_us, pixels, *, frame, form="PNG"):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    content = np.frombuffer(stream.getvalue(), np.uint8)
    return kind("sensor_msgs/CompressedImage")(header(time_us, frame), form.lower(), content)


def info_message(time_us, intrinsics, *, frame, d=(), r=None, p=None, size=(WIDTH, HEIGHT), binning=0):
    projection = np.column_stack([intrinsics, np.zeros(3)]) if p is None else p
    return kind("sensor_msgs/CameraInfo")(
        header(time_us, frame),
        size[1],
        size[0],
        "plumb_bob",
        np.array(d, np.float64),
        np.asarray(intrinsics, np.float64).reshape(-1),
        (np.eye(3) if r is None else r).reshape(-1),
        projection.reshape(-1),
        binning,
        binning,
        kind("sensor_msgs/RegionOfInterest")(0, 0, 0, 0, False),
    )


def turn_and_place(motion):
    place = [float(number) for number in motion[:3, 3]]
    return place, Rotation.from_matrix(motion[:3, :3]).as_quat().tolist()


def transform_message(entries):
    """Transforms of (moment, parent, child, parent_from_child)."""
    rows = []
    for time_us, parent, child, motion in entries:
        place, turn = turn_and_place(motion)
        transform = kind("geometry_msgs/Transform")(
            kind("geometry_msgs/Vector3")(*place), kind("geometry_msgs/Quaternion")(*turn)
        )
        rows.append(kind("geometry_msgs/TransformStamped")(header(time_us, parent), child, transform))
    return kind("tf2_msgs/TFMessage")(rows)


def pose(motion):
    place, turn = turn_and_place(motion)
    return kind("geometry_msgs/Pose")(
        kind("geometry_msgs/Point")(*place), kind("geometry_msgs/Quaternion")(*turn)
    )


def odometry_message(time_us, motion, child="base_link"):
    nothing = kind("geometry_msgs/Vector3")(0.0, 0.0, 0.0)
    return kind("nav_msgs/Odometry")(
        header(time_us, "odom"),
        child,
        kind("geometry_msgs/PoseWithCovariance")(pose(motion), np.zeros(36)),
        kind("geometry_msgs/TwistWithCovariance")(
            kind("geometry_msgs/Twist")(nothing, nothing), np.zeros(36)
        ),
    )


def pose_message(time_us, motion):
    return kind("geometry_msgs/PoseStamped")(header(time_us, "map"), pose(motion))


@dataclass(frozen=True)
class Drive:
    """Messages to write, and what they were made of.

    Attributes:
        messages: Topic, moment of the recording and message, in any order.
        sweeps: The lidar's truth by moment.
        images: Of each camera, its name and moment.
        world_from_ego: By moment.
    """

    messages: tuple
    sweeps: dict = field(repr=False)
    images: dict = field(repr=False)
    town: object = field(repr=False)

    def world_from_ego(self, time_us):
        return self.town.world_from_ego((time_us - START_US) / 1e6)

    def without(self, *topics):
        return replace(self, messages=tuple(each for each in self.messages if each[0] not in topics))

    def changed(self, topic, change, number=None):
        """Change the messages of a topic, or one of them; None drops a message."""
        made, count = [], 0
        for each in self.messages:
            message = each[2]
            if each[0] == topic:
                message = change(message) if number in (None, count) else message
                count += 1
            made += [] if message is None else [(each[0], each[1], message)]
        return replace(self, messages=tuple(made))


@lru_cache(maxsize=1)
def toytown_drive():
    """Three sweeps and two cameras of town 0; poses both as odometry and as transforms.

    The lidar stands in the frame ``lidar``; the cameras' optical frames hang below a mast, so that chains are
    three transforms long. The world of both kinds of poses is the town's own.
    """
    town, messages, sweeps, images = build_town(0), [], {}, {}
    timestamps = set()
    for at_us in SWEEPS_US:
        time_us = START_US + at_us
        rng = np.random.default_rng([1, at_us])
        sweep = sweeps[time_us] = lidar_sweep(town, at_us / 1e6, rng, azimuth_steps=90)
        x, y, z = sweep.positions.T
        columns = {"y": (0, 7, y), "z": (4, 7, z), "x": (8, 7, x), "intensity": (14, 7, sweep.intensity)}
        columns |= {"ring": (18, 4, np.zeros(len(x))), "time": (20, 8, np.zeros(len(x)))}
        messages.append(("/points", time_us + 30_000, cloud_message(time_us, columns)))
        timestamps.add(time_us)
        for name, camera in RIG.items():
            taken_us = time_us - LEADS_US[name]
            world_from_ego = town.world_from_ego((taken_us - START_US) / 1e6)
            rgb = render_camera(
                town.at((taken_us - START_US) / 1e6),
                world_from_ego @ camera.ego_from_camera,
                camera.intrinsics,
                WIDTH,
                HEIGHT,
                np.random.default_rng([2, taken_us]),
            ).rgb
            images[name, taken_us] = rgb
            timestamps.add(taken_us)
            frame = f"{name}_optical"
            if name == "front":
                shot = "/front/image_raw", image_message(taken_us, rgb, frame=frame)
            else:
                shot = "/rear/image_raw/compressed", compressed_message(taken_us, rgb, frame=frame)
            messages.append((shot[0], taken_us + 5_000, shot[1]))
            info = info_message(taken_us, camera.intrinsics, frame=frame)
            messages.append((f"/{name}/camera_info", taken_us + 5_000, info))
    mast = np.eye(4)
    mast[:3, 3] = 0.5, 0, 1.2
    lasting = [(START_US, "base_link", "lidar", ego_from_lidar()), (START_US, "base_link", "mast", mast)]
    lasting += [
        (START_US, "mast", f"{name}_optical", np.linalg.inv(mast) @ camera.ego_from_camera)
        for name, camera in RIG.items()
    ]
    messages.append(("/tf_static", START_US, transform_message(lasting)))
    for time_us in sorted(timestamps | set(range(START_US + 400_000, START_US + 800_000, 50_000))):
        world_from_ego = town.world_from_ego((time_us - START_US) / 1e6)
        odom_from_ego = np.linalg.inv(MAP_FROM_ODOM) @ world_from_ego
        ways = [(time_us, "odom", "base_link", odom_from_ego)]
        messages.append(("/tf", time_us, transform_message(ways)))
        messages.append(("/odometry", time_us, odometry_message(time_us, odom_from_ego)))
    messages.append(("/tf_static", START_US, transform_message([(START_US, "map", "odom", MAP_FROM_ODOM)])))
    return Drive(tuple(messages), sweeps, images, town)


def write_bag(path, drive, *, storage="mcap", compress=None):
    """Write a drive in the order of the recording's moments; return the bag's folder.

    Each MESSAGE, the FILE, or (of an MCAP file) its chunks in STORAGE may be compressed.
    """
    plugin = rosbag2.StoragePlugin[storage.upper()]
    writer = rosbag2.Writer(path, version=9, storage_plugin=plugin)
    if compress:
        writer.set_compression(rosbag2.CompressionMode[compress], rosbag2.CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, time_us, message in sorted(drive.messages, key=lambda each: each[1]):
            if topic not in connections:
                name = message.__msgtype__
                connections[topic] = writer.add_connection(topic, name, typestore=STORE)
            content = STORE.serialize_cdr(message, message.__msgtype__)
            writer.write(connections[topic], 1000 * time_us, content)
    return path


def write_ros1_bag(path, drive, *, compression=None, transforms="tf2_msgs/msg/TFMessage"):
    """Write a drive as a bag of ROS 1; return the file."""
    store = typesys.get_typestore(typesys.Stores.ROS1_NOETIC)
    definition = "geometry_msgs/TransformStamped[] transforms\n"
    store.register(typesys.get_types_from_msg(definition, transforms))
    writer = rosbag1.Writer(path)
    if compression is not None:
        writer.set_compression(rosbag1.Writer.CompressionFormat[compression])
    with writer:
        connections = {}
        for topic, time_us, message in sorted(drive.messages, key=lambda each: each[1]):
            name = message.__msgtype__.replace("tf2_msgs/msg/TFMessage", transforms)
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, name, typestore=store)
            content = store.serialize_ros1(_as_ros1(message, store, name), name)
            writer.write(connections[topic], 1000 * time_us, content)
    return path


def _as_ros1(value, store, name=None):
    """Make a message of ROS 2 one of ROS 1: headers count, and a CameraInfo shouts."""
    if isinstance(value, list):
        return [_as_ros1(each, store) for each in value]
    if not hasattr(value, "__msgtype__"):
        return value
    kind = store.types[name or value.__msgtype__]
    fields = {field: _as_ros1(getattr(value, field), store) for field in value.__dataclass_fields__}
    fields.pop("__msgtype__")
    if kind.__msgtype__ == "std_msgs/msg/Header":
        fields["seq"] = 3
    if kind.__msgtype__ == "sensor_msgs/msg/CameraInfo":
        fields = {field.upper() if field in "dkrp" else field: each for field, each in fields.items()}
    return kind(**fields)
