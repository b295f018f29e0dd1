import numpy as np
import pytest

from clip2scene.datasets.convert.point_times import find_time, offsets_us

STAMP_US = 1_700_000_000_123_456
TRUTH_US = np.linspace(0, 99_990, 500)

WAYS = {
    "Ouster": (TRUTH_US * 1e3).astype(np.uint32),
    "Velodyne": (TRUTH_US / 1e6).astype(np.float32),
    "Hesai": (STAMP_US + TRUTH_US) / 1e6,
    "Livox": (STAMP_US + TRUTH_US) * 1e3,
    "milliseconds": TRUTH_US / 1e3,
    "microseconds": TRUTH_US.astype(np.uint32),
    "microseconds of the clock": STAMP_US + TRUTH_US,
}


@pytest.mark.parametrize("driver", WAYS)
def test_every_driver_way_of_counting_is_understood(driver):
    found = offsets_us(WAYS[driver].astype(np.float64), STAMP_US)
    assert np.abs(found - TRUTH_US).max() < 1.5


def test_times_may_go_back_from_the_stamp():
    found = offsets_us(((TRUTH_US - TRUTH_US[-1]) / 1e6).astype(np.float32).astype(np.float64), STAMP_US)
    assert found[0] == pytest.approx(-99_990, abs=1) and found[-1] == 0


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(5),
        np.full(5, 1e9),
        np.array([]),
        np.array([0.0, np.nan, 0.1]),
        np.linspace(0, 3, 5),  # neither seconds nor milliseconds of a sweep
        np.linspace(0, 0.1, 5) + 40,  # another clock
        ((STAMP_US + TRUTH_US) / 1e6).astype(np.float32).astype(np.float64),  # too coarse
    ],
    ids=["zeros", "one moment", "none", "nan", "no unit", "another clock", "coarse"],
)
def test_what_are_no_moments_of_a_sweep_is_none(values):
    assert offsets_us(values, STAMP_US) is None


def test_the_field_is_found_by_its_name():
    assert find_time(["x", "Timestamp", "ring"]) == "Timestamp"
    assert find_time(["x", "y", "z", "intensity", "ring"]) is None
