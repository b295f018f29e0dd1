import math

import pytest
import torch
from tests.geometry.test_ground import street

from clip2scene.geometry.ground import estimate_ground
from clip2scene.geometry.mount import ground_of_mount


def seen_by(height, pitch_deg, roll_deg):
    """The points of a level street in the frame of a sensor above it."""
    p, r = math.radians(pitch_deg), math.radians(roll_deg)
    pitch = [[math.cos(p), 0, math.sin(p)], [0, 1, 0], [-math.sin(p), 0, math.cos(p)]]
    roll = [[1, 0, 0], [0, math.cos(r), -math.sin(r)], [0, math.sin(r), math.cos(r)]]
    level = street() + torch.tensor([0.0, 0.0, 1.8 - height])
    return level @ (torch.tensor(pitch) @ torch.tensor(roll)).float()  # its inverse, from the left


@pytest.mark.parametrize(
    "mount", [(1.8, 0.0, 0.0), (0.7, 5.0, 0.0), (2.5, -3.0, 0.0), (1.8, 0.0, 6.0), (1.2, 4.0, -8.0)]
)
def test_the_ground_lies_where_it_is_found(mount):
    known, found = ground_of_mount(*mount), estimate_ground(seen_by(*mount))
    for name in ("height", "slope_x", "slope_y"):
        assert getattr(known, name) == pytest.approx(getattr(found, name), abs=0.02)
    assert known.share == 1.0


def test_a_sensor_that_looks_down_has_the_ground_rising_ahead_and_one_that_leans_right_falling_to_the_left():
    assert ground_of_mount(1.0, 10.0, 0.0).pitch_deg == pytest.approx(10.0)
    assert ground_of_mount(1.0, 0.0, 10.0).roll_deg == pytest.approx(-10.0)


@pytest.mark.parametrize(
    ("mount", "fault"),
    [
        ((0.0, 0.0, 0.0), "--height .*expected 0.05 to 200 metres, got 0"),
        ((float("nan"), 0.0, 0.0), "--height"),
        ((1.8, 50.0, 0.0), "--pitch is in degrees, expected at most 45 either way, got 50"),
        ((1.8, 0.0, float("inf")), "--roll"),
    ],
)
def test_mounts_out_of_range_are_refused(mount, fault):
    with pytest.raises(ValueError, match=fault):
        ground_of_mount(*mount)
