"""A picture of repeated experiments: a dot for every seed, and differences with their uncertainty."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from clip2scene.viz.pen import FINE, MARGIN, TICK, WIDTH, Pen
from clip2scene.viz.raster import QUIET, RIGHT, RING, SHEET, TEXT, WRONG, Colour

DOT: Colour = (92, 164, 246)

_ROW, _TOP, _BOTTOM = 48, 150, 150
_DOT, _APART = 6, 9  # a dot's radius, and how far dots lie below the mean
_NAMES = 430  # room for names, on the left


@dataclass(frozen=True)
class Line:
    """One experiment.

    Attributes:
        name: What it is called.
        group: Heading it stands under; lines of a group follow each other.
        values: One for each seed, in percent; none where nothing is known yet.
        difference: Mean difference to the baseline and the two ends of its interval; None where there is no
            comparison, as for the baseline itself.
        certain: Whether the difference is drawn filled.
        is_baseline: Whether others are compared with this one.
    """

    name: str
    group: str
    values: tuple[float, ...]
    difference: tuple[float, float, float] | None = None
    certain: bool = False
    is_baseline: bool = False


@dataclass(frozen=True)
class _Axis:
    """Where numbers stand between two columns of the picture."""

    left: int
    right: int
    low: float
    high: float

    def place(self, value: float) -> float:
        """Give the column of a number, in pixels."""
        return self.left + (value - self.low) / (self.high - self.low) * (self.right - self.left)

    def inside(self, value: float) -> float:
        """Move a number beyond an end of the axis to that end."""
        return min(max(value, self.low), self.high)

    def ticks(self) -> list[float]:
        """Choose round numbers, six at most."""
        span = self.high - self.low
        step = next(s for s in (10.0**p * f for p in range(-6, 9) for f in (1, 2, 5)) if span / s <= 5.5)
        first, last = int(np.ceil(self.low / step)), int(np.floor(self.high / step))
        return [step * number for number in range(first, last + 1)]


def draw_dots(lines: Sequence[Line], *, title: str, notes: Sequence[str]) -> Image.Image:
    """Draw values on the left and differences to the baseline on the right, a row an experiment.

    Args:
        lines: The experiments, from top to bottom.
        title: Over everything.
        notes: Sentences below; at most three have room.

    Returns:
        The picture.

    Raises:
        ValueError: If there is no line.
    """
    if not lines:
        raise ValueError("a picture of experiments needs at least one line")
    several = len({line.group for line in lines}) > 1
    rows = _rows(lines, with_groups=several)
    height = _TOP + len(rows) * _ROW + _BOTTOM
    sheet = Image.new("RGB", (WIDTH * FINE, height * FINE), SHEET)
    pen = Pen(ImageDraw.Draw(sheet))
    pen.write((MARGIN, 42), title, 28)
    values = _Axis(
        _NAMES + 30, 960, *_range([end for line in lines for end in (*line.values, *_bar(line.values))])
    )
    ends = [end for line in lines if line.difference for end in line.difference]
    differences = _Axis(1090, WIDTH - 130, *_range([*ends, 0.0]))
    bottom = _TOP + len(rows) * _ROW
    _draw_axis(pen, values, "mIoU on all points, %", bottom, "{:g}")
    _draw_axis(pen, differences, "minus the baseline, points of mIoU", bottom, "{:+g}")
    pen.rule((differences.place(0.0), _TOP - 8), (differences.place(0.0), bottom), QUIET, 2)
    for line in lines:
        mean = float(np.mean(line.values)) if line.is_baseline and line.values else np.inf
        if values.inside(mean) == mean:
            column = values.place(mean)
            pen.rule((column, _TOP - 8), (column, bottom), QUIET, 2)
    for number, row in enumerate(rows):
        middle = _TOP + number * _ROW + _ROW // 2
        if isinstance(row, str):
            pen.write((MARGIN, middle), row, 19, QUIET)
        else:
            _draw_line(pen, row, middle, values, differences)
    for number, note in enumerate(notes):
        pen.write((MARGIN, bottom + 50 + 26 * number), note, 17, QUIET)
    return sheet.reduce(FINE)


def _bar(values: Sequence[float]) -> tuple[float, ...]:
    """Give the mean and the ends of one standard deviation around it; nothing for no values."""
    if not values:
        return ()
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return mean, mean - spread, mean + spread


def _rows(lines: Sequence[Line], *, with_groups: bool) -> list[Line | str]:
    """Put the name of each group over its lines."""
    rows: list[Line | str] = []
    group = None
    for line in lines:
        if with_groups and line.group != group:
            rows.append(line.group)
        group = line.group
        rows.append(line)
    return rows


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    """Choose ends of an axis that hold the numbers, but for those so far away that all others would shrink.

    Those are more than three times the middle half's width away from it (Tukey's outer fences).
    """
    if not numbers:
        return 0.0, 1.0
    first, third = np.quantile(numbers, (0.25, 0.75))
    fence = 3 * max(third - first, 1.0)
    kept = [number for number in numbers if first - fence <= number <= third + fence]
    low, high = min(kept), max(kept)
    room = max(0.06 * (high - low), 0.5)
    return float(low - room), float(high + room)


def _draw_axis(pen: Pen, axis: _Axis, title: str, bottom: int, style: str) -> None:
    pen.write((axis.left, _TOP - 62), title, 20)
    for tick in axis.ticks():
        column = axis.place(tick)
        pen.rule((column, _TOP - 8), (column, bottom), RING, 1)
        number = round(tick, 6) or 0
        pen.write((column, _TOP - 26), style.format(number) if number else "0", 17, QUIET, anchor="mm")


def _draw_line(pen: Pen, line: Line, middle: int, values: _Axis, differences: _Axis) -> None:
    """Draw one experiment: its name, mean, spread and dots; then the difference and its interval."""
    pen.write((MARGIN, middle), line.name, 21, room=_NAMES - MARGIN)
    if not line.values:
        pen.write((values.left, middle), "not finished", 17, QUIET)
        return
    mean, low, high = _bar(line.values)
    _draw_interval(pen, values, (mean, low, high), middle - _APART + 2, TEXT)
    for number, value in enumerate(line.values):
        if values.low <= value <= values.high:  # on slightly different heights, so that none hides another
            lower = _APART + round(8 * (number + 0.5) / len(line.values) - 4)
            pen.disc((values.place(value), middle + lower), _DOT, DOT, edge=SHEET)
    pen.write((values.right + 66, middle), f"{mean:.1f}", 19, anchor="rm")
    if line.is_baseline:
        pen.write((differences.place(0.0) + 12, middle), "baseline", 17, QUIET)
    if line.difference is not None:
        gain, *_ = line.difference
        colour = (RIGHT if gain > 0 else WRONG) if line.certain else TEXT
        _draw_interval(pen, differences, line.difference, middle, colour)
        if differences.low <= gain <= differences.high:
            inside = colour if line.certain else SHEET
            pen.disc((differences.place(gain), middle), _DOT + 2, inside, edge=colour)
        pen.write((WIDTH - MARGIN, middle), f"{gain:+.1f}", 19, anchor="rm")


def _draw_interval(
    pen: Pen, axis: _Axis, interval: tuple[float, float, float], row: int, colour: Colour
) -> None:
    """Draw a mean and its interval; an arrow head where it lies beyond the axis."""
    mean, low, high = interval
    pen.rule((axis.place(axis.inside(low)), row), (axis.place(axis.inside(high)), row), colour, 3)
    if axis.inside(mean) == mean:
        pen.rule((axis.place(mean), row - TICK), (axis.place(mean), row + TICK), colour, 3)
    else:
        pen.arrow_head((axis.place(axis.inside(mean)), row), -1 if mean < axis.low else 1, colour)
