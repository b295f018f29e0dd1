"""What the embedded world is, against what the loaders give of its copy on the disk: nuScenes' layout whole.

In the other layouts points, labels and pairs stand with their writers' tests (``test_kitti_drive``,
``test_log_drive``, ``test_room_scan``); here, what they leave out.
"""

import numpy as np
import pytest
import torch

from clip2scene.datasets.kitti.semantic import SemanticKitti
from clip2scene.datasets.nuscenes.loader import CAMERAS, NuScenes
from clip2scene.datasets.rooms.frames import FrameChoice
from clip2scene.datasets.rooms.scannet import ScanNet
from clip2scene.geometry.projection import project_points
from clip2scene.toytown.rooms.room import Room
from clip2scene.toytown.rooms.room_scan import Walk, hand_held
from clip2scene.toytown.sensors import camera_rig, ego_from_lidar, lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.toytown.writers.recording import EXPOSURE_LEAD_US

KEYFRAMES_US = (500_000, 1_000_000)
SIZE = (160, 96)


@pytest.fixture(scope="module")
def town():
    """The town of the first scene of ``tiny_toytown``, and of sequence 00 of ``tiny_kitti``."""
    return build_town(0)


def swept(town, time_us):
    return lidar_sweep(town, time_us / 1e6, np.random.default_rng([0, 1, time_us]), azimuth_steps=360)


def world_from(town, time_us, ego_from_sensor):
    return town.world_from_ego(time_us / 1e6) @ ego_from_sensor


@pytest.mark.parametrize("number", range(2))
def test_points_intensities_and_labels_of_nuscenes_come_back_exactly(tiny_toytown, town, number):
    sweep, sample = swept(town, KEYFRAMES_US[number]), NuScenes(tiny_toytown)[number]
    assert np.array_equal(sample.cloud.positions.numpy(), sweep.positions)
    counts = np.round(sweep.intensity * 255).astype(np.float32)
    assert np.array_equal(sample.cloud.features[:, 0].numpy(), counts / np.float32(255))
    assert sample.labels.tolist() == sweep.labels.tolist()
    assert len(sample.labels.unique()) > 5


@pytest.mark.parametrize("number", range(2))
@pytest.mark.parametrize("view", range(6))
def test_pairs_of_nuscenes_are_those_of_the_town_itself(tiny_toytown, town, number, view):
    time_us, camera = KEYFRAMES_US[number], camera_rig(*SIZE)[view]
    sample = NuScenes(tiny_toytown)[number]
    assert sample.cameras[view].name == camera.name == CAMERAS[view]
    world_from_camera = world_from(town, time_us - EXPOSURE_LEAD_US[camera.name], camera.ego_from_camera)
    world_from_lidar = world_from(town, time_us, ego_from_lidar())
    cloud = swept(town, time_us).positions.astype(np.float64)
    world = cloud @ world_from_lidar[:3, :3].T + world_from_lidar[:3, 3]
    rays = (world - world_from_camera[:3, 3]) @ world_from_camera[:3, :3] @ camera.intrinsics.T
    pixels, depths = rays[:, :2] / rays[:, 2:], rays[:, 2]
    seen = (depths >= 1) & (pixels >= 1).all(1) & (pixels <= [SIZE[0] - 2, SIZE[1] - 2]).all(1)
    pairs = project_points(sample.cloud.positions, [sample.cameras[view]])
    assert pairs.points.tolist() == np.flatnonzero(seen).tolist()
    assert len(pairs) > 300
    assert np.abs(pairs.pixels.numpy() - pixels[seen]).max() < 1e-3
    assert np.abs(pairs.depths.numpy() - depths[seen]).max() < 1e-4


def test_poses_and_intrinsics_of_nuscenes_come_back(tiny_toytown, town):
    data, rig = NuScenes(tiny_toytown), camera_rig(*SIZE)
    for number, time_us in enumerate(KEYFRAMES_US):
        for camera, mine in zip(rig, data[number].cameras, strict=True):
            assert np.array_equal(mine.intrinsics.numpy(), camera.intrinsics.astype(np.float32))
            assert (mine.width, mine.height) == SIZE
            of_camera = world_from(town, time_us - EXPOSURE_LEAD_US[camera.name], camera.ego_from_camera)
            expected = np.linalg.inv(of_camera) @ world_from(town, time_us, ego_from_lidar())
            assert np.abs(mine.camera_from_lidar.numpy() - expected).max() < 2e-6
    first, second = (data.timestamps(number) for number in range(2))
    assert second.cloud_us - first.cloud_us == 500_000
    way = np.linalg.inv(first.world_from_cloud.numpy()) @ second.world_from_cloud.numpy()
    truth = [world_from(town, time_us, ego_from_lidar()) for time_us in KEYFRAMES_US]
    assert np.abs(way - np.linalg.inv(truth[0]) @ truth[1]).max() < 1e-8
    assert way[0, 3] > 1


def test_extrinsics_and_intrinsics_of_semantic_kitti_come_back(tiny_kitti):
    camera, mine = camera_rig(*SIZE)[0], SemanticKitti(tiny_kitti)[0].cameras[0]
    assert np.array_equal(mine.intrinsics.numpy(), camera.intrinsics.astype(np.float32))
    assert (mine.width, mine.height) == SIZE
    expected = np.linalg.inv(camera.ego_from_camera) @ ego_from_lidar()
    assert np.abs(mine.camera_from_lidar.numpy() - expected).max() < 1e-6


def test_poses_and_intrinsics_of_scannet_come_back(tiny_rooms):
    sample = ScanNet(tiny_rooms, choice=FrameChoice(step=1))[0]
    of_colour, of_depth = Walk(6, 128, 96, 112, 84).intrinsics
    for view, pose in enumerate(hand_held(Room(0), 0, 6)):
        camera, depth = sample.cameras[view], sample.read_depth(view).camera
        assert np.array_equal(camera.intrinsics.numpy(), of_colour.astype(np.float32))
        assert np.array_equal(depth.intrinsics.numpy(), of_depth.astype(np.float32))
        assert np.abs(camera.camera_from_lidar.numpy() - np.linalg.inv(pose)).max() < 2e-6
        assert torch.equal(camera.camera_from_lidar, depth.camera_from_lidar)
