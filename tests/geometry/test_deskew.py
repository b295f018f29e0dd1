import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from clip2scene.geometry.deskew import deskew
from clip2scene.geometry.trajectory import Trajectory


def way(time_us):
    """A vehicle at 15 m/s in a curve of 0.6 rad/s that also climbs: the exact pose at a moment."""
    time = time_us / 1e6
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("zy", [0.6 * time, 0.05 * time]).as_matrix()
    pose[:3, 3] = 25 * np.sin(0.6 * time), 25 - 25 * np.cos(0.6 * time), 0.3 * time
    return torch.from_numpy(pose)


def recorded(world, times_us):
    """Each point in the sensor's frame when it was measured; the slow truth, point by point."""
    return np.array(
        [
            np.linalg.inv(way(int(time)).numpy())[:3] @ [*point, 1]
            for point, time in zip(world, times_us, strict=True)
        ]
    )


@pytest.mark.parametrize("begin_us", [0, -100_000, -40_000])
def test_a_sweep_in_a_curve_comes_to_stand_at_its_stamp(begin_us):
    rng = np.random.default_rng(0)
    stamp, world = 5_000_000, rng.uniform(-60, 60, (500, 3))
    offsets = rng.integers(begin_us, begin_us + 100_001, 500).astype(np.float64)
    skewed = recorded(world, stamp + offsets).astype(np.float32)
    truth = recorded(world, np.full(500, stamp))
    assert np.abs(skewed - truth).max() > 1
    straight = deskew(skewed, offsets, stamp, way)
    assert np.abs(straight - truth).max() < 1e-4
    times = tuple(range(4_800_000, 5_200_001, 20_000))
    poses = Trajectory(times, torch.stack([way(time) for time in times]), "poses")
    assert np.abs(deskew(skewed, offsets, stamp, poses.world_from_ego) - truth).max() < 5e-3
    with pytest.raises(ValueError, match="poses tells no pose for the moment"):
        deskew(skewed, offsets, stamp + 400_000, poses.world_from_ego)


def test_a_sensor_that_stands_still_changes_nothing():
    points = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    place = way(3_000_000)
    offsets = np.linspace(0, 1e5, 100)
    assert np.array_equal(deskew(points, offsets, 0, lambda _: place), points)
    assert np.array_equal(deskew(points, np.zeros(100), 5, way), points), "nor do points of one moment"
    assert not len(deskew(points[:0], offsets[:0], 0, way))


def test_the_other_direction_would_be_twice_as_wrong():
    point, stamp = np.array([[10.0, 0, 0]]), 1_000_000
    skewed = recorded(point, [stamp + 100_000]).astype(np.float32)
    truth = recorded(point, [stamp])
    error = np.linalg.norm(skewed - truth)
    wrong = deskew(skewed, np.array([-1e5]), stamp, way)
    assert np.linalg.norm(wrong - truth) > 1.8 * error
