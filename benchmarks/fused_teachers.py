"""Measure what several teachers give when they are fused on the points, beside each of them alone.

    python benchmarks/fused_teachers.py RUN RUN ... --data-root TOWN [--split val] [--samples 40]

Each RUN is a label-free run, trained or only lifted (``clip2scene lift``), on the same data, classes and
settings of --data. The pseudo-labels of the first samples of the split are lifted where they are missing;
weights are measured on those alone, without labels. Scores are over the labelled points of keyframes, in
percent: mIoU and accuracy of the labels as they are and after the superpoints' vote, where a camera sees.
"""

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from clip2scene import build
from clip2scene.datasets import Dataset
from clip2scene.datasets.drives import find_drives, have_poses
from clip2scene.datasets.label_subset import Chosen
from clip2scene.distill.agreement import measure_agreement
from clip2scene.distill.fuse import check_alike, fuse_split
from clip2scene.distill.lifted import LiftedSample, load_lifted
from clip2scene.evaluation.metrics import Confusion
from clip2scene.runs.reopen import lift_run, reopen
from clip2scene.runs.run import open_run
from clip2scene.types import IGNORE_LABEL


class Some(Chosen):
    """The first samples of a data set, with their poses."""

    def __init__(self, dataset: Dataset, count: int) -> None:
        super().__init__(dataset, dataset.tokens[:count])
        self.timestamps = dataset.timestamps


def score(samples: Sequence[LiftedSample], truth: Sequence[Tensor], classes: Sequence[str]) -> str:
    """Give the cells of a row."""
    cells = []
    kinds: list[Callable[[LiftedSample], Tensor]] = [LiftedSample.teacher_labels, LiftedSample.voted_labels]
    for labels_of in kinds:
        confusion = Confusion(len(classes))
        for sample, labels in zip(samples, truth, strict=True):
            known = torch.full((len(sample.cloud),), IGNORE_LABEL)
            known[: len(labels)] = labels
            confusion.update(labels_of(sample), torch.where(sample.visible(), known, IGNORE_LABEL))
        scores = confusion.scores(tuple(classes))
        cells.append(f"{100 * scores.miou:.1f} | {100 * scores.accuracy:.1f}")
    return " | ".join(cells)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--samples", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    runs = [open_run(folder) for folder in options.runs]
    dataset = build.open_dataset(
        runs[0].recipe.data, options.data_root, split=options.split, labels=True, sweeps=1
    )
    some = Some(dataset, options.samples)
    truth = [labels for number in range(len(some.tokens)) if (labels := some[number].labels) is not None]
    paths_of = []
    for run in runs:
        experiment = reopen(run, options.data_root, split=options.split)
        paths_of.append(lift_run(run, experiment, tokens=some.tokens))
    check_alike(paths_of)
    told = measure_agreement(paths_of, find_drives(some) if have_poses(some) else {})
    weights = torch.stack([each.weights() for each in told]).float()
    classes = runs[0].prompts.classes
    print(f"{options.split}: {len(truth)} samples\n\n| teacher | mIoU | right | voted: mIoU | right |")
    print("|---|---:|---:|---:|---:|")
    lifted = [[load_lifted(path) for path in paths] for paths in paths_of]
    for run, samples in zip(runs, lifted, strict=True):
        print(f"| {run.folder.name} | {score(samples, truth, classes)} |", flush=True)
    pairs = list(itertools.combinations(range(len(runs)), 2))
    for chosen in (pairs if len(runs) > 2 else []) + [tuple(range(len(runs)))]:
        some_paths, rows = [paths_of[number] for number in chosen], list(chosen)
        name = " + ".join(runs[number].folder.name for number in chosen)
        fused = [load_lifted(path) for path in fuse_split(some_paths, weights[rows])]
        print(f"| fused: {name} | {score(fused, truth, classes)} |", flush=True)
    print("\n| weight of | " + " | ".join(classes) + " |\n|---|" + "---:|" * len(classes))
    for run, row in zip(runs, weights.tolist(), strict=True):
        print(f"| {run.folder.name} | " + " | ".join(f"{each:.2f}" for each in row) + " |")


if __name__ == "__main__":
    main()
