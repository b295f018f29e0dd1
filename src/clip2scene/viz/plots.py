"""Plots of repeated experiments: a dot for every seed, differences with their uncertainty, and curves.

Drawn by matplotlib's Agg renderer without pyplot, so no figure outlives its call and equal numbers give equal
pixels. matplotlib is imported where it is needed: that takes most of a second.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from clip2scene.viz.raster import QUIET, RIGHT, RING, SHEET, TEXT, WRONG, Colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOT: Colour = (92, 164, 246)
CURVE_COLOURS = ((150, 150, 158), DOT, (236, 160, 62), (110, 190, 110), (232, 96, 116), (170, 130, 230))
_WIDTH, _MARGIN, _ROW, _ABOVE = (
    1600,
    36,
    48,
    150,
)  # pixels: of a figure, of a row in it, above and below the axes


@dataclass(frozen=True)
class DotRow:
    """One experiment.

    Attributes:
        name: What it is called.
        group: Heading it stands under; rows of a group follow each other.
        scores: One for each seed, in percent; none where nothing is known yet.
        difference: Mean difference to the baseline and the two ends of its confidence interval; None where
            there is no comparison, as for the baseline itself.
        significant: Whether the difference is drawn filled, green or red.
        is_baseline: Whether others are compared with this one.
    """

    name: str
    group: str
    scores: tuple[float, ...]
    difference: tuple[float, float, float] | None = None
    significant: bool = False
    is_baseline: bool = False


def draw_dots(rows: Sequence[DotRow], *, title: str, notes: Sequence[str]) -> Image.Image:
    """Draw scores on the left and differences to the baseline on the right, a row an experiment.

    An axis leaves out what lies so far away that all the rest would shrink; an arrow points there.

    Args:
        rows: The experiments, from top to bottom.
        title: Over everything.
        notes: Sentences below; three have room.

    Returns:
        The picture, 1600 pixels wide.

    Raises:
        ValueError: If there is no row.
    """
    if not rows:
        raise ValueError("a picture of experiments needs at least one row")
    lines = _with_headings(rows)
    height = 2 * _ABOVE + len(lines) * _ROW
    with _style():
        figure = _figure(height, title, notes)
        rows_at = (_ABOVE / height, 1 - 2 * _ABOVE / height)  # from below, as matplotlib counts
        scores = figure.add_axes((460 / _WIDTH, rows_at[0], 500 / _WIDTH, rows_at[1]))
        gains = figure.add_axes((1090 / _WIDTH, rows_at[0], 380 / _WIDTH, rows_at[1]))
        known = [each for row in rows for each in (*row.scores, *_mean_and_ends(row.scores))]
        _scale_rows(scores, len(lines), "mIoU on all points, %", _range(known))
        known = [0.0, *(number for row in rows for number in row.difference or ())]
        _scale_rows(gains, len(lines), "minus the baseline, points of mIoU", _range(known), sign="+")
        gains.axvline(0, color=_hex(QUIET), linewidth=2, zorder=1)
        for y, line in enumerate(lines):
            if isinstance(line, str):
                _write(scores, -0.848, y, line, QUIET)
            else:
                _draw_row(scores, gains, y, line)
        return _render(figure)


def draw_curves(
    curves: Mapping[str, Mapping[float, Sequence[float]]],
    *,
    title: str,
    across: str,
    up: str,
    notes: Sequence[str] = (),
) -> Image.Image:
    """Draw scores over a logarithmic axis: a line through the means, a dot for each seed.

    Args:
        curves: Scores of all seeds, by name and by what was spent; those without a score are left out.
        title: Over everything.
        across: What is spent, for the axis.
        up: What is scored, in percent.
        notes: Sentences below; two have room.

    Returns:
        The picture, 1600 x 900 pixels.

    Raises:
        ValueError: If no curve has a score, something spent is not positive, or curves outnumber colours.
    """
    given = {name: {x: curve[x] for x in sorted(curve) if curve[x]} for name, curve in curves.items()}
    known = {name: curve for name, curve in given.items() if curve}
    spent = sorted({x for curve in known.values() for x in curve})
    if not spent or spent[0] <= 0 or len(known) > len(CURVE_COLOURS):
        raise ValueError(
            f"expected 1 to {len(CURVE_COLOURS)} curves over positive numbers, got {len(known)} over {spent}"
        )
    scores = np.concatenate([each for curve in known.values() for each in curve.values()])
    low, high = 10 * np.floor(scores.min() / 10), 10 * np.floor(scores.max() / 10 + 1)
    with _style():
        figure = _figure(900, title, notes)
        axes = figure.add_axes((110 / _WIDTH, 0.15, 1110 / _WIDTH, 0.7))
        axes.set(xscale="log", ylim=(low, high), xlabel=across, xlim=(spent[0] / 1.05, spent[-1] * 1.05))
        axes.set_title(up, loc="left", x=-0.067, pad=22, color=_hex(QUIET))
        axes.set_xticks(spent, [f"{x:g}" for x in spent])
        axes.set_xticks([], minor=True)
        axes.grid(axis="y")
        places = _apart([np.mean(curve[max(curve)]) for curve in known.values()], least=(high - low) / 20)
        for (name, curve), place, colour in zip(known.items(), places, CURVE_COLOURS, strict=False):
            _draw_curve(axes, curve, _hex(colour))
            _write(axes, 1.02, place, name, colour, fontsize=20)
        return _render(figure)


def _draw_curve(axes: "Axes", curve: Mapping[float, Sequence[float]], colour: str) -> None:
    axes.plot(list(curve), [np.mean(scores) for scores in curve.values()], color=colour, linewidth=3)
    dots = np.array([(x, score) for x, scores in curve.items() for score in scores])
    axes.scatter(dots[:, 0], dots[:, 1], color=colour, edgecolor=_hex(SHEET), s=90, linewidth=2, zorder=3)


def _draw_row(scores: "Axes", gains: "Axes", y: int, row: DotRow) -> None:
    """Draw one experiment: its name, mean, spread and dots; then the difference and its interval."""
    _write(scores, -0.848, y, row.name, fontsize=min(20, 640 / len(row.name)))
    if not row.scores:
        _write(scores, 0, y, "not finished", QUIET)
        return
    interval = _mean_and_ends(row.scores)
    _draw_interval(scores, y - 0.14, interval, marker="|", edge=TEXT, face=TEXT)
    lower = y + np.linspace(0.12, 0.26, len(row.scores))  # so that no dot hides another
    scores.scatter(row.scores, lower, color=_hex(DOT), edgecolor=_hex(SHEET), s=110, linewidth=2, zorder=3)
    _write(scores, 1.13, y, f"{interval[0]:.1f}", ha="right")
    if row.is_baseline:
        scores.axvline(interval[0], color=_hex(QUIET), linewidth=2, zorder=1)
        place: dict[str, Any] = {"xytext": (12, 0), "textcoords": "offset points", "va": "center"}
        gains.annotate("baseline", (0, y), color=_hex(QUIET), **place)
    if row.difference is not None:
        gain = row.difference[0]
        edge = (RIGHT if gain > 0 else WRONG) if row.significant else TEXT
        face = edge if row.significant else SHEET
        _draw_interval(gains, y, row.difference, marker="o", edge=edge, face=face)
        _write(gains, 1.25, y, f"{gain:+.1f}", ha="right")


def _write(
    axes: "Axes",
    x: float | int,
    y: float | int,
    text: str,
    colour: Colour = TEXT,
    **options: Any,  # noqa: ANN401
) -> None:
    """Write at ``x``, of which 0..1 is the axes' width, and ``y`` in their own numbers."""
    axes.text(x, y, text, color=_hex(colour), va="center", transform=axes.get_yaxis_transform(), **options)


