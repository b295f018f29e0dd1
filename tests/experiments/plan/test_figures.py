import json

import pytest

from clip2scene.experiments.plan.estimate import Measurement, Range
from clip2scene.experiments.plan.figures import Plan, plan_json, plan_text, shown


@pytest.fixture
def plan():
    made = Plan("some work")
    made.measured("a step", "seconds", Measurement((0.2, 0.4)))
    made.extrapolated("all steps", "seconds", Range(3600.0, 1800.0, 7200.0), "steps x mean")
    made.unknown("on a GPU", "seconds", "nobody has run one")
    return made


def test_every_figure_says_how_it_is_known(plan):
    text = plan_text(plan)
    assert "a step" in text and "300 ms" in text and "measured: 2 samples" in text
    assert "1 h" in text and "30 min .. 2 h" in text and "extrapolated: steps x mean" in text
    (row,) = [line for line in text.splitlines() if line.startswith("on a GPU")]
    assert row.split()[3:] == "- not measured: nobody has run one".split()


def test_programs_get_the_same_figures_and_no_number_where_there_is_none(plan):
    plan.fault("disk", "full")
    found = json.loads(json.dumps(plan_json(plan)))
    assert found["healthy"] is False and found["findings"][0]["about"] == "disk"
    step, steps, gpu = found["plan"]["figures"]
    assert (step["value"], step["samples"], step["how"]) == (pytest.approx(0.3), 2, "measured")
    assert step["spread"] == pytest.approx(0.1414, rel=1e-3)
    assert (steps["low"], steps["high"]) == (1800.0, 7200.0)
    assert gpu["value"] is gpu["low"] is gpu["high"] is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "seconds", "0 ms"),
        (0.0123, "seconds", "12 ms"),
        (5400.0, "seconds", "1.5 h"),
        (5e7, "seconds", "579 days"),
        (2.5e9, "bytes", "2.5 GB"),
        (0.875, "share", "88 %"),
        (1234.0, "ranks", "1,234"),
    ],
)
def test_numbers_are_written_in_units_that_people_read(value, unit, text):
    assert shown(value, unit) == text


def test_a_share_is_never_said_to_be_more_than_the_whole():
    made = Plan("some work")
    made.measured("a share", "share", Measurement((0.9,)))
    (figure,) = plan_json(made)["plan"]["figures"]
    assert 0 < figure["low"] < figure["value"] < figure["high"] == 1.0
