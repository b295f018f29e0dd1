"""Measure what a lidar that was never trained on costs: each kind left out of the training in turn.

    clip2scene make-toytown --out TOWNS --scenes 96 --keyframes 2 --sweeps 1 --varied --seed 5
    python benchmarks/left_out_lidar.py --towns TOWNS --seed-of-towns 5 --out DIR
        [--steps 1350] [--clouds 20] [--first-town 1500000] [--only KIND ...]

Each student is one of the recipe ``toytown-general`` in fewer steps, trained on the drives of ``TOWNS`` but
for those with lidars of one kind; the first is trained on all. All have the same steps and seed. Every
student labels the same streets at the same moment as every kind of lidar sees them (:mod:`shift.lidars`);
none was trained on these streets. What a kind loses is the mIoU of the student that knows all kinds on its
clouds, minus that of the student that knows all others. Students that are scored already in
``DIR/lines.json`` are kept.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from shift.lidars import record
from shift.report import machine
from shift.scores import count, miou
from shifts import labeller
from torch import Tensor

from clip2scene import build
from clip2scene.classes.class_set import ClassSet
from clip2scene.io import read_json, write_json
from clip2scene.parallel import progress_bar
from clip2scene.recipes import toytown_general
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.reopen import lift_run
from clip2scene.runs.run import Run, open_run
from clip2scene.toytown.lidars import LIDARS
from clip2scene.toytown.town.world import build_town
from clip2scene.toytown.writers.recording import KEYFRAME_US, Recording
from clip2scene.training.train import train
from clip2scene.types import PointCloud

NONE = "none"
"""Name of the line whose student is trained on all kinds."""

TOWNS_PER_SEED = 1_000_000
"""Numbers of towns between one seed of ``make-toytown`` and the next."""

Scene = tuple[PointCloud, Int[Tensor, " points"]]


def train_without(kind: str, towns: Path, seed_of_towns: int, out: Path, steps: int) -> Run:
    """Train a student on all drives but those of a kind of lidar; pseudo-labels are shared in ``out``."""
    folder = out / f"without-{kind}"
    recipe = replace(toytown_general(), steps=steps)
    run, experiment = create_or_resume(recipe, data_root=towns, out=folder)
    paths = lift_run(run, experiment, into=out / "lifted")
    dataset, recording = experiment.dataset, Recording(varied=True)
    scenes = sorted({dataset.scene_of(token) for token in dataset.tokens})
    kinds = [
        recording.lidar_of(seed_of_towns * TOWNS_PER_SEED + number).name for number in range(len(scenes))
    ]
    kept = [
        path
        for token, path in zip(dataset.tokens, paths, strict=True)
        if kinds[scenes.index(dataset.scene_of(token))] != kind
    ]
    print(f"without {kind}: {len(kept)} of {len(paths)} samples", flush=True)
    train(run, kept, device=torch.device("cpu"), save_every=500)
    return open_run(folder)


def record_all(first_town: int, clouds: int, evaluated: ClassSet) -> dict[str, list[Scene]]:
    """Record one sweep in each of so many towns with every kind of lidar."""
    found: dict[str, list[Scene]] = {kind: [] for kind in LIDARS}
    for number in progress_bar(range(clouds), desc="record", unit="town"):
        town = build_town(first_town + number)
        for kind, scenes in found.items():
            scenes.append(record(town, KEYFRAME_US, kind, evaluated))
    return found


def score(run: Run, recorded: dict[str, list[Scene]]) -> dict[str, float]:
    """Give a student's mIoU on the clouds of every kind, in percent."""
    label, classes = labeller(run), len(run.class_mapping.classes)
    found = {}
    for kind, scenes in recorded.items():
        counts: np.ndarray = sum(count(label(cloud), truth, classes) for cloud, truth in scenes)
        found[kind] = float(miou(counts))
    return found


def rows(lines: dict[str, dict[str, float]]) -> list[str]:
    """Lay out what the student with all kinds has on each kind, and the one without it; then the loss."""
    table = ["| lidar | trained on all kinds | without it | lost |", "|---|---:|---:|---:|"]
    lost: list[float] = []
    for kind in LIDARS:
        if kind in lines and NONE in lines:
            known, unknown = lines[NONE][kind], lines[kind][kind]
            lost.append(known - unknown)
            table.append(f"| {kind} | {known:.1f} | {unknown:.1f} | {known - unknown:+.1f} |")
    if lost:
        table.append(f"| mean | | | {np.mean(lost):+.1f} |")
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, train and measure student by student, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--towns", type=Path, required=True, help="varied towns in nuScenes' layout")
    parser.add_argument("--seed-of-towns", type=int, required=True, help="that they were made with")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1350)
    parser.add_argument("--clouds", type=int, default=20, help="one in each judged town")
    parser.add_argument("--first-town", type=int, default=1_500_000, help="the first judged town")
    parser.add_argument("--only", nargs="+", default=[NONE, *LIDARS], choices=[NONE, *LIDARS])
    given = parser.parse_args(arguments)
    torch.set_float32_matmul_precision("medium")
    given.out.mkdir(parents=True, exist_ok=True)
    place, recorded = given.out / "lines.json", None
    lines: dict[str, dict[str, float]] = read_json(place)["lines"] if place.exists() else {}
    about = machine([toytown_general().seed], given.clouds) | {"steps": given.steps}
    for kind in given.only:
        if kind in lines:
            continue
        run = train_without(kind, given.towns, given.seed_of_towns, given.out, given.steps)
        evaluated = build.evaluation_classes(run.recipe.data, run.folder)
        recorded = recorded or record_all(given.first_town, given.clouds, evaluated)
        lines[kind] = score(run, recorded)
        write_json(place, {**about, "lines": lines})
    print("\n".join([*(f"{key}: {value}" for key, value in about.items()), "", *rows(lines)]))


if __name__ == "__main__":
    main()
