import pytest
import torch
from tests.geometry.test_level import make_street, mount

from clip2scene.geometry.ground import Ground
from clip2scene.student.inputs import HEIGHT_UNIT, InputOptions, prepare_cloud, quantiles
from clip2scene.types import PointCloud


def cloud_of(positions):
    generator = torch.Generator().manual_seed(0)
    return PointCloud(positions, torch.rand(len(positions), 1, generator=generator))


def test_a_student_gets_the_cloud_as_it_is_unless_asked_otherwise():
    cloud = cloud_of(make_street().positions)
    given = prepare_cloud(cloud, InputOptions())
    assert torch.equal(given.positions, cloud.positions) and torch.equal(given.features, cloud.features)
    over_sensor = prepare_cloud(cloud, InputOptions("sensor"))
    assert torch.equal(over_sensor.features[:, 1], cloud.positions[:, 2] / HEIGHT_UNIT)


@pytest.mark.parametrize("level", [False, True])
def test_heights_above_the_ground_do_not_hang_on_the_mount(level):
    street = make_street()
    options = InputOptions("ground", level)
    one = prepare_cloud(cloud_of(street.positions), options)
    other = prepare_cloud(cloud_of(mount(street.positions, height=0.7, pitch=4.0, roll=-3.0)), options)
    assert (one.features[:, 1] - other.features[:, 1]).abs().max() * HEIGHT_UNIT < 0.1
    apart = (one.positions - other.positions).norm(dim=1).max()
    assert apart < 0.3 if level else apart > 1


def test_a_known_ground_is_taken_in_place_of_the_estimate():
    cloud = cloud_of(make_street().positions)
    known = prepare_cloud(cloud, InputOptions("sensor", level=True), ground=Ground(-1.3, 0.0, 0.0, 1.0))
    assert torch.allclose(known.positions[:, 2], cloud.positions[:, 2] + 1.3, atol=1e-5)


def test_quantiles_know_no_unit_and_no_response():
    values = torch.rand(500, 1, generator=torch.Generator().manual_seed(1))
    ranks = quantiles(values)
    assert ranks.min() == -1 and ranks.max() == 1 and abs(ranks.mean()) < 1e-6
    assert torch.equal(ranks, quantiles(255 * values)) and torch.equal(ranks, quantiles(values**2))
    assert torch.equal(ranks[:, 0].argsort(), values[:, 0].argsort())


def test_equal_intensities_share_a_rank_and_none_is_the_median():
    assert quantiles(torch.tensor([[1.0], [3.0], [3.0], [7.0]]))[:, 0].tolist() == [-1, 0, 0, 1]
    assert not quantiles(torch.full((9, 2), 0.4)).any()
    cloud = cloud_of(make_street().positions)
    assert not prepare_cloud(cloud, InputOptions(intensity="none")).features.any()
