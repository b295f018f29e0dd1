"""Measure whether a student's scores mean what they say, and whether it refuses what was not asked for.

    python benchmarks/confidence.py RUN [RUN ...] --data-root demo/toytown [--split val] [--clouds 20]

Runs are seeds of one recipe. First the expected calibration error in 15 bins, at temperature 1 and at the
one that was fitted without labels, and how right the surest points are. Then each class is left out of the
prompts in turn: the share of its points, and of the others, that is refused because the background fits
better; and how well the best score tells its points from the others (area under the ROC curve in percent; 50
is chance), with the background and without one. The background was trained with the class that is left out;
nothing here is said of classes without a word in training. Spread is the standard deviation over runs.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from shift.report import machine
from torch import Tensor

from clip2scene import build
from clip2scene.evaluation.reliability import COVERAGES, Reliability
from clip2scene.inference.predict import predict
from clip2scene.parallel import progress_bar
from clip2scene.runs.run import Run, open_run

Points = tuple[Float[Tensor, "points classes"], Int[Tensor, " points"]]


def read_points(run: Run, data_root: Path, split: str, clouds: int) -> Points:
    """Give the student's logits and the true class of all labelled points of some clouds, evenly chosen."""
    dataset = build.open_dataset(run.recipe.data, data_root, split=split, labels=True, sweeps=1)
    student, found = run.student(), []
    numbers = np.linspace(0, len(dataset) - 1, min(clouds, len(dataset)), dtype=int).tolist()
    for number in progress_bar(numbers, desc=run.folder.name, unit="cloud"):
        sample = dataset[number]
        assert sample.labels is not None
        known = sample.labels >= 0
        found.append((predict(student, run.prompts, sample.cloud).logits[known], sample.labels[known]))
    return torch.cat([each[0] for each in found]), torch.cat([each[1] for each in found])


def reliability(points: Points, temperature: float) -> list[float]:
    """Give the calibration error and the accuracies at the coverages, in percent."""
    logits, truth = points
    scores, labels = (logits / temperature).softmax(1).max(1)
    found = Reliability()
    found.update(scores, labels == truth)
    return [100 * found.calibration_error(), *(100 * found.accuracy_at(share) for share in COVERAGES)]


def left_out(points: Points, temperature: float, number: int) -> list[float]:
    """Leave a class out of the prompts; see the top of this file for what is given, in percent."""
    logits, truth = points
    scores = (logits / temperature).softmax(1)
    mine, asked = truth == number, [each for each in range(logits.shape[1]) if each != number]
    best = scores[:, asked].amax(1)
    refused = scores[:, number] > best
    alone = (logits[:, asked] / temperature).softmax(1).amax(1)
    return [
        100 * float(refused[mine].double().mean()),
        100 * float(refused[~mine].double().mean()),
        100 * separation(best, mine),
        100 * separation(alone, mine),
    ]


def separation(scores: Float[Tensor, " points"], strange: Int[Tensor, " points"]) -> float:
    """Give the area under the ROC curve by which low scores tell strange points from others, 0..1."""
    ranks, mine = rankdata(-scores.numpy()), strange.numpy().astype(bool)
    number, others = mine.sum(), (~mine).sum()
    return float((ranks[mine].sum() - number * (number + 1) / 2) / (number * others))


def spread(values: Sequence[float]) -> str:
    """Write a mean, and the standard deviation over runs where there are some."""
    return f"{np.mean(values):.1f}" + (f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else "")


def main() -> None:
    """Parse, measure, print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--clouds", type=int, default=20)
    given = parser.parse_args()
    torch.set_float32_matmul_precision("medium")
    runs = [open_run(folder) for folder in given.runs]
    about = machine([run.recipe.seed for run in runs], given.clouds)
    print("\n".join(f"{key}: {value}" for key, value in about.items()), flush=True)
    found = [read_points(run, given.data_root, given.split, given.clouds) for run in runs]
    print(
        f"\n| temperature | calibration error | {' | '.join(f'{share:.0%} surest' for share in COVERAGES)} |"
    )
    print(f"|---|{'---:|' * (1 + len(COVERAGES))}")
    fitted = spread([run.temperature for run in runs])
    for name, temperatures in (("1", [1.0] * len(runs)), (fitted, [run.temperature for run in runs])):
        rows = [reliability(*each) for each in zip(found, temperatures, strict=True)]
        print(f"| {name} | {' | '.join(spread(column) for column in zip(*rows, strict=True))} |")
    print("\n| left out | refused | others refused | separation | without a background |")
    print("|---|---:|---:|---:|---:|")
    classes = [number for number in range(found[0][0].shape[1]) if (found[0][1] == number).any()]
    means: list[list[float]] = []
    for number in classes:
        rows = [left_out(points, run.temperature, number) for points, run in zip(found, runs, strict=True)]
        means.append(np.mean(rows, axis=0).tolist())
        name = runs[0].prompts.classes[number]
        print(f"| {name} | {' | '.join(spread(column) for column in zip(*rows, strict=True))} |")
    print(f"| mean | {' | '.join(f'{each:.1f}' for each in np.mean(means, axis=0))} |")


if __name__ == "__main__":
    main()
