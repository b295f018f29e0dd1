"""Record the animated picture of the viewer that README and docs show.

    clip2scene make-toytown --layout drive-log --scenes 8 --val-scenes 2 --sweeps 2 --out log
    python docs/site/record_viewer.py builtin --data-root log --out docs/images/viewer.webp

needs viser, playwright and Chromium. It is the real page in a real browser, whose mouse and keys are moved by
this script: the camera goes round the cloud, a word is typed and its points light up, a class is hidden by
its line of the legend and shown again, a point is clicked. Only the mouse's arrow is drawn by the script, as
pictures of a page leave it out. A browser without a GPU takes a few seconds a frame.
"""

import argparse
import io
import math
import shutil
import socket
import time
from pathlib import Path
from typing import Any

from PIL import Image

from clip2scene.viewer.choices import CLASS
from clip2scene.viewer.page import Page
from clip2scene.viewer.view import open_session

IN_SOFTWARE = (
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--ignore-gpu-blocklist", "--no-sandbox"),
)
WINDOW = {"width": 1500, "height": 940}
WIDTH = 1000
"""Of the picture, in pixels."""
AROUND = (5.0, 0.0, -1.0)
"""What the camera looks at, in metres."""
ARROW = """() => { const arrow = document.createElement("div");
  arrow.innerHTML = '<svg width="30" height="30" viewBox="0 0 24 24"><path d="M4 2l15 12-7 1-4 7z" \
fill="white" stroke="black"/></svg>';
  arrow.style = "position:fixed;left:-60px;top:0;z-index:99999;pointer-events:none";
  document.body.append(arrow);
  addEventListener("mousemove", (event) => {
    arrow.style.left = `${event.clientX - 4}px`; arrow.style.top = `${event.clientY - 2}px`; }, true); }"""


class Recorder:
    """A browser that looks at the page, and the frames that were taken of it.

    Args:
        tab: The browser's page.
        page: The page of the viewer that it shows.
    """

    def __init__(self, tab: Any, page: Page) -> None:  # noqa: ANN401 - playwright is optional
        self.tab, self.page = tab, page
        self.frames: list[Image.Image] = []
        self.shown_ms: list[int] = []

    def take(self, shown_ms: int, settle_s: float = 2.0) -> None:
        """Take a frame once the page has drawn what was asked for."""
        time.sleep(settle_s)
        picture = Image.open(io.BytesIO(self.tab.screenshot(timeout=120_000))).convert("RGB")
        height = round(WIDTH * picture.height / picture.width)
        self.frames.append(picture.resize((WIDTH, height), Image.Resampling.LANCZOS))
        self.shown_ms.append(shown_ms)

    def look_from(self, turned: float, away: float = 17.0, high: float = 11.0) -> None:
        """Put the camera behind the vehicle, turned to the right by so many degrees."""
        x, y = -away * math.cos(math.radians(turned)), -away * math.sin(math.radians(turned))
        for client in self.page._server.get_clients().values():
            client.camera.position = (AROUND[0] + x, AROUND[1] + y, high)
            client.camera.look_at = AROUND

    def type(self, word: str) -> None:
        """Type a word into the field of phrases; a frame takes longer than a typist waits between letters."""
        field = self.tab.locator("input.mantine-TextInput-input").last
        field.click()
        for end in range(1, len(word)):
            field.evaluate("(field, text) => { field.value = text; }", word[:end])  # the page is not told
            self.take(130, 0.05)
        field.fill(word)

    def click(self, locator: Any) -> None:  # noqa: ANN401
        """Move the arrow onto something, and click it."""
        locator.scroll_into_view_if_needed()
        box = locator.bounding_box()
        self.click_at(box["x"] + 0.3 * box["width"], box["y"] + box["height"] / 2)

    def click_at(self, x: float, y: float) -> None:
        """Move the arrow to a place of the window, and click there."""
        self.tab.mouse.move(x, y)
        self.take(500, 0.3)
        self.tab.mouse.click(x, y)


def record(recorder: Recorder, words: list[str], hidden: str, point: tuple[float, float]) -> None:
    """Do what the picture shows."""
    tab, page = recorder.tab, recorder.page
    page._size.value = 0.09
    for turned in range(-40, 21, 5):
        recorder.look_from(turned)
        recorder.take(1400 if turned in (-40, 20) else 90)
    for word in words:
        recorder.type(word)
        recorder.take(1900, 6)
    page._choose_mode(CLASS)
    recorder.take(700, 5)
    line = tab.get_by_role("button", name=f"{hidden}: ")
    recorder.click(line)
    recorder.take(1300, 4)
    recorder.click(line)
    recorder.take(500, 4)
    canvas = tab.locator("canvas").first.bounding_box()
    recorder.click_at(canvas["x"] + point[0] * canvas["width"], canvas["y"] + point[1] * canvas["height"])
    tab.get_by_text("nearest words").wait_for(timeout=120_000)
    tab.get_by_role("button", name="more like this").scroll_into_view_if_needed()
    recorder.take(2600, 4)


def main() -> None:
    """Open the page, do it, and write the picture."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--words", nargs="+", default=["car", "house"])
    parser.add_argument("--hidden", default="driveable surface")
    parser.add_argument(
        "--point", nargs=2, type=float, default=(0.615, 0.53), help="shares of the scene's size"
    )
    parser.add_argument("--quality", type=int, default=60)
    asked = parser.parse_args()

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    page = Page(open_session(asked.run, data_root=asked.data_root, split="val"), host="127.0.0.1", port=port)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=IN_SOFTWARE)
        tab = browser.new_page(viewport=WINDOW, color_scheme="dark")
        tab.set_default_timeout(180_000)
        tab.goto(f"http://127.0.0.1:{port}")
        tab.get_by_text(f"{asked.hidden}: ").wait_for()
        tab.get_by_role("alert").get_by_role("button").click()  # what it says of drawing in software
        tab.evaluate(ARROW)
        time.sleep(15)  # until that has faded
        recorder = Recorder(tab, page)
        record(recorder, asked.words, asked.hidden, tuple(asked.point))
        browser.close()
    page.stop()
    first, *others = recorder.frames
    first.save(
        asked.out,
        save_all=True,
        append_images=others,
        duration=recorder.shown_ms,
        loop=0,
        quality=asked.quality,
        method=6,
    )
    print(f"{len(recorder.frames)} frames, {asked.out.stat().st_size / 1e6:.2f} MB: {asked.out}")


if __name__ == "__main__":
    main()
