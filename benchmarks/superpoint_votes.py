"""Measure what the superpoints' vote does to the teacher's pseudo-labels, with every ring and with fewer.

    python benchmarks/superpoint_votes.py RUN --data-root demo/toytown [--split val]

Keeps every ring of each keyframe, every second and every fourth, and finds superpoints anew in what is kept:
they should suit lidars of fewer beams. Which points a camera sees, and the teacher's logits there, are those
of the whole sweep. RUN is a label-free run on data in the layout of nuScenes, whose files number the rings;
its pseudo-labels of the split are lifted where they are missing.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from clip2scene.distill.lifted import LiftedSample, load_lifted
from clip2scene.evaluation.evaluate import EvaluationSplit, open_evaluation
from clip2scene.evaluation.metrics import Confusion
from clip2scene.geometry.superpoints import find_superpoints
from clip2scene.types import IGNORE_LABEL, PointCloud

STEPS = (1, 2, 4)
COLUMNS = ("no vote", "voted")


def keep(sample: LiftedSample, kept: Tensor, viewpoint: tuple[float, float, float]) -> LiftedSample:
    """Keep some points of a sample and their pairs, and find superpoints among them."""
    positions, paired = sample.cloud.positions[kept], kept[sample.pair_points]
    return replace(
        sample,
        cloud=PointCloud(positions, sample.cloud.features[kept]),
        pair_points=(kept.cumsum(0) - 1)[sample.pair_points[paired]],
        pair_logits=sample.pair_logits[paired],
        labels=sample.labels[kept],
        superpoints=find_superpoints(positions, viewpoint=viewpoint),
        sweep_sizes=(),
    )


def thinned(opened: EvaluationSplit, step: int) -> Iterator[LiftedSample]:
    """Give the keyframe of each sample with every so manieth of its rings."""
    dataset = opened.dataset
    title = f"1 ring of {step}"
    for token, path in zip(tqdm(dataset.tokens, desc=title), opened.paths, strict=True):
        sample = load_lifted(path)
        rings = np.fromfile(dataset.lidar_file(token)[1], "<f4").reshape(-1, 5)[:, 4]
        kept = torch.zeros(len(sample.cloud), dtype=torch.bool)  # earlier sweeps, behind it, have no labels
        kept[: len(rings)] = torch.from_numpy(rings % step == 0)
        yield keep(sample, kept, dataset.viewpoint)


def measure(opened: EvaluationSplit, step: int) -> dict[str, tuple[float, float]]:
    """Give the mIoU in percent over all points and over those that a camera sees, by column."""
    mapping = opened.run.class_mapping
    confusions = {
        column: (Confusion(len(mapping.classes)), Confusion(len(mapping.classes))) for column in COLUMNS
    }
    for sample in thinned(opened, step):
        seen = torch.where(sample.visible(), sample.labels, IGNORE_LABEL)
        found = {"no vote": sample.teacher_labels(), "voted": sample.voted_labels()}
        for column, (everywhere, where_seen) in confusions.items():
            predicted = mapping.translate(found[column])
            everywhere.update(predicted, sample.labels)
            where_seen.update(predicted, seen)
    return {
        column: tuple(100 * each.scores(mapping.classes).miou for each in both)
        for column, both in confusions.items()
    }


def main() -> None:
    """Print a table: all points / points that a camera sees, a row for each share of the rings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    arguments = parser.parse_args()
    opened = open_evaluation(arguments.run, data_root=arguments.data_root, split=arguments.split)
    rows = {step: measure(opened, step) for step in STEPS}
    print(f"{arguments.split}, {len(opened.paths)} sweeps; mIoU in percent, all points / seen points\n")
    print(f"| rings | {' | '.join(COLUMNS)} |")
    print("|---|---:|---:|")
    for step, row in rows.items():
        cells = (f"{everywhere:.1f} / {where_seen:.1f}" for everywhere, where_seen in row.values())
        print(f"| 1 of {step} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
