"""A picture of scores that grow with what is spent: a curve for each way, a dot for each seed."""

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from clip2scene.experiments.significance import spread
from clip2scene.viz.pen import FINE, MARGIN, WIDTH, Pen
from clip2scene.viz.raster import QUIET, RING, SHEET, TEXT, Colour

COLOURS: tuple[Colour, ...] = (
    (150, 150, 158),
    (92, 164, 246),
    (236, 160, 62),
    (110, 190, 110),
    (232, 96, 116),
    (170, 130, 230),
)
_TOP, _BOTTOM, _LEFT, _RIGHT, _HEIGHT = 130, 130, 110, 380, 900

Curve = Mapping[float, Sequence[float]]
"""Scores of all seeds, by what was spent."""


def draw_curves(
    curves: Mapping[str, Curve], *, title: str, across: str, up: str, notes: Sequence[str] = ()
) -> Image.Image:
    """Draw curves over a logarithmic axis.

    Args:
        curves: By name, in the order of the legend; those without a score are left out.
        title: Over everything.
        across: What is spent, for the axis.
        up: What is scored.
        notes: Sentences below; two have room.

    Raises:
        ValueError: If no curve has a score, something spent is not positive, or there are more curves than
            colours.
    """
    known = {name: {x: ys for x, ys in curve.items() if ys} for name, curve in curves.items()}
    known = {name: curve for name, curve in known.items() if curve}
    spent = sorted({x for curve in known.values() for x in curve})
    if not spent or spent[0] <= 0 or len(known) > len(COLOURS):
        raise ValueError(
            f"expected 1 to {len(COLOURS)} curves over positive numbers, got {len(known)} over {spent}"
        )
    scores = [y for curve in known.values() for ys in curve.values() for y in ys]
    low, high = 10 * math.floor(min(scores) / 10), 10 * math.ceil(max(scores) / 10 + 1e-9)
    sheet = Image.new("RGB", (WIDTH * FINE, _HEIGHT * FINE), SHEET)
    pen = Pen(ImageDraw.Draw(sheet))
    reach = math.log(spent[-1] / spent[0]) or 1.0

    def column(x: float | int) -> float:
        return _LEFT + math.log(x / spent[0]) / reach * (WIDTH - _LEFT - _RIGHT)

    def row(y: float | int) -> float:
        return _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    pen.write((MARGIN, 42), title, 28)
    pen.write((MARGIN, 92), up, 19, QUIET)
    for y in range(low, high + 1, 10):
        pen.rule((_LEFT - 20, row(y)), (WIDTH - _RIGHT + 20, row(y)), RING, 1)
        pen.write((_LEFT - 34, row(y)), f"{y:g}", 17, QUIET, anchor="rm")
    for x in spent:
        pen.rule((column(x), row(low)), (column(x), row(low) + 8), QUIET, 1)
        pen.write((column(x), row(low) + 24), f"{x:g}", 17, QUIET, anchor="mm")
    pen.write(((_LEFT + WIDTH - _RIGHT) / 2, row(low) + 52), across, 19, QUIET, anchor="mm")
    for curve, colour in zip(known.values(), COLOURS, strict=False):
        _draw_curve(pen, [(column(x), [row(y) for y in ys]) for x, ys in sorted(curve.items())], colour)
    ends = _apart([row(spread(curve[max(curve)])[0]) for curve in known.values()])
    for name, colour, end in zip(known, COLOURS, ends, strict=False):
        pen.write((WIDTH - _RIGHT + 40, end), name, 21, colour, room=_RIGHT - 60)
    for number, note in enumerate(notes):
        pen.write((MARGIN, _HEIGHT - 46 + 26 * number), note, 17, TEXT)
    return sheet.reduce(FINE)


def _draw_curve(pen: Pen, points: Sequence[tuple[float, Sequence[float]]], colour: Colour) -> None:
    """Draw the line through the means, and a dot for each seed."""
    means = [(x, spread(rows)[0]) for x, rows in points]
    for start, end in zip(means, means[1:], strict=False):
        pen.rule(start, end, colour, 3)
    for x, rows in points:
        for each in rows:
            pen.disc((x, each), 5, colour, edge=SHEET)


def _apart(rows: Sequence[float], least: float = 30.0) -> list[float]:
    """Move rows apart, from the lowest on the sheet upwards, so that words on them do not touch."""
    placed: dict[int, float] = {}
    below = math.inf
    for number in sorted(range(len(rows)), key=lambda each: -rows[each]):
        placed[number] = below = min(rows[number], below - least)
    return [placed[number] for number in range(len(rows))]
