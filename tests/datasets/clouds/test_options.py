import numpy as np
import pytest

from clip2scene.datasets.clouds import CloudOptions, read_cloud, read_cloud_file

XYZ = np.array([[1.0, 2, 3], [4, 5, 6]])


def test_axes_and_units_bring_a_cloud_to_forward_left_up_in_metres(tmp_path):
    np.save(tmp_path / "a.npy", XYZ)
    optical = read_cloud_file(tmp_path / "a.npy", CloudOptions(axes="RDF", unit="cm"))
    np.testing.assert_allclose(
        optical.cloud.positions, [[0.03, -0.01, -0.02], [0.06, -0.04, -0.05]], atol=1e-7
    )
    np.testing.assert_array_equal(optical.positions, XYZ)
    feet = read_cloud(tmp_path / "a.npy", unit="ft")
    np.testing.assert_allclose(feet.positions, XYZ * 0.3048, atol=1e-6)


def test_what_is_asked_for_goes_before_what_is_usual(tmp_path):
    np.save(tmp_path / "a.npy", XYZ)
    usual = CloudOptions(axes="RFU", intensity_max=9.0)
    assert CloudOptions(axes="flu").over(usual) == CloudOptions(axes="flu", intensity_max=9.0)
    turned = read_cloud_file(tmp_path / "a.npy", usual=usual)
    np.testing.assert_array_equal(turned.cloud.positions, XYZ[:, [1, 0, 2]] * [1, -1, 1])
    same = read_cloud_file(tmp_path / "a.npy", CloudOptions(axes="flu"), usual)
    np.testing.assert_array_equal(same.cloud.positions, XYZ)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"axes": "FLD"}, "--axes is 'FLD', expected three letters"),
        ({"axes": "FFU"}, "--axes"),
        ({"axes": "FLUX"}, "--axes"),
        ({"unit": "yard"}, "--unit is 'yard', expected one of m, cm"),
        ({"intensity_max": 0.0}, "--intensity-max is 0.0"),
        ({"intensity_max": float("nan")}, "--intensity-max is nan"),
        ({"columns": ("x", "y", "intensity")}, "--columns is 'x,y,intensity'"),
        ({"columns": ("x", "y", "z", "Z")}, "--columns"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, fault):
    with pytest.raises(ValueError, match=fault):
        CloudOptions(**options)


def test_a_cloud_in_a_maps_frame_is_moved_in_double_precision(tmp_path):
    rng = np.random.default_rng(0)
    cloud = rng.normal(0, 20, (500, 3)) * [1, 1, 0.05]
    np.save(tmp_path / "near.npy", cloud)
    np.save(tmp_path / "far.npy", cloud + [50_000, -30_000, 0])
    np.save(tmp_path / "high.npy", cloud + [500_000, 5_000_000, 431.0])
    near, far, high = (read_cloud_file(tmp_path / f"{name}.npy") for name in ("near", "far", "high"))
    assert near.origin == (0, 0, 0) and not any("map" in note for note in near.notes)
    shift = np.array(far.origin)
    np.testing.assert_allclose(shift, [50_000, -30_000, 0], atol=4)
    np.testing.assert_allclose(far.cloud.positions, cloud + [50_000, -30_000, 0] - shift, atol=1e-5)
    ground = float(np.quantile(high.cloud.positions[:, 2], 0.02))
    assert abs(ground + 1.8) < 1e-3 and high.origin[2] > 400
    np.testing.assert_array_equal(high.positions, cloud + [500_000, 5_000_000, 431.0])


def test_points_that_no_sensor_sees_together_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[0.0, 0, 0], [2e5, 0, 0]]))
    with pytest.raises(ValueError, match="200 km apart.*beyond 100 km"):
        read_cloud(tmp_path / "a.npy")
    read_cloud(tmp_path / "a.npy", unit="mm")
