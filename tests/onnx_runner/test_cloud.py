from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.geometry.test_level import make_street
from tests.onnx_students import ABOUT

from clip2scene.geometry.superpoints import average_within as average_tensors
from clip2scene.inference.predict import turn_about_z as turn_tensor
from clip2scene.onnx_runner.about import About
from clip2scene.onnx_runner.cloud import average_within, prepare, quantiles, read_points, turn_about_z
from clip2scene.student.inputs import HEIGHT_UNIT, InputOptions, prepare_cloud
from clip2scene.student.inputs import quantiles as quantiles_of_tensors
from clip2scene.types import PointCloud


@pytest.mark.parametrize("level", [False, True])
@pytest.mark.parametrize("height", ["none", "sensor", "ground"])
@pytest.mark.parametrize("intensity", ["value", "quantile", "none"])
def test_the_network_is_given_what_it_is_given_in_torch(level, height, intensity):
    positions = make_street().positions[::7].contiguous()
    features = torch.rand(len(positions), 1, generator=torch.Generator().manual_seed(0))
    expected = prepare_cloud(PointCloud(positions, features), InputOptions(height, level, intensity))
    settings = {"level": level, "height": height, "intensity": intensity, "height_unit": HEIGHT_UNIT}
    found = prepare(positions.numpy(), features.numpy(), About(**{**ABOUT, **settings}), None)
    assert np.array_equal(found[0], expected.positions) and np.array_equal(found[1], expected.features)


def test_equal_values_share_their_rank():
    values = torch.randint(0, 20, (300, 2), generator=torch.Generator().manual_seed(0)).float()
    assert np.array_equal(quantiles(values.numpy()), quantiles_of_tensors(values))
    assert (
        not quantiles(np.ones((4, 1), np.float32)).any() and not quantiles(np.ones((1, 1), np.float32)).any()
    )


def test_a_cloud_is_turned_to_the_left():
    points = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    assert np.allclose(turn_about_z(points.numpy(), 30.0), turn_tensor(points, 30.0), atol=1e-6)


def test_means_within_superpoints_are_those_of_torch():
    pieces = torch.tensor([2, -1, 0, 2, 1, -1, 2])
    values = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    expected = average_tensors(pieces, values)
    assert np.allclose(average_within(pieces.numpy(), values.numpy()), expected, atol=1e-6)
    deep = average_within(pieces.numpy(), values.numpy()[:, :, None])
    assert np.allclose(deep[:, :, 0], expected, atol=1e-6)
    ground = np.full(7, -1)
    assert np.array_equal(average_within(ground, values.numpy()), values)


@pytest.mark.parametrize(
    ("cloud", "said"),
    [
        (np.zeros((0, 4)), "no points"),
        (np.array([[0, 0, 0, np.nan]]), "NaN or infinite"),
        (np.array([[0, np.inf, 0, 0.5]]), "NaN or infinite"),
        (np.zeros((5, 3)), "trained on 1 channels of features, got 0"),
        (np.zeros((5, 6)), "trained on 1 channels of features, got 3"),
        (np.zeros(5), r"expected a cloud of points x 4 numbers"),
        ("street.bin", r"expected a cloud of points x 4 numbers"),
        (PointCloud(torch.zeros(0, 3), torch.zeros(0, 1)), "no points"),
        (SimpleNamespace(positions=np.zeros((4, 3)), features=np.zeros(4)), r"got \(4, 3\) and \(4,\)"),
        (np.full((2, 4), 1e300), "NaN or infinite"),
    ],
)
def test_what_is_no_cloud_is_refused(cloud, said):
    with pytest.raises(ValueError, match=said):
        read_points(cloud, 1)
