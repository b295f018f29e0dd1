"""What a page says of one run, section by section, as plain values; nothing here knows HTML."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from clip2scene.experiments.report import number
from clip2scene.experiments.run_report.charts import Line, bar_chart, line_chart, thin
from clip2scene.experiments.run_report.facts import Evaluation, RunFacts, percent
from clip2scene.experiments.run_report.groups import start_of, weights_of
from clip2scene.io import without_place

MOST_CLASSES = 40
"""In a chart or a matrix; of more, those with the most points are shown."""

HEADS = {
    **{"student": ("student", "all"), "student_seen": ("student", "seen")},
    **{"student_unseen": ("student", "unseen"), "words": ("its text head", "all")},
    **{"words_seen": ("its text head", "seen"), "teacher": ("teacher", "all")},
    **{"teacher_seen": ("teacher", "seen"), "voted": ("voted", "all"), "voted_seen": ("voted", "seen")},
    "random": ("chance", "all"),
}
"""Columns of ``metrics.json``: whose predictions, on which points."""

_BARS = {"student": "student, all points", "student_seen": "seen", "student_unseen": "unseen"}
_MARKS = {"teacher_seen": "teacher, seen", "voted_seen": "voted, seen"}
_SMOOTHED = 15  # parts of a short curve over which it is averaged


def lesson(run: RunFacts) -> list[tuple[str, str]]:
    """Say what was learned, and from what."""
    recipe, sources = run.recipe, run.sources
    student, data = recipe.student, recipe.data
    lines = [
        ("recipe", f"{recipe.name}, seed {recipe.seed}"),
        ("learned", f"{len(run.classes)} classes: {', '.join(run.classes)}"),
        ("by", f"{student.network}, width {student.width:g}, voxels of {student.voxel_size:g} m"),
        ("labels", f"{run.group}. {_supervision(run)}"),
        ("teacher", _teacher(run)),
        ("data", f"{without_place(sources.data_root) or 'not told'}, in the layout {data.layout}"),
        ("clouds", f"{sources.num_samples:,} in the train split, {data.sweeps} sweep(s) of each"),
        ("steps", _steps(run)),
        ("start", start_of(run)),
    ]
    if sources.second_round is not None:
        first = weights_of(sources.second_round)
        lines.append(("second round", f"pseudo-labels of the student of {first} where it was surer"))
    return lines


def _supervision(run: RunFacts) -> str:
    """Say in a sentence what a point's target was."""
    if run.recipe.supervision == "label-free":
        whose = "the teacher's" if run.sources.second_round is None else "the teacher's and a student's"
        return f"Targets are {whose} pseudo-labels; no label of a point was read in training"
    used = run.labelled
    if used is None:
        return "Targets are labels of points; which is not recorded here"
    text = "Targets are labels by hand" if used.by_hand else "Targets are the data set's labels"
    text += f": {used.samples} clouds of {used.units} {run.recipe.labels.by}(s)"
    text += "" if used.points is None else f", {used.points:,} points"
    text += f", {used.held_out} held out to choose a checkpoint" if used.held_out else ""
    if used.by_hand and _keeps_rest(run):
        text += "; other points of these clouds have the class that the start predicts there"
    return text


def _keeps_rest(run: RunFacts) -> bool:
    """Tell whether points beside labels by hand were labelled by the run that training began with."""
    init = run.sources.init
    return run.recipe.labels.rest == "start" and init is not None and not init.get("report")  # of no file


def _teacher(run: RunFacts) -> str:
    teacher, weights = run.recipe.teacher, run.sources.teacher_weights
    small = "the small CLIP in the package, which learnt from captioned pictures of toytown"
    named = small if weights is None else without_place(weights)
    if teacher.kind == "label-maps":
        directions = "a direction for each class" if weights is None else named
        named = f"classes that another network wrote for each pixel; text embeddings: {directions}"
    if run.recipe.supervision == "labels":
        return f"none, labels took its place; the text space is that of {teacher.kind} ({named})"
    seen = "was trained with" if teacher.trained_on_2d_labels else "was trained without"
    text = f"{teacher.kind} ({named}); by its recipe it {seen} labelled images"
    extras = [
        *(["superpoint vote"] if teacher.superpoint_vote else []),
        *(["consolidated over each drive"] if teacher.consolidate else []),
        *([f"{teacher.attention} attention"] if teacher.attention != "maskclip" else []),
        *([f"refined by {teacher.refine}"] if teacher.refine != "none" else []),
        *([f"fused with {len(run.sources.also)} other teacher(s)"] if run.sources.also else []),
    ]
    return "; ".join([text, ", ".join(extras)] if extras else [text])


