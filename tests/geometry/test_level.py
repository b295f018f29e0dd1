import math
from typing import NamedTuple

import numpy as np
import pytest
import torch

from clip2scene.geometry.level import _bends, find_levelling


def level_out(positions):
    """The points level, and their heights above the ground, as tensors."""
    return tuple(torch.from_numpy(each) for each in find_levelling(positions)(positions))


class Street(NamedTuple):
    """A cloud, and how high each point stands above the ground beneath it; both in metres."""

    positions: torch.Tensor
    heights: torch.Tensor


def make_street(hill=0.0, kerb=0.0, length=80.0):
    """Ground 1.8 m below a sensor, boxes that hide it, and walls on both sides; a hill of ``hill`` metres."""
    generator = torch.Generator().manual_seed(0)
    spots = (torch.rand(30_000, 2, generator=generator) - 0.5) * 80.0
    heights = torch.where(spots[:, 1].abs() > 6, kerb, 0.0)
    walls = spots[:, 1].abs() > 14
    heights[walls] = 8 * torch.rand(int(walls.sum()), generator=generator)
    cars = (spots[:, 1].abs() - 4).abs() < 0.9
    heights[cars & (spots[:, 0] % 7 < 4.5)] = 1.5
    ground = hill * (2 * math.pi * spots[:, 0] / length).sin() - 1.8
    return Street(torch.cat([spots, (ground + heights)[:, None]], 1), heights)


def mount(positions, height=0.0, pitch=0.0, roll=0.0):
    """Move a cloud as a sensor does that is mounted higher, nose down by ``pitch`` degrees, and rolled."""
    a, b = math.radians(pitch), math.radians(roll)
    pitched = torch.tensor([[math.cos(a), 0, -math.sin(a)], [0, 1, 0], [math.sin(a), 0, math.cos(a)]])
    rolled = torch.tensor([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    return (positions - torch.tensor([0, 0, height])) @ (pitched @ rolled).T


@pytest.mark.parametrize("motion", [{}, {"height": -1.4}, {"height": 1.0, "pitch": 5.0, "roll": -5.0}])
def test_a_cloud_is_turned_level_with_the_ground_at_zero(motion):
    street = make_street()
    level, heights = level_out(mount(street.positions, **motion))
    between = street.positions[:, 1].abs() < 14  # walls hide what is behind them
    assert (level[:, 2] - street.heights).abs()[between].max() < 0.1
    assert (heights - street.heights).abs()[between].max() < 0.12
    assert torch.allclose(torch.pdist(level[::300]), torch.pdist(street.positions[::300]), atol=1e-3)


def test_heights_follow_a_hill_where_a_plane_does_not():
    street = make_street(hill=1.0)
    level, heights = level_out(street.positions)
    near = (street.positions[:, 1].abs() < 14) & (street.positions[:, 0].abs() < 35)
    off = (heights - street.heights)[near].abs()
    assert off.mean() < 0.06 and (level[:, 2] - street.heights)[near].abs().mean() > 5 * off.mean()


def test_a_kerb_is_not_followed():
    street = make_street(kerb=0.15)
    _, heights = level_out(street.positions)
    across = street.positions[:, 1].abs()
    road, sidewalk = heights[across < 2], heights[(across > 6.5) & (across < 9)]
    assert 0.06 < sidewalk.median() - road.median() < 0.16


def test_without_ground_the_lowest_points_take_its_place():
    wall = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 20, 6])
    wall += torch.tensor([8.0, -10.0, 2.0])
    levelling = find_levelling(wall)
    level, heights = level_out(wall)
    assert levelling.ground.share == 0
    assert torch.allclose(level, wall - torch.tensor([0, 0, levelling.ground.height]), atol=1e-5)
    assert abs(heights.quantile(0.01)) < 0.1


def test_one_point_is_level_too():
    level, heights = level_out(torch.tensor([[3.0, 2.0, 1.0]]))
    assert level.tolist() == [[3.0, 2.0, 0.0]] and heights.tolist() == [0.0]


def test_points_that_are_nowhere_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        find_levelling(torch.tensor([[0.0, float("nan"), 1.0]]))


def test_the_bands_are_the_form_of_a_bent_plate():
    draw, knots = np.random.default_rng(0), 7
    field, bands = draw.normal(size=(knots, knots)), _bends(knots)
    flat, form = field.ravel(), 0.0
    for offset, band in enumerate(bands):
        terms = band[: len(flat) - offset] * flat[: len(flat) - offset] * flat[offset:]
        form += terms.sum() * (1 if offset == 0 else 2)
    along, across = np.diff(field, n=2, axis=0), np.diff(field, n=2, axis=1)
    twist = np.diff(np.diff(field, axis=0), axis=1)
    expected = (along**2).sum() + (across**2).sum() + 2 * (twist**2).sum() + 1e-3 * (field**2).sum()
    assert form == pytest.approx(expected)
