import math

import numpy as np
import pytest

from clip2scene.experiments.plan.estimate import Measurement, Range, Work, divisors, total


def test_the_whole_is_count_times_the_mean_within_students_range():
    found = Measurement((2.0, 4.0, 6.0)).of(1000)
    width = 4.302653 * 2.0 / math.sqrt(3)  # Student's t at 97.5 % with two degrees of freedom; spread 2
    assert found.value == pytest.approx(4000)
    assert found.high == pytest.approx(1000 * (4 + width), rel=1e-6)
    assert found.low == 0.0  # 4 - 4.97 is below nothing


def test_the_range_holds_the_true_whole_about_as_often_as_it_says():
    draw = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        found = Measurement(tuple(draw.normal(0.5, 0.1, 6))).of(10_000)
        inside += found.low <= 5000 <= found.high
    assert 0.93 <= inside / 2000 <= 0.97


def test_a_single_measurement_is_doubted_by_a_factor_of_two():
    assert Measurement((3.0,)).spread is None
    assert Measurement((3.0,)).of(10) == Range(30.0, 15.0, 60.0)


def test_more_samples_make_the_range_narrower():
    few, many = Measurement((1.0, 2.0) * 2).of(1), Measurement((1.0, 2.0) * 20).of(1)
    assert few.value == many.value and many.high - many.low < 0.3 * (few.high - few.low)


def test_sums_of_ranges_are_those_of_their_ends():
    assert total([Range(2.0, 1.0, 4.0), Range(3.0, 3.0, 3.0)]) == Range(5.0, 4.0, 7.0)
    assert total([]) == Range(0.0, 0.0, 0.0)
    assert Range(8.0, 4.0, 10.0).times(0.25, 0.5) == Range(2.0, 1.0, 5.0)


def test_ranks_shorten_what_they_share_and_nothing_else():
    work = Work(Range(10.0, 8.0, 12.0), Range(100.0, 90.0, 110.0), divisors(8))
    assert work.by(1) == Range(110.0, 98.0, 122.0)
    assert work.by(4) == Range(35.0, 30.5, 39.5)
    speedup = work.by(1).value / work.by(8).value
    assert speedup == pytest.approx(1 / (10 / 110 + 100 / 110 / 8))  # Amdahl (1967)


def test_the_fewest_ranks_that_are_fast_enough_are_named_or_none():
    work = Work(Range(10.0, 10.0, 10.0), Range(100.0, 100.0, 100.0), divisors(12))
    assert work.ranks_within(110.0) == 1
    assert work.ranks_within(109.0) == 2
    assert work.ranks_within(30.0) == 6  # 5 would do, and cannot share a batch of 12
    assert work.ranks_within(10.0) is None
