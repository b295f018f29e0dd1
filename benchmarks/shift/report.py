"""What is printed and drawn: tables in Markdown, a figure of all families, pictures of real clouds."""

import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from shift.grid import AS_IT_IS, GRID
from shift.recordings import GROUPS, Labelled, Recording
from shift.scores import Summary, accuracy, deviation, miou
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.runs.cost import describe_machine, shown_command, today
from clip2scene.types import IGNORE_LABEL
from clip2scene.viz import raster
from clip2scene.viz.plots import CURVE_COLOURS, DOT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ORANGE = CURVE_COLOURS[2]


def machine(seeds: Sequence[int], clouds: int) -> dict[str, Any]:
    """Say what was measured, with what, and when."""
    return {
        "command": f"python benchmarks/{Path(sys.argv[0]).name} {shown_command(sys.argv[1:])}",
        "seeds": list(seeds),
        "clouds": clouds,
        "machine": describe_machine("cpu"),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}",
        "date": today(),
    }


def grid_rows(summaries: Mapping[tuple[str, str], Summary]) -> list[str]:
    """Lay the shifts out as a table, by family and shift."""
    rows = [
        "| | shift | points right | change | mIoU | change | mIoU over streets |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    last = None
    for (family, shift), found in summaries.items():
        shown = [spread(found.accuracy, found.accuracy_seeds), f"{found.accuracy_change:+.1f}"]
        shown += [
            spread(found.miou, found.miou_seeds),
            f"{found.miou_change:+.1f}",
            f"± {found.miou_streets:.1f}",
        ]
        rows.append(f"| {family if family != last else ''} | {shift} | {' | '.join(shown)} |")
        last = family
    return rows


def spread(mean: float, seeds: float) -> str:
    """Write a mean, and its spread over seeds where there are several."""
    return f"{mean:.1f} ± {seeds:.1f}" if seeds else f"{mean:.1f}"


def recording_tables(
    matrices: Mapping[str, Sequence[np.ndarray]],
    shares: Mapping[str, Mapping[str, np.ndarray]],
    classes: Sequence[str],
) -> tuple[list[str], dict[str, Any]]:
    """Lay the scores of real clouds out as tables.

    Args:
        matrices: Points by true and predicted class, one matrix a run, by kind of cloud.
        shares: Runs x (points right, points), by kind of cloud and group.
        classes: Names of the evaluation classes.

    Returns:
        Lines of Markdown, and the same as plain values, in percent.
    """
    found: dict[str, Any] = {kind: _class_scores(each, classes) for kind, each in matrices.items()}
    lines = ["| " + " | ".join(["", *found]) + " |", "|---|" + "---:|" * len(found)]
    for name in ("points right", "mIoU", *classes):
        cells = [_shown(scores[name]) for scores in found.values()]
        if any(cell != "-" for cell in cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| points called right | " + " | ".join(GROUPS) + " |", "|---|" + "---:|" * len(GROUPS)]
    for kind, groups in shares.items():
        found[kind] = {group: _share(counts) for group, counts in groups.items()}
        cells = [
            f"{_shown(found[kind][group])} of {groups[group][0, 1]:,.0f}" if group in groups else "-"
            for group in GROUPS
        ]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines if matrices else lines[3:], found


def _class_scores(matrices: Sequence[np.ndarray], classes: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Give mean and spread over runs of the scores of one kind of cloud, nan for what is not in the truth."""
    every = np.stack(matrices)
    right = np.diagonal(every, axis1=1, axis2=2).astype(float)
    union = every.sum(2) + every[..., :-1].sum(1) - right
    iou = 100 * np.where(every.sum(2) > 0, right / np.maximum(union, 1), np.nan)
    columns = {"points right": accuracy(every), "mIoU": miou(every), **dict(zip(classes, iou.T, strict=True))}
    return {name: (float(values.mean()), deviation(values)) for name, values in columns.items()}


def _share(counts: np.ndarray) -> tuple[float, float]:
    shares = 100 * counts[:, 0] / counts[:, 1]
    return float(shares.mean()), deviation(shares)


def _shown(score: tuple[float, float]) -> str:
    return "-" if np.isnan(score[0]) else spread(*score)


def draw_families(summaries: Mapping[tuple[str, str], Summary]) -> Image.Image:
    """Draw a line for each family: points right and mIoU over its shifts, the cloud as it is among them."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(18, 14), layout="constrained")
        families = list(dict.fromkeys(family for family, _ in summaries if family))
        panels = figure.subplots(3, -(-len(families) // 3), sharey=True).flat
        for axes, family in zip(panels, families, strict=False):
            names = [name for each, name in summaries if each == family]
            below = sum(shift.strength < 0 for shift in GRID.get(family, ()))
            keys = [(family, name) for name in names]
            _draw_family(
                axes, family, {key[1]: summaries[key] for key in (*keys[:below], AS_IT_IS, *keys[below:])}
            )
        for axes in panels[len(families) :]:
            axes.set_visible(False)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize=18)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _draw_family(axes: "Axes", family: str, found: Mapping[str, Summary]) -> None:
    """Draw one panel: scores over the names of shifts."""
    places = range(len(found))
    right, seeds = zip(*((each.accuracy, each.accuracy_seeds) for each in found.values()), strict=True)
    iou, streets = zip(*((each.miou, each.miou_streets) for each in found.values()), strict=True)
    form: dict[str, Any] = {"marker": "o", "capsize": 3, "linewidth": 2}
    axes.errorbar(places, right, yerr=seeds, color=_hex(DOT), label="points right, ± seeds, %", **form)
    axes.errorbar(places, iou, yerr=streets, color=_hex(_ORANGE), label="mIoU, ± streets, %", **form)
    axes.set_xticks(places, list(found), rotation=40, ha="right")
    axes.set(title=family, ylim=(0, 100))
    axes.grid(axis="y")


def _hex(colour: raster.Colour) -> str:
    """Write a colour as matplotlib reads it."""
    return "#" + bytes(colour).hex()


def draw_recording(
    recording: Recording, predicted: Int[Tensor, " points"], class_set: ClassSet
) -> Image.Image:
    """Draw a real cloud from above: predictions, the truth where there is one, and what is right."""
    truth = recording.truth if isinstance(recording, Labelled) else _of_groups(recording.groups, class_set)
    known = "truth" if isinstance(recording, Labelled) else "what is in boxes, and ground"
    colours = {
        "student": raster.class_colours(predicted, class_set),
        known: raster.class_colours(truth, class_set),
    }
    if isinstance(recording, Labelled):
        colours["right green, wrong red"] = raster.error_colours(predicted, truth)
    views = [raster.birds_eye(recording.cloud.positions, each, point_radius=1.2) for each in colours.values()]
    legend = raster.legend(raster.class_entries(class_set, predicted, truth))
    return raster.panel(views, list(colours), columns=len(views), legend=legend, heading=recording.name)


def _of_groups(groups: Mapping[str, Tensor], class_set: ClassSet) -> Int[Tensor, " points"]:
    """Give each point of a group the first class of the group that there is."""
    truth = torch.full((len(next(iter(groups.values()))),), IGNORE_LABEL)
    for group, mine in groups.items():
        named = [class_set.classes.index(name) for name in GROUPS[group] if name in class_set.classes]
        truth[mine] = named[0] if named else IGNORE_LABEL
    return truth


_STYLE: dict[str, Any] = {
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "legend.facecolor"), _hex(raster.SHEET)),
    **dict.fromkeys(("text.color", "axes.titlecolor"), _hex(raster.TEXT)),
    **dict.fromkeys(("xtick.color", "ytick.color"), _hex(raster.QUIET)),
    **dict.fromkeys(("grid.color", "axes.edgecolor", "legend.edgecolor"), _hex(raster.RING)),
    **{"font.size": 13, "axes.titlesize": 17, "axes.axisbelow": True},
}
