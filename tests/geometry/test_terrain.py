import numpy as np
import pytest
import torch

from clip2scene.geometry.terrain import Terrain


def ground_at(x, y):
    """A hill of 8 m on a slope, in metres."""
    return 0.03 * x + 4 * np.sin(x / 40) * np.cos(y / 50)


def terrain_of(positions):
    """The ground of a cloud in memory."""
    points = positions.double().numpy()
    return Terrain(lambda low, high: points[((points[:, :2] >= low) & (points[:, :2] < high)).all(1)])


@pytest.fixture(scope="module")
def land():
    """Ground of 300 x 160 m with houses and cars on it; how high each point stands over the ground."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform([-150, -80], [150, 80], (120_000, 2)).T
    above = np.zeros(len(x))
    for place in rng.uniform([-150, -80], [150, 80], (40, 2)):
        inside = np.abs(x - place[0]) + np.abs(y - place[1]) < 6
        above[inside] = rng.uniform(0, 6)
    noise = rng.normal(0, 0.02, len(x))
    points = np.stack([x, y, ground_at(x, y) + above + noise], 1)
    return torch.from_numpy(points), torch.from_numpy(above)


def test_the_ground_of_a_hilly_map_is_found_far_from_its_origin_too(land):
    points, above = land
    level, heights = map(torch.from_numpy, terrain_of(points)(points))
    assert torch.equal(level[:, 2], heights) and torch.equal(level[:, :2], points[:, :2].float())
    wrong = (heights - above).abs()[above == 0]
    near = (points[above == 0, :2].abs() < 40).all(1)
    for where in (near, ~near):
        assert wrong[where].median() < 0.1 and wrong[where].quantile(0.95) < 0.35


def test_a_part_of_a_map_has_the_ground_that_it_has_in_the_whole(land):
    points, _ = land
    x = points[:, 0]
    part, around = points[x > 100], points[x > 100 - 104]
    heights, whole = terrain_of(around)(part)[1], terrain_of(points)(part)[1]
    assert np.array_equal(heights, whole)
    assert not np.array_equal(terrain_of(part)(part)[1], whole)


def test_the_ground_has_no_seams(land):
    terrain = terrain_of(land[0])
    x = torch.arange(-149, 149, 0.01, dtype=torch.double)
    line = torch.stack([x, torch.full_like(x, 20.3), torch.zeros_like(x)], 1)
    assert np.abs(np.diff(terrain(line)[1])).max() < 0.01 * 0.4


def test_a_few_points_stand_on_the_lowest_of_them():
    points = torch.tensor([[500.0, 3.0, 7.0], [501.0, 3.0, 9.0], [-900.0, 0.0, 1.0]])
    _, heights = terrain_of(points)(points)
    assert heights.tolist() == pytest.approx([0.0, 2.0, 0.0], abs=0.05)
