"""The page in a browser: what is clicked and typed changes the picture."""

import io
import shutil
import socket
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import uniform_filter

from clip2scene.classes.tables import TOYTOWN
from clip2scene.viewer.choices import ALIKE, CLASS, HEIGHT, PHRASE, Choices
from clip2scene.viewer.session import Session
from clip2scene.viz.raster import GROUND, class_entries

pytest.importorskip("viser", reason="the page needs viser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed to look at the page with"),
    pytest.mark.filterwarnings("default"),  # of libraries that the server brings along
]

IN_SOFTWARE = (
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--ignore-gpu-blocklist", "--no-sandbox"),
)
PATIENCE_S = 30


class Browser:
    """A browser that looks at the page."""

    def __init__(self, tab, page):
        self.tab, self.page = tab, page

    def picture(self):
        """The scene as it is seen, without the panels."""
        image = Image.open(io.BytesIO(self.tab.screenshot(clip=self.box)))
        return np.asarray(image.convert("RGB"), dtype=int)

    def close_warning(self):
        """Close what the page says of drawing in software: it would hide points, and go by itself later."""
        warning = self.tab.get_by_role("alert")
        with suppress(playwright.TimeoutError):  # where a GPU draws, nothing is said
            warning.get_by_role("button").click(timeout=10_000)
        self.until(lambda: warning.count() == 0, "the warning stays")

    def settled(self):
        """Wait until points are drawn and nothing changes any more, and give the picture."""

        def look():
            first = self.picture()
            drawn = (abs(first - np.array(GROUND)).max(2) > 60).mean() > 0.002
            time.sleep(0.3)
            return first if drawn and not (abs(self.picture() - first) > 8).any() else None

        return self.until(look, "no points are drawn")

    def sees(self, colour):
        """Whether something in the scene has this colour."""
        return bool((abs(self.picture() - np.array(colour)).max(2) < 12).mean() > 0.0005)

    def unlike(self, before):
        """Wait until the scene is another, and give its picture."""
        return self.until(lambda: self.another(before), "the picture stays as it is")

    def another(self, before):
        now = self.picture()
        return now if now.shape == before.shape and (abs(now - before).max(2) > 40).mean() > 0.002 else None

    def until(self, look, otherwise):
        start = time.monotonic()
        while time.monotonic() - start < PATIENCE_S:
            found = look()
            if found is not None and found is not False:
                return found
            time.sleep(0.1)
        raise AssertionError(f"{otherwise}; the page says: {self.tab.inner_text('body')}")

    def says(self, words):
        self.until(lambda: words in self.tab.inner_text("body"), f"{words!r} is not on the page")

    @property
    def box(self):
        """Where the scene is."""
        return self.tab.locator("canvas").first.bounding_box()

    def image(self):
        """The first camera image, as the page has it."""
        return self.tab.locator("img[src^='blob']").first.get_attribute("src")

    def most_filled(self, picture):
        """Row and column of a place in the scene that is full of points, away from the borders."""
        filled = (abs(picture - np.array(GROUND)).max(2) > 60).astype(float)
        dense = uniform_filter(filled, 9)
        dense[:150], dense[-60:], dense[:, :60], dense[:, -60:] = 0, 0, 0, 0
        return np.unravel_index(dense.argmax(), dense.shape)

    def phrase(self, words):
        self.tab.locator("input.mantine-TextInput-input").last.fill(words)

    def threshold(self, value):
        box = self.tab.locator("input.mantine-NumberInput-input").nth(1)
        box.fill(value)
        box.press("Enter")

    def choose(self, label, option):
        self.tab.get_by_role("combobox", name=label).click()
        self.tab.get_by_role("option", name=option, exact=True).click()


@pytest.fixture(scope="module")
def browser(source, answerer):
    from clip2scene.viewer.page import Page

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    page = Page(Session(source, [answerer, answerer]), host="127.0.0.1", port=port)
    try:
        with playwright.sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=CHROMIUM, args=IN_SOFTWARE)
            tab = chromium.new_page(viewport={"width": 1200, "height": 800})
            tab.goto(f"http://127.0.0.1:{port}")
            found = Browser(tab, page)
            found.says("labelled points right")
            found.says("driveable surface")
            found.close_warning()
            yield found
            chromium.close()
    finally:
        page.stop()


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
