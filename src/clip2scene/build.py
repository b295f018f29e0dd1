"""The door where settings stop: recipes go in, objects come out."""

from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from clip2scene import losses
from clip2scene.config import DataConfig, LossConfig, OptimiserConfig, Recipe, StudentConfig, TeacherConfig
from clip2scene.datasets.nuscenes import NuScenes
from clip2scene.datasets.pandaset import PandaSet
from clip2scene.labels import TOYTOWN
from clip2scene.student.embedder import Embedder
from clip2scene.student.minkunet import minkunet14a, minkunet18, minkunet34
from clip2scene.student.spvcnn import SPVCNN

NETWORKS = {"spvcnn": SPVCNN, "minkunet14a": minkunet14a, "minkunet18": minkunet18, "minkunet34": minkunet34}


def build_dataset(data: DataConfig, root: Path, *, split: str, with_labels: bool) -> NuScenes | PandaSet:
    """Open a split of the data set that lies at ``root``."""
    if data.layout == "pandaset":
        return PandaSet(root, split=split, with_labels=with_labels)
    class_set = {"class_set": TOYTOWN} if data.classes == "toytown" else {}
    return NuScenes(root, split=split, with_labels=with_labels, **class_set)


def build_student(
    student: StudentConfig, loss: LossConfig, *, in_channels: int, text_channels: int
) -> Embedder:
    """Make the 3D network with fresh weights."""
    backbone = NETWORKS[student.network](in_channels, width=student.width, voxel_size=student.voxel_size)
    temperature = loss.cosine_temperature if loss.cosine else None
    return Embedder(backbone, text_channels, cosine_temperature=temperature)


class SemanticLoss:
    """The text-anchored semantic consistency that a recipe asks for.

    Args:
        loss: Which form, and how classes weigh.
        histogram: Targets of each class in the whole split, for class balance.
    """

    def __init__(self, loss: LossConfig, histogram: Int[Tensor, "classes"]) -> None:
        self.loss = loss
        self.weights = losses.class_weights(histogram, loss.class_balance) if loss.class_balance else None

    def __call__(
        self, logits: Float[Tensor, "targets classes"], targets: Int[Tensor, "targets"]
    ) -> Float[Tensor, ""]:
        """Compute the loss of logits against the classes asked for."""
        if self.loss.form == "class-infonce":
            value = losses.class_infonce(logits, targets, temperature=self.loss.temperature)
        else:
            weights = None if self.weights is None else self.weights.to(logits.device)
            value = losses.point_cross_entropy(logits, targets, class_weights=weights)
        if self.loss.lovasz:
            value = value + self.loss.lovasz * losses.lovasz_softmax(logits, targets)
        return value


def build_optimiser(optimiser: OptimiserConfig, student: nn.Module) -> torch.optim.Optimizer:
    """Make the optimiser; SGD is the released code's (momentum 0.9, dampening 0.1)."""
    settings = {"lr": optimiser.learning_rate, "weight_decay": optimiser.weight_decay}
    if optimiser.name == "sgd":
        return torch.optim.SGD(student.parameters(), momentum=0.9, dampening=0.1, **settings)
    return torch.optim.AdamW(student.parameters(), **settings)


def learning_rate(optimiser: OptimiserConfig, progress: float) -> float:
    """Give the learning rate at ``progress`` in 0..1 of the run.

    Cosine: from the highest value to 0. One-cycle: a linear rise over the first tenth, then the cosine.
    """
    rise = 0.1 if optimiser.schedule == "one-cycle" else 0.0
    if progress < rise:
        return optimiser.learning_rate * (0.04 + 0.96 * progress / rise)
    fall = torch.tensor(torch.pi * (progress - rise) / (1 - rise))
    return optimiser.learning_rate * 0.5 * (1 + float(torch.cos(fall)))
