import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.drive_log.files import read_calibration, read_image_times, read_poses
from clip2scene.datasets.drive_log.loader import DriveLog
from clip2scene.datasets.drive_log.writer import (
    new_log,
    write_calibration,
    write_cloud,
    write_image,
    write_image_times,
    write_poses,
)
from clip2scene.geometry.distortion import Distortion
from clip2scene.types import Camera

INTRINSICS = torch.tensor([[50.0, 0, 40], [0, 50, 30], [0, 0, 1]])
FRONT = Camera(
    "front", INTRINSICS, torch.tensor([[0.0, -1, 0, 0.2], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]]), 80, 60
)


def random_pose(rng):
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.from_numpy(Rotation.random(random_state=rng).as_matrix())
    pose[:3, 3] = torch.from_numpy(rng.normal(scale=1e4, size=3))
    return pose


def test_calibration_poses_and_times_come_back_as_they_were_written(tmp_path):
    rng = np.random.RandomState(0)
    poses = {time_us: random_pose(rng) for time_us in (300_000, 100_000, 200_000)}
    times = {("front", "b"): 210_000, ("front", "a"): 90_000}
    write_calibration(tmp_path / "calibration.json", {"axes": "FLU", "intensity_max": 255}, [FRONT])
    write_poses(tmp_path, poses, {100_000: "a", 300_000: "b"})
    write_image_times(tmp_path, times)
    found = read_calibration(tmp_path / "calibration.json")
    assert found.intensity_max == 255
    torch.testing.assert_close(found.cameras[0].camera_from_lidar, FRONT.camera_from_lidar.double())
    trajectory, time_of = read_poses(tmp_path / "poses.csv")
    assert time_of == {"a": 100_000, "b": 300_000}
    for time_us, pose in poses.items():
        torch.testing.assert_close(trajectory.world_from_ego(time_us), pose, rtol=0, atol=1e-6)
    assert read_image_times(tmp_path / "images.csv", ["front"]) == times


def test_a_log_takes_its_name_only_when_it_is_whole(tmp_path):
    points = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    with pytest.raises(RuntimeError, match="cut short"), new_log(tmp_path / "log") as log:
        write_cloud(log, "a", points, points[:, 0])
        raise RuntimeError("cut short")
    assert list(tmp_path.iterdir()) == []
    with new_log(tmp_path / "log") as log:
        write_cloud(log, "a", points, np.abs(points[:, 0]) / 10)
        write_image(log, "front", "a", ".png", b"no picture yet")
        write_calibration(log / "calibration.json", {}, [FRONT])
    dataset = DriveLog(tmp_path / "log", labels=False, class_set=NUSCENES)
    assert dataset.tokens == ("a",) and dataset.has_image("a")
    assert (tmp_path / "log" / "images" / "front" / "a.png").read_bytes() == b"no picture yet"
    np.testing.assert_array_equal(np.load(tmp_path / "log" / "lidar" / "a.npy")[:, :3], points)


def test_a_distortion_comes_back_as_it_was_written(tmp_path):
    lens = Distortion("equidistant", (0.1, 0.0, 0.0, -0.01))
    write_calibration(tmp_path / "calibration.json", {}, [FRONT], {"front": lens})
    found = read_calibration(tmp_path / "calibration.json")
    assert found.views["front"].raw.distortion == lens
    assert found.views["front"].raw.matrix.tolist() == INTRINSICS.tolist()
