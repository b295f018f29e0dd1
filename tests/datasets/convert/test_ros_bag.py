import sys

import pytest
from tests.datasets.convert.conftest import convert
from tests.ros_bags import (
    STORE,
    rosbag1,
    rosbag2,
    typesys,
    write_bag,
    write_ros1_bag,
)

from clip2scene.datasets.convert.ros_bag import open_bag
from clip2scene.datasets.convert.ros_to_log import convert_bag


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.97])
def test_a_truncated_file_is_refused(storage, left, drive, tmp_path):
    bag = write_bag(tmp_path / "bag", drive, storage=storage)
    (path,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    for name in (bag, path):
        with pytest.raises(ValueError, match="cannot be read as a bag of ROS"):
            convert_bag(name, tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_what_is_no_bag_is_told_so(drive, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("nothing")
    (tmp_path / "one.bag").write_bytes(b"#ROSBAG V2.0\nE\0\0\0")
    (tmp_path / "older.bag").write_bytes(b"#ROSBAG V1.2\nE\0\0\0")
    for name, words in {
        "folder": "no metadata.yaml",
        "nope": "is missing",
        "file.txt": r"file.txt is no recording of ROS: it begins with b'nothing', expected an .mcap",
        "one.bag": r"one.bag cannot be read as a bag of ROS .*rosbag reindex",
        "older.bag": r"older.bag cannot be read as a bag of ROS .*version",
        "": r"holds no metadata.yaml.*; name one of its bags of ROS 1, such as older.bag instead",
    }.items():
        with pytest.raises(ValueError, match=words):
            convert_bag(tmp_path / name, tmp_path / "log")
    bag = write_bag(tmp_path / "bag", drive)
    foreign = (bag / "bag.mcap").read_bytes().replace(b"ros2", b"ros1", 1)
    (tmp_path / "foreign.mcap").write_bytes(foreign)
    with pytest.raises(ValueError, match="foreign.mcap is an MCAP file of ROS 1 or another system"):
        convert_bag(tmp_path / "foreign.mcap", tmp_path / "log")
    with pytest.raises(ValueError, match="most_apart_ms must lie in 0..1000"):
        convert_bag(bag, tmp_path / "log", most_apart_ms=-1.0)
    with pytest.raises(ValueError, match="folder.* already exists|already exists"):
        convert_bag(bag, tmp_path / "bag")


def test_a_bags_own_definitions_are_never_run(drive, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "rosbags.usertypes", raising=False)  # of definitions that tests register
    convert(drive, tmp_path)
    assert "rosbags.usertypes" not in sys.modules, "the library keeps code made of definitions there"
    with rosbag2.Writer(tmp_path / "odd", version=9, storage_plugin=rosbag2.StoragePlugin.SQLITE3) as writer:
        name = "sensor_msgs/msg/PointCloud2"
        connection = writer.add_connection("/points", name, msgdef="int8 x\n", rihs01="RIHS01_" + "0" * 64)
        writer.write(connection, 1, b"\0\1\0\0\0")
    with pytest.raises(
        ValueError, match="defines sensor_msgs/msg/PointCloud2 of /points in a way of its own"
    ):
        convert_bag(tmp_path / "odd", tmp_path / "other")


def test_without_the_library_its_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    with pytest.raises(ValueError, match=r"needs rosbags; install clip2scene\[ros\]"):
        convert_bag(tmp_path / "bag", tmp_path / "log")


def test_single_files_and_compressed_messages_are_read_like_folders(drive, tmp_path):
    bag = write_bag(tmp_path / "bag", drive, storage="sqlite3")
    made = convert_bag(bag / "bag.db3", tmp_path / "log")
    packed = convert_bag(write_bag(tmp_path / "packed", drive, compress="MESSAGE"), tmp_path / "log2")
    bare = convert_bag(write_bag(tmp_path / "plain", drive) / "plain.mcap", tmp_path / "log3")
    assert made == packed == bare and (made.clouds, made.images) == (3, 6)
    for name in (
        "lidar/000001.npy",
        "images/front/000002.png",
        "poses.csv",
        "images.csv",
        "calibration.json",
    ):
        assert len({(tmp_path / log / name).read_bytes() for log in ("log", "log2", "log3")}) == 1


@pytest.mark.parametrize("compression", [None, "BZ2", "LZ4"])
def test_a_bag_of_ros_1_holds_what_one_of_ros_2_does(drive, tmp_path, compression):
    made = convert_bag(write_bag(tmp_path / "bag", drive), tmp_path / "log2")
    old = convert_bag(write_ros1_bag(tmp_path / "one.bag", drive, compression=compression), tmp_path / "log1")
    assert old == made and (made.clouds, made.images) == (3, 6)
    files = sorted(path.relative_to(tmp_path / "log2") for path in (tmp_path / "log2").rglob("*.*"))
    assert len(files) == 12
    for name in files:
        assert (tmp_path / "log1" / name).read_bytes() == (tmp_path / "log2" / name).read_bytes()


def test_a_list_of_files_that_is_none_is_not_read(drive, tmp_path):
    bag = write_bag(tmp_path / "bag", drive)
    with (bag / "metadata.yaml").open("a") as stream:
        stream.write("#" * (1 << 22))
    with pytest.raises(ValueError, match=r"metadata.yaml has 4.2 MB, .* reindex"):
        convert_bag(bag, tmp_path / "log")


@pytest.mark.parametrize("left", [0.002, 0.3, 0.97])
def test_a_truncated_bag_of_ros_1_is_refused(drive, tmp_path, left):
    path = write_ros1_bag(tmp_path / "one.bag", drive)
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    with pytest.raises(ValueError, match="one.bag cannot be read as a bag of ROS"):
        convert_bag(path, tmp_path / "log")
    assert [each.name for each in tmp_path.iterdir()] == ["one.bag"]


def test_definitions_of_its_own_are_refused_in_a_bag_of_ros_1_too(tmp_path):
    with rosbag1.Writer(tmp_path / "odd.bag") as writer:
        connection = writer.add_connection(
            "/points", "sensor_msgs/msg/PointCloud2", msgdef="int8 x\n", md5sum="0" * 32
        )
        writer.write(connection, 1, b"\1")
    with pytest.raises(ValueError, match="defines sensor_msgs/msg/PointCloud2 of /points in a way of its"):
        convert_bag(tmp_path / "odd.bag", tmp_path / "log")


def test_transforms_have_an_older_name_in_ros_1(drive, tmp_path):
    bag = write_ros1_bag(tmp_path / "one.bag", drive, transforms="tf/msg/tfMessage")
    assert convert_bag(bag, tmp_path / "log").images == 6


def test_every_distribution_of_ros_has_the_same_messages(tmp_path):
    from clip2scene.datasets.convert.ros_bag import KINDS

    for name in ("ROS2_FOXY", "ROS2_IRON", "ROS2_JAZZY", "LATEST"):
        store = typesys.get_typestore(typesys.Stores[name])
        assert [store.hash_rihs01(kind) for kind in KINDS] == [STORE.hash_rihs01(kind) for kind in KINDS], (
            name
        )


def test_a_topic_may_not_hold_two_types(tmp_path):
    with rosbag2.Writer(tmp_path / "bag", version=9, storage_plugin=rosbag2.StoragePlugin.MCAP) as writer:
        for name in ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"):
            writer.add_connection("/front", name, typestore=STORE)
    with pytest.raises(ValueError, match="messages of two types in /front"), open_bag(tmp_path / "bag"):
        pass
