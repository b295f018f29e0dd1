"""The page: what is said of runs, put into HTML by a template that escapes everything it is given."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from clip2scene.experiments.report import plus_minus
from clip2scene.experiments.results import Difference
from clip2scene.experiments.run_report import sections
from clip2scene.experiments.run_report.charts import SERIES, Line, bar_chart, line_chart, thin
from clip2scene.experiments.run_report.cost_table import cost_notes, cost_rows, packed_results, provenance
from clip2scene.experiments.run_report.facts import RunFacts
from clip2scene.experiments.run_report.groups import Setup, compare, differing_settings, find_setups
from clip2scene.experiments.run_report.pictures import Picture
from clip2scene.io import without_places
from clip2scene.runs.cost import today

ASSETS = Path(__file__).parents[2] / "assets" / "report"

_MOST_SETUPS = 6  # side by side in a chart
_SCORES = (
    ("all points", "student", "miou"),
    ("seen", "student_seen", "miou"),
    ("unseen", "student_unseen", "miou"),
    ("accuracy", "student", "accuracy"),
    ("teacher, seen", "teacher_seen", "miou"),
    ("voted, seen", "voted_seen", "miou"),
)


@dataclass(frozen=True)
class Extras:
    """What a page has of a run beside its files.

    Attributes:
        pictures: To be shown.
        findings: Of the doctor, each with mark, about and text; None if nobody looked.
        faults: What could not be shown, by name.
    """

    pictures: Sequence[Picture] = ()
    findings: Sequence[Mapping[str, str]] | None = None
    faults: Mapping[str, str] = field(default_factory=dict)


def render(runs: Sequence[RunFacts], extras: Sequence[Extras], *, seconds: float = 0.0) -> str:
    """Write the page on one run, or on several, which are compared first.

    Args:
        runs: What is known of each.
        extras: Pictures and findings, as many.
        seconds: That gathering them took, to be told.
    """
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = Markup((ASSETS / "style.css").read_text(encoding="utf-8"))  # noqa: S704 - our own file
    return environment.get_template("page.html").render(
        title=runs[0].name if len(runs) == 1 else f"{len(runs)} runs",
        style=style,
        runs=[_about(run, extra) for run, extra in zip(runs, extras, strict=True)],
        comparison=_comparison(runs) if len(runs) > 1 else None,
        made=f"clip2scene {metadata.version('clip2scene')}, {today()}",
        seconds=f"{seconds:.1f}",
    )


def _about(run: RunFacts, extra: Extras) -> dict[str, Any]:
    """Gather what the page says of a run."""
    found = run.evaluation
    return {
        "name": run.name,
        "state": run.state,
        "step": run.step,
        "steps": run.recipe.steps,
        "group": run.group,
        "headline": sections.headline(run),
        "cards": sections.cards(run),
        "lesson": sections.lesson(run),
        "evaluation": found,
        "table": None if found is None else sections.score_table(found),
        "bars": None if found is None else sections.class_bars(found),
        "left_out": 0 if found is None else max(0, len(found.classes) - sections.MOST_CLASSES),
        "confusions": [] if found is None else list(sections.confusions(found)),
        "packed_results": packed_results(run),
        "curves": sections.curves(run),
        "calibration": sections.calibration(run),
        "pictures": extra.pictures,
        "findings": extra.findings,
        "cost": cost_rows(run),
        "cost_notes": cost_notes(run),
        "provenance": provenance(run),
        "settings": list(run.settings.items()),
        "faults": {
            name: without_places(text, run.folder) for name, text in {**run.faults, **extra.faults}.items()
        },
    }


def _comparison(runs: Sequence[RunFacts]) -> dict[str, Any]:
    """Put runs side by side, each kind of supervision by itself."""
    groups = find_setups(runs)
    every = [setup for setups in groups.values() for setup in setups]
    return {
        "groups": [_group(name, setups) for name, setups in groups.items()],
        "titles": [title for title, *_ in _SCORES],
        "setups": every,
        "differing": differing_settings(every),
        "again": [(setup.letter, name) for setup in every for name in setup.again],
        "losses": _losses(runs),
        "losses_cut": _cut("runs", [run.name for run in runs[SERIES:]]),
    }


def _group(name: str, setups: Sequence[Setup]) -> dict[str, Any]:
    first, bars = setups[0], _bars(setups)
    rows = [
        {
            "setup": setup,
            "scores": [plus_minus(setup.values(column, what)) for _, column, what in _SCORES],
            "against": "-" if setup is first else _against(compare(setup, first), setup, first),
            "states": ", ".join(dict.fromkeys(run.state for run in setup.runs)),
        }
        for setup in setups
    ]
    return {"name": name, "rows": rows, "first": first, "bars": bars}


def _against(found: Difference | str, setup: Setup, first: Setup) -> str:
    """Say a difference, and what it can be taken for."""
    if isinstance(found, str):
        return found
    if not math.isnan(found.mean):
        return (
            f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}], p {found.p:.3f}, "
            f"{found.num_seeds} seeds in common"
        )
    ours, theirs = setup.by_seed(), first.by_seed()
    shared = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    if shared and not math.isnan(shared[0]):
        return f"{shared[0]:+.1f}; one seed in common, which says nothing of chance"
    return "no seed in common"


def _cut(what: str, names: Sequence[str]) -> str:
    """Say what a chart has no room for; empty if it has."""
    return f"Not drawn, for want of room: {what} {', '.join(names)}." if names else ""


def _bars(setups: Sequence[Setup]) -> tuple[Markup, list[tuple[str, str]], str] | None:
    """Draw IoU by class of setups that were evaluated in the same classes; None for one alone.

    Returns:
        The chart, its legend, and what it leaves out.
    """
    found = [(setup, setup.runs[0].evaluation) for setup in setups if setup.values("student")]
    judged = [(setup, each) for setup, each in found if each is not None]
    alike = [setup for setup, each in judged if each.classes == judged[0][1].classes]
    if len(alike) < 2:
        return None
    first, drawn = judged[0][1], alike[:_MOST_SETUPS]
    names = sections.most_seen(first)
    bars = {setup.title: [setup.mean_iou("student", name) for name in names] for setup in drawn}
    others = [setup.letter for setup, each in judged if each.classes != first.classes]
    left_out = [
        f"Evaluated in other classes, and not drawn: {', '.join(others)}." if others else "",
        _cut("runs", [setup.letter for setup in alike[_MOST_SETUPS:]]),
        _cut("classes", [name for name in first.classes if name not in names]),
    ]
    return bar_chart(names, bars, {}), sections.legend_of(list(bars)), " ".join(filter(None, left_out))


def _losses(runs: Sequence[RunFacts]) -> tuple[Markup, list[tuple[str, str]]] | None:
    """Draw the loss of each run."""
    lines: list[Line] = []
    for run in runs[:SERIES]:
        known = np.isfinite(run.curves.get("loss", np.zeros(0)))
        if known.any():
            x, y, *_ = thin(run.steps[known].astype(float), run.curves["loss"][known], 60)
            lines.append(Line(run.name, x.tolist(), y.tolist(), colour=len(lines)))
    if not lines:
        return None
    return line_chart(lines, across="step", up="loss"), sections.legend_of([line.name for line in lines])
