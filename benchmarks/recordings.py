"""Time the conversion of a ROS 2 bag into a drive log.

    python benchmarks/recordings.py --folder DIR [--seconds 4]

Makes a bag in DIR (made-up content: a lidar of 10 Hz and 60,000 points, two cameras of 1280x720, one raw and
one JPEG, transforms at 100 Hz), once in each storage, converts it, and removes it again. Peak memory is that
of the whole process, with torch and with the making of the bag.
"""

import argparse
import io
import platform
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from clip2scene.datasets.convert.ros_to_log import convert_bag

STORE = get_typestore(Stores.ROS2_HUMBLE)
WIDTH, HEIGHT, POINTS = 1280, 720, 60_000
INTRINSICS = np.array([[700.0, 0, 639.5], [0, 700, 359.5], [0, 0, 1]])


def make(name: str, *values: Any) -> Any:  # noqa: ANN401 - a message of any type
    """Make a message."""
    package, _, kind = name.partition("/")
    return STORE.types[f"{package}/msg/{kind}"](*values)


def header(time_us: int, frame: str) -> Any:  # noqa: ANN401 - as above
    """Make a header."""
    stamp = make("builtin_interfaces/Time", time_us // 1_000_000, time_us % 1_000_000 * 1000)
    return make("std_msgs/Header", stamp, frame)


def transforms(time_us: int, parent: str, *children: str) -> Any:  # noqa: ANN401 - as above
    """Place frames in another, 10 m further on each second."""
    place = make("geometry_msgs/Vector3", 1e-5 * (time_us % 100_000_000), 0.0, 0.0)
    motion = make("geometry_msgs/Transform", place, make("geometry_msgs/Quaternion", 0.0, 0.0, 0.0, 1.0))
    return make(
        "tf2_msgs/TFMessage",
        [
            make("geometry_msgs/TransformStamped", header(time_us, parent), child, motion)
            for child in children
        ],
    )


def sensor_messages(time_us: int, rng: np.random.Generator) -> dict[str, Any]:
    """Make what the sensors measure at one moment."""
    cloud = np.zeros((POINTS, 8), np.float32)
    cloud[:, :5] = rng.normal(0, 20, (POINTS, 5))
    fields = [
        make("sensor_msgs/PointField", name, 4 * place, 7, 1)
        for place, name in enumerate(("x", "y", "z", "intensity"))
    ]
    raw = cloud.view(np.uint8).reshape(-1)
    columns = np.linspace(0, 255, WIDTH)[None, :, None] * np.ones((HEIGHT, 1, 3))
    pixels = (0.9 * columns + rng.integers(0, 20, columns.shape)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    jpeg = np.frombuffer(stream.getvalue(), np.uint8)
    matrices = [np.zeros(5), INTRINSICS.reshape(-1), np.eye(3).reshape(-1)]
    projection = np.column_stack([INTRINSICS, np.zeros(3)]).reshape(-1)
    whole = make("sensor_msgs/RegionOfInterest", 0, 0, 0, 0, False)
    info = [HEIGHT, WIDTH, "plumb_bob", *matrices, projection, 0, 0, whole]
    left, right = header(time_us + 3000, "left"), header(time_us + 4000, "right")
    top = header(time_us, "lidar")
    return {
        "/points": make("sensor_msgs/PointCloud2", top, 1, POINTS, fields, False, 32, len(raw), raw, True),
        "/left/image_rect": make(
            "sensor_msgs/Image", left, HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, pixels.reshape(-1)
        ),
        "/left/camera_info": make("sensor_msgs/CameraInfo", left, *info),
        "/right/image_rect/compressed": make("sensor_msgs/CompressedImage", right, "jpeg", jpeg),
        "/right/camera_info": make("sensor_msgs/CameraInfo", right, *info),
    }


def make_bag(path: Path, storage: StoragePlugin, seconds: float) -> None:
    """Write a bag."""
    rng = np.random.default_rng(0)
    start_us = 1_700_000_000_000_000
    with Writer(path, version=9, storage_plugin=storage) as writer:
        topics: dict[str, Any] = {}

        def write(topic: str, time_us: int, message: Any) -> None:  # noqa: ANN401 - as above
            kind = message.__msgtype__
            if topic not in topics:
                topics[topic] = writer.add_connection(topic, kind, typestore=STORE)
            writer.write(topics[topic], 1000 * time_us, STORE.serialize_cdr(message, kind))

        write("/tf_static", start_us, transforms(0, "base_link", "lidar", "left", "right"))
        for number in range(round(100 * seconds) + 20):
            time_us = start_us + 10_000 * (number - 10)
            write("/tf", time_us, transforms(time_us, "odom", "base_link"))
            if number % 10 == 0 and 0 <= number - 10 < 100 * seconds:
                for topic, message in sensor_messages(time_us, rng).items():
                    write(topic, time_us, message)


def main() -> None:
    """Make bags, convert them, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=4.0)
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}")
    for storage in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        bag, out = options.folder / f"bag-{storage.name.lower()}", options.folder / "log"
        make_bag(bag, storage, options.seconds)
        size = sum(path.stat().st_size for path in bag.iterdir()) / 1e6
        wall, own = time.perf_counter(), time.process_time()
        made = convert_bag(bag, out)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{storage.name:8} {size:6.0f} MB  {made.clouds} clouds  {made.images} images  "
            f"{own:5.1f} s of processor  {size / own:5.0f} MB/s  {made.clouds / own:5.1f} clouds/s  "
            f"({wall:.1f} s waited)  peak {peak:.0f} MB"
        )
        shutil.rmtree(bag)
        shutil.rmtree(out)


if __name__ == "__main__":
    main()
