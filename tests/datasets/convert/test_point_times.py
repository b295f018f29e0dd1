import numpy as np
import pytest

from clip2scene.datasets.convert.point_times import find_clock, find_time


def offsets_us(values, stamp_us):
    """Of a recording of one cloud."""
    clock = find_clock([(values.min(), values.max())] if len(values) else [], [stamp_us] * bool(len(values)))
    return None if clock is None else clock.offsets_us(values, stamp_us)


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


@pytest.mark.parametrize("since_stamp", [True, False])
@pytest.mark.parametrize(("count", "per_us"), [(0.1, 1e3), (0.03, 1e3), (0.2, 1.0)])
def test_clouds_of_few_points_are_read_in_the_unit_of_the_others(since_stamp, count, per_us):
    """0.1 ms of whole nanoseconds look like 0.1 s of microseconds."""
    lengths = [1000 * count, 1000 * count, 1000 * count, 99_990, 99_990]
    stamps = [STAMP_US + 100_000 * number for number in range(5)]
    values = [
        (np.linspace(0, length, 9) + (0 if since_stamp else stamp)) * per_us
        for length, stamp in zip(lengths, stamps, strict=True)
    ]
    clock = find_clock([(each.min(), each.max()) for each in values], stamps)
    for each, length, stamp in zip(values, lengths, stamps, strict=True):
        assert clock.offsets_us(each, stamp) == pytest.approx(np.linspace(0, length, 9), abs=0.3)


@pytest.mark.parametrize("since_stamp", [True, False])
@pytest.mark.parametrize("begin_us", [1, 700_000])
def test_a_clock_that_begins_at_zero_is_told_from_times_since_the_stamp(since_stamp, begin_us):
    stamps = [begin_us + 100_000 * number for number in range(4)]
    values = [(TRUTH_US + (0 if since_stamp else stamp)) / 1e6 for stamp in stamps]
    clock = find_clock([(each.min(), each.max()) for each in values], stamps)
    assert clock.since_stamp == since_stamp
    for each, stamp in zip(values, stamps, strict=True):
        assert np.abs(clock.offsets_us(each, stamp) - TRUTH_US).max() < 1


def test_a_cloud_with_a_fault_spoils_no_other():
    ranges = [(0.0, np.nan), (0.0, 0.1), (0.0, 0.1), (-5e9, 0.1)]
    clock = find_clock(ranges, [STAMP_US + number for number in range(4)])
    assert clock.offsets_us(np.array([0.0, 0.1]), STAMP_US) == pytest.approx([0, 1e5])
    assert clock.offsets_us(np.array([0.0, np.nan]), STAMP_US) is None
    assert clock.offsets_us(np.array([-5e9, 0.1]), STAMP_US) is None
    assert clock.offsets_us(np.array([]), STAMP_US) is None


def test_the_field_is_found_by_its_name():
    assert find_time(["x", "Timestamp", "ring"]) == "Timestamp"
    assert find_time(["x", "y", "z", "intensity", "ring"]) is None
