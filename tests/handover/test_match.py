from pathlib import Path

import numpy as np
import pytest

from clip2scene.handover.found import FoundLabels
from clip2scene.handover.match import TOLERANCE_M, match_points

PLACES = np.random.default_rng(0).uniform(-50, 50, (500, 3)).astype(np.float32)
IDS = np.arange(500) % 7


def found(ids, positions, path="cloud.las"):
    return FoundLabels("sample-1", Path(path), np.asarray(ids), {}, frozenset(), positions)


def test_as_many_points_at_the_same_places_are_matched_by_order():
    twins = PLACES.copy()
    twins[1] = twins[0]  # a place alone could not tell them apart
    matched = match_points(found(IDS, twins + np.float32(4e-4)), twins)
    assert matched.by_order and matched.known.all() and (matched.ids == IDS).all()


def test_labels_without_places_are_matched_by_order():
    matched = match_points(found(IDS, None), PLACES)
    assert matched.by_order and (matched.ids == IDS).all()


def test_points_in_another_order_cropped_and_thinned_are_matched_by_where_they_are():
    chosen = np.random.default_rng(1).permutation(500)[:200]
    moved = PLACES[chosen].astype(np.float64) + 4e-4
    matched = match_points(found(IDS[chosen], np.concatenate([moved, [[300.0, 0, 0]]])[:200]), PLACES)
    assert not matched.by_order and matched.known.sum() == 200 and matched.foreign == 0
    assert (matched.ids[chosen] == IDS[chosen]).all() and not matched.known[
        np.setdiff1d(np.arange(500), chosen)
    ].any()


def test_points_that_are_none_of_the_samples_are_counted():
    more = np.concatenate([PLACES, [[300.0, 0, 0]], [[np.nan, 0, 0]]])
    matched = match_points(found([*IDS, 1, 1], more), PLACES)
    assert matched.known.all() and matched.foreign == 2 and (matched.ids == IDS).all()


def test_points_at_one_place_get_one_label():
    twins = PLACES.copy()
    twins[1] = twins[0]
    matched = match_points(found(IDS[1:], twins[1:]), twins)
    assert matched.known.all() and matched.ids[0] == matched.ids[1] == IDS[1]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (found(IDS[:9], None), "9 labels of sample-1, whose cloud has 500 points"),
        (found(IDS, PLACES[:9]), "500 labels, but its cloud has 9 points"),
        (found(IDS, PLACES + 1000), "none of the 500 points of cloud.las is one of sample-1"),
        (found(IDS, PLACES * np.nan), "no point at a finite place"),
    ],
)
def test_labels_of_another_cloud_are_refused(labels, said):
    with pytest.raises(ValueError, match=said):
        match_points(labels, PLACES)


def test_a_point_farther_than_the_tolerance_is_another():
    far = PLACES + np.float32(3 * TOLERANCE_M)
    far[0] = PLACES[0]
    matched = match_points(found(IDS, far), PLACES)
    assert matched.known.tolist() == [True] + [False] * 499 and matched.foreign == 499
