"""The page: a thin layer of viser's widgets over a :class:`~clip2scene.viewer.session.Session`."""

import io
import threading
import time
from contextlib import redirect_stdout
from dataclasses import replace
from html import escape
from typing import Any

import numpy as np
import torch

from clip2scene.viewer.choices import ALIKE, CLASS, CORRECTED, PHRASE, SCORE, Choices
from clip2scene.viewer.label_panel import LabelPanel
from clip2scene.viewer.modes import MODES
from clip2scene.viewer.picture import Layer, Line, Picture
from clip2scene.viewer.session import Session
from clip2scene.viz.raster import GROUND, NO_LABEL, TEXT, heat_colours

_SETTLED_S = 0.15
"""A picture is begun when nothing has changed for so long: a typed phrase, not each of its letters."""
_CAMERAS_WIDE = 380
"""Width of the panel of camera images, in pixels."""
_MARK_M = 0.15
"""Radius of the ball around a clicked point, in metres."""
_FRAME_S = 0.5
"""While samples are played, each stays for at least so long."""


class Page:
    """A page that is being served; all browsers that open it share one view, each with a camera of its own.

    One thread makes all pictures. While it works, changes are gathered, and the newest are shown next.

    Args:
        session: What is shown.
        host: The address that it listens at.
        port: The port, which is free.
    """

    def __init__(self, session: Session, *, host: str, port: int) -> None:
        import viser  # late: an optional dependency

        self._session = session
        self._choices = _first(session)
        self._picture: Picture | None = None
        self._changed, self._stopped = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        with redirect_stdout(io.StringIO()):  # its banner names no way through SSH
            self._server = viser.ViserServer(host=host, port=port, label="clip2scene", verbose=False)
        self._layers: dict[int, tuple[Layer, Any]] = {}
        self._marks: list[Any] = []
        self._legend: list[tuple[str, Any]] = []
        self._build()
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()
        threading.Thread(target=session.warm_up, daemon=True).start()
        self._changed.set()

    def stop(self) -> None:
        """Close the page."""
        self._stopped.set()
        self._changed.set()
        self._worker.join()
        with redirect_stdout(io.StringIO()):
            self._server.stop()

    # What is on the page

    def _build(self) -> None:
        """Put the widgets on the page."""
        gui, scene = self._server.gui, self._server.scene
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False, control_width="large")
        gui.main_panel.dock_right()
        scene.set_up_direction("+z")
        scene.set_background_image(np.full((2, 2, 3), GROUND, dtype=np.uint8))
        self._status = gui.add_html(_text("reading the first sample"))
        self._build_samples(gui)
        self._labels: LabelPanel | None = None
        if self._session.corrections is not None:
            self._labels = LabelPanel(gui, self._session, choose=self._choose, go_to=self._go_to, text=_text)
            scene.on_click(modifier="shift")(lambda event: self._click(event, add=True))
            scene.on_rect_select(modifier="shift")(self._rectangle)
        self._build_colours(gui)
        self._legend_folder = gui.add_folder("Legend")
        with gui.add_folder("Point"):
            self._about_point = gui.add_html(_text("click a point"))
            self._alike = gui.add_button("more like this", disabled=True)
            self._alike.on_click(lambda _: self._choose_mode(ALIKE))
        with gui.add_folder("Drawing", expand_by_default=False):
            self._size = gui.add_slider("point size, m", 0.01, 0.5, 0.01, 0.06)
            self._size.on_update(lambda _: self._resize())
            most = self._session.most_points
            step = max(1, most // 100)
            self._drawn = gui.add_slider("points drawn", step, most, step, most)
            self._drawn.on_update(lambda _: self._choose(drawn=int(self._drawn.value)))
        self._cameras = gui.add_panel(visible=False)
        self._camera_tab = self._cameras.add_tab("Cameras")
        self._images: dict[str, Any] = {}
        self._cameras.dock_left()
        self._cameras.set_width(_CAMERAS_WIDE)
        scene.on_click()(self._click)

    def _build_samples(self, gui: Any) -> None:  # noqa: ANN401 - viser is optional
        count = len(self._session.source.tokens)
        several = count > 1
        with gui.add_folder("Sample", visible=several or len(self._session.answerers) > 1):
            first = self._choices.number
            self._number = gui.add_slider("sample", 0, max(count - 1, 1), 1, first, visible=several)
            self._play = gui.add_checkbox("play", False, visible=several)
            names = [answerer.name for answerer in self._session.answerers]
            options = (
                [*names, "side by side"] if names[0] != names[-1] else ["first", "second", "side by side"]
            )
            self._runs = gui.add_dropdown("run", options, visible=len(names) > 1)
        self._number.on_update(lambda _: self._choose(number=int(self._number.value)))
        self._play.on_update(lambda _: self._changed.set())
        ways = dict(zip(options, ((0,), (1,), (0, 1)), strict=False))
        self._runs.on_update(lambda _: self._choose(runs=ways[self._runs.value]))

    def _build_colours(self, gui: Any) -> None:  # noqa: ANN401
        with gui.add_folder("Colour"):
            self._mode = gui.add_dropdown("colour by", MODES, initial_value=self._choices.mode)
            self._phrase = gui.add_text("phrase", "")
            self._threshold = gui.add_slider("threshold", 0.0, 1.0, 0.01, 0.0)
            self._trouble = gui.add_html("", visible=False)
            self._scale = gui.add_html("", visible=False)
        self._mode.on_update(lambda _: self._choose(mode=self._mode.value, hidden=frozenset()))
        self._phrase.on_update(lambda _: self._type())
        self._threshold.on_update(lambda _: self._choose(threshold=float(self._threshold.value)))

    # What is done to it

    def _choose(self, **changes: Any) -> None:  # noqa: ANN401 - of the fields of Choices
        with self._lock:
            self._choices = replace(self._choices, **changes)
        self._changed.set()

    def _type(self) -> None:
        """Look for what was typed; whoever types wants to see it."""
        phrase = self._phrase.value
        if phrase.strip() and self._choices.mode not in (PHRASE, SCORE):
            self._choose_mode(PHRASE)
        self._choose(phrase=phrase)

    def _choose_mode(self, mode: str) -> None:
        self._mode.value = mode
        self._choose(mode=mode, hidden=frozenset())

    def _toggle(self, name: str) -> None:
        self._choose(hidden=self._choices.hidden ^ {name})

    def _go_to(self, number: int) -> None:
        self._number.value = number
        self._choose(number=number)

    def _click(self, event: Any, *, add: bool = False) -> None:  # noqa: ANN401
        picture = self._picture
        pick = None if picture is None else picture.pick(event.ray_origin, event.ray_direction)
        if picture is None or pick is None:
            return
        self._choose(picked=pick)
        if self._labels is not None:
            self._labels.click(picture, pick, add=add)

    def _rectangle(self, event: Any) -> None:  # noqa: ANN401
        if self._picture is not None and self._labels is not None:
            self._labels.rectangle(self._picture, event)

    # What is shown

    def _work(self) -> None:
        """Make pictures until the page is closed."""
        while not self._stopped.is_set():
            self._changed.wait()
            if not self._play.value:
                self._wait_until_settled()
            self._changed.clear()
            if self._stopped.is_set():
                return
            began = time.monotonic()
            self._render()
            if self._play.value and not self._stopped.is_set():
                self._stopped.wait(max(0.0, _FRAME_S - (time.monotonic() - began)))
                self._go_to((int(self._number.value) + 1) % len(self._session.source.tokens))

    def _wait_until_settled(self) -> None:
        """Wait until nothing has changed for a moment."""
        while self._changed.is_set() and not self._stopped.is_set():
            self._changed.clear()
            if not self._changed.wait(_SETTLED_S):
                return

    def _render(self) -> None:
        """Make the picture of what is chosen, and show it; a bad sample is a sentence."""
        choices = self._choices
        try:
            picture = self._session.picture(choices)
            about = self._session.describe(choices)
        except (ValueError, OSError, MemoryError, RuntimeError) as error:  # torch's memory is a RuntimeError
            self._say(f"{error}")
            return
        framed = self._picture is not None and self._picture.choices.runs == choices.runs
        self._picture = picture
        with self._server.atomic():
            self._show_clouds(picture)
            self._show_marks(picture)
            self._show_legend(picture.legend, choices)
            self._say(picture.trouble)
            self._status.content = _status(picture)
            self._about_point.content = _listing(about) if about else _text("click a point")
            self._alike.disabled = choices.picked is None
            if self._labels is not None:
                self._labels.show(picture)
            self._show_scale(picture)
            if not framed:
                self._look_from_above(picture)
        self._show_images(picture)

    def _show_clouds(self, picture: Picture) -> None:
        """Show the points of each run; where these are the same as before, their colours alone are sent."""
        for run in {*self._layers} - {layer.run for layer in picture.layers}:
            self._layers.pop(run)[1].remove()
        for layer in picture.layers:
            before = self._layers.get(layer.run)
            if before is not None and torch.equal(before[0].positions, layer.positions):
                cloud = before[1]
                cloud.colors, cloud.position = layer.colours.numpy(), layer.offset
            else:
                cloud = self._add_cloud(layer)
            self._layers[layer.run] = (layer, cloud)

    def _show_marks(self, picture: Picture) -> None:
        """Put a ball around the clicked point in every cloud that has it."""
        for mark in self._marks:
            mark.remove()
        self._marks = [
            self._server.scene.add_icosphere(
                f"/mark{number}", radius=_MARK_M, color=TEXT, opacity=0.6, position=place
            )
            for number, place in enumerate(picture.marks)
        ]

    def _add_cloud(self, layer: Layer) -> Any:  # noqa: ANN401
        """Put a cloud into the scene, in place of what has its name."""
        return self._server.scene.add_point_cloud(
            f"/run{layer.run}",
            layer.positions.numpy(),
            layer.colours.numpy(),
            point_size=float(self._size.value),
            point_shape="rounded",
            point_shading="flat",
            precision="float32",
            position=layer.offset,
        )

    def _show_legend(self, legend: tuple[Line, ...], choices: Choices) -> None:
        """Give every line a button in its colour; a grey one is hidden."""
        if [line.name for line in legend] != [name for name, _ in self._legend]:
            for _, button in self._legend:
                button.remove()
            with self._legend_folder:
                self._legend = [(line.name, self._button(line.name)) for line in legend]
        for line, (_, button) in zip(legend, self._legend, strict=True):
            hidden = line.name in choices.hidden
            counts = " | ".join(f"{count:,}" for count in line.counts)
            button.label = f"{line.name}: {counts}{' (hidden)' if hidden else ''}"
            button.color = NO_LABEL if hidden else line.colour

    def _button(self, name: str) -> Any:  # noqa: ANN401
        button = self._server.gui.add_button(name)
        button.on_click(lambda _: self._toggle(name))
        return button

    def _say(self, trouble: str) -> None:
        self._trouble.content = _text(f"<b>{escape(trouble)}</b>")
        self._trouble.visible = bool(trouble)

    def _show_scale(self, picture: Picture) -> None:
        scale = picture.scale
        self._scale.visible = scale is not None
        if scale is not None:
            self._scale.content = _scale_html(scale.low, scale.high, scale.unit)

    def _show_images(self, picture: Picture) -> None:
        """Draw the points over every camera's image; what has changed meanwhile goes first."""
        names = [camera.name for camera in picture.scene.sample.cameras]
        self._cameras.visible = bool(names)
        if names != [*self._images]:
            for image in self._images.values():
                image.remove()
            self._images = {}
        for view, name in enumerate(names):
            if self._changed.is_set() and len(self._images) == len(names):
                return
            try:
                drawn = np.asarray(picture.draw_over_image(view))
            except (ValueError, OSError) as error:
                self._say(f"{error}")
                return
            if name in self._images:
                self._images[name].image = drawn
            else:
                with self._camera_tab:
                    self._images[name] = self._server.gui.add_image(drawn, label=name, jpeg_quality=85)

    def _resize(self) -> None:
        for _, cloud in self._layers.values():
            cloud.point_size = float(self._size.value)

    def _look_from_above(self, picture: Picture) -> None:
        """Look at all clouds from behind and above: every browser, and those that come later."""
        eye, target = _view_of(picture)
        cameras: list[Any] = [client.camera for client in self._server.get_clients().values()]
        for camera in (self._server.initial_camera, *cameras):
            camera.position, camera.look_at = eye, target


def _first(session: Session) -> Choices:
    """Begin with the first sample, or the first that is to be labelled."""
    mode = CLASS if session.corrections is None else CORRECTED
    return Choices(number=session.next_to_label() or 0, mode=mode)


def _view_of(picture: Picture) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Choose the eye and what it looks at, in metres: back by what holds half of the points, or both."""
    middle = picture.scene.positions.median(dim=0).values
    reach = float((picture.scene.positions - middle).norm(dim=1).median())
    beside = picture.layers[-1].offset[1]
    x, y, z = middle.tolist()
    reach, y = max(reach, 0.5 * abs(beside)), y + beside / 2
    return (x - 2.2 * reach, y, z + 1.8 * reach), (x, y, z)


def _status(picture: Picture) -> str:
    """Name the sample, and list what is to be said of it."""
    count = len(picture.scene.shown)
    facts = "".join(f"<li>{escape(each)}</li>" for each in picture.facts)
    name = escape(picture.scene.sample.token)
    return _text(
        f'<b style="overflow-wrap:anywhere">{name}</b>, {count:,} points'
        f'<ul style="margin:4px 0;padding-left:18px">{facts}</ul>'
    )


def _listing(told: list[tuple[str, str]]) -> str:
    """List what is known of a point, a line each."""
    rows = "".join(
        f'<tr style="vertical-align:top"><td style="padding-right:10px">{escape(what)}</td>'
        f"<td>{escape(words)}</td></tr>"
        for what, words in told
    )
    return _text(f"<table>{rows}</table>")


def _text(html: str) -> str:
    """Set text as the page's labels are set. What comes from outside is escaped before."""
    return f'<div style="font-size:13px;line-height:1.45;padding:4px 14px">{html}</div>'


def _scale_html(low: float, high: float, unit: str) -> str:
    """Draw a scale of the heat map's colours between its two ends."""
    stops = heat_colours(torch.linspace(0, 1, 7)).tolist()
    colours = ", ".join(f"rgb({red},{green},{blue})" for red, green, blue in stops)
    bar = f"height:12px;flex:1;margin:0 8px;border-radius:3px;background:linear-gradient(to right,{colours})"
    return (
        f'<div style="display:flex;align-items:center;font-size:12px;padding:4px 14px">{low:.2f}'
        f'<div style="{bar}"></div>{high:.2f} {unit}</div>'
    )
