import sys

import numpy as np
import pytest
import torch

from clip2scene.datasets.convert.lidar_odometry import estimate_poses
from clip2scene.datasets.pandaset.loader import PandaSet
from clip2scene.toytown.sensors import ego_from_lidar, lidar_sweep
from clip2scene.toytown.town.world import build_town

START_US, PERIOD_US, COUNT = 1_700_000_000_000_000, 100_000, 12


@pytest.fixture(scope="module")
def drive():
    """A drive through town 0 at 4.8 m/s: clouds with their moments, and where the lidar stood."""
    pytest.importorskip("kiss_icp")
    town, clouds, places = build_town(0), [], []
    for number in range(COUNT):
        seconds = 0.5 + 0.1 * number
        sweep = lidar_sweep(town, seconds, np.random.default_rng([1, number]), azimuth_steps=540)
        clouds.append((START_US + PERIOD_US * number, sweep.positions.astype(np.float32)))
        places.append(town.world_from_ego(seconds) @ ego_from_lidar())
    places = np.array(places)
    return clouds, np.linalg.inv(places[0]) @ places


def test_the_way_through_a_town_is_found_by_its_clouds(drive):
    clouds, truth = drive
    way = estimate_poses(clouds, "town")
    assert way.times_us == tuple(time_us for time_us, _ in clouds)
    assert torch.equal(way.poses[0], torch.eye(4, dtype=torch.float64))
    errors = np.linalg.inv(truth) @ way.poses.numpy()
    far = np.linalg.norm(truth[-1, :3, 3])
    off = np.linalg.norm(errors[:, :3, 3], axis=1)
    assert far > 5 and off.max() < 0.12 * far
    steps = np.linalg.inv(way.poses[6:-1].numpy()) @ way.poses[7:].numpy()
    true_steps = np.linalg.inv(truth[6:-1]) @ truth[7:]
    assert np.abs(steps[:, :3, 3] - true_steps[:, :3, 3]).max() < 0.12, "of 0.48 m each"
    angles = np.arccos(((np.trace(errors[:, :3, :3], axis1=1, axis2=2) - 1) / 2).clip(-1, 1))
    assert np.degrees(angles).max() < 2
    assert torch.equal(estimate_poses(clouds[:4], "town").poses, way.poses[:4]), "the same, whatever follows"


def test_variables_of_the_environment_change_nothing(drive, monkeypatch):
    clouds, _ = drive
    before = estimate_poses(clouds[:4], "town").poses
    for name, value in (
        ("ADAPTIVE_THRESHOLD", '{"fixed_threshold": 0.01}'),
        ("MAPPING", '{"max_points_per_voxel": 1}'),
        ("REGISTRATION", '{"max_num_iterations": 1}'),
        ("DATA", '{"max_range": 10}'),
    ):
        monkeypatch.setenv(f"KISS_ICP_{name}", value)
    assert torch.equal(estimate_poses(clouds[:4], "town").poses, before)


def test_after_a_gap_it_begins_anew(drive):
    clouds, _ = drive
    later = [(time_us + 60_000_000, positions) for time_us, positions in clouds[:2]]
    way = estimate_poses([*clouds[:3], *later], "town")
    assert torch.equal(way.poses[3], torch.eye(4, dtype=torch.float64))
    assert way.drive(later[0][0]) == 2


def test_without_clouds_or_the_library_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "kiss_icp.kiss_icp", None)
    with pytest.raises(ValueError, match=r"need the library kiss-icp; install clip2scene\[odometry\]"):
        estimate_poses([], "town")
    monkeypatch.undo()
    pytest.importorskip("kiss_icp")
    with pytest.raises(ValueError, match="town holds no cloud"):
        estimate_poses([], "town")


@pytest.mark.real_data
def test_a_real_drive_is_followed_to_centimetres(real_data):
    """PandaSet's drive 002 begins at rest; its clouds are deskewed, and its poses are GNSS-aided."""
    pytest.importorskip("kiss_icp")
    drive = PandaSet(real_data / "pandaset-002", split=None, labels=False)
    chosen = range(27, 40)
    told = [drive.timestamps(number) for number in chosen]
    clouds = [
        (each.cloud_us, drive[number].cloud.positions.numpy())
        for number, each in zip(chosen, told, strict=True)
    ]
    way = estimate_poses(clouds, "drive 002")
    places = np.array([each.world_from_cloud.numpy() for each in told])
    truth = np.linalg.inv(places[0]) @ places
    assert np.linalg.norm(truth[-1, :3, 3]) > 2
    errors = np.linalg.inv(truth) @ way.poses.numpy()
    assert np.linalg.norm(errors[:, :3, 3], axis=1).max() < 0.1
