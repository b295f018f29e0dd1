import itertools
import math

import numpy as np
import pytest
from scipy import stats

from clip2scene.experiments.results import RunResult, holm, paired_difference, reach_of_interval, spread


def test_the_spread_is_the_sample_standard_deviation_over_what_is_known():
    assert spread([2.0, 4.0, math.nan, 9.0]) == (5.0, pytest.approx(math.sqrt((9 + 1 + 16) / 2)))
    mean, deviation = spread([3.0])
    assert mean == 3.0 and math.isnan(deviation)
    assert all(map(math.isnan, spread([])))


def test_the_paired_difference_is_scipys_t_test_over_the_seeds_that_both_have():
    values = {0: 61.2, 1: 60.1, 2: 62.9, 3: 59.9, 7: 99.0}
    baseline = {3: 58.8, 1: 60.3, 0: 59.7, 2: 60.1, 5: 1.0}
    found = paired_difference(values, baseline)
    ours, theirs = ([each[seed] for seed in range(4)] for each in (values, baseline))
    truth = stats.ttest_rel(ours, theirs)
    interval = truth.confidence_interval(0.95)
    assert found.num_seeds == 4
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert (found.low, found.high, found.p) == pytest.approx((interval.low, interval.high, truth.pvalue))


def test_pairing_finds_a_small_steady_gain_that_unpaired_runs_would_hide():
    baseline = {0: 40.0, 1: 50.0, 2: 60.0}
    found = paired_difference({0: 40.9, 1: 51.0, 2: 61.1}, baseline)
    assert found.p < 0.01 and found.low > 0
    assert stats.ttest_ind([40.9, 51.0, 61.1], [40.0, 50.0, 60.0]).pvalue > 0.9


@pytest.mark.parametrize("values", [{}, {0: 1.0}, {4: 1.0, 5: 2.0}, {0: 1.0, 1: math.nan}])
def test_fewer_than_two_common_seeds_give_no_comparison(values):
    found = paired_difference(values, {0: 1.0, 1: 3.0, 2: 2.0})
    assert found.num_seeds == sum(seed < 3 and not math.isnan(value) for seed, value in values.items())
    assert all(math.isnan(each) for each in (found.mean, found.low, found.high, found.p))


def test_equal_runs_differ_by_nothing_and_surely_so():
    same = paired_difference({0: 5.0, 1: 6.0}, {0: 5.0, 1: 6.0})
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    steady = paired_difference({0: 5.5, 1: 6.5}, {0: 5.0, 1: 6.0})
    assert (steady.mean, steady.low, steady.high, steady.p) == (0.5, 0.5, 0.5, 0.0)
    rounded = paired_difference({0: 60.1, 1: 61.3}, {0: 50.1, 1: 51.3})  # equal but for the last bits
    assert (rounded.low, rounded.high, rounded.p) == (rounded.mean, rounded.mean, 0.0)


def closed_testing(p_values):
    """The slow truth: what is corrected is the worst of all groups of comparisons that a p-value is in."""
    numbers = range(len(p_values))
    groups = [g for size in range(1, len(p_values) + 1) for g in itertools.combinations(numbers, size)]
    bonferroni = {group: min(1.0, len(group) * min(p_values[each] for each in group)) for group in groups}
    return [max(value for group, value in bonferroni.items() if number in group) for number in numbers]


def test_holms_correction_is_closed_testing_with_bonferronis():
    generator = np.random.default_rng(0)
    for size in range(1, 8):
        p_values = (generator.random(size) ** 2).round(2).tolist()  # rounded, so that some are equal
        assert holm(p_values) == pytest.approx(closed_testing(p_values))


def test_comparisons_that_could_not_be_made_do_not_count():
    corrected = holm([math.nan, 0.03, 0.01, math.nan])
    assert corrected[1:3] == [0.03, 0.02]
    assert math.isnan(corrected[0]) and math.isnan(corrected[3])
    assert holm([]) == []


def test_the_reach_of_an_interval_is_students_t_over_the_root():
    assert reach_of_interval(2) == pytest.approx(12.706 / math.sqrt(2), abs=1e-3)
    assert reach_of_interval(5) == pytest.approx(2.776 / math.sqrt(5), abs=1e-3)


def test_unknown_scores_are_nan_not_nought():
    columns = {"student": {"miou": 0.5}, "student_unseen": {"miou": None}}
    run = RunResult("plain", 0, {"columns": columns})
    assert run.percent("student") == 50.0
    assert math.isnan(run.percent("student_unseen"))
    assert math.isnan(run.percent("nobody"))
    assert math.isnan(RunResult("plain", 0).percent("student"))
