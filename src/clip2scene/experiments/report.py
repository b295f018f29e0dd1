"""Tables of repeated experiments: Markdown to read, CSV to compute with, a figure to see.

Everything is said in percent. What was measured here and what others have published stand in columns of
their own, and so do students whose teachers were trained on labels of different kinds.
"""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from clip2scene.experiments.results import (
    COMPARED,
    Difference,
    Results,
    Row,
    RunResult,
    reach_of_interval,
    spread,
)
from clip2scene.io import write_atomically
from clip2scene.viz.plots import DotRow, draw_dots
from clip2scene.viz.raster import save_png

EVALUATED = ("student", "student_seen", "student_unseen", "teacher_seen")
"""The columns of ``metrics.json`` that a table shows."""


def write_report(results: Results, out: Path) -> None:
    """Write ``table.md``, ``table.csv`` and ``figure.png``, scores in percent, each whole or not at all."""
    with write_atomically(out / "table.md") as temporary:
        temporary.write_text(markdown(results), encoding="utf-8")
    write_csv(results, out / "table.csv")
    save_png(out / "figure.png", figure(results))


def markdown(results: Results) -> str:
    """Lay a report out in Markdown, scores in percent."""
    parts = [f"# {results.title}", "\n".join(f"* {name}: {text}" for name, text in results.facts.items())]
    groups = results.groups()
    for group, rows in groups.items():
        parts += [f"## {group}", table_of(*_main_table(results, rows))]
    parts.append(_caption(results))
    if results.classes():
        parts += ["## IoU by class", "Student, all points, mean over the seeds."]
        parts += [table_of(*_class_table(results, rows)) for rows in groups.values()]
    unfinished = [each for each in results.runs if each.status != "finished"]
    if unfinished:
        parts.append("## Not finished")
        parts.append("\n".join(f"* {each.row}, seed {each.seed}: {_why(each)}" for each in unfinished))
    notes = [f"* {row.name}: {row.note}" for row in results.rows if row.note]
    if notes:
        parts += ["## What the rows are", "\n".join(notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _main_table(results: Results, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Give titles and cells: scores, the gain over the teacher, and the comparison with the baseline."""
    titles = ["", "all points", "seen", "unseen", "teacher, seen", "student - teacher, seen"]
    titles += [f"minus {results.baseline}", "p", "p (Holm)", "seeds", "min"]
    published = any(row.published is not None for row in results.rows)
    if published:
        titles.append("published (nuScenes)")
    differences, corrected = results.differences(), results.corrected()
    lines = []
    for row in rows:
        runs = results.of(row)
        cells = [plus_minus([each.percent(column) for each in runs]) for column in EVALUATED[:3]]
        cells.append(number(spread([each.percent("teacher_seen") for each in runs])[0]))
        gains = [each.percent("student_seen") - each.percent("teacher_seen") for each in runs]
        cells.append(plus_minus(gains, sign="+"))
        cells.append(_against(differences.get(row.name)))
        cells += [_p(differences[row.name].p) if row.name in differences else "-"]
        cells += [_p(corrected.get(row.name, math.nan))]
        cells += [_seeds(results, row), number(spread([each.minutes for each in runs])[0])]
        if published:
            cells.append("-" if row.published is None else f"{row.published:.1f} (published)")
        name = f"**{row.name}**" if row.name == results.baseline else row.name
        lines.append([name, *cells])
    return titles, lines


def _class_table(results: Results, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    classes = results.classes()
    lines = []
    for row in rows:
        runs = results.of(row)
        means = [spread([each.percent(COMPARED, name) for each in runs])[0] for name in classes]
        lines.append([row.name, *map(number, means)])
    return ["", *classes], lines


def _caption(results: Results) -> str:
    """Say what the numbers are, and what they cannot say."""
    differences = results.differences()
    compared = [each for each in differences.values() if each.num_seeds > 1]
    text = [
        "Scores are mIoU per point in percent, mean ± sample standard deviation (n - 1) over the seeds. "
        "*Seen* points are those visible to at least one camera. The teacher is frozen: its score has no "
        "spread. *min*: minutes of a run's training steps, with other runs beside it if there were workers.",
    ]
    if compared:
        family = f"{len(compared)} comparison{'s' * (len(compared) > 1)}"
        numbers = sorted({each.num_seeds for each in compared}, reverse=True)
        reach = ", ".join(f"{reach_of_interval(n):.1f} with n = {n}" for n in numbers)
        text.append(
            f"*Minus {results.baseline}* (the baseline, in bold): mean difference on all points, paired by "
            "seed, [its 95 % confidence interval]; *p* is the paired t-test's, and *p (Holm)* the same "
            f"corrected for the table's {family}; the intervals are not corrected. An "
            f"interval goes so many standard deviations of the differences to each side: {reach}. Whether "
            "these are normal cannot be checked with so few, and what is not significant may still be there. "
            "Seeds change initial weights, order and augmentation, and nothing else; what other data would "
            "give is not tested."
        )
    if any(row.published is not None for row in results.rows):
        text.append(
            "*Published*: printed in the paper for nuScenes val, one run a row, with the paper's own "
            "teacher, network and schedule; none of it was run here."
        )
    counts = {int(each.metrics.get("num_points", 0)) for each in results.runs if each.metrics is not None}
    if len(counts) > 1:
        text.append(
            "**The runs were evaluated on different points** "
            f"({', '.join(f'{count:,}' for count in sorted(counts))}): their scores cannot be compared."
        )
    return "\n\n".join(text)


def write_csv(results: Results, path: Path) -> None:
    """Write one line a run: what it is, the mIoU of every column, the IoU of every class in it; percent."""
    named = (name for each in results.runs for name in (each.metrics or {}).get("columns", ()))
    columns = list(dict.fromkeys([*EVALUATED, *named]))
    rows = {row.name: row for row in results.rows}
    lines = []
    for each in results.runs:
        row, metrics = rows[each.row], each.metrics or {}
        line = {"variant": row.name, "seed": each.seed, "status": each.status, "reason": each.failure}
        line["label_free"] = row.label_free
        line["teacher_trained_on_2d_labels"] = row.teacher_trained_on_2d_labels
        line |= {"minutes": _plain(each.minutes), "num_points": metrics.get("num_points", "")}
        line |= {column: _plain(each.percent(column)) for column in columns}
        line |= {
            f"{column}: {name}": _plain(each.percent(column, name))
            for column in columns
            for name in results.classes()
        }
        lines.append(line)
    with (
        write_atomically(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(lines[0]) if lines else ["variant", "seed"])
        writer.writeheader()
        writer.writerows(lines)


def figure(results: Results) -> Image.Image:
    """Draw the mIoU of every seed of every row, in percent, and the differences from the baseline."""
    return draw_dots(list(_dot_rows(results)), title=results.title, notes=_notes(results))


def _dot_rows(results: Results) -> Iterator[DotRow]:
    differences, corrected = results.differences(), results.corrected()
    for group, rows in results.groups().items():
        for row in rows:
            found = differences.get(row.name)
            yield DotRow(
                row.name,
                group,
                tuple(v for v in (each.percent(COMPARED) for each in results.of(row)) if not math.isnan(v)),
                None if found is None or math.isnan(found.mean) else (found.mean, found.low, found.high),
                significant=corrected.get(row.name, math.nan) < 0.05,
                is_baseline=row.name == results.baseline,
            )


def _notes(results: Results) -> list[str]:
    """Explain the figure in three short sentences."""
    several = max((len(results.of(row)) for row in results.rows), default=0) > 1
    if not several:
        return ["Left: one dot a seed. One seed says nothing of chance, so there is no spread or interval."]
    return [
        "Left: a dot a seed, the mean and one standard deviation to each side. Arrows point off the axis.",
        "Right: mean difference to the baseline, paired by seed, and its 95 % confidence interval;",
        "filled, green or red, where p < 0.05 after Holm's correction for all comparisons of the table.",
    ]


def table_of(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Draw a table in Markdown, the first column to the left and numbers to the right."""
    cells = [[cell.replace("|", "\\|") for cell in line] for line in (titles, *lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    drawn = []
    for first, *others in cells:
        numbers = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        drawn.append(f"| {' | '.join([first.ljust(widths[0]), *numbers])} |")
    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    return "\n".join([drawn[0], rule, *drawn[1:]])


def plus_minus(values: Sequence[float], *, sign: str = "") -> str:
    """Write mean and standard deviation, in percent as given; the mean alone for one value.

    Example:
        >>> plus_minus([1.0, 3.0]), plus_minus([1.0], sign="+"), plus_minus([])
        ('2.0 ± 1.4', '+1.0', '-')
    """
    mean, deviation = spread(values)
    if math.isnan(mean):
        return "-"
    return f"{mean:{sign}.1f}" + ("" if math.isnan(deviation) else f" ± {deviation:.1f}")


def number(value: float) -> str:
    """Write percent with one digit; a dash where it is not known."""
    return "-" if math.isnan(value) else f"{value:.1f}"


def _plain(value: float) -> str:
    """Write a number for a program: enough digits, nothing where it is not known."""
    return "" if math.isnan(value) else f"{value:.5f}"


def _against(found: Difference | None) -> str:
    if found is None or math.isnan(found.mean):
        return "-"
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}], n = {found.num_seeds}"


def _p(value: float) -> str:
    """Write a p-value.

    Example:
        >>> _p(0.0312), _p(0.00002), _p(math.nan)
        ('0.031', '< 0.001', '-')
    """
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def _seeds(results: Results, row: Row) -> str:
    """Say how many of a row's runs are finished, and how many failed."""
    runs = [each for each in results.runs if each.row == row.name]
    finished, failed = (sum(each.status == status for each in runs) for status in ("finished", "failed"))
    text = str(finished) if finished == len(runs) else f"{finished} of {len(runs)}"
    return f"{text} ({failed} failed)" if failed else text


def _why(run: RunResult) -> str:
    return f"failed: {run.failure}" if run.failure else "not run yet"
