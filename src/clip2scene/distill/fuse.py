"""Several teachers at once: their pseudo-labels are fused on the points, each as far as it can be trusted.

Each teacher says one class of a point. That is drawn towards "any class" by how far the class is to be
trusted when it says it, and by how many of its views say so (discounting, Shafer 1976), and what teachers say
is multiplied (the logarithmic opinion pool): what nobody can be trusted in has no say, and two that may err
outdo one that hardly does only together. How sure a teacher is by its own scores is passed over: teachers
differ in what they call sure, and it is no measure of how often they are right.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.distill.lifted import LiftedSample, load_lifted, save_lifted
from clip2scene.io import read_json, write_json
from clip2scene.parallel import file_lock, parallel_for
from clip2scene.teacher.cache import Precision
from clip2scene.teacher.maskclip import INVERSE_TEMPERATURE

LEAST = 1e-4
"""Share that every class keeps, however far another is trusted, so that its logarithm is a number."""

FORMAT = 1
"""Of the files of fused pseudo-labels; to be raised whenever other code would make others."""


def fuse_split(
    paths_of: Sequence[Sequence[Path]],
    weights: Float[Tensor, "teachers classes"],
    *,
    precision: Precision = "float16",
) -> list[Path]:
    """Fuse the pseudo-labels of several teachers, and write them beside the first one's samples.

    Files of an earlier call are kept. Several processes share the samples.

    Args:
        paths_of: The lifted samples of each teacher (:func:`clip2scene.distill.lift.lift_split`), in the same
            order. The first one's clouds, superpoints, labels and features are taken.
        weights: How far each teacher is trusted when it says a class, 0..1.
        precision: What the first one's maps are rounded to, where it has some.

    Returns:
        One path a sample, for :func:`~clip2scene.distill.lifted.load_lifted`, in the order of ``paths_of``.

    Raises:
        ValueError: If teachers do not label the same points in the same classes.
    """
    key = {"format": FORMAT, "teachers": [paths[0].parent.name for paths in paths_of[1:]]}
    key |= {"weights": weights.tolist(), "precision": precision}
    key |= {"prompts": {"classes": _classes_of(paths_of[0])}}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = paths_of[0][0].parent / f"fused-{digest}"
    write_json(folder / "manifest.json", key)
    found = [folder / path.name for path in paths_of[0]]
    work = partial(_fuse_one, paths_of, weights, found, precision)
    with file_lock(folder / "lock"):
        missing = [number for number, path in enumerate(found) if not path.exists()]
        parallel_for(work, missing, title="fuse teachers", unit="sample")
    return found


def check_alike(paths_of: Sequence[Sequence[Path]]) -> None:
    """Refuse teachers that label other samples, or in other classes.

    Args:
        paths_of: As :func:`fuse_split` takes them.

    Raises:
        ValueError: If so; the message names the first difference.
    """
    first = _classes_of(paths_of[0])
    for paths in paths_of[1:]:
        folder, classes = paths[0].parent, _classes_of(paths)
        if classes != first:
            raise ValueError(
                f"{folder} has pseudo-labels of {', '.join(classes)}, expected {', '.join(first)}, as the "
                "other teacher has; fuse teachers of one class list"
            )
        lacking = [path.stem for path in paths if not path.exists()]
        if len(paths) != len(paths_of[0]) or lacking:
            raise ValueError(
                f"{folder} lacks the pseudo-labels of {len(lacking)} of {len(paths_of[0])} samples"
                f"{f', such as {lacking[0]}' if lacking else ''}; lift them first"
            )


def _classes_of(paths: Sequence[Path]) -> list[str]:
    content = read_json(paths[0].parent / "manifest.json")
    return list(content["prompts"]["classes"])


def _fuse_one(
    paths_of: Sequence[Sequence[Path]],
    weights: Float[Tensor, "teachers classes"],
    found: Sequence[Path],
    precision: Precision,
    number: int,
) -> None:
    """Fuse the sample of a number, and save it."""
    samples = [load_lifted(paths[number]) for paths in paths_of]
    for paths, each in zip(paths_of[1:], samples[1:], strict=True):
        if not torch.equal(each.cloud.positions, samples[0].cloud.positions):
            raise ValueError(
                f"{paths[number]} has other points than {paths_of[0][number]}; fuse teachers of the same "
                "data, sweeps and settings of --data"
            )
    save_lifted(found[number], fuse(samples, weights), precision=precision)


def fuse(samples: Sequence[LiftedSample], weights: Float[Tensor, "teachers classes"]) -> LiftedSample:
    """Fuse what several teachers say of the points of a sample.

    Args:
        samples: Of each teacher, with the same points.
        weights: How far each teacher is trusted when it says a class, 0..1.

    Returns:
        The first teacher's sample with fused logits: a hundredth of the logarithm of a share, 0 for the best
        class. There is one pair for each point that has a label; where the first has features, pairs are its
        own.
    """
    fused = torch.zeros(len(samples[0].cloud), weights.shape[1])
    for sample, trust in zip(samples, weights, strict=True):
        labels = sample.teacher_labels()
        said = (labels >= 0).nonzero()[:, 0]
        trusted = (trust[labels.clamp(min=0)] * _share_of_views(sample, labels))[said]
        others = (1 - trusted) / weights.shape[1]
        fused[said] += others.clamp(min=LEAST).log()[:, None]
        fused[said, labels[said]] += (trusted + others).log() - others.clamp(min=LEAST).log()
    fused = (fused - fused.amax(1, keepdim=True)) / INVERSE_TEMPERATURE
    first = samples[0]
    if first.teacher_features is not None:
        return replace(first, pair_logits=fused[first.pair_points])
    points = fused.any(1).nonzero()[:, 0]
    return replace(first, pair_points=points, pair_logits=fused[points])


def _share_of_views(sample: LiftedSample, labels: Int[Tensor, " points"]) -> Float[Tensor, " points"]:
    """Tell how many of a point's views say its label, 0..1; zero where there is none."""
    agrees = (sample.pair_logits.argmax(1) == labels[sample.pair_points]).float()
    views = torch.bincount(sample.pair_points, minlength=len(labels)).clamp(min=1)
    return torch.zeros(len(labels)).index_add_(0, sample.pair_points, agrees) / views
