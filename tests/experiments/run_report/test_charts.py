import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from clip2scene.experiments.run_report.charts import Line, Scale, bar_chart, line_chart, thin, ticks


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 1), (0.12, 0.97), (-3, 12_000), (1e-9, 2e-9), (5, 5), (0, 0), (-2, -2), (1e8, 1e8 + 1)],
)
def test_ticks_hold_the_range_and_are_few(low, high):
    found = ticks(low, high, 4)
    assert found[0] <= low and found[-1] >= high and 2 <= len(found) <= 8
    assert np.all(np.diff(found) > 0)


def test_a_line_goes_where_its_numbers_are():
    drawn = ElementTree.fromstring(line_chart([Line("a", [0, 10], [0.0, 1.0])], across="step", up="loss"))
    (line,) = [each for each in drawn.iter("polyline")]
    (left, bottom), (right, top) = (map(float, point.split(",")) for point in line.get("points").split())
    assert left < right and top < bottom
    assert {"0", "10", "step"} <= {text.text for text in drawn.iter("text")}


def test_a_long_curve_keeps_its_means_and_its_extremes():
    y = np.sin(np.arange(10_007) / 50)
    y[4321] = 9.0
    x, mean, low, high = thin(np.arange(10_007.0), y, 100)
    assert len(x) == 100 and high.max() == 9.0 and low.min() == y.min()
    assert np.all((low <= mean) & (mean <= high)) and np.all(np.diff(x) > 0)
    sizes = [len(part) for part in np.array_split(y, 100)]
    assert np.average(mean, weights=sizes) == pytest.approx(y.mean())


def test_bars_are_as_long_as_their_numbers_and_what_is_not_known_has_none():
    drawn = ElementTree.fromstring(
        bar_chart(["a", "b"], {"student": [50.0, math.nan]}, {"teacher": [25.0, math.nan]})
    )
    (bar,) = drawn.iter("rect")
    (mark,) = drawn.iter("circle")
    whole = Scale(0, 100, 190, 760 - 44)
    assert float(bar.get("width")) == pytest.approx((whole(100) - whole(0)) / 2, abs=0.1)
    assert float(mark.get("cx")) == pytest.approx(whole(25), abs=0.1)


def test_a_name_cannot_leave_its_place():
    name = '</text></svg><script>alert("x")</script>'
    for drawn in (
        bar_chart([name], {name: [5.0]}, {name: [1.0]}),
        line_chart([Line(name, [1], [2.0])], across=name, up=name),
    ):
        assert "<script" not in drawn and ElementTree.fromstring(drawn).tag == "svg"
