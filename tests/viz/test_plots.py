import io

import numpy as np
import pytest

from clip2scene.viz.plots import CURVE_COLOURS, DOT, DotRow, draw_curves, draw_dots
from clip2scene.viz.raster import RIGHT, WRONG


def of_colour(picture, colour):
    """Columns of the picture that have pixels of just this colour, and rows."""
    found = np.argwhere((np.asarray(picture) == colour).all(2))
    return found[:, 1], found[:, 0]


def test_each_seed_is_a_dot_and_a_far_experiment_does_not_squeeze_the_others():
    def first_row(*others):
        columns, rows = of_colour(
            draw_dots([DotRow("a", "", (50.0, 53.0)), *others], title="", notes=[]), DOT
        )
        return columns[rows < rows.min() + 20]  # the two dots of a row stand on slightly different heights

    near = [DotRow(name, "", (51.0, 52.0)) for name in "bcde"]
    alone, beside = first_row(*near), first_row(*near, DotRow("far", "", (1.0, 1.2)))
    assert (np.diff(np.unique(alone)) > 20).sum() == 1  # two dots, apart
    assert np.ptp(beside) > 0.8 * np.ptp(alone)


def test_a_plot_of_experiments_needs_a_row():
    with pytest.raises(ValueError, match="at least one row"):
        draw_dots([], title="", notes=[])


def test_an_experiment_off_the_axis_is_an_arrow_at_its_edge_and_nothing_beyond():
    near = [DotRow(name, "", (51.0, 52.0), (1.0, 0.5, 1.5)) for name in "bcde"]
    picture = draw_dots(
        [*near, DotRow("far", "", (51.0, 52.0), (-90.0, -91.0, -89.0), True)], title="", notes=[]
    )
    columns, _ = of_colour(picture, WRONG)
    assert 0 < np.ptp(columns) < 30
    picture = draw_dots(
        [*near, DotRow("far", "", (51.0, 52.0), (90.0, 89.0, 91.0), True)], title="", notes=[]
    )
    assert of_colour(picture, RIGHT)[0].min() > columns.max() + 300  # the other end of the axis


def test_groups_have_headings_and_what_is_not_finished_has_a_row():
    rows = [DotRow("a", "one", (50.0,)), DotRow("b", "two", ())]
    apart = draw_dots(rows, title="", notes=[])
    together = draw_dots([DotRow("a", "one", (50.0,)), DotRow("b", "one", ())], title="", notes=[])
    assert apart.height - together.height == 2 * 48
    assert len(of_colour(apart, DOT)[0]) == len(of_colour(together, DOT)[0]) > 0


def test_equal_numbers_give_equal_bytes_whatever_the_users_settings(monkeypatch):
    import matplotlib

    def drawn():
        stream = io.BytesIO()
        rows = [
            DotRow("a", "", (50.0, 51.0), is_baseline=True),
            DotRow("b", "", (53.0, 54.0), (3.0, 2.0, 4.0)),
        ]
        draw_dots(rows, title="t", notes=["n"]).save(stream, "PNG")
        return stream.getvalue()

    before = drawn()
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 40)
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    assert drawn() == before


def test_curves_need_something_to_draw():
    with pytest.raises(ValueError, match="expected 1 to 6 curves"):
        draw_curves({"a": {}}, title="", across="", up="")
    with pytest.raises(ValueError, match="over positive numbers"):
        draw_curves({"a": {0.0: [1.0]}}, title="", across="", up="")
    assert draw_curves({"a": {1.0: [50.0]}}, title="t", across="x", up="y").size == (1600, 900)


def test_a_curve_goes_through_the_means_and_has_a_dot_for_each_seed():
    picture = draw_curves({"a": {1.0: [50.0, 56.0], 10.0: [70.0]}}, title="", across="x", up="y")
    columns, rows = of_colour(picture, CURVE_COLOURS[0])
    left, right = columns < 140, (columns > 1180) & (columns < 1240)
    assert (np.diff(np.unique(rows[left])) > 10).sum() == 2  # two dots, and the line between them
    assert rows[right].max() < rows[left].min()  # higher scores stand higher


def test_names_of_curves_that_end_together_do_not_overlap():
    curves = {name: {1.0: [40.0], 9.0: [50.0 + number / 10]} for number, name in enumerate("abc")}
    picture = draw_curves(curves, title="", across="x", up="y")
    rows = [of_colour(picture.crop((1240, 0, 1600, 900)), colour)[1] for colour in CURVE_COLOURS[:3]]
    spans = sorted((each.min(), each.max()) for each in rows)
    assert all(before[1] < after[0] for before, after in zip(spans, spans[1:], strict=False))
