"""Bags with faults: one clear sentence each, and nothing half-written."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.ros_bags import (
    MAP_FROM_ODOM,
    RIG,
    START_US,
    STORE,
    SWEEPS_US,
    header,
    kind,
    pose_message,
    rosbag2,
    toytown_drive,
    transform_message,
    typesys,
    write_bag,
)

from clip2scene import cli
from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.convert import ros_to_log
from clip2scene.datasets.convert.ros_bag import open_bag
from clip2scene.datasets.convert.ros_plan import nearest_clouds
from clip2scene.datasets.convert.ros_to_log import Wanted, convert_bag
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.toytown.sensors import ego_from_lidar


@pytest.fixture(scope="module")
def drive():
    return toytown_drive()


def convert(drive, folder, **wanted):
    return convert_bag(write_bag(folder / "bag", drive), folder / "log", wanted=Wanted(**wanted))


def opened(folder, **options):
    return DriveLog(folder / "log", labels=False, class_set=NUSCENES, **options)


def moved_to(time_us):
    return lambda message: replace(message, header=header(time_us, message.header.frame_id))


def without_child(name):
    def change(message):
        return replace(message, transforms=[t for t in message.transforms if t.child_frame_id != name])

    return change


def all_nan(message):
    data = message.data.copy().reshape(-1, message.point_step)
    data[:, 8:12] = np.frombuffer(np.float32(np.nan).tobytes(), np.uint8)  # x of the toytown bag
    return replace(message, data=data.reshape(-1))


def lens(**changes):
    return lambda message: replace(message, **changes)


FAULTS = {
    "no clouds": (lambda d: d.without("/points"), r"no message of sensor_msgs/msg/PointCloud2"),
    "no messages": (lambda d: replace(d, messages=()), r"no message of sensor_msgs/msg/PointCloud2"),
    "no transform": (
        lambda d: d.changed("/tf_static", without_child("rear_optical"), 0),
        r"no transform joins the frames lidar and rear_optical: .*map.*rear_optical",
    ),
    "only NaN": (
        lambda d: d.changed("/points", all_nan),
        r"none of the 3 clouds .*: 3 clouds without a point",
    ),
    "encoding": (
        lambda d: d.changed("/front/image_raw", lens(encoding="yuv422")),
        r"/front/image_raw has images of the unknown encoding 'yuv422', expected one of rgb8",
    ),
    "bayer": (lambda d: d.changed("/front/image_raw", lens(encoding="bayer_rggb8")), r"debayer the images"),
    "broken jpeg": (
        lambda d: d.changed("/rear/image_raw/compressed", lens(data=np.arange(99, dtype=np.uint8)), 1),
        r"/rear/image_raw/compressed: a compressed image \('png'\) cannot be read",
    ),
    "cut image": (
        lambda d: d.changed("/front/image_raw", lens(data=np.zeros(100, np.uint8)), 0),
        r"/front/image_raw: an image of 96x64 rgb8 pixels .* cut short",
    ),
    "backwards": (
        lambda d: d.changed("/points", moved_to(START_US + 450_000), 1),
        r"the time of /points jumps backwards, from \d+ us to \d+ us",
    ),
    "poses backwards": (
        lambda d: d.changed("/odometry", moved_to(START_US), 5),
        r"the time of /odometry jumps backwards",
    ),
    "no stamp": (lambda d: d.changed("/points", moved_to(0)), r"/points has a message whose stamp is 0 us"),
    "big-endian": (
        lambda d: d.changed("/points", lens(is_bigendian=True)),
        r"/points: a cloud is big-endian",
    ),
    "distorted": (
        lambda d: d.changed("/front/camera_info", lens(d=np.array([0.1, 0, 0, 0, 0]))),
        r"/front/camera_info: the images are distorted .*image_rect",
    ),
    "recalibrated": (
        lambda d: d.changed("/front/camera_info", lens(k=np.eye(3).reshape(-1)), 2),
        r"/front/camera_info changes its calibration",
    ),
    "not calibrated": (
        lambda d: d.changed("/front/camera_info", lens(k=np.zeros(9))),
        r"/front/camera_info: .* is not calibrated",
    ),
    "other size": (
        lambda d: d.changed("/front/camera_info", lens(width=192)),
        r"/front/image_raw has images of 96x64, but they are calibrated for 192x64",
    ),
    "two clouds": (
        lambda d: replace(
            d, messages=(*d.messages, *(("/other", *m[1:]) for m in d.messages if m[0] == "/points"))
        ),
        r"has 2 topics of sensor_msgs/msg/PointCloud2; name one with clouds",
    ),
    "two topics of a camera": (
        lambda d: replace(
            d,
            messages=(
                *d.messages,
                *(("/front/image_color", *m[1:]) for m in d.messages if m[0] == "/front/image_raw"),
            ),
        ),
        r"the images of one camera in /front/image_color and /front/image_raw",
    ),
    "two frames": (
        lambda d: d.changed("/points", lens(header=header(START_US + SWEEPS_US[2], "roof")), 2),
        r"/points has messages of the frames lidar and roof",
    ),
    "two parents": (
        lambda d: replace(
            d,
            messages=(
                *d.messages,
                ("/tf", START_US, transform_message([(START_US, "x", "lidar", np.eye(4))])),
            ),
        ),
        r"frame lidar has the parents base_link and x",
    ),
    "moving camera": (
        lambda d: replace(
            d.changed("/tf_static", without_child("front_optical"), 0),
            messages=(
                *d.changed("/tf_static", without_child("front_optical"), 0).messages,
                *(
                    ("/tf", START_US + n, transform_message([(START_US + n, "mast", "front_optical", way)]))
                    for n, way in ((1, np.eye(4)), (2, RIG["front"].ego_from_camera))
                ),
            ),
        ),
        r"the transform from front_optical to mast moves",
    ),
    "a camera's name that leads out": (
        lambda d: replace(
            d,
            messages=tuple((topic.replace("/front/", "/../"), *rest) for topic, *rest in d.messages),
        ),
        r"bag has the name '\.\.', expected a file's name",
    ),
    "principal point outside": (
        lambda d: d.changed("/front/camera_info", lens(k=np.array([90.0, 0, 500, 0, 90, 30, 0, 0, 1]))),
        r"bag: calibration.json: cameras\[0\], front: intrinsics are",
    ),
    "no rotation": (
        lambda d: d.changed(
            "/tf_static",
            lambda message: replace(
                message,
                transforms=[
                    replace(
                        each,
                        transform=replace(
                            each.transform, rotation=kind("geometry_msgs/Quaternion")(0.0, 0.0, 0.0, 0.0)
                        ),
                    )
                    for each in message.transforms
                ],
            ),
            0,
        ),
        r"the transform from lidar to base_link holds .* quaternion x y z w of length 1",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_sentence_and_leaves_nothing(fault, drive, tmp_path):
    spoil, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words):
        convert(spoil(drive), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"clouds": "/nope"}, r"clouds: expected /nope .* no such topic\nmessages  type"),
        ({"clouds": "/tf"}, r"clouds: expected /tf .* messages of tf2_msgs"),
        ({"images": ("/points",)}, r"images: expected /points"),
        ({"camera_infos": ("/front/camera_info",)}, r"camera_infos are named but no images"),
        ({"images": ("/front/image_raw",) * 2}, r"expected different images"),
        (
            {"poses": "tf", "world_frame": "mars"},
            r"no transform leads from base_link up to mars, only to odom, map",
        ),
        ({"axes": "XYZ"}, r"axes is 'XYZ', expected three of the letters F, B, L, R, U, D"),
        ({"axes": "FRU"}, r"axes is 'FRU', expected three letters .* right-handed"),
        ({"ego_frame": "mars"}, r"no transform joins the frames mars and base_link"),
        ({"world_frame": "map"}, r"world_frame map goes with poses of transforms, .* those of /odometry"),
        ({"poses": "none", "world_frame": "map"}, r"world_frame map goes with .* those of none"),
    ],
)
def test_wrong_choices_are_told_what_there_is(wanted, words, drive, tmp_path):
    with pytest.raises(ValueError, match=words):
        convert(drive, tmp_path, **wanted)
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.97])
def test_a_truncated_file_is_refused(storage, left, drive, tmp_path):
    bag = write_bag(tmp_path / "bag", drive, storage=storage)
    (path,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content))])
    for name in (bag, path):
        with pytest.raises(ValueError, match="cannot be read as a ROS 2 bag"):
            convert_bag(name, tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_what_is_no_bag_is_told_so(drive, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("nothing")
    for name, words in {
        "folder": "no metadata.yaml",
        "nope": "is missing",
        "file.txt": "cannot be read",
    }.items():
        with pytest.raises(ValueError, match=words):
            convert_bag(tmp_path / name, tmp_path / "log")
    bag = write_bag(tmp_path / "bag", drive)
    foreign = (bag / "bag.mcap").read_bytes().replace(b"ros2", b"ros1", 1)
    (tmp_path / "foreign.mcap").write_bytes(foreign)
    with pytest.raises(ValueError, match="foreign.mcap is an MCAP file of another system"):
        convert_bag(tmp_path / "foreign.mcap", tmp_path / "log")
    with pytest.raises(ValueError, match="most_apart_ms must lie in 0..1000"):
        convert_bag(bag, tmp_path / "log", most_apart_ms=-1.0)
    with pytest.raises(ValueError, match="folder.* already exists|already exists"):
        convert_bag(bag, tmp_path / "bag")


def test_a_bags_own_definitions_are_never_run(drive, tmp_path):
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


def test_an_interrupted_conversion_leaves_nothing(drive, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(ros_to_log, "write_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(drive, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_clouds_without_points_and_moments_without_pose_are_counted(drive, tmp_path):
    late = [m for m in drive.messages if m[0] == "/odometry" and m[1] > START_US + 560_000]
    fewer = replace(drive, messages=tuple(m for m in drive.messages if not any(m is each for each in late)))
    made = convert(fewer.changed("/points", all_nan, 1), tmp_path)
    assert (made.clouds, made.images) == (1, 2)
    notes = " ".join(made.notes)
    assert "1 clouds without a point" in notes and "1 clouds taken when no pose is known" in notes
    assert f"dropped {len(drive.sweeps[START_US + SWEEPS_US[1]].positions)} points" in notes
    assert opened(tmp_path).tokens == ("000000",)
    assert sorted(path.name for path in (tmp_path / "log" / "images" / "rear").iterdir()) == ["000000.png"]


def test_without_poses_cameras_stand_as_calibrated(drive, tmp_path):
    made = convert(drive.without("/tf", "/odometry"), tmp_path)
    assert any("no poses" in note for note in made.notes)
    assert not (tmp_path / "log" / "poses.csv").exists()
    still = torch.tensor(np.linalg.inv(RIG["rear"].ego_from_camera) @ ego_from_lidar()).float()
    for sample in opened(tmp_path):
        torch.testing.assert_close(sample.cameras[1].camera_from_lidar, still, atol=1e-6, rtol=0)


def test_poses_asked_of_transforms_that_do_not_move_are_refused(drive, tmp_path):
    with pytest.raises(ValueError, match="poses of transforms are asked for, but none moves from base_link"):
        convert(drive.without("/tf"), tmp_path, poses="tf")
    assert not (tmp_path / "log").exists()


def test_poses_are_those_of_the_frame_that_is_asked_for(drive, tmp_path):
    convert(drive, tmp_path, ego_frame="mast")
    log = opened(tmp_path)
    for number, at_us in enumerate(SWEEPS_US):
        odom_from_ego = np.linalg.inv(MAP_FROM_ODOM) @ drive.world_from_ego(START_US + at_us)
        found = log.timestamps(number).world_from_cloud.numpy()
        assert np.allclose(found, odom_from_ego @ ego_from_lidar(), atol=1e-6)


def test_stamped_poses_of_a_named_frame_serve_too(drive, tmp_path):
    stamped = [
        ("/pose", time_us, pose_message(time_us, drive.world_from_ego(time_us) @ ego_from_lidar()))
        for time_us in range(START_US + 400_000, START_US + 800_000, 20_000)
    ]
    only = drive.without("/tf", "/odometry")
    convert(replace(only, messages=(*only.messages, *stamped)), tmp_path, poses="/pose", ego_frame="lidar")
    sample = opened(tmp_path, sweeps=2)[1]
    lidar = [drive.world_from_ego(START_US + at_us) @ ego_from_lidar() for at_us in SWEEPS_US[:2]]
    way = np.linalg.inv(lidar[1]) @ lidar[0]
    positions = drive.sweeps[START_US + SWEEPS_US[0]].positions
    away = (np.abs(positions[:, :2]) >= 1).any(1)
    assert np.allclose(
        sample.sweeps[0].positions.numpy(), positions[away] @ way[:3, :3].T + way[:3, 3], atol=1e-3
    )


def test_a_lidar_mounted_backwards_is_turned(drive, tmp_path):
    turned = np.diag([-1.0, -1, 1, 1])
    mount = transform_message([(START_US, "base_link", "lidar", ego_from_lidar() @ turned)])

    def change(message):
        rest = [each for each in message.transforms if each.child_frame_id != "lidar"]
        return replace(message, transforms=[*rest, *mount.transforms])

    convert(drive.changed("/tf_static", change, 0), tmp_path)
    sample = opened(tmp_path)[0]
    truth = drive.sweeps[START_US + SWEEPS_US[0]].positions.astype(np.float32) * [-1, -1, 1]
    assert np.allclose(sample.cloud.positions.numpy(), truth, atol=1e-6)


def test_faults_of_frames_that_nobody_needs_do_no_harm(drive, tmp_path):
    arm = [(START_US, "hand", "finger", np.eye(4)), (START_US, "arm", "finger", np.eye(4))]
    unset = transform_message([(0, "base_link", "arm", np.eye(4))])
    goal = ("/goal", START_US + 450_000, pose_message(START_US + 450_000, np.eye(4)))
    more = (("/tf", START_US, transform_message(arm)), ("/tf", START_US, unset), goal)
    made = convert(replace(drive, messages=(*drive.messages, *more)), tmp_path)
    assert made == convert_bag(write_bag(tmp_path / "plain", drive), tmp_path / "other")
    assert any("poses of /odometry: base_link in odom" in note for note in made.notes)


def test_single_files_and_compressed_messages_are_read_like_folders(drive, tmp_path):
    bag = write_bag(tmp_path / "bag", drive, storage="sqlite3")
    made = convert_bag(bag / "bag.db3", tmp_path / "log")
    packed = convert_bag(write_bag(tmp_path / "packed", drive, compress=True), tmp_path / "log2")
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


def test_pairing_is_that_of_trying_all():
    rng = np.random.default_rng(0)
    for most in (0, 7, 50, 10**6):
        clouds, images = (sorted(rng.choice(1000, count, replace=False).tolist()) for count in (12, 40))
        came, slow = {}, {}
        for image in images:
            cloud = min(clouds, key=lambda each: (abs(each - image), each))
            came.setdefault(cloud, []).append(image)
        for cloud, given in came.items():
            image = min(given, key=lambda each: (abs(each - cloud), each))
            if abs(cloud - image) <= most:
                slow[image] = cloud
        assert nearest_clouds(clouds, images, most) == slow
    assert nearest_clouds([0, 60], [-40, 32], 50) == {-40: 0, 32: 60}, "32 is nearer to 0, but went to 60"
    assert nearest_clouds([], [1], 5) == nearest_clouds([1], [], 5) == {}
    assert nearest_clouds([3], [1, 2, 9], 5) == {2: 3}


def test_the_command_lists_and_converts(drive, tmp_path, monkeypatch, capsys):
    bag = write_bag(tmp_path / "bag", drive)
    monkeypatch.setattr(sys, "argv", ["clip2scene", "convert-recording", str(bag), "--list"])
    cli.main()
    printed = capsys.readouterr().out
    assert (
        "       3  sensor_msgs/msg/PointCloud2           /points" in printed
        and "/rear/camera_info" in printed
    )
    options = ["--out", str(tmp_path / "log"), "--images", "/front/image_raw", "--poses", "none"]
    monkeypatch.setattr(sys, "argv", ["clip2scene", "convert-recording", str(bag), *options])
    cli.main()
    assert "wrote 3 clouds and 3 images" in capsys.readouterr().out
    assert [camera.name for camera in opened(tmp_path)[0].cameras] == ["front"]
    monkeypatch.setattr(sys, "argv", ["clip2scene", "convert-recording", str(bag)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "name a new folder with --out" in capsys.readouterr().err


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
