import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from clip2scene.geometry.projection import check_rigid
from clip2scene.geometry.trajectory import Trajectory


def pose(rotation, translation):
    motion = np.eye(4)
    motion[:3, :3] = rotation.as_matrix()
    motion[:3, 3] = translation
    return motion


def trajectory(times, poses):
    return Trajectory(tuple(times), torch.from_numpy(np.stack(poses)), "poses.csv")


def turning(time_us):
    """Turn at a constant rate about a slanted axis, driving straight."""
    axis = np.array([0.2, -0.1, 1.0])
    return pose(Rotation.from_rotvec(axis * time_us / 4e5), np.array([3.0, -1, 0.2]) * time_us / 1e5)


def test_between_two_poses_the_motion_is_that_of_slerp():
    rng = np.random.default_rng(0)
    turns = Rotation.random(2, random_state=0)
    places = rng.normal(0, 5, (2, 3))
    known = trajectory([100_000, 400_000], [pose(turns[n], places[n]) for n in range(2)])
    for time_us in (100_000, 100_001, 250_000, 400_000):
        fraction = (time_us - 100_000) / 300_000
        slow = pose(Slerp([0, 1], turns)(fraction), places[0] + fraction * (places[1] - places[0]))
        found = known.world_from_ego(time_us)
        check_rigid(found, "a pose in between")
        assert np.abs(found.numpy() - slow).max() < 1e-12


@pytest.mark.parametrize("time_us", [-100_000, -1, 0, 7, 150_000, 299_999, 300_000, 399_999])
def test_a_steady_motion_is_continued_a_tenth_of_a_second_beyond_the_poses(time_us):
    times = (0, 100_000, 300_000)
    known = trajectory(times, [turning(each) for each in times])
    assert np.abs(known.world_from_ego(time_us).numpy() - turning(time_us)).max() < 1e-12


def test_poses_close_together_do_not_make_a_motion_that_is_continued():
    times, places = (-10, 0, 100_000, 100_010), (0.001, 0.0, 1.0, 1.001)
    known = trajectory(times, [pose(Rotation.identity(), [place, 0, 0]) for place in places])
    assert abs(known.world_from_ego(150_010)[0, 3] - 1.501) < 0.002
    assert abs(known.world_from_ego(-50_010)[0, 3] + 0.499) < 0.002
    assert abs(known.world_from_ego(100_005)[0, 3] - 1.0005) < 1e-9, "between poses, they are believed"
    short = trajectory(times[2:], [np.eye(4), np.eye(4)])
    with pytest.raises(ValueError, match="tells no pose for the moment 150010 us"):
        short.world_from_ego(150_010)


@pytest.mark.parametrize("time_us", [-100_001, 400_001])
def test_nothing_is_known_further_away(time_us):
    known = trajectory((0, 300_000), [turning(0), turning(300_000)])
    with pytest.raises(ValueError, match=f"poses.csv tells no pose for the moment {time_us} us"):
        known.world_from_ego(time_us)


def test_nothing_is_interpolated_from_one_drive_to_the_next():
    times = (0, 100_000, 1_100_001, 1_200_001)
    known = trajectory(times, [turning(0), turning(100_000), np.eye(4), turning(100_000)])
    assert np.abs(known.world_from_ego(150_000).numpy() - turning(150_000)).max() < 1e-12
    assert np.abs(known.world_from_ego(1_050_001).numpy() - turning(-50_000)).max() < 1e-12
    with pytest.raises(ValueError, match="tells no pose"):
        known.world_from_ego(500_000)


def test_a_single_pose_is_known_at_its_moment_alone():
    known = trajectory((5,), [turning(5)])
    assert np.array_equal(known.world_from_ego(5).numpy(), turning(5))
    with pytest.raises(ValueError, match="tells no pose"):
        known.world_from_ego(6)
    with pytest.raises(ValueError, match="tells no pose"):
        Trajectory((), torch.zeros(0, 4, 4, dtype=torch.float64), "poses.csv").world_from_ego(0)
