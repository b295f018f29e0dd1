"""Measure how far scores would move with other streets, and not with other seeds alone.

    python benchmarks/spread_over_streets.py RUN [RUN ...] --data-root demo/toytown [--draws 1000]
        [--against RUN RUN ...]

Each scene of the evaluated split has its own confusion matrices. A draw takes as many scenes as there are,
with repetition, and adds their matrices up (the bootstrap; Efron 1979): the standard deviation over the draws
says what another set of as many streets of this world would do to the mIoU of one run. The same draws serve
all runs, so differences between columns and between runs are paired. Runs are those of one recipe with
different seeds and share the first one's pseudo-labels of the split, which are lifted where they are missing.

With ``--against``, students of another recipe are judged on the same points, and the differences of the
students are given: mean of the first runs less mean of the others, p by Welch's t-test over seeds, and the
95 % of the draws of streets, paired.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.stats import ttest_ind
from shift.scores import miou

from clip2scene.distill.lifted import load_lifted
from clip2scene.evaluation.evaluate import evaluate_samples, open_evaluation
from clip2scene.runs.run import open_run

COLUMNS = ("student", "student_seen", "student_unseen", "voted", "voted_seen", "teacher_seen")


STUDENTS = COLUMNS[:3]


def matrices(runs: Sequence[Path], data_root: Path) -> list[dict[str, np.ndarray]]:
    """Count, for each run and column, scenes x true classes x (predicted classes, none)."""
    opened = open_evaluation(runs[0], data_root=data_root)
    others = [open_run(run) for run in runs]
    students = [run.student() for run in others]
    found: list[dict[str, dict[str, np.ndarray]]] = [{column: {} for column in COLUMNS} for _ in runs]
    for token, path in zip(opened.dataset.tokens, opened.paths, strict=True):
        sample, scene = load_lifted(path), opened.dataset.scene_of(token)
        for run, student, counted in zip(others, students, found, strict=True):
            scores = evaluate_samples(student, run.prompts, [sample], run.class_mapping)
            for column in COLUMNS:
                counts = np.column_stack([scores[column].confusion, scores[column].unanswered])
                counted[column][scene] = counts + counted[column].get(scene, 0)
    return [
        {
            column: np.stack([by_scene[scene] for scene in sorted(by_scene)])
            for column, by_scene in each.items()
        }
        for each in found
    ]


def main() -> None:
    """Print each column's mean, and its spread over seeds, over streets, and over both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--against", type=Path, nargs="+", default=[])
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("medium")
    everything = matrices([*arguments.runs, *arguments.against], arguments.data_root)
    found, others = everything[: len(arguments.runs)], everything[len(arguments.runs) :]
    scenes = len(found[0]["student"])
    drawn = np.random.default_rng(0).multinomial(scenes, np.full(scenes, 1 / scenes), size=arguments.draws)
    whole = {column: np.array([miou(each[column].sum(0)) for each in found]) for column in COLUMNS}
    spread = {
        column: np.stack([miou(np.tensordot(drawn, each[column], 1)) for each in found]) for column in COLUMNS
    }  # runs x draws
    whole["student - voted, seen"] = whole["student_seen"] - whole["voted_seen"]
    spread["student - voted, seen"] = spread["student_seen"] - spread["voted_seen"]
    whole["student - teacher, seen"] = whole["student_seen"] - whole["teacher_seen"]
    spread["student - teacher, seen"] = spread["student_seen"] - spread["teacher_seen"]
    print(f"{len(found)} runs, {scenes} scenes, {arguments.draws} draws; mIoU in percent\n")
    print("| | mean | over seeds | over streets | both | 95 % of the mean over streets |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, values in whole.items():
        seeds = values.std(ddof=1) if len(values) > 1 else 0.0
        streets = float(spread[name].std(axis=1).mean())
        low, high = np.percentile(spread[name].mean(axis=0), [2.5, 97.5])
        print(
            f"| {name} | {values.mean():.1f} | {seeds:.1f} | {streets:.1f} | {np.hypot(seeds, streets):.1f} "
            f"| {low:.1f} to {high:.1f} |"
        )
    if others:
        compare(found, others, drawn)


def compare(
    found: Sequence[dict[str, np.ndarray]], others: Sequence[dict[str, np.ndarray]], drawn: np.ndarray
) -> None:
    """Print how the students of two recipes differ."""
    print("\n| | first | against | difference | p over seeds | 95 % over streets |")
    print("|---|---:|---:|---:|---:|---:|")
    for column in STUDENTS:
        whole = [np.array([miou(each[column].sum(0)) for each in runs]) for runs in (found, others)]
        draws = [
            np.mean([miou(np.tensordot(drawn, each[column], 1)) for each in runs], 0)
            for runs in (found, others)
        ]
        low, high = np.percentile(draws[0] - draws[1], [2.5, 97.5])
        p = float(ttest_ind(*whole, equal_var=False).pvalue) if min(map(len, whole)) > 1 else float("nan")
        means = [
            f"{each.mean():.1f} ± {each.std(ddof=1):.1f}" if len(each) > 1 else f"{each[0]:.1f}"
            for each in whole
        ]
        gain = whole[0].mean() - whole[1].mean()
        print(f"| {column} | {' | '.join(means)} | {gain:+.1f} | {p:.3f} | {low:+.1f} to {high:+.1f} |")


if __name__ == "__main__":
    main()
