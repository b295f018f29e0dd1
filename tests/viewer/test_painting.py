import pytest
import torch

from clip2scene.classes.class_set import ClassSet
from clip2scene.viewer.painting import (
    ABOVE,
    BELOW,
    NOTHING,
    POINTS,
    paint_classes,
    paint_colours,
    paint_errors,
    paint_heat,
    paint_nothing,
)
from clip2scene.viz.raster import NO_LABEL, RIGHT, WRONG, class_colours

CATS = ClassSet(
    "cats", ("tame", "wild", "big"), (("a",), ("b",), ("c",)), ((200, 0, 0), (0, 200, 0), (0, 0, 200)), {}
)


def counts(painting):
    return {entry.name: entry.count for entry in painting.entries}


def test_classes_have_their_colours_and_the_legend_counts_what_is_there_the_most_frequent_first():
    labels = torch.tensor([1, 1, 0, -1, 1])
    painting = paint_classes(labels, CATS)
    assert torch.equal(painting.colours, class_colours(labels, CATS))
    assert [*counts(painting).items()] == [("wild", 3), ("tame", 1), (NOTHING, 1)]
    for entry, label in zip(painting.entries, (1, 0, -1), strict=True):
        assert entry.colour == tuple(painting.colours[(labels == label).nonzero()[0, 0]].tolist())


def test_hidden_entries_take_their_points_with_them():
    painting = paint_classes(torch.tensor([1, 1, 0, -1, 1]), CATS)
    assert painting.visible(frozenset()).all()
    assert painting.visible(frozenset({"wild"})).tolist() == [False, False, True, True, False]
    assert painting.visible(frozenset({"tame", NOTHING})).tolist() == [True, True, False, False, True]
    assert painting.visible(frozenset({"big"})).all(), "a name that is not in the legend hides nothing"


def test_errors_are_red_where_wrong_and_grey_where_nothing_can_be_said():
    painting = paint_errors(torch.tensor([0, 1, 2, -1]), torch.tensor([0, 2, -1, 1]))
    assert painting.colours.tolist() == [[*RIGHT], [*WRONG], [*NO_LABEL], [*NO_LABEL]]
    assert counts(painting) == {"right": 1, "wrong": 1, "no label": 2}
    assert painting.visible(frozenset({"right"})).tolist() == [False, True, True, True]


def test_heat_goes_from_the_low_end_of_its_scale_to_the_high_one():
    painting = paint_heat(torch.tensor([0.0, 0.5, 1.0]), low=0.0, high=1.0, unit="score")
    assert (painting.scale.low, painting.scale.high, painting.scale.unit) == (0.0, 1.0, "score")
    brightness = painting.colours.float().mean(1).tolist()
    assert brightness == sorted(brightness) and brightness[0] < brightness[2]
    assert counts(painting) == {POINTS: 3}


def test_below_the_threshold_points_are_grey_and_can_be_hidden():
    values = torch.tensor([2.0, 4.0, 5.0, 6.0])
    painting = paint_heat(values, low=2.0, high=6.0, threshold=0.5)
    assert (painting.colours == torch.tensor(NO_LABEL, dtype=torch.uint8)).all(1).tolist() == [
        True,
        False,
        False,
        False,
    ]
    assert counts(painting) == {ABOVE: 3, BELOW: 1}
    assert painting.visible(frozenset({BELOW})).tolist() == [False, True, True, True]


def test_a_scale_that_is_fitted_passes_outliers_over():
    values = torch.cat([torch.linspace(0, 1, 1000), torch.tensor([500.0, -500.0])])
    scale = paint_heat(values).scale
    assert -0.1 < scale.low < 0.1 and 0.9 < scale.high < 1.1


@pytest.mark.parametrize("values", [torch.full((4,), 3.0), torch.tensor([3.0])])
def test_points_of_one_value_have_a_scale_too(values):
    painting = paint_heat(values)
    assert painting.scale.low == 3 and painting.scale.high == 4
    assert counts(painting) == {POINTS: len(values)}


def test_colours_of_their_own_stay_and_what_is_not_to_be_had_is_grey():
    colours = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=torch.uint8)
    assert torch.equal(paint_colours(colours).colours, colours)
    assert paint_nothing(3).colours.tolist() == [[*NO_LABEL]] * 3
