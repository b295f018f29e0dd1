"""The report of label efficiency, in percent: Markdown to read, CSV to compute with, a figure to see."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip2scene.experiments.provenance import listed
from clip2scene.experiments.report import plus_minus, table_of
from clip2scene.experiments.results import Difference, holm, paired_difference
from clip2scene.io import write_atomically
from clip2scene.viz.plots import draw_curves
from clip2scene.viz.raster import save_png

SCRATCH = "scratch"
"""The method that others are compared with: random initial weights."""


@dataclass(frozen=True)
class Published:
    """What a paper prints of label efficiency.

    Attributes:
        layout: Of its data set.
        by: What its labels are counted in, "scene" or "keyframe".
        title: Protocol, data and network.
        values: mIoU in percent of each method, by amount of labels.
    """

    layout: str
    by: str
    title: str
    values: Mapping[str, Mapping[str, float]]


PUBLISHED = (
    Published(
        "nuscenes",
        "scene",
        "SLidR's protocol, nuScenes val, MinkUNet-34, SLidR's teacher ResNet-50",
        {
            "linear probe": {"scratch": 8.1, "PPKT": 35.9, "SLidR": 38.8},
            "1 %": {"scratch": 30.3, "PPKT": 37.8, "SLidR": 38.3},
            "5 %": {"scratch": 47.8, "PPKT": 53.7, "SLidR": 52.5},
            "10 %": {"scratch": 56.2, "PPKT": 60.3, "SLidR": 59.8},
            "25 %": {"scratch": 65.5, "PPKT": 67.1, "SLidR": 66.9},
            "100 %": {"scratch": 74.7, "PPKT": 74.5, "SLidR": 74.8},
        },
    ),
    Published(
        "nuscenes",
        "keyframe",
        "CLIP2Scene's protocol, nuScenes val, SPVCNN",
        {
            "1 %": {"scratch": 42.2, "PPKT": 48.0, "SLidR": 48.2, "CLIP2Scene": 56.3},
            "100 %": {"scratch": 69.1, "PPKT": 70.1, "SLidR": 70.4, "CLIP2Scene": 71.5},
        },
    ),
    Published(
        "semantic-kitti",
        "keyframe",
        "SLidR's protocol (every hundredth scan), SemanticKITTI val, MinkUNet-34, SLidR's teacher ResNet-50",
        {"1 %": {"scratch": 39.5, "PPKT": 44.0, "SLidR": 44.6}},
    ),
    Published(
        "semantic-kitti",
        "keyframe",
        "CLIP2Scene's protocol, SemanticKITTI val, SPVCNN",
        {
            "1 %": {"scratch": 32.5, "PPKT": 39.1, "SLidR": 39.6, "CLIP2Scene": 42.6},
            "100 %": {"scratch": 52.1, "PPKT": 53.1, "SLidR": 54.3, "CLIP2Scene": 55.0},
        },
    ),
    *(
        Published(
            "scannet",
            by,
            "CLIP2Scene's protocol, ScanNet val, CLIP2Scene's MinkUNet-14",
            {
                "5 %": {"scratch": 46.1, "PPKT": 47.5, "SLidR": 47.9, "CLIP2Scene": 48.4},
                "100 %": {"scratch": 63.3, "PPKT": 64.2, "SLidR": 64.9, "CLIP2Scene": 65.1},
            },
        )
        for by in ("scene", "keyframe")  # a room is both
    ),
)
"""Tables of papers, one run each.

