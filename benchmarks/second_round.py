"""Measure the pseudo-labels of a second round against the truth, without training anything on them.

    python benchmarks/second_round.py RUN --data-root TOWN [--leads 0 0.1 ...] [--consolidate]

RUN is a finished label-free run of data with labels; files of the second round are written beside its
pseudo-labels. Rows are the teacher's pseudo-labels of the train split as they were lifted and as they are
trained on, then those of a second round by the lead that the student must have. Columns are those of
benchmarks/consolidation.py, on all labelled points of the keyframes; labels are read for that alone. With
--consolidate, teacher and student vote over drives.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from consolidation import Tally
from torch import Tensor

from clip2scene import build
from clip2scene.distill.lifted import LiftedSample, load_lifted
from clip2scene.runs.first_round import first_round_of
from clip2scene.runs.reopen import lift_run, reopen
from clip2scene.training.second_round import second_round


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--leads", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.4])
    parser.add_argument("--consolidate", action="store_true")
    parser.add_argument("--by-class", action="store_true", help="print the IoU of each class, too")
    arguments = parser.parse_args()
    first = first_round_of(arguments.run)
    run = first.run
    recipe = replace(run.recipe, teacher=replace(run.recipe.teacher, consolidate=arguments.consolidate))
    run = replace(run, recipe=recipe)
    experiment = reopen(run, arguments.data_root, split="train")
    paths = lift_run(run, experiment)
    labelled = build.open_dataset(recipe.data, arguments.data_root, split="train", labels=True, sweeps=1)
    truth = {token: labelled[number].labels for number, token in enumerate(labelled.tokens)}

    def row(name: str, files: list[Path], labels_of: Callable[[LiftedSample], Tensor]) -> None:
        tally = Tally(run.class_mapping)
        for path in files:
            lifted, labels = load_lifted(path), truth[path.stem]
            assert labels is not None
            padded = torch.full((len(lifted.cloud),), -1)
            padded[: len(labels)] = labels
            tally.add(labels_of(lifted), replace(lifted, labels=padded))
        print(f"| {name} | {tally.row()} |", flush=True)
        if arguments.by_class:
            scores = tally.everywhere.scores(run.class_mapping.classes)
            print("  ".join(f"{each} {100 * iou:.1f}" for each, iou in scores.iou.items()), flush=True)

    print("| labels | mIoU, all | seen | taught | right of these | unseen, taught | right of these |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    row("lifted", paths, LiftedSample.teacher_labels)
    row("the teacher's", paths, LiftedSample.teacher_targets)
    for lead in arguments.leads:
        own = replace(recipe.self_training, lead=lead)
        began = time.process_time()
        found = second_round(
            first,
            replace(experiment, recipe=replace(recipe, self_training=own)),
            paths,
            device=torch.device("cpu"),
        )
        seconds = time.process_time() - began
        row(f"second round, lead {lead} ({seconds:.0f} s)", found, LiftedSample.teacher_targets)


if __name__ == "__main__":
    main()
