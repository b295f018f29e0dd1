import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from clip2scene.experiments.report import EVALUATED, figure, markdown, write_report
from clip2scene.experiments.results import Results, Row, RunResult
from clip2scene.viz.raster import RIGHT, WRONG

CLASSES = ("car", "road")
SCORES = {"plain": (50.0, 52.0, 51.0), "better": (53.0, 54.6, 54.2), "worse": (40.0, 43.0, 41.5)}


def metrics(percent, *, seen=None, unseen=None, num_points=1000):
    """What ``metrics.json`` would hold, as far as a report reads it."""

    def column(value):
        iou = {"car": (value + 10) / 100, "road": (value - 10) / 100}
        return {"miou": value / 100, "iou": iou}

    columns = {"student": column(percent), "student_seen": column(percent + 1 if seen is None else seen)}
    columns["student_unseen"] = (
        {"miou": None, "iou": dict.fromkeys(CLASSES)} if unseen is None else column(unseen)
    )
    columns["teacher_seen"] = column(45.0)
    return {"classes": list(CLASSES), "num_points": num_points, "columns": columns}


def results(scores=SCORES, **options):
    rows = tuple(Row(name, **options.get(name, {})) for name in scores)
    runs = tuple(
        RunResult(name, seed, metrics(value), minutes=4.0 + seed)
        for name, values in scores.items()
        for seed, value in enumerate(values)
        if value is not None
    )
    return Results("Ingredients", "plain", rows, runs)


def cells(text, row):
    """Cells of a row's first line in Markdown."""
    line = next(line for line in text.splitlines() if line.startswith("|") and row in line.split("|")[1])
    return [cell.strip() for cell in line.strip("|").split("|")]


def title(text, row, *, table=0):
    """The heading that a row stands under."""
    before = text[: text.index(f"\n| {row}")]
    return [line[3:] for line in before.splitlines() if line.startswith("## ")][-1]


def test_a_row_says_scores_gain_difference_and_p_as_computed_by_hand():
    text = markdown(results())
    p = [stats.ttest_rel(SCORES[name], SCORES["plain"]) for name in ("better", "worse")]
    interval = p[0].confidence_interval(0.95)
    gain = np.mean(SCORES["better"]) - np.mean(SCORES["plain"])
    assert cells(text, "better") == [
        "better",
        "53.9 ± 0.8",
        "54.9 ± 0.8",
        "-",
        "45.0",
        "+9.9 ± 0.8",
        f"{gain:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}], n = 3",
        f"{p[0].pvalue:.3f}",
        f"{max(p[0].pvalue, 2 * p[1].pvalue):.3f}",  # the second smallest stays, but never below the smallest
        "3",
        "5.0",
    ]
    assert cells(text, "plain")[0] == "**plain**"
    assert cells(text, "plain")[6:9] == ["-", "-", "-"]
    assert "the table's 2 comparisons" in text and "2.5 with n = 3" in text


def test_one_seed_has_neither_a_spread_nor_a_comparison():
    text = markdown(results({"plain": (50.0,), "better": (53.0,)}))
    assert cells(text, "better")[1:3] == ["53.0", "54.0"]
    assert cells(text, "better")[6:9] == ["-", "-", "-"]
    assert "confidence" not in text


def test_runs_that_failed_or_wait_are_named_and_counted_but_never_averaged():
    found = results()
    kept = [each for each in found.runs if (each.row, each.seed) not in {("better", 2), ("worse", 1)}]
    failed = RunResult("better", 2, metrics(99.0), failure="the loss is nan")
    found = replace(found, runs=(*kept, failed, RunResult("worse", 1)))
    text = markdown(found)
    assert cells(text, "better")[1] == "53.8 ± 1.1"
    assert cells(text, "better")[-2] == "2 of 3 (1 failed)"
    assert cells(text, "worse")[-2] == "2 of 3"
    assert "* better, seed 2: failed: the loss is nan\n* worse, seed 1: not run yet" in text
    assert "n = 2" in cells(text, "better")[6]


