import dataclasses
import json

import pytest
import torch
from tests.geometry.test_ground import street

from clip2scene.geometry.cloud_statistics import NAMES, CloudSpread, describe_cloud
from clip2scene.types import PointCloud


def cloud_of(positions, intensity=None):
    values = torch.linspace(0, 1, len(positions)) if intensity is None else intensity
    return PointCloud(positions, values[:, None])


def test_a_cloud_is_described_in_metres_degrees_and_shares():
    street_, dark = street(0.05), torch.zeros(len(street()))
    dark[::4] = 0.5
    found = describe_cloud(cloud_of(street_, dark))
    assert found.num_points == len(street_)
    assert found.ground_height == pytest.approx(-1.8, abs=0.02)
    assert found.ground_pitch_deg == pytest.approx(2.86, abs=0.1)
    assert found.middle_range == pytest.approx(float(street_.norm(dim=1).median()), rel=0.02)
    assert found.near_range < found.middle_range < found.far_range
    assert (found.dim_intensity, found.bright_intensity) == (0.5, 0.5)
    assert found.zero_intensity == pytest.approx(0.75, abs=0.01)
    assert found.has_ground and found.has_intensity


def test_a_cloud_without_ground_or_intensity_says_so():
    found = describe_cloud(cloud_of(street() + torch.tensor([300.0, 400, 0]), torch.zeros(len(street()))))
    assert found.centre_distance == pytest.approx(500, abs=5)
    assert not found.has_ground and not found.has_intensity
    assert torch.isnan(torch.tensor([found.ground_height, found.dim_intensity])).all()


def test_a_room_is_measured_from_its_middle():
    room = cloud_of(street())
    away = cloud_of(street() + torch.tensor([30.0, -20, 1.8]))
    here, there = describe_cloud(room, indoors=True), describe_cloud(away, indoors=True)
    assert there.middle_range == pytest.approx(here.middle_range, abs=1e-3)
    assert there.ground_height == pytest.approx(here.ground_height + 1.8, abs=0.01)


@pytest.mark.parametrize("bad", [torch.zeros(0, 3), torch.tensor([[0.0, float("nan"), 0]])])
def test_no_points_or_broken_ones_are_refused(bad):
    with pytest.raises(ValueError, match="no points, or holds NaN"):
        describe_cloud(cloud_of(bad))


def test_a_spread_goes_to_a_file_and_back():
    found = describe_cloud(cloud_of(street()))
    spread = CloudSpread.of([found, dataclasses.replace(found, ground_height=-2.0)], indoors=False)
    assert set(spread.quantiles) == set(NAMES)
    assert spread.low("ground_height") < -1.98 < spread.high("ground_height")
    assert CloudSpread.from_json(json.loads(json.dumps(spread.to_json()))) == spread


def test_a_statistic_that_no_cloud_has_is_left_out_of_a_spread():
    found = describe_cloud(cloud_of(street(), torch.zeros(len(street()))))
    spread = CloudSpread.of([found], indoors=False)
    assert "dim_intensity" not in spread.quantiles
    assert spread.middle("dim_intensity") != spread.middle("dim_intensity")  # NaN
    assert "NaN" not in json.dumps(spread.to_json())


@pytest.mark.parametrize(
    "content",
    [None, [], {}, {"clouds": 3, "indoors": False, "quantiles": {}}, {"quantiles": {"num_points": [1, 2]}}],
)
def test_what_is_no_spread_is_refused(content):
    with pytest.raises(ValueError, match="no statistics of clouds"):
        CloudSpread.from_json(content)
