"""Charts as inline SVG: lines and bars, coloured by the style of the page, so that they suit light and dark.

Every text is escaped: names come from whoever made the run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from markupsafe import Markup

Real: TypeAlias = float | int

SERIES = 8
"""Colours that the style has for lines and bars: ``s0`` to ``s7``."""

_WIDTH, _HEIGHT = 360, 210
_LEFT, _RIGHT, _TOP, _BELOW = 46, 12, 10, 40
_NAMES, _BAR, _GAP = 190, 9, 12
_LONGEST_NAME = 26


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: For the legend.
        x: Places across.
        y: Heights, as many.
        low: Lower edge of a band around it, as many; none for no band.
        high: Its upper edge.
        colour: Number of its colour.
        faint: Whether it stands behind others.
    """

    name: str
    x: Sequence[Real]
    y: Sequence[Real]
    low: Sequence[Real] = ()
    high: Sequence[Real] = ()
    colour: int = 0
    faint: bool = False


@dataclass(frozen=True)
class Scale:
    """Where numbers lie on a drawing.

    Attributes:
        low: The number at ``first``.
        high: The number at ``last``.
        first: A place, in the drawing's units.
        last: Another.
    """

    low: Real
    high: Real
    first: Real
    last: Real

    def __call__(self, value: Real) -> float:
        """Give the place of a number."""
        width = (self.high - self.low) or 1.0
        return float(self.first + (value - self.low) / width * (self.last - self.first))


def line_chart(lines: Sequence[Line], *, across: str, up: str, square: bool = False) -> Markup:
    """Draw lines over one pair of axes.

    Args:
        lines: What to draw, the first at the back; some of them must have points.
        across: What x is.
        up: What y is.
        square: Whether both axes go from 0 to 1, with the diagonal.
    """
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in (*line.y, *line.low, *line.high)]
    across_ticks = [0.0, 0.25, 0.5, 0.75, 1.0] if square else ticks(min(xs), max(xs), 5)
    up_ticks = across_ticks if square else ticks(min(ys), max(ys), 4)
    ends = (min(xs), max(xs)) if not square and max(xs) > min(xs) else (across_ticks[0], across_ticks[-1])
    place_x = Scale(*ends, _LEFT, _WIDTH - _RIGHT)
    place_y = Scale(up_ticks[0], up_ticks[-1], _HEIGHT - _BELOW, _TOP)
    parts = [_axes(across_ticks, up_ticks, place_x, place_y, across)]
    if square:
        parts.append(_path([0, 1], [0, 1], place_x, place_y, "diagonal"))
    for line in lines:
        colour = f"s{line.colour % SERIES}"
        if line.low:
            parts.append(_band(line, place_x, place_y, colour))
        if len(line.x) == 1:
            dot = Markup('<circle class="{} dot" cx="{:.1f}" cy="{:.1f}" r="3"/>')
            parts.append(dot.format(colour, place_x(line.x[0]), place_y(line.y[0])))
        parts.append(_path(line.x, line.y, place_x, place_y, f"{colour} line" + " faint" * line.faint))
    label = f"{up} over {across}: {', '.join(dict.fromkeys(line.name for line in lines))}"
    return _svg(_WIDTH, _HEIGHT, label, parts)


def bar_chart(
    names: Sequence[str],
    bars: Mapping[str, Sequence[Real]],
    marks: Mapping[str, Sequence[Real]],
) -> Markup:
    """Draw bars in percent, a group for each name with the first value at its end, and marks across.

    Args:
        names: Of the groups.
        bars: Values in percent by the name of the series, nan for none; one for each group.
        marks: The same, drawn as signs: the first a ring, the others strokes.
    """
    group = len(bars) * _BAR + _GAP
    width, height = 760, len(names) * group + 46
    place = Scale(0, 100, _NAMES, width - 44)
    parts = []
    for tick in (0, 20, 40, 60, 80, 100):
        rule = Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="4" y2="{1}"/>')
        parts.append(rule.format(place(tick), height - 28))
        parts.append(_text(place(tick), height - 10, f"{tick}", "tick", "middle"))
    parts.append(_text(_NAMES - 10, height - 10, "IoU, %", "tick", "end"))
    for number, name in enumerate(names):
        top = 8 + number * group
        middle = top + len(bars) * _BAR / 2
        parts.append(_text(_NAMES - 10, middle + 4, _short(name), "name", "end", title=name))
        for row, (series, values) in enumerate(bars.items()):
            parts.append(_bar(place, top + row * _BAR, values[number], row, f"{name}, {series}"))
        first = next(iter(bars.values()))[number]
        if not math.isnan(first):
            parts.append(_text(width - 2, middle + 4, f"{first:.1f}", "value", "end"))
        for row, (series, values) in enumerate(marks.items()):
            if not math.isnan(values[number]):
                box = (place(values[number]), top - 2, top + len(bars) * _BAR + 2)
                parts.append(_mark(*box, row, f"{name}, {series}: {values[number]:.1f}"))
    return _svg(width, height, "IoU of each class in percent", parts)


