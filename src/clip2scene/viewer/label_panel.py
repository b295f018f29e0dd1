"""The part of the page where points are selected and given labels."""

from collections.abc import Callable
from html import escape
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.datasets.label_layer import UNLABELLED
from clip2scene.types import IGNORE_LABEL
from clip2scene.viewer.choices import Pick, Selection
from clip2scene.viewer.corrections import Corrections
from clip2scene.viewer.painting import NOT_LABELLED, OF_NO_CLASS
from clip2scene.viewer.picture import Picture
from clip2scene.viewer.selection import Eye
from clip2scene.viewer.session import Session

_WHOLE, _SINGLE = "whole superpoints", "single points"
_HOW = (
    "click: select a superpoint (of the ground, a square); shift + click: add or take away one; "
    "shift + drag: add what lies in a rectangle"
)


class LabelPanel:
    """Widgets that select points and label them.

    Args:
        gui: The page's widgets.
        session: What is shown; its labels by hand are given.
        choose: Changes what is chosen on the page, as fields of
            :class:`~clip2scene.viewer.choices.Choices`; with none, what is shown is made anew.
        go_to: Shows the sample of a number.
        text: Sets HTML as the page's labels are set.
    """

    def __init__(
        self,
        gui: Any,  # noqa: ANN401 - viser is optional
        session: Session,
        *,
        choose: Callable[..., None],
        go_to: Callable[[int], None],
        text: Callable[[str], str],
    ) -> None:
        assert session.corrections is not None
        self._session, self._corrections = session, session.corrections
        self._choose, self._go_to, self._text = choose, go_to, text
        self._picture: Picture | None = None
        self._selected: Selection | None = None
        self._last = ""
        self._build(gui)

    def _build(self, gui: Any) -> None:  # noqa: ANN401
        classes = self._corrections.class_set.classes
        with gui.add_folder("Labels by hand"):
            self._status = gui.add_html(self._text(_HOW))
            self._takes = gui.add_dropdown("selects", (_WHOLE, _SINGLE))
            self._label = gui.add_dropdown("label", (*classes, OF_NO_CLASS, NOT_LABELLED))
            self._at_once = gui.add_checkbox("label what is selected at once", False)
            buttons = (
                ("label selection", self.give),
                ("select nothing", self.clear),
                ("undo", self.undo),
                ("redo", self.redo),
                ("next to label", self.go_on),
                ("save again", self.save),
            )
            self._buttons = {name: gui.add_button(name) for name, _ in buttons}
        for name, act in buttons:
            self._buttons[name].on_click(lambda _, act=act: act())
        for name, key, held, act in (
            ("label selection", "L", None, self.give),
            ("undo", "Z", "cmd/ctrl", self.undo),
            ("redo", "Z", "cmd/ctrl+shift", self.redo),
            ("next to label", "N", None, self.go_on),
        ):
            gui.add_command(name, hotkey=key, modifier=held).on_trigger(lambda _, act=act: act())
        self._buttons["save again"].visible = False

    # What is selected

    def click(self, picture: Picture, pick: Pick, *, add: bool) -> None:
        """Select what was clicked on, alone or beside what is selected; again, and it is taken away."""
        whole = self._takes.value == _WHOLE
        points = picture.piece_of(pick) if whole else picture.scene.shown[pick.point][None]
        before = self._points(picture) if add else points[:0]
        again = add and bool(torch.isin(points, before).all())
        self._select(picture, before[~torch.isin(before, points)] if again else torch.cat([before, points]))

    def rectangle(self, picture: Picture, event: Any) -> None:  # noqa: ANN401
        """Select what lies in a rectangle, beside what is selected."""
        camera = event.client.camera
        place, turn = (tuple(map(float, each)) for each in (camera.position, camera.wxyz))
        eye = Eye(place, turn, float(camera.fov), float(camera.aspect))  # type: ignore[arg-type]
        whole = self._takes.value == _WHOLE
        points = picture.within(eye, event.screen_min, event.screen_max, whole=whole)
        self._select(picture, torch.cat([self._points(picture), points]))

    def _points(self, picture: Picture) -> Int[Tensor, " selected"]:
        """Give what is selected of a picture's sample."""
        mine = self._selected is not None and self._selected.number == picture.choices.number
        return self._selected.points if self._selected and mine else torch.zeros(0, dtype=torch.long)

    def _select(self, picture: Picture, points: Int[Tensor, " points"]) -> None:
        found = points.unique()
        self._selected = Selection(picture.choices.number, found) if len(found) else None
        if self._at_once.value and len(found):
            self.give()
        else:
            self._choose(selected=self._selected)

    def clear(self) -> None:
        """Select nothing."""
        self._selected = None
        self._choose(selected=None)

    # What is done to it

    def give(self) -> None:
        """Give what is selected the label that is chosen, and save it."""
        chosen, picture = self._selected, self._picture
        if chosen is None or picture is None or chosen.number != picture.choices.number:
            self._tell("select something first")
            return
        others = {OF_NO_CLASS: IGNORE_LABEL, NOT_LABELLED: UNLABELLED}
        name = self._label.value
        label = others[name] if name in others else self._corrections.class_set.classes.index(name)
        try:
            count = self._corrections.give(self._session.scene(chosen.number).sample, chosen.points, label)
        except ValueError as error:
            self._tell(f"{error}")
            return
        self._last = f"{count:,} points: {name}" if count else f"these points were {name} before"
        self.clear()

    def undo(self) -> None:
        """Take the last step back, and show where it was."""
        self._move("undid", self._corrections.undo)

    def redo(self) -> None:
        """Take the last step that was undone again."""
        self._move("redid", self._corrections.redo)

    def _move(self, what: str, step: Callable[[], str | None]) -> None:
        try:
            token = step()
        except ValueError as error:
            self._tell(f"{error}")
            return
        if token is None:
            self._tell(f"there is nothing to be {'undone' if what == 'undid' else 'done again'}")
            return
        self._last = f"{what} a step in {token}"
        number = [*self._session.source.tokens].index(token)
        if self._picture is None or number != self._picture.choices.number:
            self._go_to(number)
        self._choose()

    def go_on(self) -> None:
        """Show the next sample that is to be labelled."""
        here = None if self._picture is None else self._picture.choices.number
        number = self._session.next_to_label(here)
        if number is None:
            self._tell("all other samples have labels by hand")
            return
        self._last = ""
        self._selected = None
        self._choose(selected=None)
        self._go_to(number)

    def save(self) -> None:
        """Try once more to write what could not be written."""
        self._corrections.save()
        self._choose()

    def _tell(self, sentence: str) -> None:
        self._last = sentence
        self._choose()

    # What is shown

    def show(self, picture: Picture) -> None:
        """Say what is selected, what is labelled, and what is wrong."""
        self._picture = picture
        corrections = self._corrections
        done, undone = corrections.steps
        selected = len(self._points(picture))
        lines = [
            self._last,
            f"{selected:,} points selected" if selected else "",
            *_counts(corrections, picture),
        ]
        trouble = corrections.trouble or corrections.read_only
        told = "".join(f"<li>{escape(each)}</li>" for each in lines if each)
        warning = f"<b>{escape(trouble)}</b>" if trouble else _HOW
        self._status.content = self._text(f'{warning}<ul style="margin:4px 0;padding-left:18px">{told}</ul>')
        off = bool(corrections.read_only)
        self._buttons["label selection"].disabled = off or not selected
        self._buttons["undo"].disabled, self._buttons["redo"].disabled = not done, not undone
        self._buttons["undo"].label, self._buttons["redo"].label = f"undo ({done})", f"redo ({undone})"
        self._buttons["save again"].visible = bool(corrections.trouble)


def _counts(corrections: Corrections, picture: Picture) -> list[str]:
    """Say how much of a sample, and how many samples, have labels."""
    try:
        labelled = corrections.layer(picture.scene.sample).labelled
    except ValueError as error:
        return [f"{error}"]
    return [
        f"{int(labelled.sum()):,} of {len(labelled):,} points of this sample labelled by hand",
        f"samples with labels by hand in {corrections.folder}: {len(corrections.labelled())}",
    ]
