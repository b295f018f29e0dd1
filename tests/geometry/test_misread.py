import pytest
import torch
from tests.geometry.test_cloud_statistics import cloud_of
from tests.geometry.test_ground import street
from tests.geometry.test_surroundings import DOWN, room

from clip2scene.geometry.cloud_statistics import CloudSpread, describe_cloud
from clip2scene.geometry.misread import find_misread
from clip2scene.geometry.remarks import NOTHING, Tolerance

STREETS = [cloud_of(street(0.002 * number, height=-1.8 + 0.01 * number)) for number in range(4)]
ROOMS = [cloud_of(room(2.5 + 0.05 * number)) for number in range(4)]
OF_STREETS, OF_ROOMS = (
    CloudSpread.of([describe_cloud(each, indoors=indoors) for each in clouds], indoors=indoors)
    for clouds, indoors in ((STREETS, False), (ROOMS, True))
)
LEVELLED = Tolerance(height_m=float("inf"), tilt_deg=float("inf"))


def misread(others, positions, tolerance=NOTHING):
    cloud = cloud_of(positions)
    return find_misread(others, describe_cloud(cloud, indoors=others.indoors), cloud, tolerance)


def test_streets_among_streets_and_rooms_among_rooms_are_right():
    for tolerance in (NOTHING, LEVELLED):
        assert misread(OF_STREETS, street(0.008, -0.006, -1.82), tolerance) is None
        assert misread(OF_ROOMS, room(2.6, at=(3.0, 2.0, 1.0)), tolerance) is None


@pytest.mark.parametrize("higher", [1.4, 0.0, -2.0])
def test_a_sensor_upside_down_is_named_at_any_height(higher):
    remark = misread(OF_STREETS, (street() + torch.tensor([0.0, 0.0, higher])) * DOWN)
    assert (remark.kind, remark.severe) == ("axes", True) and "--axes FRD" in remark.remedy
    assert "overhead" in remark.sentence


@pytest.mark.parametrize("at", [(0.0, 0.0, 0.0), (-2.5, -2.0, -1.2)])
def test_a_room_among_streets_is_refused(at):
    remark = misread(OF_STREETS, room(at=at))
    assert (remark.kind, remark.severe) == ("place", True)
    assert "a ceiling 2.6 m above the floor" in remark.sentence and "they are streets" in remark.sentence


def test_a_street_among_rooms_is_refused():
    remark = misread(OF_ROOMS, street())
    assert (remark.kind, remark.severe) == ("place", True) and "they are rooms" in remark.sentence


def test_a_small_place_without_a_ceiling_is_no_room():
    positions = room()
    found = misread(OF_STREETS, positions[positions[:, 2] < 1.0])
    assert found is None or found.kind != "place"


def test_a_cloud_from_the_air_is_refused_unless_its_height_means_nothing():
    above = street() - torch.tensor([0.0, 0.0, 30.0])
    remark = misread(OF_STREETS, above)
    assert (remark.kind, remark.severe) == ("ground", True) and "from the air" in remark.sentence
    assert "add 30.0" in remark.remedy
    assert not misread(OF_STREETS, above, LEVELLED).severe


def test_axes_are_named_for_a_sensor_mounted_elsewhere_where_that_means_nothing():
    turned = street(height=-2.9) @ torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]]).T
    remark = misread(OF_STREETS, turned, LEVELLED)
    assert remark.kind == "axes" and "--axes RDF" in remark.remedy


def test_a_lidar_of_longer_range_is_not_taken_for_feet_where_its_height_means_nothing():
    far = street() * torch.tensor([2.6, 2.6, 1.0]) + torch.tensor([0.0, 0.0, 1.4])
    for tolerance in (NOTHING, LEVELLED):
        assert misread(OF_STREETS, far, tolerance) is None
    assert misread(OF_STREETS, street() / 0.3048, LEVELLED).kind == "unit"
