"""Optimisation: the optimiser, its groups of parameters, the learning rate over time."""

from typing import Any

import torch

from clip2scene.config import OptimiserConfig, TuningConfig
from clip2scene.student.model import Embedder


def build_optimiser(
    optimiser: OptimiserConfig,
    student: Embedder,
    tuning: TuningConfig = TuningConfig(),  # noqa: B008 - frozen
) -> torch.optim.Optimizer:
    """Make the optimiser; SGD is the released code's (momentum 0.9, dampening 0.1).

    Each group of its parameters has its factor (0..1 for the backbone) on the learning rate under "scale".
    """
    rate, decay = optimiser.learning_rate, optimiser.weight_decay
    groups = _groups(student, tuning)
    if optimiser.name == "sgd":
        return torch.optim.SGD(groups, rate, momentum=0.9, dampening=0.1, weight_decay=decay)
    fused = True if student.head.weight.device.type == "cuda" else None  # on the CPU, other last bits
    return torch.optim.AdamW(groups, rate, weight_decay=decay, fused=fused)


def _groups(student: Embedder, tuning: TuningConfig) -> list[dict[str, Any]]:
    """Sort the trained parameters by the factor on their learning rate."""
    scales = {name: 1.0 for name, parameter in student.named_parameters() if parameter.requires_grad}
    stages = student.backbone.stages
    for depth, stage in enumerate(reversed(stages)):  # type: ignore[arg-type]
        inside = {id(parameter) for parameter in stage.parameters()}
        for name, parameter in student.backbone.named_parameters(prefix="backbone"):
            if id(parameter) in inside and name in scales:
                scales[name] = tuning.layer_decay**depth
    used_head = "head." if student.classifier is None else "classifier."
    for name in scales:
        if name.startswith(used_head):
            scales[name] = tuning.head_rate or 1.0
    parameters = dict(student.named_parameters())
    return [
        {"params": [parameters[name] for name in scales if scales[name] == scale], "scale": scale}
        for scale in sorted(set(scales.values()))
    ]


def learning_rate(optimiser: OptimiserConfig, progress: float) -> float:
    """Give the learning rate at ``progress`` in 0..1 of the run.

    Cosine: from the highest value to 0. One-cycle: a linear rise over the first tenth, then the cosine.
    """
    rise = 0.1 if optimiser.schedule == "one-cycle" else 0.0
    if progress < rise:
        return optimiser.learning_rate * (0.04 + 0.96 * progress / rise)
    fall = torch.tensor(torch.pi * (progress - rise) / (1 - rise))
    return optimiser.learning_rate * 0.5 * (1 + float(torch.cos(fall)))