def ticks(low: Real, high: Real, count: int) -> list[float]:
    """Choose round numbers that hold a range between them.

    Example:
        >>> ticks(0.12, 0.97, 4)
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    width = high - low
    if not width > abs(high) * 1e-9:  # one value alone
        width = abs(high) or 1.0
        low, high = low - width / 2, high + width / 2
    rough = width / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(each * power for each in (1, 2, 2.5, 5, 10) if each * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.10g}") for number in range(first, last + 1)]


def thin(
    x: np.ndarray, y: np.ndarray, most: int = 220
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Give a long curve in at most so many parts: x, and mean, least and most of y in each."""
    parts = np.array_split(np.arange(len(x)), min(most, len(x)))
    starts = np.array([part[0] for part in parts])
    sizes = np.diff([*starts, len(x)])
    mean, middle = np.add.reduceat(y, starts) / sizes, np.add.reduceat(x, starts) / sizes
    return middle, mean, np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)


def _axes(
    across_ticks: Sequence[Real],
    up_ticks: Sequence[Real],
    place_x: Scale,
    place_y: Scale,
    across: str,
) -> Markup:
    """Draw grid, ticks and the name of what is across."""
    parts = []
    for tick in up_ticks:
        rule = Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(rule.format(_LEFT, _WIDTH - _RIGHT, y=place_y(tick)))
        parts.append(_text(_LEFT - 8, place_y(tick) + 4, f"{tick:g}", "tick", "end"))
    for tick in across_ticks:
        if place_x.low <= tick <= place_x.high:
            parts.append(_text(place_x(tick), _HEIGHT - _BELOW + 17, f"{tick:g}", "tick", "middle"))
    parts.append(_text(_WIDTH - _RIGHT, _HEIGHT - 5, across, "tick", "end"))
    return Markup("").join(parts)


def _path(x: Sequence[Real], y: Sequence[Real], place_x: Scale, place_y: Scale, kind: str) -> Markup:
    points = " ".join(f"{place_x(a):.1f},{place_y(b):.1f}" for a, b in zip(x, y, strict=True))
    return Markup('<polyline class="{}" points="{}"/>').format(kind, points)


def _band(line: Line, place_x: Scale, place_y: Scale, colour: str) -> Markup:
    around = [*zip(line.x, line.high, strict=True), *reversed(list(zip(line.x, line.low, strict=True)))]
    points = " ".join(f"{place_x(a):.1f},{place_y(b):.1f}" for a, b in around)
    return Markup('<polygon class="{} band" points="{}"/>').format(colour, points)


def _bar(place: Scale, top: Real, value: Real, colour: int, title: str) -> Markup:
    if math.isnan(value):
        return Markup("")
    shape = Markup(
        '<rect class="s{} bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}"><title>{}</title></rect>'
    )
    width = max(place(value) - place(0), 0.75)
    return shape.format(colour % SERIES, place(0), top + 0.5, width, _BAR - 1.5, f"{title}: {value:.1f}")


def _mark(x: Real, top: Real, bottom: Real, number: int, title: str) -> Markup:
    if number == 0:
        ring = Markup('<circle class="mark m0" cx="{:.1f}" cy="{:.1f}" r="5"><title>{}</title></circle>')
        return ring.format(x, (top + bottom) / 2, title)
    shape = Markup(
        '<line class="mark m{}" x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"><title>{}</title></line>'
    )
    return shape.format(number, top, bottom, title, x=x)


def _text(x: Real, y: Real, text: str, kind: str, anchor: str, title: str = "") -> Markup:
    told = Markup("<title>{}</title>").format(title) if title else ""
    shape = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}{}</text>')
    return shape.format(kind, x, y, anchor, told, text)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _svg(width: Real, height: Real, label: str, parts: Sequence[Markup]) -> Markup:
    frame = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
    return frame.format(width, height, label, Markup("").join(parts))
