import numpy as np
import torch

from clip2scene.doctor.lidar_edges import find_lidar_edges

STEP = np.radians(0.5)


def sweep(meets, azimuths=60, rings=24):
    """A cloud of beams on a grid of half degrees around straight ahead; ``meets`` gives each beam's range."""
    azimuth, elevation = np.meshgrid(
        (np.arange(azimuths) - azimuths // 2) * STEP, (np.arange(rings) - rings // 2) * STEP, indexing="ij"
    )
    ranges = meets(azimuth, elevation).ravel()
    directions = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1
    ).reshape(-1, 3)
    kept = np.isfinite(ranges)
    cloud = directions[kept] * ranges[kept, None]
    return torch.from_numpy(np.random.default_rng(0).permutation(cloud)).float()


def board(azimuth, elevation, far=50.0):
    """A board 10 m ahead, 8 degrees wide and 6 high, before a wall."""
    on_board = (abs(azimuth) < np.radians(4)) & (abs(elevation) < np.radians(3))
    return np.where(on_board, 10.0, far)


def angles(silhouettes):
    x, y, z = silhouettes.positions.double().unbind(1)
    return torch.rad2deg(torch.atan2(y, x)), torch.rad2deg(torch.asin(z / silhouettes.positions.norm(dim=1)))


def test_a_board_ends_half_a_beam_beyond_its_last_points_at_its_own_range():
    found = find_lidar_edges(sweep(board))
    azimuth, elevation = angles(found)
    torch.testing.assert_close(
        found.positions.norm(dim=1), torch.full((len(found),), 10.0), atol=0.01, rtol=0
    )
    beside = (azimuth.abs() - 3.75).abs() < 0.1
    above = (elevation.abs() - 2.75).abs() < 0.1
    assert len(found) == 2 * 11 + 2 * 15
    assert int(beside.sum()) == 2 * 11 and int((above & ~beside).sum()) == 2 * 15


def test_a_board_before_the_open_sky_ends_too():
    found = find_lidar_edges(sweep(lambda azimuth, elevation: board(azimuth, elevation, far=np.nan)))
    azimuth, _ = angles(found)
    assert int(((azimuth.abs() - 3.75).abs() < 0.1).sum()) == 2 * 11


def test_flat_ground_and_a_slanted_wall_end_nowhere():
    ground = sweep(
        lambda azimuth, elevation: np.where(elevation < -0.02, 1.8 / np.maximum(-elevation, 0.02), np.nan)
    )
    assert not (angles(find_lidar_edges(ground))[0].abs() < 13).any()
    wall = sweep(lambda azimuth, elevation: 10 / np.cos(azimuth + 1.0) / np.cos(elevation))
    assert not (angles(find_lidar_edges(wall))[0].abs() < 13).any()


def test_a_cloud_of_few_or_no_points_has_no_silhouettes():
    assert len(find_lidar_edges(torch.zeros(0, 3))) == 0
    assert len(find_lidar_edges(torch.rand(5, 3) * 10)) == 0


def test_silhouettes_are_seen_from_where_the_lidar_stands():
    cloud, place = sweep(board), torch.tensor([1.0, 2.0, 0.5])
    moved = find_lidar_edges(cloud + place, place.tolist())
    torch.testing.assert_close(moved.positions, find_lidar_edges(cloud).positions + place, atol=1e-4, rtol=0)