def _steps(run: RunFacts) -> str:
    recipe = run.recipe
    whole = f"{recipe.steps:,} of {recipe.batch_size} clouds each"
    if run.state == "copy":
        return f"{whole} were planned; this copy has no log"
    return whole if run.state == "finished" else f"{run.step:,} of {whole}"


def headline(run: RunFacts) -> str:
    """Say the result in one or two sentences."""
    found = run.evaluation
    if found is None or not found.num_points or math.isnan(found.percent("student")):
        return "It was not evaluated, so nothing is said of how good it is."
    text = f"Of {found.num_points:,} labelled points of split {found.split}, "
    text += f"{found.percent('student', 'accuracy'):.1f} % are right; "
    text += f"mIoU is {found.percent('student'):.1f}{_over(found)}."
    gap = found.percent("student_seen") - found.percent("voted_seen")
    if run.recipe.supervision == "label-free" and not math.isnan(gap):
        side = "above" if gap >= 0 else "below"
        text += f" Where a camera sees, the student is {abs(gap):.1f} {side} its teacher's voted labels."
    return text


def _over(found: Evaluation) -> str:
    """Say over which classes the mean is: those that occur."""
    occurring, known = (
        sum(not math.isnan(found.iou("student", name)) for name in found.classes),
        len(found.classes),
    )
    if not occurring:  # IoU by class was not written down
        return ""
    return (
        f" over {known} classes"
        if occurring == known
        else f" over the {occurring} of {known} classes that occur"
    )


def cards(run: RunFacts) -> list[tuple[str, str, str]]:
    """Give the numbers to see first: what, how much, of which points."""
    found = run.evaluation
    if found is None:
        return []
    shown = [
        ("mIoU", "student", "miou", "all points"),
        ("mIoU", "student_seen", "miou", "seen by a camera"),
        ("mIoU", "student_unseen", "miou", "seen by none"),
        ("accuracy", "student", "accuracy", "all points"),
        ("teacher, mIoU", "teacher_seen", "miou", "seen points"),
        ("voted, mIoU", "voted_seen", "miou", "seen points"),
    ]
    values = [(title, found.percent(column, what), where) for title, column, what, where in shown]
    return [(title, f"{value:.1f}", where) for title, value, where in values if not math.isnan(value)]


def score_table(found: Evaluation) -> dict[str, Any]:
    """Lay out IoU by class and the totals of every column, in percent."""
    columns = [*(name for name in HEADS if name in found.columns)]
    columns += [name for name in found.columns if name not in HEADS]
    rows = [(name, [number(found.iou(column, name)) for column in columns]) for name in found.classes]
    totals = [
        (title, [number(found.percent(column, what)) for column in columns])
        for title, what in (("mIoU", "miou"), ("accuracy", "accuracy"))
    ]
    counts = [found.columns[column].get("num_points") for column in columns]
    totals.append(("points", [f"{each:,}" if type(each) is int else "-" for each in counts]))
    return {"heads": [HEADS.get(name, (name, "")) for name in columns], "rows": rows, "totals": totals}


def class_bars(found: Evaluation) -> tuple[Markup, list[tuple[str, str]]] | None:
    """Draw IoU by class; with it the legend: kind of sign and what it stands for."""
    classes = most_seen(found)
    bars = {
        title: [found.iou(column, name) for name in classes]
        for column, title in _BARS.items()
        if column in found.columns
    }
    marks = {
        title: [found.iou(column, name) for name in classes]
        for column, title in _MARKS.items()
        if column in found.columns
    }
    if not bars or not classes:
        return None
    legend = [(f"s{place}", title) for place, title in enumerate(bars)]
    legend += [(f"mark m{place}", title) for place, title in enumerate(marks)]
    return bar_chart(classes, bars, marks), legend


def confusions(found: Evaluation) -> Iterator[dict[str, Any]]:
    """Lay out the matrices of the student and of the voted labels on seen points: shares of a true class."""
    titles = {"student": "student, all points", "voted_seen": "teacher's voted labels, seen points"}
    shown = most_seen(found)
    places = [found.classes.index(name) for name in shown]
    for column, title in titles.items():
        counts = found.confusion(column)
        if counts is None or not places:
            continue
        totals = counts.sum(1)
        has_none = bool(counts[:, -1].any())
        picked = [*places, *([len(found.classes)] if has_none else [])]
        shares = counts[places][:, picked] / np.maximum(totals[places, None], 1)
        rows = [
            (name, [(cell, _share(cell)) for cell in row], f"{int(total):,}")
            for name, row, total in zip(shown, shares.tolist(), totals[places], strict=True)
        ]
        yield {"title": title, "names": [*shown, *(["no label"] if has_none else [])], "rows": rows}