def test_a_table_of_which_nothing_is_finished_can_be_written(tmp_path):
    rows = (Row("plain"), Row("better"))
    runs = tuple(RunResult(row.name, seed) for row in rows for seed in (0, 1))
    write_report(Results("Ingredients", "plain", rows, runs), tmp_path)
    text = (tmp_path / "table.md").read_text()
    assert cells(text, "better")[1:-2] == ["-"] * 8
    assert "IoU by class" not in text
    assert len(list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))) == 4


def test_published_values_stand_in_a_column_of_their_own_marked_as_published():
    text = markdown(results(better={"published": 20.8}))
    assert "published (nuScenes)" in text
    assert cells(text, "better")[-1] == "20.8 (published)"
    assert cells(text, "worse")[-1] == "-"
    assert "none of it was run here" in text
    assert "ublished" not in markdown(results())


def test_results_of_different_kinds_of_labels_never_share_a_table_or_a_comparison():
    kinds = {"better": {"teacher_trained_on_2d_labels": True}, "worse": {"label_free": False}}
    found = results(**kinds)
    text = markdown(found)
    assert title(text, "**plain**") == "No labels, 2D or 3D"
    assert title(text, "better") == "No 3D labels, teacher trained with 2D labels"
    assert title(text, "worse") == "Student trained on 3D labels"
    assert not found.differences()
    assert [cells(text, name)[6] for name in kinds] == ["-", "-"]


def test_the_table_by_class_has_the_means_of_all_classes():
    text = markdown(results())
    lines = text[text.index("## IoU by class") :]
    assert cells(lines, "worse") == ["worse", "51.5", "31.5"]


def test_a_line_that_would_break_the_table_is_escaped():
    assert "a \\| b" in markdown(results({"plain": (50.0,), "a | b": (51.0,)}))


def test_runs_that_were_judged_on_different_points_are_called_out():
    found = results()
    other = replace(found.runs[0], metrics=metrics(50.0, num_points=999))
    assert "evaluated on different points** (999, 1,000)" in markdown(
        replace(found, runs=(other, *found.runs[1:]))
    )
    assert "evaluated on different points" not in markdown(found)


def test_the_csv_has_a_line_for_every_run_and_every_class_of_every_column(tmp_path):
    found = results()
    found = replace(found, runs=(*found.runs[:-1], RunResult("worse", 2, failure="no, never")))
    write_report(found, tmp_path)
    lines = list(csv.DictReader((tmp_path / "table.csv").read_text(encoding="utf-8").splitlines()))
    assert len(lines) == 9
    assert {f"{column}: {name}" for column in EVALUATED for name in CLASSES} < set(lines[0])
    better = next(line for line in lines if (line["variant"], line["seed"]) == ("better", "1"))
    assert float(better["student"]) == pytest.approx(54.6)
    assert float(better["student: car"]) == pytest.approx(64.6)
    assert better["student_unseen"] == "" and better["status"] == "finished"
    assert (lines[-1]["status"], lines[-1]["reason"], lines[-1]["student"]) == ("failed", "no, never", "")


def of_colour(picture, colour):
    """Columns of the picture that have pixels of just this colour, and rows."""
    found = np.argwhere((np.asarray(picture) == colour).all(2))
    return found[:, 1], found[:, 0]


def test_the_figure_is_green_for_a_certain_gain_and_red_for_a_certain_loss_only():
    steady = {"plain": (50.0, 52.0, 51.0), "better": (53.0, 55.1, 54.0), "worse": (47.0, 49.1, 48.0)}
    picture = figure(results(steady))
    (right, green), (left, red) = of_colour(picture, RIGHT), of_colour(picture, WRONG)
    assert green.max() < red.min()  # the better row stands above the worse one
    assert left.max() < right.min()
    picture = figure(results({"plain": (50.0, 52.0, 51.0), "unsure": (51.0, 52.0, 53.0)}))
    assert len(of_colour(picture, RIGHT)[0]) == len(of_colour(picture, WRONG)[0]) == 0
