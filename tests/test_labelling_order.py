"""What makes the figure of annotation saved."""

import importlib.util
import math
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def scenes_for():
    path = Path(__file__).parents[1] / "benchmarks" / "labelling_order.py"
    spec = importlib.util.spec_from_file_location("labelling_order", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.scenes_for


CURVE = [(1, 10.0), (4, 30.0), (16, 40.0)]


@pytest.mark.parametrize(
    ("miou", "scenes"), [(10.0, 1), (20.0, 2), (30.0, 4), (35.0, 8), (40.0, 16), (37.5, 4 * 4**0.75)]
)
def test_between_its_points_a_curve_is_straight_over_the_logarithm(scenes_for, miou, scenes):
    assert scenes_for(miou, CURVE) == pytest.approx(scenes)


@pytest.mark.parametrize("miou", [9.9, 40.1])
def test_nothing_is_said_beyond_the_ends_of_a_curve(scenes_for, miou):
    assert math.isnan(scenes_for(miou, CURVE))
    assert math.isnan(scenes_for(miou, []))


def test_where_a_curve_falls_its_first_crossing_counts(scenes_for):
    assert scenes_for(20.0, [(1, 10.0), (2, 30.0), (4, 15.0), (8, 30.0)]) == pytest.approx(2**0.5)
    assert scenes_for(10.0, [(1, 10.0), (2, 10.0), (4, 20.0)]) == 1


def test_a_curve_that_begins_above_a_score_needs_at_most_its_first_number(scenes_for):
    """Otherwise a fall behind the first point would be taken for scenes that the ranking saves."""
    assert math.isnan(scenes_for(25.0, [(1, 30.0), (3, 20.0), (8, 40.0)]))
