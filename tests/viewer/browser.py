"""A browser that looks at the page of the viewer, for the tests that click through it."""

import io
import socket
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import uniform_filter
from tests.chromium import CHROMIUM

from clip2scene.viz.raster import GROUND

pytest.importorskip("viser", reason="the page needs viser")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")

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


@contextmanager
def browse(session, *, height=800):
    """Serve a session's page, and look at it in Chromium."""
    from clip2scene.viewer.page import Page

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    page = Page(session, host="127.0.0.1", port=port)
    try:
        with playwright.sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=CHROMIUM, args=IN_SOFTWARE)
            tab = chromium.new_page(viewport={"width": 1200, "height": height})
            tab.goto(f"http://127.0.0.1:{port}")
            found = Browser(tab, page)
            found.says("labelled points right")
            found.says("driveable surface")
            found.close_warning()
            yield found
            chromium.close()
    finally:
        page.stop()
