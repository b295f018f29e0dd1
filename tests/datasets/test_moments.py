import numpy as np
import pytest

from clip2scene.datasets.moments import clock_fault, rate_fault, spans_fault, way_fault

NOW_US = 1_700_000_000_000_000


@pytest.mark.parametrize("step_us", [10_000, 50_000, 100_000, 500_000, 2_000_000])
def test_real_rates_pass_and_those_of_another_unit_are_told_by_its_name(step_us):
    assert rate_fault([step_us] * 5, 20e6) is None
    for unit, factor in (("milliseconds", 1e-3), ("seconds", 1e-6), ("nanoseconds", 1e3)):
        if step_us * factor > 20e6 or step_us * factor < 5_000:
            assert f"in {unit}, not microseconds?" in rate_fault([step_us * factor] * 5, 20e6)


def test_a_rate_is_that_of_most_steps():
    assert rate_fault([]) is None and rate_fault([0, 0]) is None
    assert rate_fault([100, 100_000, 100_000]) is None
    assert rate_fault([100, 100, 100_000]) is not None
    assert rate_fault([3.6e9]) is None, "as slow as one likes, if nothing is said"


def drive(count=20, step_us=50_000, metres=1.0):
    places = np.zeros((count, 3))
    places[:, 0] = metres * np.arange(count)
    return [NOW_US + step_us * number for number in range(count)], places


def test_ways_at_a_vehicles_speed_pass_with_corrections_of_a_few_metres():
    times, places = drive(metres=3.5)  # 70 m/s
    assert way_fault(times, places) is None
    places[7:, 1] += 9.0
    assert way_fault(times, places) is None
    assert way_fault(times[:1], places[:1]) is None and way_fault([], places[:0]) is None


def test_the_first_place_that_cannot_be_reached_is_numbered_and_the_cause_told():
    times, places = drive()
    places[7:, 1] += 2000.0
    number, text = way_fault(times, places)
    assert number == 7 and "2000 m from the place 50 ms before, 40000 m/s; does another drive begin" in text
    assert way_fault(times, places, [0] * 7 + [1] * 13) is None, "another drive does"
    times, places = drive(metres=1000.0)
    assert "are places in metres?" in way_fault(times, places)[1]


@pytest.mark.parametrize(
    ("cloud_us", "other_us", "words"),
    [
        (
            NOW_US,
            NOW_US + 3_600_005_000,
            "3600 s later than their clouds (median); .* A time zone or summer time",
        ),
        (NOW_US, NOW_US - 7_200_000_000, "7200 s earlier .* A time zone"),
        (NOW_US, NOW_US + 18_000_000, "18 s later .* GPS time is 18 s ahead"),
        (NOW_US, NOW_US // 1000, "Is one of them in milliseconds"),
        (NOW_US, NOW_US // 1_000_000, "Is one of them in seconds"),
        (NOW_US, 4_000_000_000, "One counts from 1970, the other since its device was started"),
        (5_000_000, NOW_US, "later than .* One counts from 1970"),
        (NOW_US, NOW_US + 123_456_789, "123.5 s later .* Were they ever set"),
    ],
)
def test_clocks_apart_are_told_with_the_likely_cause(cloud_us, other_us, words):
    clouds, others = ([at + 100_000 * number for number in range(5)] for at in (cloud_us, other_us))
    for find in (clock_fault, spans_fault):
        text = find(clouds, others)
        assert text is not None and np.all([word in text for word in words.split(" .* ")]), text


def test_clocks_that_agree_pass():
    clouds = [NOW_US + 100_000 * number for number in range(5)]
    assert clock_fault(clouds, [at + 40_000 for at in clouds]) is None
    assert spans_fault(clouds, [at + 40_000 for at in clouds]) is None
    assert clock_fault([], []) is None and spans_fault(clouds, []) is None
    assert spans_fault(clouds, [at + 2_000_000 for at in clouds]) is not None
    assert spans_fault(clouds, [NOW_US - 9_000_000, NOW_US + 50_000]) is None, "they share a time"
