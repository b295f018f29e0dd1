"""Some steps of a training that is never finished, to know what a step takes: nothing is kept of it."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from clip2scene import build
from clip2scene.build import Experiment
from clip2scene.distill.batch import sample_order
from clip2scene.distill.items import TrainSet
from clip2scene.distill.losses.objective import StepInputs
from clip2scene.distill.shared_pass import backbone_features
from clip2scene.runs.checkpoint import save_checkpoint
from clip2scene.training.state import TrainState
from clip2scene.training.train import apply_self_training, train_step

Phase = Literal["before", "after"]
"""Of a training: before self-training (S3) begins, or after."""

_MOST_STEPS = 1_000_000  # of a rehearsal, so that its learning rate is never at the end


@dataclass(frozen=True)
class StepTime:
    """What a step took, in seconds.

    Attributes:
        read: To read and augment its batch.
        compute: Forward and backward pass, and the update of the weights.
        is_first: Whether one of its samples was read for the first time, which takes longer where clouds are
            brought level.
    """

    read: float
    compute: float
    is_first: bool


class Rehearsal:
    """A training on a few samples, with all settings of its recipe.

    Args:
        experiment: Recipe, prompts and image backbone.
        paths: Lifted samples, as many as there are.
        self_training: In which phase steps are taken.

    Raises:
        ValueError: If a sample is damaged, or there is nothing to train on.
    """

    def __init__(
        self,
        experiment: Experiment,
        paths: Sequence[Path],
        *,
        self_training: Phase = "before",
    ) -> None:
        recipe, prompts = experiment.recipe, experiment.prompts
        begins = 1.0 if self_training == "before" else 0.0
        recipe = replace(recipe, steps=_MOST_STEPS, self_training=replace(recipe.self_training, start=begins))
        # Each batch moves the weights here; where gradients accumulate, a step takes several for one move.
        recipe = replace(recipe, optimiser=replace(recipe.optimiser, accumulate=1))
        self.items = TrainSet(paths, recipe.batch_size, recipe.seed, build.item_options(recipe))
        classes = len(prompts.classes)
        self.objective = build.build_objective(recipe, self.items.target_histogram(classes))
        backbone = experiment.backbone
        student = build.build_student(
            recipe,
            in_channels=experiment.dataset[0].cloud.features.shape[1],
            text_channels=prompts.embeddings.shape[1],
            pixel_channels=None if backbone is None else backbone.channels,
            num_classes=classes,
        )
        self.state, self.prompts = TrainState(student, recipe), prompts
        self._met: set[int] = set()

    def step(self, number: int) -> StepTime:
        """Take a step, as training does."""
        order = sample_order(len(self.items.paths), self.items.batch_size, number, seed=self.items.seed)
        is_first, self._met = not self._met.issuperset(order), self._met.union(order)
        began = time.perf_counter()
        batch = self.items.read_step(number)
        middle = time.perf_counter()
        self.state.prepare()
        self_train = partial(apply_self_training, self.state, self.prompts)
        loss, terms = train_step(self.state.student, batch, self.prompts, self.objective, self_train)
        self.state.update(loss)
        for term in terms.values():
            term.item()  # the log reads them
        return StepTime(middle - began, time.perf_counter() - middle, is_first)

    def shared_part(self, number: int) -> float:
        """Measure what share of a step's computing the ranks of a training share: the backbone's.

        The heads and losses of the whole batch are computed by each rank, and so is the update
        (docs/distributed.md). The backward pass is cut in two at the backbone's features; the weights stay.

        Returns:
            0..1, of the forward pass, the backward pass and an update.
        """
        student = self.state.student
        batch = self.items.read_step(number)
        self.state.prepare()
        began = time.perf_counter()
        features = backbone_features(student, batch)
        forward = time.perf_counter() - began
        cut = features.detach().requires_grad_()
        given = apply_self_training(self.state, self.prompts, batch, cut.detach())
        terms = self.objective(StepInputs(student, cut, given, self.prompts, None))
        sum(terms.values(), features.new_zeros(())).backward()
        middle = time.perf_counter()
        features.backward(torch.zeros_like(features) if cut.grad is None else cut.grad)
        backward = time.perf_counter() - middle
        self.state.update(self._nothing())
        shared = forward + backward
        return shared / (time.perf_counter() - began)

    def checkpoint_bytes(self, folder: Path) -> int:
        """Write a checkpoint as a run does, and give its size."""
        path = folder / "checkpoint.safetensors"
        save_checkpoint(path, self.state.checkpoint())
        return path.stat().st_size

    def _nothing(self) -> torch.Tensor:
        """A loss whose gradients are zero, so that an update takes its time and moves next to nothing."""
        return sum((each.sum() * 0.0 for each in self.state.student.parameters()), torch.zeros(()))