def _draw_interval(
    axes: "Axes", y: float | int, interval: Sequence[float], *, marker: str, edge: Colour, face: Colour
) -> None:
    """Draw a mean and the ends around it; an arrow head at the edge where the mean lies beyond the axis."""
    (mean, low, high), (first, last) = interval, axes.get_xlim()
    shown = min(max(mean, first), last)
    if shown != mean:
        marker, face = "<" if mean < first else ">", edge
    ends = [[shown - min(max(low, first), shown)], [max(min(high, last), shown) - shown]]
    form: dict[str, Any] = {"ms": 15, "mew": 3 if marker == "|" else 2, "mfc": _hex(face), "mec": _hex(edge)}
    axes.errorbar(shown, y, xerr=ends, fmt=marker, ecolor=_hex(edge), elinewidth=3, clip_on=False, **form)


def _scale_rows(
    axes: "Axes", num_rows: int, title: str, across: tuple[float, float], *, sign: str = ""
) -> None:
    """Give each row a place, from top to bottom, and set the scale above them."""
    axes.set(xlim=across, ylim=(num_rows - 0.5, -0.5), yticks=[])
    axes.xaxis.tick_top()
    axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:{sign if tick else ''}g}")
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x")
    axes.set_title(title, loc="left", pad=44)


