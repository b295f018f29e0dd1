"""Settings to the student, and how its weights move."""

from typing import Any

import torch

from clip2scene.config import OptimiserConfig, Recipe, TuningConfig
from clip2scene.student.minkunet import (
    minkunet14a,
    minkunet18,
    minkunet18_spvnas,
    minkunet34,
    spunet34,
)
from clip2scene.student.model import Embedder, ProjectionHeads
from clip2scene.student.spvcnn import SPVCNN, CornerSPVCNN

CONTRAST_CHANNELS = 64
"""Size of the space in which PPKT and SLidR compare points with an image backbone's pixels (SLidR: 64)."""

NETWORKS = {
    "spvcnn": SPVCNN,
    "minkunet14a": minkunet14a,
    "minkunet18": minkunet18,
    "minkunet34": minkunet34,
    "spvcnn-corners": CornerSPVCNN,
    "minkunet18-spvnas": minkunet18_spvnas,
    "spunet34": spunet34,
}


def build_student(
    recipe: Recipe,
    *,
    in_channels: int,
    text_channels: int,
    pixel_channels: int | None = None,
    num_classes: int | None = None,
) -> Embedder:
    """Make the 3D network with fresh weights.

    Args:
        recipe: Which network.
        in_channels: What the sensor measures beside positions.
        text_channels: Size of the text space.
        pixel_channels: Of the image backbone, where the recipe names one.
        num_classes: Of the classifier, where the recipe has one.
    """
    student, loss = recipe.student, recipe.loss
    in_channels += student.sees_height
    backbone = NETWORKS[student.network](in_channels, width=student.width, voxel_size=student.voxel_size)
    temperature = loss.cosine_temperature if loss.cosine else None
    local = None
    if recipe.consistency.weight > 0:
        local = ProjectionHeads(backbone.out_channels, text_channels, text_channels)  # type: ignore[arg-type]
    elif pixel_channels is not None:
        local = ProjectionHeads(backbone.out_channels, pixel_channels, CONTRAST_CHANNELS)  # type: ignore[arg-type]
    return Embedder(
        backbone,
        text_channels,
        cosine_temperature=temperature,
        sees_height=student.sees_height,
        superpoint_mean=student.superpoint_mean,
        local=local,
        num_classes=num_classes if recipe.tuning.head == "classifier" else None,
    )


def build_optimiser(
    optimiser: OptimiserConfig,
    student: Embedder,
    tuning: TuningConfig = TuningConfig(),  # noqa: B008 - frozen
) -> torch.optim.Optimizer:
    """Make the optimiser; SGD is the released code's (momentum 0.9, dampening 0.1).

    Each group of its parameters carries its factor on the learning rate under "scale".
    """
    rate, decay = optimiser.learning_rate, optimiser.weight_decay
    groups = _groups(student, tuning)
    if optimiser.name == "sgd":
        return torch.optim.SGD(groups, rate, momentum=0.9, dampening=0.1, weight_decay=decay)
    return torch.optim.AdamW(groups, rate, weight_decay=decay)


def _groups(student: Embedder, tuning: TuningConfig) -> list[dict[str, Any]]:
    """Sort what learns by the factor on its learning rate."""
    scales = {name: 1.0 for name, parameter in student.named_parameters() if parameter.requires_grad}
    stages = student.backbone.stages
    for depth, stage in enumerate(reversed(stages)):  # type: ignore[arg-type]
        inside = {id(parameter) for parameter in stage.parameters()}
        for name, parameter in student.backbone.named_parameters(prefix="backbone"):
            if id(parameter) in inside and name in scales:
                scales[name] = tuning.layer_decay**depth
    answering = "head." if student.classifier is None else "classifier."
    for name in scales:
        if name.startswith(answering):
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
