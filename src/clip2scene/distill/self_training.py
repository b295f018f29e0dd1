"""Switchable self-training (S3): the student's own predictions in the place of targets (paper, Sec. 3.3)."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.distill.batch import Batch
from clip2scene.geometry.superpoints import average_within
from clip2scene.student.model import Embedder
from clip2scene.types import IGNORE_LABEL, Prompts


def switch_targets(
    batch: Batch,
    predictions: Int[Tensor, " points"],
    generator: torch.Generator,
    *,
    probability: float,
    switch: Literal["step", "point"] = "step",
    unseen: bool = False,
) -> Batch:
    """Replace targets by self-training predictions, at random.

    Args:
        batch: With the pseudo-labels of the teacher as targets.
        predictions: Train id that the student predicts at each point; ``IGNORE_LABEL`` where its confidence
            is too low: the target stays.
        generator: Source of the draws, on the CPU.
        probability: How likely a target is replaced, in 0..1.
        switch: One draw for all targets of the step (released code), or one for each.
        unseen: Also make the prediction a target at points without one. The released code computes that term
            and overwrites it.

    Returns:
        The batch with new targets; points that had none come last.
    """
    draws = torch.rand(len(batch.targets) if switch == "point" else 1, generator=generator)
    predicted = predictions[batch.target_points]
    switched = (draws < probability).to(predicted.device) & (predicted != IGNORE_LABEL)
    target_points, targets = batch.target_points, torch.where(switched, predicted, batch.targets)
    if unseen:
        free = predictions != IGNORE_LABEL
        free[target_points] = False
        more = free.nonzero()[:, 0]
        target_points, targets = torch.cat([target_points, more]), torch.cat([targets, predictions[more]])
    return replace(batch, target_points=target_points, targets=targets)


@torch.no_grad()
def self_training_predictions(
    student: Embedder,
    point_features: Float[Tensor, "points hidden"],
    superpoints: Int[Tensor, " points"] | None,
    prompts: Prompts,
    *,
    confidence: float = 0.0,
) -> Int[Tensor, " points"]:
    """Predict the class of every point of a batch.

    Args:
        student: The network in training, or the EMA of its weights (mean teacher, Tarvainen and Valpola
            2017).
        point_features: The features of that network's backbone.
        superpoints: Logits are averaged within these; None leaves every point its own.
        prompts: Text embeddings of the classes.
        confidence: Lowest softmax probability of the best class, in 0..1.

    Returns:
        A train id for each point; ``IGNORE_LABEL`` where the confidence is too low.
    """
    logits = prompts.best_name(student.compare(point_features, prompts.embeddings))
    if superpoints is not None:
        logits = average_within(superpoints, logits)
    probability, best = logits.softmax(1).max(1)
    return torch.where(probability >= confidence, best, IGNORE_LABEL)
