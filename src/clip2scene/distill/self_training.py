"""Switchable self-training (S3): own answers take turns with the teacher's (paper, Sec. 3.3)."""

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
    own: Int[Tensor, " points"],
    generator: torch.Generator,
    *,
    probability: float,
    switch: Literal["step", "point"] = "step",
    unseen: bool = False,
) -> Batch:
    """Put the student's own answers in the place of targets, at random.

    Args:
        batch: What the teacher asks for.
        own: The student's answer at each point; ``IGNORE_LABEL`` where it is unsure: the teacher's stays.
        generator: Source of the draws, on the CPU.
        probability: How likely a target is switched.
        switch: One draw for all targets of the step (released code), or one for each.
        unseen: Also ask for the own answer at points without a target. The released code computes that term
            and overwrites it.

    Returns:
        The batch with new targets; points without a target come last.
    """
    draws = torch.rand(len(batch.targets) if switch == "point" else 1, generator=generator)
    mine = own[batch.target_points]
    switched = (draws < probability).to(mine.device) & (mine != IGNORE_LABEL)
    target_points, targets = batch.target_points, torch.where(switched, mine, batch.targets)
    if unseen:
        free = own != IGNORE_LABEL
        free[target_points] = False
        more = free.nonzero()[:, 0]
        target_points, targets = torch.cat([target_points, more]), torch.cat([targets, own[more]])
    return replace(batch, target_points=target_points, targets=targets)


@torch.no_grad()
def own_predictions(
    student: Embedder,
    point_features: Float[Tensor, "points hidden"],
    superpoints: Int[Tensor, " points"] | None,
    prompts: Prompts,
    *,
    confidence: float = 0.0,
) -> Int[Tensor, " points"]:
    """Let a student say what every point is.

    Args:
        student: The network that learns, or the running mean of its weights (an EMA teacher, Tarvainen and
            Valpola 2017).
        point_features: What that network made of the points.
        superpoints: Pieces to average the answers within; None leaves every point its own.
        prompts: The classes.
        confidence: Least softmax share of the best class.

    Returns:
        A train id for each point; ``IGNORE_LABEL`` where the best class has too small a share.
    """
    logits = prompts.best_name(student.compare(point_features, prompts.embeddings))
    if superpoints is not None:
        logits = average_within(superpoints, logits)
    share, best = logits.softmax(1).max(1)
    return torch.where(share >= confidence, best, IGNORE_LABEL)
