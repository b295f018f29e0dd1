"""Measure what each input option and each random change gives a student that is to travel.

    python benchmarks/travel_settings.py --data-root demo/toytown --lifted demo/label-free/carried --out DIR
        [--steps 450] [--seeds 0] [--clouds 10] [--only NAME ...]

Each line is a student of its own: the recipe ``toytown`` in fewer steps, but for its inputs (the height over
the sensor alone) and its random changes (turns, mirrors, sizes), with what the line names. Students have the
same data, steps and seeds. Scores are mIoU in percent on toytown's evaluated split (``--clouds`` of it,
evenly chosen), as it is and under some shifts of :mod:`shift.grid`. Lines that are there already in
``DIR/lines.json`` are kept.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shift.grid import AS_IT_IS, GRID, Shifted
from shift.report import machine
from shift.scores import count, miou
from shifts import Keyframe, apply_shift, labeller, read_keyframes

from clip2scene.config import AugmentConfig, Recipe
from clip2scene.io import read_json, write_json
from clip2scene.recipes import toytown
from clip2scene.runs.run import Run, open_run
from clip2scene.training.train import pretrain

SHIFTS = (
    *(("mount", "-0.3 m"), ("pitch", "+3 degrees"), ("intensity", "none"), ("intensity", "gamma 2")),
    *(("rings", "every 2nd"), ("rings", "every 4th"), ("density", "a quarter"), ("scale", "x 1.1")),
    *(("range noise", "10 cm"), ("rain", "2 % more points"), ("view", "120 degrees ahead")),
)
"""Family and name of the shifts that are measured."""

LEVEL = {"level": True}
GROUND = {"level": True, "height": "ground"}
LINES: dict[str, dict[str, dict[str, Any]]] = {
    "height over the sensor": {},
    "level clouds": {"student": LEVEL},
    "level, height over the ground": {"student": GROUND},
    "and quantiles of intensity": {"student": {**GROUND, "intensity": "quantile"}},
    "not level, tilt 5 degrees, height 1 m": {"augment": {"tilt": 5.0, "height": 1.0}},
    "level, and tilt 2 degrees, height 0.15 m": {
        "student": GROUND,
        "augment": {"tilt": 2.0, "height": 0.15},
    },
    **{
        f"level, and {name}": {"student": GROUND, "augment": change}
        for name, change in {
            "rings thinned": {"thin_rings": 0.5},
            "points thinned": {"thin_points": 0.5},
            "range cut": {"cut_range": 0.5},
            "a sector alone": {"narrow": 0.5},
            "noise": {"noise": 0.08},
            "rain": {"rain": 0.1},
            "gain of intensity": {"intensity": 0.7},
            "intensity dropped": {"drop_intensity": 0.3},
            "PolarMix": {"mix": "polar"},
            "Mix3D": {"mix": "overlay"},
        }.items()
    },
}
"""Settings by the name of a line."""


def line_recipe(name: str, steps: int, seed: int) -> Recipe:
    """Make the recipe of a line."""
    student = replace(toytown().student, height="sensor", level=False, turns=(0.0,))
    base = replace(toytown(), student=student, augment=AugmentConfig(scale=0.05), steps=steps, seed=seed)
    changed = {part: replace(getattr(base, part), **values) for part, values in LINES[name].items()}
    return replace(base, **changed)


def score(run: Run, keyframes: Sequence[Keyframe]) -> dict[str, float]:
    """Give the mIoU of a run as it is and under each shift, in percent."""
    label, classes = labeller(run), len(run.class_mapping.classes)
    shifts = {(family, shift.name): shift for family, row in GRID.items() for shift in row}
    counts = {key: np.zeros((classes, classes + 1), int) for key in (AS_IT_IS, *SHIFTS)}
    for number, keyframe in enumerate(keyframes):
        whole = Shifted(keyframe.cloud, torch.arange(len(keyframe.cloud)))
        for key, counted in counts.items():
            shifted = whole if key == AS_IT_IS else apply_shift(shifts[key], keyframe, seed=number)
            known = shifted.kept >= 0
            found = label(shifted.cloud)[known]
            counted += count(found, keyframe.truth[shifted.kept[known]], classes)
    return {" ".join(key).strip(): float(miou(counted)) for key, counted in counts.items()}


def rows(found: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Lay the lines out as a table: means over seeds, and their standard deviation where there are some."""
    heads = [" ".join(key).strip() for key in (AS_IT_IS, *SHIFTS)]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for name, seeds in found.items():
        cells = []
        for head in heads:
            values = [scores[head] for scores in seeds.values()]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Parse, train and measure line by line, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--lifted", type=Path, help="pseudo-labels that a run of the recipe has lifted")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--clouds", type=int, default=10)
    parser.add_argument("--only", nargs="+", default=list(LINES), choices=LINES)
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("medium")
    arguments.out.mkdir(parents=True, exist_ok=True)
    place, keyframes = arguments.out / "lines.json", None
    found: dict[str, dict[str, dict[str, float]]] = read_json(place)["lines"] if place.exists() else {}
    about = machine(arguments.seeds, arguments.clouds) | {"steps": arguments.steps}
    for name in arguments.only:
        for seed in arguments.seeds:
            if str(seed) in found.get(name, {}):
                continue
            folder = arguments.out / f"{list(LINES).index(name):02d}-{seed}"
            recipe = line_recipe(name, arguments.steps, seed)
            pretrain(recipe, data_root=arguments.data_root, out=folder, lifted=arguments.lifted)
            run = open_run(folder)
            keyframes = keyframes or read_keyframes(run, arguments.data_root, arguments.clouds)
            found.setdefault(name, {})[str(seed)] = score(run, keyframes)
            write_json(place, {**about, "lines": found})
    print("\n".join([*(f"{key}: {value}" for key, value in about.items()), "", *rows(found)]))


if __name__ == "__main__":
    main()
