import math

import pytest
import torch
from tests.geometry.test_ground import street

from clip2scene.geometry.ground import Ground, estimate_ground
from clip2scene.geometry.surroundings import ceiling_height, share_behind, share_below

DOWN = torch.tensor([1.0, -1.0, -1.0])


def room(height=2.6, at=(0.0, 0.0, 0.0)):
    """Floor, ceiling and four walls of 5 by 4 metres, and a table."""
    size = torch.tensor([5.0, 4.0, height])
    drawn = torch.rand(12_000, 3, generator=torch.Generator().manual_seed(0)) * size
    for number in range(6):
        axis, far = number % 3, number // 3
        drawn[number * 1800 : (number + 1) * 1800, axis] = far * size[axis]
    drawn[10_800:, 2] = 0.7
    return drawn + torch.tensor(at)


def test_upright_streets_have_nothing_below_their_ground_and_others_nearly_all():
    for higher in (0.0, 1.4, -2.0):
        cloud = street(0.01, 0.02) + torch.tensor([0.0, 0.0, higher])
        for positions, share in ((cloud, 0.0), (cloud * DOWN, 1.0)):
            assert share_below(positions, estimate_ground(positions)) == pytest.approx(share, abs=0.02)


def test_a_cloud_that_is_all_ground_has_nothing_below():
    flat = torch.rand(100, 3) * torch.tensor([20.0, 20.0, 0.0])
    assert share_below(flat, Ground(0.0, 0.0, 0.0, 1.0)) == 0.0


@pytest.mark.parametrize("at", [(0.0, 0.0, 0.0), (-2.5, -2.0, -1.2), (400.0, -30.0, 7.0)])
def test_the_ceiling_of_a_room_is_measured_in_any_frame(at):
    assert ceiling_height(room(at=at)) == pytest.approx(2.6, abs=0.1)


def test_a_street_has_no_ceiling():
    height = ceiling_height(street())
    assert math.isnan(height) or abs(height) < 0.5


def test_points_that_one_sensor_cannot_see_lie_behind_others():
    single = street()
    outward = single / single.norm(dim=1, keepdim=True)
    shell = outward * 20
    assert share_behind(shell) == 0.0
    assert share_behind(torch.cat([shell, shell * 3])) == pytest.approx(0.5, abs=0.02)
    assert share_behind(torch.zeros(3, 3)) == 0.0
