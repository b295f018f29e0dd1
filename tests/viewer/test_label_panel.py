"""Labels by hand in a browser: a click, a class, and the file on the disk."""

import time

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from tests.chromium import MARKS
from tests.viewer.browser import browse

from clip2scene.datasets.label_layer import SUFFIX, UNLABELLED, find_layers, read_layer
from clip2scene.viewer.choices import BY_HAND, CORRECTED
from clip2scene.viewer.corrections import Corrections
from clip2scene.viewer.session import SELECTED, Session
from clip2scene.viz.raster import GROUND, class_entries

pytestmark = MARKS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("by-hand")


@pytest.fixture(scope="module")
def browser(source, answerer, folder):
    corrections = Corrections(folder, source.label_classes)
    with browse(Session(source, [answerer], corrections=corrections), height=1500) as found:
        yield found


@pytest.fixture
def tab(browser, folder):
    """The page as it is at the beginning, without labels by hand."""
    while browser.page._session.corrections.undo():
        pass
    for path in find_layers(folder).values():
        path.unlink()
    browser.page._mode.value = CORRECTED
    browser.page._number.value = 0
    time.sleep(0.5)  # what these changes call runs in threads of its own
    browser.page._labels.clear()
    shown = browser.page._picture
    browser.until(lambda: browser.page._picture is not shown, "the page does not begin anew")
    return browser


def labels(folder, source, number=0):
    path = folder / f"{source.tokens[number]}{SUFFIX}"
    return read_layer(path).labels if path.exists() else None


def press(tab, name):
    tab.tab.get_by_role("button", name=name).click()


def click(tab, place=None, **how):
    row, column = tab.most_filled(tab.settled()) if place is None else place
    tab.tab.mouse.click(tab.box["x"] + int(column), tab.box["y"] + int(row), **how)
    return row, column


def test_a_click_and_a_class_change_the_file_and_the_picture_and_undo_restores_both(tab, folder, source):
    place = click(tab)
    tab.says("points selected")
    tab.page._labels.clear()
    tab.until(lambda: "points selected" not in tab.tab.inner_text("body"), "something stays selected")
    before = tab.settled()
    colour = class_entries(source.label_classes)["pedestrian"]
    assert not tab.sees(colour)
    click(tab, place)
    tab.until(lambda: tab.sees(SELECTED.tolist()), "what is selected is not white")
    tab.choose("label", "pedestrian")
    assert labels(folder, source) is None
    press(tab, "label selection")
    tab.says("points: pedestrian")
    found = labels(folder, source)
    number = source.label_classes.classes.index("pedestrian")
    assert {*found.unique().tolist()} == {UNLABELLED, number}
    picture = tab.page._picture
    assert int((found == number).sum()) == int(
        picture.scene.pieces.bincount()[picture.scene.pieces[found == number][0]]
    )
    after = tab.unlike(before)
    assert tab.sees(colour)
    press(tab, "undo")
    tab.says("undid a step")
    assert labels(folder, source) is None
    tab.until(lambda: tab.another(after), "undo does not change the picture")
    tab.until(lambda: not tab.sees(colour), "the label is still in the picture")
    press(tab, "redo")
    tab.until(lambda: labels(folder, source) is not None, "redo does not bring the labels back")
    assert torch.equal(labels(folder, source), found)


def test_a_rectangle_selects_many_superpoints_which_are_labelled_together(tab, folder, source):
    tab.settled()
    box, mouse = tab.box, tab.tab.mouse
    tab.tab.keyboard.down("Shift")
    mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.3 * box["height"])
    mouse.down()
    mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"], steps=5)
    mouse.move(box["x"] + 0.6 * box["width"], box["y"] + 0.7 * box["height"], steps=5)
    mouse.up()
    tab.tab.keyboard.up("Shift")
    tab.says("points selected")
    tab.choose("label", "of no class")
    press(tab, "label selection")
    tab.says("points: of no class")
    ignored = labels(folder, source) == -1
    assert len(tab.page._picture.scene.pieces[ignored].unique()) > 5 and not ignored.all()
    tab.choose("colour by", BY_HAND)
    tab.says(f"of no class: {int(ignored.sum()):,}")


def test_a_second_click_with_shift_adds_and_a_third_takes_away(tab):
    place = click(tab)
    tab.says("points selected")
    one = tab.page._labels._selected.points
    filled = (abs(tab.picture() - np.array(GROUND)).max(2) > 60).astype(float)
    filled[: int(place[0]) + 60] = 0  # another place, nearer to the eye
    filled[-60:], filled[:, :60], filled[:, -60:] = 0, 0, 0
    other = np.unravel_index(uniform_filter(filled, 9).argmax(), filled.shape)
    tab.tab.keyboard.down("Shift")
    click(tab, other)
    tab.until(lambda: not torch.equal(tab.page._labels._selected.points, one), "nothing was added")
    assert torch.isin(one, tab.page._labels._selected.points).all()
    click(tab, place)
    tab.tab.keyboard.up("Shift")
    tab.until(lambda: not torch.isin(one, tab.page._labels._selected.points).any(), "nothing was taken away")


def test_the_next_sample_is_one_without_labels(tab, source):
    press(tab, "next to label")
    tab.until(lambda: tab.page._picture.choices.number == 1, "the sample stays")
    tab.says(source.tokens[1])


def test_what_cannot_be_saved_is_said_on_the_page(tab, folder, monkeypatch):
    from clip2scene.viewer import corrections

    def full(*_):
        raise ValueError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(corrections, "write_layer", full)
        click(tab)
        tab.says("points selected")
        press(tab, "label selection")
        tab.says("kept in memory alone, not saved: the disk is full")
    press(tab, "save again")
    tab.until(lambda: find_layers(folder), "nothing was saved")


def test_a_step_that_cannot_be_undone_is_said_on_the_page(tab, monkeypatch):
    def damaged():
        raise ValueError("a.labels.npz cannot be read")

    click(tab)
    tab.says("points selected")
    press(tab, "label selection")
    tab.says("undo (1)")
    with monkeypatch.context() as patched:
        patched.setattr(tab.page._session.corrections, "undo", damaged)
        press(tab, "undo")
        tab.says("a.labels.npz cannot be read")


def test_who_may_only_look_is_told_so(tab, monkeypatch):
    monkeypatch.setattr(tab.page._session.corrections, "read_only", "another viewer gives labels")
    click(tab)
    tab.says("another viewer gives labels")
    tab.says("points selected")
    assert tab.tab.get_by_role("button", name="label selection").is_disabled()
