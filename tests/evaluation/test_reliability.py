"""Calibration errors and accuracies of the surest points, against sums written out."""

import pytest
import torch

from clip2scene.evaluation.reliability import BINS, Reliability


def counted(scores, right):
    found = Reliability()
    for part in range(2):  # in two pieces, as samples come
        found.update(scores[part::2], right[part::2])
    return found


@pytest.fixture
def points():
    draw = torch.Generator().manual_seed(0)
    scores = torch.rand(5000, generator=draw)
    return scores, torch.rand(5000, generator=draw) < scores**2  # too sure


def test_the_calibration_error_is_the_mean_gap_of_its_bins(points):
    scores, right = points
    expected = 0.0
    for bin_ in range(BINS):
        mine = (scores >= bin_ / BINS) & (scores < (bin_ + 1) / BINS)
        expected += abs(float(right[mine].double().sum() - scores[mine].double().sum())) / len(scores)
    assert counted(scores, right).calibration_error() == pytest.approx(expected, abs=2e-3)
    assert expected > 0.1


def test_scores_that_say_the_share_that_is_right_have_no_error():
    scores = torch.full((1000,), 0.75)
    assert counted(scores, torch.arange(1000) % 4 > 0).calibration_error() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("coverage", [0.2, 0.5, 0.9, 1.0])
def test_the_surest_points_are_the_first(points, coverage):
    scores, right = points
    surest = scores.argsort(descending=True)[: int(coverage * len(scores))]
    expected = float(right[surest].double().mean())
    assert counted(scores, right).accuracy_at(coverage) == pytest.approx(expected, abs=3e-3)


def test_a_score_of_one_is_counted_and_all_is_said_in_a_line():
    found = counted(torch.ones(10), torch.ones(10, dtype=torch.bool))
    assert found.to_json()["points"] == 10
    assert found.to_json()["accuracy_at_coverage"]["1.0"] == 1.0
    assert "error 0.0" in found.sentence() and "100.0 of 50%" in found.sentence()


def test_the_diagram_has_the_points_of_every_bin():
    counted = Reliability()
    scores = torch.tensor([0.05, 0.05, 0.5, 0.95, 0.95, 0.95])
    counted.update(scores, torch.tensor([True, False, True, True, True, False]))
    first, middle, last = counted.bins()
    assert (first["points"], middle["points"], last["points"]) == (2, 1, 3)
    assert first["accuracy"] == 0.5 and last["accuracy"] == pytest.approx(2 / 3)
    assert middle["mean_score"] == pytest.approx(0.5) and counted.to_json()["bins"] == counted.bins()
