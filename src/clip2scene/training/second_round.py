"""The second round of label-free training: pseudo-labels by the student of the first."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.build import Experiment
from clip2scene.datasets.drives import find_drives
from clip2scene.distill.lifted import LiftedSample
from clip2scene.distill.second_round import SecondRoundOptions, second_round_split
from clip2scene.inference.predict import predict
from clip2scene.runs.first_round import FirstRound
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts

TURNS = (22.5, 112.5, 202.5, 292.5)
"""Yaws, in degrees, at which the student predicts a cloud, and its mirror image, too."""


def second_round(
    first: FirstRound, experiment: Experiment, paths: Sequence[Path], *, device: torch.device
) -> list[Path]:
    """Make the pseudo-labels of a second round.

    Args:
        first: The run of the first round.
        experiment: What is trained on; where its recipe consolidates, predictions are averaged over drives.
        paths: Its lifted samples.
        device: Where the student computes.

    Returns:
        Files of the samples with their new pseudo-labels, in the order of ``paths``.

    Raises:
        ValueError: If a sample is damaged, or a drive's poses are missing or wrong.
    """
    recipe, dataset = experiment.recipe, experiment.dataset
    about = {"student": first.sha256, "turns": TURNS}
    options = SecondRoundOptions(
        recipe.self_training.lead,
        about,
        find_drives(dataset) if recipe.teacher.consolidate else {},
        dataset.viewpoint or (0.0, 0.0, 0.0),
        recipe.teacher.place_size,
    )
    student = first.run.student().to(device)
    student.inputs = replace(student.inputs, turns=TURNS)
    ask = partial(predict_copies, student, first.run.prompts)
    return second_round_split(paths, ask, options=options, alone=device.type != "cpu")


def predict_copies(
    student: Embedder, prompts: Prompts, lifted: LiftedSample
) -> Float[Tensor, "points classes"]:
    """Give the scores of each point, of the mean logits over a cloud and its mirror image.

    Args:
        student: A trained network; each copy is turned as its inputs say.
        prompts: The classes.
        lifted: A sample; its sweeps are predicted one by one where each is an item of its own.
    """
    sizes = list(lifted.sweep_sizes) or [len(lifted.cloud)]
    found = []
    for positions, features in zip(
        lifted.cloud.positions.split(sizes), lifted.cloud.features.split(sizes), strict=True
    ):
        mirrored = positions.clone()
        mirrored[:, 1] = 2 * student.viewpoint[1] - positions[:, 1]
        copies = (PointCloud(each, features) for each in (positions, mirrored))
        logits = torch.stack([predict(student, prompts, copy).text_logits for copy in copies]).mean(0)
        found.append(logits.softmax(1))
    return torch.cat(found)
