import numpy as np
import pytest

from clip2scene.datasets.clouds import CloudOptions, read_cloud, read_cloud_file
from clip2scene.datasets.clouds.intensity import Spread, find_intensity, intensity_max

RNG = np.random.default_rng(0)
SHARES = RNG.random(2000).astype(np.float32)


def spread(values):
    return Spread.of(np.asarray(values, np.float32))


@pytest.fixture
def save(tmp_path):
    def save(intensities, name="a.npy"):
        xyz = RNG.normal(0, 10, (len(intensities), 3))
        np.save(tmp_path / name, np.column_stack([xyz, intensities]))
        return tmp_path / name

    return save


@pytest.mark.parametrize("top", [1, 255, 1023, 4095, 65535])
def test_the_scale_is_the_least_that_intensities_keep_to(save, top):
    values = SHARES if top == 1 else np.round(SHARES * top)
    found = read_cloud_file(save(values))
    np.testing.assert_allclose(found.cloud.features[:, 0], SHARES, atol=0.51 / top)
    assert any(f"0 to {top}" in note for note in found.notes) == (top != 1)


def test_one_retro_reflector_does_not_change_the_scale_of_a_cloud(save):
    values = np.round(SHARES * 255)
    values[7] = 300
    found = read_cloud_file(save(values))
    np.testing.assert_allclose(found.cloud.features[:, 0], (values / 255).clip(max=1), atol=1e-6)
    assert any("1 of its 2000 intensities lie above 255" in note for note in found.notes)


def test_counts_are_never_taken_for_shares():
    assert spread([0] * 5000 + [2]).scale() == 255
    assert spread([0.5] * 5000 + [2]).scale() == 1
    assert spread([0, 1]).says_nothing and not spread([0, 0.5]).says_nothing


def test_intensities_beyond_all_scales_are_refused(save):
    with pytest.raises(ValueError, match=r"a\.npy holds intensities up to 9.*--intensity-max"):
        read_cloud(save(SHARES * 999_999))


def test_a_field_can_be_named_or_left_out(tmp_path):
    kinds = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("intensity", "f4"), ("Reflectivity", "u1"), ("g", "f4")]
    table = np.zeros(10, kinds)
    table["intensity"], table["Reflectivity"], table["g"] = 0.25, 51, 0.75
    np.save(tmp_path / "a.npy", table)
    found = read_cloud_file(tmp_path / "a.npy")
    assert found.cloud.features.unique().tolist() == [0.25]
    assert found.notes == (
        "its intensity is taken from intensity, not from Reflectivity (--intensity names another)",
    )
    for name, value in (("reflectivity", 0.2), ("g", 0.75), ("none", 0)):
        found = read_cloud_file(tmp_path / "a.npy", CloudOptions(intensity=name))
        np.testing.assert_allclose(found.cloud.features, value, atol=1e-6)
    with pytest.raises(ValueError, match="no field 'h' to take the intensity from, only x, y, z, intensity"):
        read_cloud(tmp_path / "a.npy", intensity="h")


def test_what_is_missing_or_all_zero_is_said(save, tmp_path):
    assert "all of its intensities (intensity) are 0" in read_cloud_file(save(np.zeros(9))).notes[0]
    np.save(tmp_path / "b.npy", np.ones((9, 3)))
    assert "it has no intensity, only x, y, z" in read_cloud_file(tmp_path / "b.npy").notes[0]


def test_a_known_scale_holds_but_for_a_few_points(save):
    path = save(np.round(SHARES * 255))
    usual = CloudOptions(intensity_max=1.0)
    with pytest.raises(ValueError, match=r"calibration\.json of the drive log.*--intensity-max"):
        read_cloud_file(path, usual=usual)
    found = read_cloud_file(path, CloudOptions(intensity_max=255.0), usual)
    np.testing.assert_allclose(found.cloud.features[:, 0], SHARES, atol=0.002)
    few = save(np.where(np.arange(2000) < 5, 3, SHARES))
    assert read_cloud_file(few, usual=usual).cloud.features.max() == 1


def test_a_recording_has_one_scale_that_is_right_for_each_of_its_clouds():
    dark, bright = np.round(SHARES * 200), np.round(SHARES * 255)
    bright[0] = 300
    assert intensity_max([spread(dark), spread(bright)]) == 255
    bright[:100] = 300
    assert intensity_max([spread(dark)] * 200 + [spread(bright)]) == 1023
    assert intensity_max([spread([0.0, 0.5])]) == 1
    assert intensity_max([spread([70000.0, 0.5])]) == 70000


def test_the_likeliest_field_comes_first():
    assert find_intensity(["i", "x", "Intensity", "remission"]) == ["Intensity", "i", "remission"]
    assert find_intensity(["INTENSITY", "intensity"]) == ["intensity", "INTENSITY"]
    assert find_intensity(["x", "y"]) == []
