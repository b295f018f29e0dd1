import math

import torch
from tests.geometry.test_cloud_statistics import cloud_of

from clip2scene.geometry.cloud_statistics import CloudSpread, describe_cloud
from clip2scene.geometry.remarks import beyond, half_within, long, margin, theirs, times_beyond, width


def spread(clouds=8):
    return CloudSpread(clouds, False, {"middle_range": (4.0, 6.0, 8.0), "ground_height": (-1.8, -1.8, -1.8)})


def test_what_lies_within_the_wider_spread_is_not_beyond_it():
    assert [beyond(spread(), "middle_range", value) for value in (3.0, 6.0, 10.0)] == [0.0, 0.0, 0.0]
    assert beyond(spread(), "middle_range", 12.0) == 2.0
    assert beyond(spread(), "middle_range", 1.0) == -1.0
    assert width(spread(), "middle_range") == 4.0


def test_what_the_others_have_not_is_beyond_nothing():
    assert math.isnan(beyond(spread(), "ground_roll_deg", 1.0))


def test_factors_are_of_the_nearer_end():
    assert [times_beyond(spread(), "middle_range", value) for value in (2.0, 6.0, 16.0)] == [2.0, 1.0, 2.0]


def test_few_others_have_wider_margins():
    assert margin(spread(8), 0.5) == 0.5 and margin(spread(7), 0.5) == 1.0


def test_sentences_have_both_numbers():
    found = describe_cloud(cloud_of(torch.eye(3).repeat(40, 1) * 16.4))
    assert half_within(spread(), found) == "half of the points lie within 16 m, theirs 4.00 to 8.00 m"
    assert theirs(spread(), "ground_height", "m", 1) == "theirs -1.8 m"
    assert [long(9.876), long(98.76)] == ["9.88", "99"]
