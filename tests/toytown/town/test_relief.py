"""The lie of the land: gentle, never below the land around, and gone at the street's ends."""

import numpy as np
import pytest

from clip2scene.toytown.town.extent import END, REACH, START
from clip2scene.toytown.town.relief import Relief, Slope, draw_relief


def relief(seed: int) -> Relief:
    return draw_relief(np.random.default_rng(seed), 7.0)


def everywhere(step: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    s, d = np.meshgrid(np.arange(START, END + 1, step), np.arange(-REACH, REACH + 1, step), indexing="ij")
    return s, d


@pytest.mark.parametrize("seed", range(12))
def test_no_place_lies_below_the_land_around_and_the_ends_lie_level_with_it(seed):
    s, d = everywhere()
    height = relief(seed).height(s.ravel(), d.ravel()).reshape(s.shape)
    assert height.min() > -1e-9
    for edge in (height[0], height[-1], height[:, 0], height[:, -1]):
        assert np.allclose(edge, 0, atol=1e-6)
    assert np.allclose(relief(seed).height(np.array([400.0]), np.array([0.0])), 0)


@pytest.mark.parametrize("seed", range(12))
def test_the_road_is_nowhere_steeper_than_roads_are(seed):
    s = np.arange(-30.0, 120.0, 0.5)
    rises = np.diff(relief(seed).height(s, np.full(len(s), -1.7))) / 0.5
    assert np.abs(rises).max() < 0.15
    bends = np.diff(rises) / 0.5
    assert np.abs(bends).max() < 0.05  # no steps: a cell of the ground hides 2 cm at most
    across = np.diff(relief(seed).height(np.full(12, 40.0), np.arange(-6.0, 6.0)))
    assert np.abs(across).max() < 0.18


def test_some_streets_are_level_and_some_are_steep_under_the_drive():
    s = np.arange(0.0, 80.0)
    steepest = [np.abs(np.diff(relief(seed).height(s, np.full(80, -1.7)))).max() for seed in range(40)]
    assert 3 <= np.sum(np.array(steepest) < 1e-3) <= 16
    assert max(steepest) > 0.05


def test_a_slope_rises_from_its_start_by_its_rise():
    bank = Slope(5.0, 10.0, -2.0)
    assert np.allclose(bank.height(np.array([0.0, 5.0, 10.0, 15.0, 30.0])), [0, 0, -1, -2, -2])


def test_the_same_generator_draws_the_same_relief():
    assert relief(3) == relief(3) != relief(4)
