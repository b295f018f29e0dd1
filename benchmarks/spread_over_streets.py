"""Measure how far scores would move with other streets, and not with other seeds alone.

    python benchmarks/spread_over_streets.py RUN [RUN ...] --data-root demo/toytown [--draws 1000]

Each scene of the evaluated split has its own confusion matrices. A draw takes as many scenes as there are,
with repetition, and adds their matrices up (the bootstrap; Efron 1979): the standard deviation over the draws
says what another set of as many streets of this world would do to the mIoU of one run. The same draws serve
all runs, so differences between columns and between runs are paired. Runs are those of one recipe with
different seeds and share the first one's pseudo-labels of the split, which are lifted where they are missing.
"""

import argparse
from pathlib import Path

import numpy as np
from shift.scores import miou

from clip2scene.distill.lifted import load_lifted
from clip2scene.evaluation.evaluate import evaluate_samples, open_evaluation

COLUMNS = ("student", "student_seen", "student_unseen", "voted", "voted_seen", "teacher_seen")


def matrices(run: Path, data_root: Path, lifted: Path) -> dict[str, np.ndarray]:
    """Count, for each column, scenes x true classes x (predicted classes, none)."""
    opened = open_evaluation(run, data_root=data_root, lifted=lifted)
    found: dict[str, dict[str, np.ndarray]] = {column: {} for column in COLUMNS}
    for token, path in zip(opened.dataset.tokens, opened.paths, strict=True):
        samples = [load_lifted(path)]
        scores = evaluate_samples(opened.student, opened.run.prompts, samples, opened.run.class_mapping)
        scene = opened.dataset.scene_of(token)
        for column in COLUMNS:
            counts = np.column_stack([scores[column].confusion, scores[column].unanswered])
            found[column][scene] = counts + found[column].get(scene, 0)
    return {
        column: np.stack([by_scene[scene] for scene in sorted(by_scene)])
        for column, by_scene in found.items()
    }


def main() -> None:
    """Print each column's mean, and its spread over seeds, over streets, and over both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=1000)
    arguments = parser.parse_args()
    lifted = arguments.runs[0] / "carried"  # seeds share it
    found = [matrices(run, arguments.data_root, lifted) for run in arguments.runs]
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


if __name__ == "__main__":
    main()
