"""A student while it learns."""

from copy import deepcopy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene import build
from clip2scene.checkpoint import Checkpoint, load_weights, versions
from clip2scene.config import Recipe, to_dict
from clip2scene.student.embedder import Embedder


class Trainee:
    """A student while it learns: weights, optimiser, running mean of the weights, and the step reached.

    Args:
        student: The network.
        recipe: How it is optimised.
    """

    def __init__(self, student: Embedder, recipe: Recipe) -> None:
        self.student = student
        self.recipe = recipe
        if recipe.tuning.freeze:
            student.backbone.requires_grad_(False)
        self.optimiser = build.build_optimiser(recipe.optimiser, student, recipe.tuning)
        self.averaged = deepcopy(student).eval().requires_grad_(False)
        self.step = 0

    def prepare(self) -> None:
        """Get ready for a step: batch statistics are gathered, but in a frozen backbone."""
        self.student.train()
        if self.recipe.tuning.freeze:
            self.student.backbone.eval()

    def update(self, loss: Float[Tensor, ""]) -> None:
        """Move the weights one step down the loss.

        Raises:
            ValueError: If the loss is not finite; the weights are left as they were.
        """
        if not torch.isfinite(loss):
            raise ValueError(
                f"the loss is {loss.item()} at step {self.step}; expected a finite number. "
                "Lower the learning rate; the last checkpoint is intact"
            )
        for group in self.optimiser.param_groups:
            rate = build.learning_rate(self.recipe.optimiser, self.step / self.recipe.steps)
            group["lr"] = rate * group["scale"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        # The mean forgets its start quickly at first: (1 + step) / (10 + step) as is usual for running means.
        keep = min(self.recipe.optimiser.average, (1 + self.step) / (10 + self.step))
        averaged = self.averaged.state_dict()
        for name, tensor in self.student.state_dict().items():
            mean = averaged[name]
            if tensor.is_floating_point():
                mean.lerp_(tensor, 1 - keep)
            else:
                mean.copy_(tensor)

    def checkpoint(self) -> Checkpoint:
        """Gather everything a resumed run needs; what is judged is the running mean."""
        state = {"optimiser": self.optimiser.state_dict(), "weights": dict(self.student.state_dict())}
        return Checkpoint(
            model=dict(self.averaged.state_dict()),
            step=self.step,
            config=to_dict(self.recipe),
            provenance=versions(),
            optimizer=state,
        )

    def restore(self, checkpoint: Checkpoint, source: Path) -> None:
        """Go back to where a checkpoint was taken."""
        load_weights(self.student, checkpoint.optimizer["weights"], source)
        self.optimiser.load_state_dict(checkpoint.optimizer["optimiser"])
        load_weights(self.averaged, checkpoint.model, source)
        self.step = checkpoint.step
