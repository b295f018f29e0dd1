from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.datasets.convert.conftest import convert, opened
from tests.ros_bags import (
    MAP_FROM_ODOM,
    RIG,
    START_US,
    SWEEPS_US,
    pose_message,
    transform_message,
    write_bag,
)

from clip2scene.datasets.convert.ros_to_log import convert_bag
from clip2scene.toytown.sensors import ego_from_lidar


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
