"""The page of ``clip2scene view``: time to the first picture and to an answer, and frames a second.

    python benchmarks/viewer.py RUN --data-root DIR [--split val]

needs viser, playwright and Chromium. The browser draws in software (SwiftShader), as on a machine without a
GPU; with one, frames are drawn many times as fast. Frames are those that the browser gives the page while the
camera is turned by the mouse. The clouds of the last part are made: points around a sensor on the ground,
without a run.
"""

import argparse
import contextlib
import math
import os
import shutil
import socket
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from clip2scene.viewer.choices import ALIKE, CLASS, CONFIDENCE, EMBEDDING, PHRASE, SCORE, Choices, Pick
from clip2scene.viewer.page import Page
from clip2scene.viewer.session import Session
from clip2scene.viewer.view import open_session

IN_SOFTWARE = (
    *("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--ignore-gpu-blocklist", "--no-sandbox"),
)
COUNT_FRAMES = """() => { window.frames_counted = 0;
  const step = () => { window.frames_counted += 1; requestAnimationFrame(step); };
  requestAnimationFrame(step); }"""
TURNED_S = 25
"""The camera is turned for so long, after a first while that does not count."""


def seconds(call: Callable[[], object]) -> float:
    """Time a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def time_answers(session: Session, words: list[str]) -> None:
    """Print how long pictures take: the first of a sample, and those after a change."""
    first = seconds(partial(session.picture, Choices()))
    print(f"first picture of a sample, {len(session.scene(0).shown):,} points shown: {first:.2f} s")
    print(f"  opening the text encoder, in the background: {seconds(session.warm_up):.2f} s")
    for mode in (CLASS, CONFIDENCE, EMBEDDING, ALIKE):
        ask = partial(session.picture, Choices(mode=mode, picked=Pick(0, 0)))
        ask()
        print(f"  then by {mode}: {statistics.median(seconds(ask) for _ in range(5)):.3f} s")
    for mode in (PHRASE, SCORE):
        asks = [partial(session.picture, Choices(mode=mode, phrase=word)) for word in words]
        print(f"  then by {mode}: {max(map(seconds, asks)):.3f} s at most for {len(words)} phrases")
    picture = session.picture(Choices())
    if picture.scene.sample.cameras:
        picture.draw_over_image(0)
        print(f"  a camera image: {seconds(partial(picture.draw_over_image, 0)):.3f} s")
    eye = (-30.0, 0.0, 20.0)
    print(f"  a click: {seconds(partial(picture.pick, eye, (30.0, 1.0, -20.0))):.3f} s")


def time_browser(session: Session, made: list[int]) -> None:
    """Print how long a browser takes to show the first picture, and what it takes to draw a frame."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.perf_counter()
    page = Page(session, host="127.0.0.1", port=port)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=IN_SOFTWARE)
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.goto(f"http://127.0.0.1:{port}")
        tab.get_by_text("points", exact=False).first.wait_for(timeout=300_000)
        taken = time.perf_counter() - began
        print(f"a page with that picture in a browser that is started for it: {taken:.1f} s")
        tab.evaluate(COUNT_FRAMES)
        print(f"{len(session.scene(0).shown):,} points: {frames(tab)}")
        for count in made:
            positions, colours = make_cloud(count)
            page._server.scene.add_point_cloud(
                "/run0", positions, colours, point_size=0.06, precision="float32", point_shading="flat"
            )
            time.sleep(5)
            print(f"{count:,} points: {frames(tab)}")
        browser.close()
    page.stop()


def frames(tab: Any) -> str:  # noqa: ANN401 - playwright is optional
    """Count frames while the camera is turned, by the clock and by the processor's time."""
    box = tab.locator("canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(x, y)
    tab.mouse.down()
    turn(tab, x, y, 5)
    start, worked, counted = time.perf_counter(), processor_time(), tab.evaluate("window.frames_counted")
    turn(tab, x, y, TURNED_S)
    taken, worked = time.perf_counter() - start, processor_time() - worked
    counted = max(tab.evaluate("window.frames_counted") - counted, 1)
    tab.mouse.up()
    of_a_core = f"on {worked / taken:.2f} of a core: {worked / counted:.2f} s of a core a frame"
    return f"{counted / taken:.2f} frames a second {of_a_core}"


def turn(tab: Any, x: float, y: float, duration: float) -> None:  # noqa: ANN401
    """Turn the camera to and fro, with the mouse held down."""
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < duration:
        tab.mouse.move(x + 200 * math.sin(passed), y)
        time.sleep(0.05)


def processor_time() -> float:
    """Add up the processor time of all that this process has started and that still runs, in seconds."""
    parents, worked = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            values = path.read_text().rpartition(")")[2].split()
            parents[int(path.parent.name)] = int(values[1])
            worked[int(path.parent.name)] = int(values[11]) + int(values[12])
    mine = {os.getpid()}
    while more := {each for each, parent in parents.items() if parent in mine} - mine:
        mine |= more
    return sum(worked[each] for each in mine - {os.getpid()}) / os.sysconf("SC_CLK_TCK")


def make_cloud(count: int):  # noqa: ANN201 - arrays
    """Scatter points over a ground, and walls on it."""
    draw = torch.Generator().manual_seed(0)
    size = torch.tensor([160.0, 160.0, 6.0])
    positions = (torch.rand(count, 3, generator=draw) - torch.tensor([0.5, 0.5, 0.3])) * size
    positions[: count // 2, 2] = -1.8
    colours = (255 * torch.rand(count, 3, generator=draw)).to(torch.uint8)
    return positions.numpy(), colours.numpy()


def main() -> None:
    """Time a session's answers, then the browser."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--words", nargs="+", default=["car", "red car", "street", "tree", "person"])
    parser.add_argument("--made", nargs="*", type=int, default=[200_000, 1_000_000])
    asked = parser.parse_args()
    session = open_session(asked.run, data_root=asked.data_root, split=asked.split)
    time_answers(session, asked.words)
    time_browser(session, asked.made)


if __name__ == "__main__":
    main()
