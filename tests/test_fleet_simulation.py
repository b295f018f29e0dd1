"""The simulation of a fleet against what can be said without it."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.fleet_simulation import Fleet, simulate

STEADY = Fleet(clouds=4096, workers=8, seconds=0.5, spread=0.0, start=0.0, chunk=1, claim=0.0)


def with_(**changes):
    return replace(STEADY, **changes)


@pytest.mark.parametrize("workers", [1, 2, 8, 64])
def test_without_losses_or_limits_throughput_grows_with_the_workers(workers):
    found = simulate(with_(workers=workers))
    assert found.seconds == pytest.approx(4096 * 0.5 / workers)
    assert (found.done == 1).all() and not found.deaths


@pytest.mark.parametrize("workers", [1, 2, 4, 5, 16, 64])
def test_a_store_is_the_closed_queue_that_has_a_formula(workers):
    """Times are fixed: a cycle of transfer and labelling, or the transfers of all, whichever is longer."""
    store = with_(workers=workers, bytes=1e6, bandwidth=10e6, latency=0.02)
    rate = 4096 / simulate(store).seconds
    assert rate == pytest.approx(min(workers / (0.1 + 0.02 + 0.5), 10e6 / 1e6), rel=0.01)


def test_claims_of_the_manifest_are_one_at_a_time():
    rate = 4096 / simulate(with_(workers=64, claim=0.05, chunk=2)).seconds
    assert rate == pytest.approx(2 / 0.05, rel=0.01)


def test_random_times_have_the_mean_that_was_asked_for():
    found = simulate(with_(workers=1, spread=1.0))
    assert found.seconds == pytest.approx(4096 * 0.5, rel=4 / np.sqrt(4096))  # four deviations of the mean


def test_stragglers_hold_up_nothing_but_themselves():
    """Chunks are claimed one by one, so those who are fast take more."""
    found = simulate(with_(workers=64, slow_share=0.5, slow_by=4.0), seed=1)
    slow = int((np.random.default_rng(1).random(64) < 0.5).sum())
    rate = ((64 - slow) + slow / 4) / 0.5
    assert found.seconds == pytest.approx(4096 / rate, rel=0.1)


def test_what_dies_is_done_again_and_every_cloud_exactly_once():
    found = simulate(with_(chunk=16, spread=0.3, life=60.0, notice=5.0, start=1.0), seed=3)
    assert found.deaths > 10 and found.wasted > 0
    assert (found.done == 1).all()


def test_losses_cost_what_the_time_between_them_says():
    life, lost = 200.0, 20.0 + 5.0
    found = simulate(with_(clouds=40_000, chunk=16, life=life, notice=20.0, start=5.0))
    # Lives begin when the next worker does, so its start is a part of them: so little of a life is labelling.
    assert 40_000 * 0.5 / 8 / found.seconds == pytest.approx((life - 5) / (life + lost - 5), rel=0.05)


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    fleet = with_(spread=0.3, life=60.0, notice=5.0)
    first, again, other = simulate(fleet, 1), simulate(fleet, 1), simulate(fleet, 2)
    assert (first.seconds, first.deaths, first.wasted) == (again.seconds, again.deaths, again.wasted)
    assert first.seconds != other.seconds
