"""ROS 2 bags of the embedded world become drive logs that hold the world exactly."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests import ros_bags
from tests.ros_bags import LEADS_US, RIG, START_US, SWEEPS_US, toytown_drive, write_bag

from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.convert import ros_to_log
from clip2scene.datasets.convert.ros_messages import stamp_us
from clip2scene.datasets.convert.ros_to_log import Wanted, convert_bag
from clip2scene.datasets.drive_log.files import read_calibration
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.geometry.distortion import Distortion
from clip2scene.geometry.projection import project_points
from clip2scene.geometry.trajectory import Trajectory
from clip2scene.toytown.sensors import ego_from_lidar

VIEWS = ("front", "rear")


def opened(log, **options):
    return DriveLog(log, labels=False, class_set=NUSCENES, **options)


@pytest.fixture(scope="module")
def drive():
    return toytown_drive()


@pytest.fixture(scope="module", params=["mcap", "sqlite3"])
def bag(request, tmp_path_factory, drive):
    return write_bag(tmp_path_factory.mktemp("bags") / "drive", drive, storage=request.param)


@pytest.fixture(scope="module", params=["odometry", "tf"])
def log(request, tmp_path_factory, bag):
    out = tmp_path_factory.mktemp("logs") / "log"
    wanted = Wanted(poses="tf" if request.param == "tf" else None)
    made = convert_bag(bag, out, wanted=wanted)
    assert (made.clouds, made.images) == (3, 6), made.notes
    return out


def test_clouds_and_images_come_back_exactly(log, drive):
    samples = opened(log)
    assert samples.tokens == ("000000", "000001", "000002")
    for sample, at_us in zip(samples, SWEEPS_US, strict=True):
        sweep = drive.sweeps[START_US + at_us]
        assert np.array_equal(sample.cloud.positions.numpy(), sweep.positions.astype(np.float32))
        assert np.array_equal(sample.cloud.features[:, 0].numpy(), sweep.intensity.astype(np.float32))
        assert [camera.name for camera in sample.cameras] == list(VIEWS)
        for view, name in enumerate(VIEWS):
            truth = drive.images[name, START_US + at_us - LEADS_US[name]]
            assert np.array_equal(sample.read_image(view).numpy(), truth)


@pytest.mark.parametrize("view", range(2))
def test_pairs_are_those_of_the_town_itself(log, drive, view):
    camera = RIG[VIEWS[view]]
    for sample, at_us in zip(opened(log), SWEEPS_US, strict=True):
        time_us = START_US + at_us
        world_from_lidar = drive.world_from_ego(time_us) @ ego_from_lidar()
        taken = drive.world_from_ego(time_us - LEADS_US[VIEWS[view]]) @ camera.ego_from_camera
        positions = drive.sweeps[time_us].positions.astype(np.float64)
        world = positions @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]
        rays = (world - taken[:3, 3]) @ taken[:3, :3] @ camera.intrinsics.T
        with np.errstate(divide="ignore"):
            pixels, depths = rays[:, :2] / rays[:, 2:], rays[:, 2]
        inside = (pixels >= 1).all(1) & (pixels <= [ros_bags.WIDTH - 2, ros_bags.HEIGHT - 2]).all(1)
        seen = (depths >= 1) & inside
        pairs = project_points(sample.cloud.positions, [sample.cameras[view]])
        assert len(pairs) > 20 and abs(seen.sum() - len(pairs)) <= 1  # one may lie on the border
        assert np.allclose(pairs.pixels.numpy(), pixels[pairs.points.numpy()], atol=2e-3)
        assert np.allclose(pairs.depths.numpy(), depths[pairs.points.numpy()], atol=2e-4)


def test_the_motion_between_cloud_and_image_is_known(log):
    """The truth would fail without: the vehicle drives further than the tolerance while the lidar waits."""
    first, second = (sample.cameras for sample in list(opened(log))[:2])
    rear = [cameras[1].camera_from_lidar for cameras in (first, second)]
    still = torch.tensor(np.linalg.inv(RIG["rear"].ego_from_camera) @ ego_from_lidar())
    assert (rear[0].double() - still)[:3, 3].norm() > 0.02


def test_sweeps_are_carried_by_the_poses(log, drive):
    sample = opened(log, sweeps=3)[2]
    world_from_lidar = {
        at_us: drive.world_from_ego(START_US + at_us) @ ego_from_lidar() for at_us in SWEEPS_US
    }
    for sweep, at_us in zip(sample.sweeps, SWEEPS_US[1::-1], strict=True):
        way = np.linalg.inv(world_from_lidar[SWEEPS_US[2]]) @ world_from_lidar[at_us]
        positions = drive.sweeps[START_US + at_us].positions
        away = (np.abs(positions[:, :2]) >= 1).any(1)
        truth = positions[away] @ way[:3, :3].T + way[:3, 3]
        assert np.allclose(sweep.positions.numpy(), truth, atol=1e-3)


def test_a_bag_says_which_field_is_the_intensity(tmp_path, drive):
    def rename(message):
        names = {"intensity": "reflectivity", "ring": "signal"}
        fields = [replace(each, name=names.get(each.name, each.name)) for each in message.fields]
        return replace(message, fields=fields)

    plain = convert_bag(write_bag(tmp_path / "plain", drive), tmp_path / "one")
    assert not any("intensity" in note for note in plain.notes)
    renamed = convert_bag(write_bag(tmp_path / "renamed", drive.changed("/points", rename)), tmp_path / "two")
    said = "the clouds' intensity is taken from reflectivity, not from signal"
    assert [note for note in renamed.notes if "intensity" in note] == [said]


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        ("plumb_bob", [-0.2, 0.05, 0.001, 0.0, 0.0]),
        ("rational_polynomial", [0.1, -0.2, 0.0, 0.0, 0.0, 0.3, -0.1, 0.0]),
        ("equidistant", [0.02, 0.0, 0.0, 0.0]),
    ],
)
def test_the_distortion_of_a_camera_is_carried_over(tmp_path, drive, model, numbers):
    raw = drive.changed(
        "/front/camera_info",
        lambda message: replace(message, distortion_model=model, d=np.array(numbers)),
    )
    made = convert_bag(write_bag(tmp_path / "bag", raw), tmp_path / "log")
    said = f"images of /front/image_raw are distorted ({model}), and undistorted when they are read"
    assert said in made.notes
    views = read_calibration(tmp_path / "log" / "calibration.json").views
    assert list(views) == ["front"]
    assert f"undistorted images of front keep {100 * views['front'].share:.0f} % of the area" in made.notes
    assert views["front"].raw.distortion == Distortion(model, tuple(numbers))
    assert np.array_equal(views["front"].raw.matrix, RIG["front"].intrinsics)
    sample = opened(tmp_path / "log")[0]
    assert sample.read_image(0).shape[:2] == (sample.cameras[0].height, sample.cameras[0].width)


def skewed(drive, field, values_of):
    """Let the lidar measure points that stand still, each at a moment of its own, from where it was.

    Some lie on the vehicle and move with it.
    """
    rng = np.random.default_rng(0)
    world = rng.uniform([-30, -30, 0], [30, 30, 5], (400, 3))
    own = rng.uniform([-0.9, -0.9, -1.5], [0.9, 0.9, -0.5], (10, 3))
    truths = {}

    def change(message):
        stamp = stamp_us(message, "/points")
        offsets = np.sort(rng.uniform(-40_000, 40_000, 400).round())
        lidar = [drive.world_from_ego(stamp + offset) @ ego_from_lidar() for offset in offsets]
        points = np.array(
            [(np.linalg.inv(pose) @ [*point, 1])[:3] for pose, point in zip(lidar, world, strict=True)]
        )
        still = np.linalg.inv(drive.world_from_ego(stamp) @ ego_from_lidar())
        truths[stamp] = world @ still[:3, :3].T + still[:3, 3]
        points[::40] = truths[stamp][::40] = own
        name, number, values = field, *values_of(stamp, offsets)
        columns = {axis: (4 * place, 7, points[:, place]) for place, axis in enumerate("xyz")}
        return ros_bags.cloud_message(stamp, columns | {name: (16, number, values)})

    return drive.changed("/points", change), truths


@pytest.mark.parametrize(
    ("field", "values_of"),
    [
        ("time", lambda stamp, offsets: (7, offsets / 1e6)),
        ("timestamp", lambda stamp, offsets: (8, (stamp + offsets) / 1e6)),
    ],
)
def test_clouds_whose_points_tell_their_moments_are_deskewed(tmp_path, drive, field, values_of):
    recorded, truths = skewed(drive, field, values_of)
    bag = write_bag(tmp_path / "bag", recorded)
    made = convert_bag(bag, tmp_path / "log")
    assert "3 clouds are deskewed by their points' moments" in made.notes
    assert any(re.fullmatch(r"deskewing moved points by up to 0\.\d\d m .*", note) for note in made.notes)
    convert_bag(bag, tmp_path / "left", deskew="off")
    for straight, left, stamp in zip(
        opened(tmp_path / "log"), opened(tmp_path / "left"), sorted(truths), strict=True
    ):
        truth = truths[stamp]
        assert np.abs(straight.cloud.positions.numpy() - truth).max() < 0.01
        assert np.abs(left.cloud.positions.numpy() - truth).max() > 0.15


def test_clouds_are_left_as_they_are_where_moments_or_poses_are_missing(tmp_path, drive):
    recorded, _ = skewed(drive, "time", lambda stamp, offsets: (7, offsets / 1e6))
    bag = write_bag(tmp_path / "bag", recorded)
    made = convert_bag(bag, tmp_path / "log", wanted=Wanted(poses="none"))
    assert not any("deskew" in note for note in made.notes)
    plain = convert_bag(write_bag(tmp_path / "plain", drive), tmp_path / "log2")
    said = "3 clouds are not deskewed, as their points tell no moments (or those of no sweep)"
    assert said in plain.notes


@pytest.mark.parametrize("axes", ["FLU", "RFU"])
def test_poses_are_estimated_where_none_were_recorded(tmp_path, drive, axes, monkeypatch):
    """The estimate itself is tested elsewhere; here it is the truth, in the frame of upright clouds."""
    world_from_lidar = {
        START_US + at_us: drive.world_from_ego(START_US + at_us) @ ego_from_lidar() for at_us in SWEEPS_US
    }
    turn = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]) if axes == "RFU" else np.eye(3)
    seen = {}

    def estimate(clouds, name):
        seen.update(clouds)
        upright = np.eye(4)
        upright[:3, :3] = turn.T
        poses = np.array([world_from_lidar[time_us] @ upright for time_us in seen])
        return Trajectory(tuple(seen), torch.from_numpy(poses), name)

    monkeypatch.setattr(ros_to_log, "estimate_poses", estimate)
    bag = write_bag(tmp_path / "bag", drive.without("/odometry", "/tf"))
    made = convert_bag(bag, tmp_path / "log", wanted=Wanted(poses="kiss-icp", axes=axes))
    assert "poses by KISS-ICP, of 3 clouds as they were recorded" in made.notes
    for at_us in SWEEPS_US:
        expected = drive.sweeps[START_US + at_us].positions @ turn.T
        assert np.allclose(seen[START_US + at_us], expected, atol=1e-5), "x forward, y left, z up"
    assert len(opened(tmp_path / "log", sweeps=3)[2].sweeps) == 2
    times = opened(tmp_path / "log").timestamps(1)
    pose = times.world_from_cloud.numpy()[:3, 3]
    assert np.allclose(pose, world_from_lidar[START_US + SWEEPS_US[1]][:3, 3], atol=1e-6)