def most_seen(found: Evaluation) -> list[str]:
    """Name the classes that have room, in their order; those with the most true points, where too many."""
    counts = found.confusion("student")
    if len(found.classes) <= MOST_CLASSES or counts is None:
        return list(found.classes[:MOST_CLASSES])
    most = sorted(np.argsort(-counts.sum(1), kind="stable")[:MOST_CLASSES].tolist())
    return [found.classes[place] for place in most]


def _share(share: float) -> str:
    if not share:
        return ""
    return "<1" if share < 0.005 else f"{100 * share:.0f}"


def curves(run: RunFacts) -> list[tuple[str, Markup]]:
    """Draw every number of the log over the steps, the loss first and the time last."""
    names = sorted(run.curves, key=lambda name: (name == "seconds", name != "loss"))
    drawn = []
    for place, name in enumerate(names):
        known = np.isfinite(run.curves[name])
        x, y = run.steps[known].astype(float), run.curves[name][known]
        if not len(x):
            continue
        title = {"loss": "loss, the sum of all terms", "seconds": "seconds a step"}.get(name, f"term {name}")
        drawn.append((title, line_chart(_curve(name, x, y, place), across="step", up=name)))
    return drawn


def _curve(name: str, x: np.ndarray, y: np.ndarray, colour: int) -> list[Line]:
    """Give a long curve with the range in each part, a short one as it is and averaged."""
    middle, mean, low, high = thin(x, y)
    if len(middle) < len(x):
        band = {"low": low.tolist(), "high": high.tolist()}
        return [Line(name, middle.tolist(), mean.tolist(), **band, colour=colour)]
    width = max(1, len(y) // _SMOOTHED)
    around = np.convolve(y, np.ones(width), "same") / np.convolve(np.ones(len(y)), np.ones(width), "same")
    lines = [Line(name, x.tolist(), y.tolist(), colour=colour, faint=width > 1)]
    return [*lines, Line(name, x.tolist(), around.tolist(), colour=colour)] if width > 1 else lines


def calibration(run: RunFacts) -> dict[str, Any] | None:
    """Say whether scores mean what they say, and how right the surest points are; None if not measured."""
    found = run.evaluation.confidence if run.evaluation is not None else {}
    at = found.get("accuracy_at_coverage")
    pairs = at.items() if isinstance(at, Mapping) else ()
    points = [(percent(_real(share)), percent(right)) for share, right in pairs]
    known = sorted((share, right) for share, right in points if not math.isnan(share + right))
    if not known:
        return None
    facts = [
        ("expected calibration error", number(percent(found.get("calibration_error")))),
        ("mean score", number(percent(found.get("mean_score")))),
        ("temperature", "none fitted" if run.temperature is None else f"{run.temperature:.2f}"),
    ]
    line = Line("accuracy", [share for share, _ in known], [right for _, right in known])
    charts = [("accuracy of the surest points, %", line_chart([line], across="of the points, %", up="right"))]
    diagram = _diagram(found.get("bins"))
    if diagram is not None:
        charts.append(("accuracy by score (diagonal: as it should be)", diagram))
    table = [(f"{share:.0f} %", f"{right:.1f}") for share, right in known]
    return {"facts": facts, "charts": charts, "table": table}


def _diagram(bins: object) -> Markup | None:
    """Draw the reliability diagram; None for a run that was evaluated by an earlier version."""
    if not isinstance(bins, list):
        return None
    pairs = [
        (percent(each.get("mean_score")) / 100, percent(each.get("accuracy")) / 100)
        for each in bins
        if isinstance(each, dict)
    ]
    known = [pair for pair in pairs if not math.isnan(sum(pair))]
    if not known:
        return None
    line = Line("accuracy", [score for score, _ in known], [right for _, right in known], colour=1)
    return line_chart([line], across="score", up="accuracy", square=True)


def _real(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def legend_of(names: Sequence[str]) -> list[tuple[str, str]]:
    """Give each name the sign of its colour."""
    return [(f"s{place % 8}", name) for place, name in enumerate(names)]