def _mean_and_ends(scores: Sequence[float]) -> tuple[float, ...]:
    """Give the mean and one standard deviation to each side of it; nothing for no scores."""
    if not scores:
        return ()
    mean, deviation = float(np.mean(scores)), float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
    return mean, mean - deviation, mean + deviation


def _with_headings(rows: Sequence[DotRow]) -> list[DotRow | str]:
    """Put the name of each group over its rows, where there are several groups."""
    if len({row.group for row in rows}) == 1:
        return list(rows)
    groups = groupby(rows, key=lambda row: row.group)
    return [line for heading, members in groups for line in (heading, *members)]


def _range(numbers: Sequence[float]) -> tuple[float, float]:
    """Choose ends of an axis that hold the numbers, but for those so far away that all others would shrink.

    Those are more than three times the middle half's width away from it (Tukey's outer fences).
    """
    if not numbers:
        return 0.0, 1.0
    first, third = np.quantile(numbers, (0.25, 0.75))
    fence = 3 * max(third - first, 1.0)
    kept = [number for number in numbers if first - fence <= number <= third + fence]
    room = max(0.06 * (max(kept) - min(kept)), 0.5)
    return float(min(kept) - room), float(max(kept) + room)


def _apart(places: Sequence[np.floating], least: np.floating) -> list[float]:
    """Move numbers apart, from the lowest upwards, so that words on them do not touch."""
    moved, below = np.array(places), -np.inf
    for number in np.argsort(places, kind="stable"):
        moved[number] = below = max(places[number], below + least)
    return moved.tolist()


def _style() -> AbstractContextManager[None]:
    """Set matplotlib's defaults and our colours, whatever the user's own settings are."""
    from matplotlib import style

    names = ("axes.spines.left", "axes.spines.right", "axes.spines.top", "axes.spines.bottom")
    ours: dict[str, Any] = dict.fromkeys(names, False)
    ours |= {"font.size": 17, "axes.titlesize": 18, "axes.labelsize": 18, "axes.axisbelow": True}
    ours |= dict.fromkeys(("figure.facecolor", "axes.facecolor"), _hex(SHEET))
    ours |= dict.fromkeys(("axes.labelcolor", "xtick.color", "ytick.color"), _hex(QUIET))
    ours |= {"text.color": _hex(TEXT), "grid.color": _hex(RING), "figure.dpi": 72}  # points are pixels
    ours |= dict.fromkeys(("xtick.major.size", "ytick.major.size"), 0)
    ours |= dict.fromkeys(("xtick.major.pad", "ytick.major.pad"), 10)
    return style.context(["default", ours])


def _figure(height: int, title: str, notes: Sequence[str]) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH / 72, height / 72))
    figure.text(_MARGIN / _WIDTH, 1 - 42 / height, title, fontsize=26, va="center")
    figure.text(
        _MARGIN / _WIDTH, 30 / height, "\n".join(notes), color=_hex(QUIET), fontsize=16, linespacing=1.4
    )
    return figure


def _render(figure: "Figure") -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _hex(colour: Colour) -> str:
    """Write a colour as matplotlib reads it."""
    return "#" + bytes(colour).hex()
