"""How sure a student is: scores that say how often it is right, fitted without labels.

A softmax over logits is a score, not a share: networks are too sure, and a loss that weighs classes moves it
again. Temperature scaling (Guo et al., ICML 2017, Sec. 4.2) divides all logits by one number, which changes
no label. There are no true labels to fit it to, so it is fitted to the pseudo-labels of training samples that
the teacher is sure of: the student's scores then say how often the two agree. Where the teacher is wrong and
sure, the student is right more often than it says; where no camera sees, less often.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.distill.lifted import load_lifted
from clip2scene.inference.predict import predict
from clip2scene.io import write_json
from clip2scene.parallel import progress_bar
from clip2scene.runs.copies import copy_run, require_own_folder
from clip2scene.runs.folder import CONFIDENCE
from clip2scene.runs.reopen import lift_run, reopen
from clip2scene.runs.run import Run, open_run
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts

SAMPLES = 16
"""Training samples that the temperature is fitted to, evenly chosen."""
POINTS = 20_000
"""Points of each of them at most, drawn at random."""
SURE = 0.9
"""Pseudo-labels count whose own score by the teacher is at least this, 0..1; all, if there is none."""
COLDEST, HOTTEST = 0.05, 20.0
"""The temperature lies between these."""


def fit_temperature(logits: Float[Tensor, "points classes"], targets: Int[Tensor, " points"]) -> float:
    """Find the temperature at which the softmax is likeliest to have given the targets.

    The negative log-likelihood is convex in the inverse temperature, so its slope is bisected.

    Args:
        logits: Of at least one point.
        targets: The class of each point, from 0.

    Returns:
        What to divide logits by, within :data:`COLDEST` and :data:`HOTTEST`.
    """
    logits = logits.double()
    of_target = logits.gather(1, targets[:, None]).mean()
    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(30):
        middle = (low * high) ** 0.5
        expected = ((middle * logits).softmax(1) * logits).sum(1).mean()
        low, high = (low, middle) if expected > of_target else (middle, high)
    return float(1 / (low * high) ** 0.5)


def calibrate(run: Path | str, *, data_root: Path, split: str = "train", out: Path | None = None) -> Path:
    """Fit the temperature of a run's scores on a data set, without labels: the run's own, or another.

    Args:
        run: Folder of a run that was trained without labels; or ``builtin``.
        data_root: The data set, with images.
        split: Which of its splits.
        out: Folder that the run is copied into first; by default nothing is copied. ``builtin`` needs one.

    Returns:
        ``confidence.json``, in the run's folder or the copy.

    Raises:
        ValueError: If the run is trained on labels, or the data are unfit or have no images.
    """
    opened = open_run(run)
    if opened.recipe.supervision != "label-free":
        raise ValueError(
            f"{run} was trained on labels, so there are no pseudo-labels to fit its scores to; name a "
            "run that pretrain has trained without labels"
        )
    if out is None:
        require_own_folder(opened)
    else:
        opened = copy_run(opened, out)
    experiment = reopen(opened, data_root, split=split)
    if experiment.teacher is None:
        raise ValueError(
            f"split {split!r} of {data_root} has no images, so there are no pseudo-labels to fit scores "
            "to; name data with images"
        )
    tokens = experiment.dataset.tokens
    paths = lift_run(opened, experiment, tokens=[tokens[number] for number in _evenly(len(tokens))])
    return fit_confidence(opened, paths)


def fit_confidence(run: Run, paths: Sequence[Path]) -> Path:
    """Fit the temperature of a trained run to pseudo-labels, and write it into ``confidence.json``.

    Where no camera sees any point of the samples that are read, it is 1.

    Args:
        run: Trained without labels.
        paths: Lifted samples that it was trained on, or others of the same sensors.

    Returns:
        The file.
    """
    student, prompts = run.student(), run.prompts
    draw = torch.Generator().manual_seed(run.recipe.seed)
    bar = progress_bar(_evenly(len(paths)), desc="confidence", unit="sample")
    found = [_compare(student, prompts, paths[number], draw) for number in bar]
    logits, targets = (torch.cat(each) for each in zip(*found, strict=True))
    temperature = fit_temperature(logits, targets) if len(targets) else 1.0
    agreement = float((logits.argmax(1) == targets).double().mean()) if len(targets) else None
    write_json(
        run.folder / CONFIDENCE,
        {
            **{"temperature": temperature, "agreement": agreement},
            **{"samples": len(found), "points": len(targets)},
        },
    )
    return run.folder / CONFIDENCE


def _evenly(count: int) -> list[int]:
    """Choose the numbers of :data:`SAMPLES` of so many samples, evenly."""
    numbers = np.linspace(0, count - 1, min(SAMPLES, count)).round().astype(int)
    return np.unique(numbers).tolist()


def _compare(
    student: Embedder, prompts: Prompts, path: Path, draw: torch.Generator
) -> tuple[Float[Tensor, "points classes"], Int[Tensor, " points"]]:
    """Give the student's logits and the pseudo-labels of points of a sample's keyframe that a camera sees."""
    lifted = load_lifted(path)
    size = lifted.sweep_sizes[0] if lifted.sweep_sizes else len(lifted.cloud)
    cloud = PointCloud(lifted.cloud.positions[:size], lifted.cloud.features[:size])
    targets = lifted.voted_labels()[:size]
    seen = (lifted.visible()[:size] & (targets >= 0)).nonzero()[:, 0]
    scores = lifted.summed_scores()[:size][seen]
    sure = scores.gather(1, targets[seen, None])[:, 0] >= SURE * scores.sum(1)
    seen = seen[sure] if sure.any() else seen
    kept = seen[torch.randperm(len(seen), generator=draw)[:POINTS]]
    return predict(student, prompts, cloud).text_logits[kept], targets[kept]
