import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from tests.handover.clouds import CLASSES, frames, write

from clip2scene.datasets.convert.ros_bag import open_bag
from clip2scene.handover import mcap

pytest.importorskip("rosbags", reason="rosbags is not installed")
KINDS = {7: "<f4", 4: "<u2"}


def messages(path):
    """The messages of a bag by topic, read by Foxglove's own library."""
    reading = pytest.importorskip("mcap.reader", reason="mcap is not installed")
    decoding = pytest.importorskip("mcap_ros2.decoder", reason="mcap-ros2-support is not installed")
    found = {}
    with path.open("rb") as stream:
        reader = reading.make_reader(stream, decoder_factories=[decoding.DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages():
            found.setdefault(channel.topic, []).append((message.log_time, decoded))
    return found


def table(message):
    kinds = {
        "names": [each.name for each in message.fields],
        "formats": [KINDS[each.datatype] for each in message.fields],
        "offsets": [each.offset for each in message.fields],
        "itemsize": message.point_step,
    }
    return np.frombuffer(bytes(message.data), np.dtype(kinds))


def test_foxgloves_reader_finds_points_labels_classes_and_transforms(tmp_path):
    some = frames(3)
    write(mcap, tmp_path, some)
    found = messages(tmp_path / "scene-1" / "scene-1.mcap")
    assert {topic: len(each) for topic, each in found.items()} == {
        "/clip2scene/points": 3,
        "/clip2scene/classes": 1,
        "/tf": 3,
    }
    for frame, (time_ns, message) in zip(some, found["/clip2scene/points"], strict=True):
        points = table(message)
        assert time_ns == 1000 * frame.time_us and message.header.frame_id == "lidar"
        assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == time_ns
        assert (np.stack([points[axis] for axis in "xyz"], 1) == frame.positions).all()
        assert (points["label"] == frame.labels + 1).all()
        assert (points["confidence"] == frame.confidence).all() and (
            points["intensity"] == frame.intensity
        ).all()
        assert points["rgb"].view("<u4")[1 + frame.number] == 0xFF9E00
    listed = json.loads(found["/clip2scene/classes"][0][1].data)
    assert [(each["id"], each["name"]) for each in listed["classes"]] == list(enumerate(CLASSES.classes, 1))
    (stamped,) = found["/tf"][2][1].transforms
    turn = stamped.transform.rotation
    assert (stamped.header.frame_id, stamped.child_frame_id) == ("map", "lidar")
    assert np.allclose(Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix(), some[2].pose[:3, :3])
    assert stamped.transform.translation.x == some[2].pose[0, 3] == 3.0


def test_rosbags_reads_the_folder_as_a_bag(tmp_path):
    write(mcap, tmp_path, frames(2))
    with open_bag(tmp_path / "scene-1") as bag:
        assert bag.counts == {"/clip2scene/points": 2, "/clip2scene/classes": 1, "/tf": 2}


def test_clouds_without_times_are_a_tenth_of_a_second_apart(tmp_path):
    write(mcap, tmp_path, frames(2, placed=False, rooms=True, confidence=False))
    found = messages(tmp_path / "scene-1" / "scene-1.mcap")
    assert [time_ns for time_ns, _ in found["/clip2scene/points"]] == [0, 100_000_000]
    assert table(found["/clip2scene/points"][0][1]).dtype.names == ("x", "y", "z", "rgb", "label")
    assert "/tf" not in found
