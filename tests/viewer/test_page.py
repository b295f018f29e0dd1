"""The page in a browser: what is clicked and typed changes the picture."""

import time
from functools import partial

import numpy as np
import pytest
from tests.chromium import MARKS
from tests.viewer.browser import browse

from clip2scene.classes.tables import TOYTOWN
from clip2scene.viewer.choices import ALIKE, CLASS, HEIGHT, PHRASE, Choices
from clip2scene.viewer.session import Session
from clip2scene.viz.raster import GROUND, class_entries

pytestmark = MARKS


@pytest.fixture(scope="module")
def browser(source, answerer):
    with browse(Session(source, [answerer, answerer])) as found:
        yield found


@pytest.fixture
def tab(browser):
    """The page as it is at the beginning, in a browser."""
    page = browser.page
    for widget, value in (
        *((page._mode, CLASS), (page._phrase, ""), (page._threshold, 0.0), (page._number, 0)),
        *((page._play, False), (page._runs, "first"), (page._drawn, page._session.most_points)),
    ):
        widget.value = value
    time.sleep(0.5)  # what these changes call runs in threads of its own
    page._choose(**vars(Choices()))
    browser.until(lambda: page._picture.choices == Choices(), "the page does not begin anew")
    browser.says("manmade: ")
    for line in page._picture.legend:
        browser.until(partial(browser.sees, line.colour), f"{line.name} is not drawn")
    return browser


def test_points_are_drawn_in_the_colours_of_the_legend_and_in_no_others(tab):
    seen = [colour for colour in class_entries(TOYTOWN).values() if tab.sees(colour)]
    assert {line.colour for line in tab.page._picture.legend} == {*seen}


def test_another_way_to_colour_changes_the_picture_the_legend_and_the_camera_images(tab):
    before, image = tab.settled(), tab.image()
    tab.choose("colour by", HEIGHT)
    tab.unlike(before)
    tab.says("points: ")
    tab.until(lambda: tab.image() != image, "the camera image stays as it is")


def test_a_typed_phrase_is_looked_for_and_an_unknown_one_is_told(tab):
    before = tab.settled()
    tab.phrase("car")
    warm = tab.unlike(before)
    assert tab.page._picture.choices.mode == PHRASE
    tab.threshold("0.9")
    tab.unlike(warm)
    tab.says("below the threshold: ")
    tab.phrase("zebra <b>{x}")
    tab.says("never taught zebra, <, b, >{, x, }")
    tab.phrase("tree")
    tab.until(lambda: "zebra" not in tab.tab.inner_text("body"), "the message stays")


def test_a_class_is_hidden_and_shown_again_by_its_line_of_the_legend(tab):
    line = tab.page._picture.legend[0]
    tab.tab.get_by_role("button", name=f"{line.name}: ").click()
    tab.until(lambda: not tab.sees(line.colour), "the class stays")
    tab.says("(hidden)")
    tab.tab.get_by_role("button", name=f"{line.name}: ").click()
    tab.until(lambda: tab.sees(line.colour), "the class does not come back")


def test_fewer_points_are_drawn_where_the_browser_is_slow(tab):
    before = tab.settled()
    tab.page._drawn.value = 2000
    after = tab.unlike(before)
    tab.says("2,000 of these points are drawn")
    filled = [(abs(each - np.array(GROUND)).max(2) > 60).mean() for each in (before, after)]
    assert filled[1] < 0.8 * filled[0]


def test_a_clicked_point_is_described_and_more_like_it_are_found(tab):
    before = tab.settled()
    row, column = tab.most_filled(before)
    tab.tab.mouse.click(tab.box["x"] + int(column), tab.box["y"] + int(row))
    tab.says("nearest words")
    for what in ("class", "distance", "truth", "intensity", "teacher"):
        tab.says(what)
    tab.tab.get_by_role("button", name="more like this").click()
    tab.unlike(before)
    assert tab.page._picture.choices.mode == ALIKE


def test_the_slider_and_play_show_other_samples(tab, source):
    before = tab.settled()
    tab.page._number.value = 1
    tab.says(source.tokens[1])
    second = tab.unlike(before)
    tab.tab.get_by_label("play").click()
    tab.says(source.tokens[0])
    tab.says(source.tokens[1])
    assert second.shape == before.shape


def test_two_runs_stand_side_by_side(tab):
    before = tab.settled()
    tab.choose("run", "side by side")
    tab.unlike(before)
    tab.says(" | ")
    assert len(tab.page._picture.layers) == 2