On nuScenes SLidR labels whole scenes and CLIP2Scene single keyframes, which are not comparable; on
SemanticKITTI both label single scans. Each table stands beside runs that count labels as it does.
"""


@dataclass(frozen=True)
class Cell:
    """One run of the table.

    Attributes:
        method: How it was initialised.
        amount: What part of the labels it used; "none" for its label-free training.
        seed: Of the run.
        metrics: Content of its ``metrics.json``, scores in 0..1.
        done: Content of its ``done.json``.
        labels: Content of its ``labels.json``; empty without labels.
    """

    method: str
    amount: str
    seed: int
    metrics: Mapping[str, Any]
    done: Mapping[str, Any]
    labels: Mapping[str, Any]

    def percent(self, column: str = "student") -> float:
        """Give the mIoU of a column in percent; nan where it is not known."""
        found = (self.metrics["columns"].get(column) or {}).get("miou")
        return math.nan if found is None else 100 * found

    @property
    def labelled(self) -> int:
        """Count the scenes or keyframes whose labels were used."""
        return len(self.labels["subset"]["units"])


def write_efficiency(cells: Sequence[Cell], out: Path, *, by: str, layout: str | None) -> None:
    """Write ``table.md``, ``table.csv`` and ``figure.png``, scores in percent, each whole or not at all.

    Args:
        cells: Every run that is done, in the order of the table.
        out: Folder.
        by: What labels are counted in.
        layout: Of the data, where they are those that papers evaluate on.
    """
    with write_atomically(out / "table.md") as temporary:
        temporary.write_text(markdown(cells, by=by, layout=layout), encoding="utf-8")
    _write_csv(cells, out / "table.csv")
    tuned = [cell for cell in cells if cell.labels and "probe" not in cell.amount and cell.percent() >= 0]
    curves: dict[str, dict[float, list[float]]] = {}
    for cell in tuned:
        curves.setdefault(cell.method, {}).setdefault(float(cell.labelled), []).append(cell.percent())
    if curves:
        picture = draw_curves(
            curves,
            title="Label efficiency: initial weights compared",
            across=f"labelled {by}s",
            up="mIoU on all points, %",
            notes=[
                "A dot a seed, lines through the means. Each seed draws its own labels, the same for all."
            ],
        )
        save_png(out / "figure.png", picture)


def markdown(cells: Sequence[Cell], *, by: str, layout: str | None) -> str:
    """Lay the table out in Markdown, mIoU in percent."""
    methods = list(dict.fromkeys(cell.method for cell in cells))
    methods.sort(key=lambda name: name != SCRATCH)
    amounts = list(dict.fromkeys(cell.amount for cell in cells))
    scores = {
        (method, amount): {c.seed: c.percent() for c in cells if (c.method, c.amount) == (method, amount)}
        for method in methods
        for amount in amounts
    }
    rows = [
        [method, *(plus_minus(list(scores[method, amount].values())) for amount in amounts)]
        for method in methods
    ]
    titles = ["", *("no labels" if amount == "none" else amount for amount in amounts)]
    facts = {
        "labels": f"by {by}; each seed draws its own, and what a small share holds, a larger one holds too",
        "seeds": listed(sorted({str(cell.seed) for cell in cells})),
        "machine": listed(sorted({cell.done["machine"] for cell in cells})),
        "date": listed(sorted({cell.done["date"] for cell in cells})),
    }
    parts = [
        "# Label efficiency",
        "\n".join(f"* {name}: {text}" for name, text in facts.items()),
        table_of(titles, rows),
        "mIoU per point in percent, mean ± sample standard deviation (n - 1) over the seeds. "
        "The command, the classes and more of each column are in the table of that amount's folder.",
        *_gains(scores, methods, amounts),
        *_amounts(cells, by),
    ]
    parts += _published(layout, by)
    return "\n\n".join(parts) + "\n"


def _gains(
    scores: Mapping[tuple[str, str], Mapping[int, float]], methods: Sequence[str], amounts: Sequence[str]
) -> list[str]:
    """Compare every method with random initial weights, paired by seed."""
    found: dict[tuple[str, str], Difference] = {}
    for method in methods:
        for amount in amounts:
            if method != SCRATCH and amount != "none":
                found[method, amount] = paired_difference(scores[method, amount], scores[SCRATCH, amount])
    tested = {key: each for key, each in found.items() if each.num_seeds > 1}
    if not tested:
        return []
    corrected = dict(zip(tested, holm([each.p for each in tested.values()]), strict=True))

    def cell(key: tuple[str, str]) -> str:
        if key not in tested:
            return "-"
        return f"{tested[key].mean:+.1f} (p {corrected[key]:.3f})"

    shown = [amount for amount in amounts if amount != "none"]
    rows = [
        [method, *(cell((method, amount)) for amount in shown)] for method in methods if method != SCRATCH
    ]
    return [
        f"## Gain over {SCRATCH}",
        table_of(["", *shown], rows),
        f"Mean difference, paired by seed; p of the paired t-test, Holm's correction over {len(tested)} "
        "comparisons.",
    ]


def _amounts(cells: Sequence[Cell], by: str) -> list[str]:
    """Say what each amount was, by the first seed."""
    first = {cell.amount: cell for cell in reversed(cells) if cell.labels}
    lines = []
    for amount in dict.fromkeys(cell.amount for cell in cells if cell.labels):
        subset = first[amount].labels["subset"]
        lines.append(f"* {amount}: {len(subset['units'])} {by}s, {len(subset['tokens'])} labelled clouds")
    return ["## What was labelled", "\n".join(lines)] if lines else []


def _published(layout: str | None, by: str) -> list[str]:
    """Show what papers print for this data set, where labels are counted alike."""
    found = [table for table in PUBLISHED if (table.layout, table.by) == (layout, by)]
    parts = ["## Published"] if found else []
    for table in found:
        methods = dict.fromkeys(name for column in table.values.values() for name in column)
        rows = [
            [name, *(f"{column[name]:.1f}" if name in column else "-" for column in table.values.values())]
            for name in methods
        ]
        parts += [
            table_of(["", *table.values], rows),
            f"{table.title}; as printed, none of it was run here. Other scenes or keyframes were labelled "
            "than ours.",
        ]
    return parts


def _write_csv(cells: Sequence[Cell], path: Path) -> None:
    """Write one line a run: the mIoU of every column in it, in percent, and the hash of its labels."""
    columns = list(dict.fromkeys(name for cell in cells for name in cell.metrics["columns"]))
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "amount", "seed", "labelled", "labels", *columns])
        for cell in cells:
            about = [cell.labelled, cell.labels["fingerprint"]] if cell.labels else [0, ""]
            scores = [cell.percent(column) for column in columns]
            shown = ["" if math.isnan(score) else f"{score:.5f}" for score in scores]
            writer.writerow([cell.method, cell.amount, cell.seed, *about, *shown])
