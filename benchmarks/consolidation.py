"""Measure what consolidation over a drive does to pseudo-labels: how many points are taught, and how rightly.

    python benchmarks/consolidation.py RUN --data-root TOWN [--split val] [--place-sizes 0.2 ...]
        [--least-shares 0.5 ...]

RUN is a label-free run whose recipe does not consolidate; its pseudo-labels of the split are lifted where
they are missing, with labels to judge them by. Rows are the teacher's labels as they were lifted, after the
superpoints' vote, after the votes on places alone, and after both. A point that is taught has a pseudo-label;
scores are over the labelled points of the keyframes, seen ones are those that a camera saw at their moment.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from clip2scene.classes.mapping import ClassMapping
from clip2scene.datasets.drives import find_drives
from clip2scene.distill.consolidate import ConsolidateOptions, consolidate_split
from clip2scene.distill.lifted import LiftedSample, load_lifted, save_lifted
from clip2scene.evaluation.metrics import Confusion
from clip2scene.runs.reopen import lift_run, reopen
from clip2scene.runs.run import open_run
from clip2scene.types import IGNORE_LABEL


class Tally:
    """Counts what is taught, and what of it is right.

    Args:
        mapping: From the prompts' classes to those of the labels.
    """

    def __init__(self, mapping: ClassMapping) -> None:
        self.mapping = mapping
        self.everywhere, self.where_seen = Confusion(len(mapping.classes)), Confusion(len(mapping.classes))
        self.counts = torch.zeros(5, dtype=torch.long)  # labelled, taught, right; unseen: taught, right

    def add(self, found: Tensor, sample: LiftedSample) -> None:
        """Compare a sample's pseudo-labels with its labels."""
        predicted, labels, seen = self.mapping.translate(found), sample.labels, sample.visible()
        self.everywhere.update(predicted, labels)
        self.where_seen.update(predicted, torch.where(seen, labels, IGNORE_LABEL))
        labelled = labels != IGNORE_LABEL
        taught, right = labelled & (predicted >= 0), labelled & (predicted == labels)
        masks = [labelled, taught, right, taught & ~seen, right & ~seen]
        self.counts += torch.tensor([int(mask.sum()) for mask in masks])

    def row(self) -> str:
        """Give the cells of a table's row, in percent."""
        labelled, taught, right, unseen, unseen_right = self.counts.tolist()
        scores = [each.scores(self.mapping.classes).miou for each in (self.everywhere, self.where_seen)]
        shares = [taught / labelled, right / max(taught, 1), unseen / labelled, unseen_right / max(unseen, 1)]
        return " | ".join(f"{100 * each:.1f}" for each in (*scores, *shares))


def score(
    samples: Iterable[LiftedSample], mapping: ClassMapping, labels_of: Callable[[LiftedSample], Tensor]
) -> str:
    """Score some pseudo-labels of all samples."""
    tally = Tally(mapping)
    for sample in samples:
        tally.add(labels_of(sample), sample)
    return tally.row()


def without_superpoints(paths: list[Path], folder: Path) -> Iterator[Path]:
    """Copy lifted samples, less their superpoints, so that places decide alone."""
    for path in paths:
        save_lifted(folder / path.name, replace(load_lifted(path), superpoints=None))
        yield folder / path.name


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--place-sizes", type=float, nargs="+", default=[ConsolidateOptions.place_size])
    parser.add_argument("--least-shares", type=float, nargs="+", default=[ConsolidateOptions.least_share])
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # all in this process, so that its memory and time are what it takes
    run = open_run(arguments.run)
    experiment = reopen(run, arguments.data_root, split=arguments.split, labels=True)
    paths = lift_run(run, experiment)
    drives, mapping = find_drives(experiment.dataset), run.class_mapping
    viewpoint = experiment.dataset.viewpoint or (0.0, 0.0, 0.0)
    print(f"{arguments.split}: {len(paths)} samples of {len(drives)} drives; percent\n")
    print("| labels | mIoU, all | seen | taught | right of these | unseen, taught | right of these |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    lifted = [load_lifted(path) for path in paths]
    print(f"| lifted | {score(lifted, mapping, LiftedSample.teacher_labels)} |")
    print(f"| superpoint vote | {score(lifted, mapping, LiftedSample.voted_labels)} |", flush=True)
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        alone = list(without_superpoints(paths, Path(folder)))
        for size in arguments.place_sizes:
            for share in arguments.least_shares:
                options = ConsolidateOptions(size, share)
                for name, given in (("places", alone), ("both", paths)):
                    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
                    found = consolidate_split(drives, given, viewpoint=viewpoint, options=options)
                    seconds = time.process_time() - began
                    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
                    each_ms = 1000 * seconds / len(paths)
                    costs.append(f"{name}, {size} m: {each_ms:.0f} ms a sample, {more / 1000:.0f} MB")
                    cells = score(map(load_lifted, found), mapping, LiftedSample.teacher_targets)
                    print(f"| {name}, {size} m, share {share} | {cells} |", flush=True)
    print("\nprocessor time, and what it added to the peak of the process's memory:", *costs, sep="\n")


if __name__ == "__main__":
    main()
