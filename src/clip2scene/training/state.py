"""The state of training."""

from copy import deepcopy
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.config import Recipe, to_dict
from clip2scene.ranks import here
from clip2scene.runs.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    previous_path,
    save_checkpoint,
    versions,
)
from clip2scene.runs.init_weights import initial_student
from clip2scene.runs.run import Run
from clip2scene.student.blocks import RowNorm
from clip2scene.student.model import Embedder
from clip2scene.training.optimiser import build_optimiser, learning_rate


class TrainState:
    """The state of training: weights, optimiser, EMA of the weights, and the step reached.

    Attributes:
        step: Steps taken.
        gathered: Batches of the step under way whose gradients are gathered; 0 between steps, where alone a
            checkpoint is taken.

    Args:
        student: The network, in float32.
        recipe: How it is optimised.
    """

    def __init__(self, student: Embedder, recipe: Recipe) -> None:
        self.student = student
        self.recipe = recipe
        self._norms = [each for each in student.modules() if isinstance(each, RowNorm)]
        for norm in self._norms:
            norm.over_ranks = recipe.optimiser.batch_norm == "all-ranks"
        if recipe.tuning.freeze:
            student.backbone.requires_grad_(False)
        self.optimiser = build_optimiser(recipe.optimiser, student, recipe.tuning)
        self.averaged = deepcopy(student).eval().requires_grad_(False)
        self.step = 0
        self.gathered = 0

    def prepare(self) -> None:
        """Get ready for a step: batch statistics are gathered, but in a frozen backbone."""
        self.student.train()
        if self.recipe.tuning.freeze:
            self.student.backbone.eval()

    @property
    def batch_number(self) -> int:
        """Number of the batch that comes next, from 0: several are of one step where gradients accumulate."""
        return self.step * self.recipe.optimiser.accumulate + self.gathered

    def update(self, loss: Float[Tensor, ""]) -> None:
        """Move the weights one step down the loss, which is that of all ranks.

        Where gradients accumulate, the weights move with the last batch of a step, down the mean of its
        batches' losses; before, gradients are gathered.

        Raises:
            ValueError: If the loss or its gradient is not finite; the weights are left as they were.
        """
        self._require_finite("loss", loss)
        if not self.gathered:
            self.optimiser.zero_grad(set_to_none=True)
        (loss / self.recipe.optimiser.accumulate).backward()
        self.gathered = (self.gathered + 1) % self.recipe.optimiser.accumulate
        if self.gathered:
            return
        self._move()

    def jump_to_the_end(self) -> None:
        """Take the weights as they are for those of the last step, as where they were found at once."""
        self.step = self.recipe.steps
        self.averaged.load_state_dict(self.student.state_dict())

    def _move(self) -> None:
        """Take a step down the gradient that was gathered, averaged over all ranks."""
        for group in self.optimiser.param_groups:
            rate = learning_rate(self.recipe.optimiser, self.step / self.recipe.steps)
            group["lr"] = rate * group.get("scale", 1.0)  # older checkpoints have none
        gradients = [each.grad for each in self.student.parameters() if each.grad is not None]
        here().average_(gradients)
        self._require_finite("length of the gradient", torch.nn.utils.get_total_norm(gradients))
        self.optimiser.step()
        if self.recipe.optimiser.batch_norm == "own-rank":
            names = ("running_mean", "running_var")
            here().average_(
                [norm.get_buffer(name) for norm in self._norms if norm.training for name in names]
            )
        self.step += 1
        # The EMA forgets its start quickly at first, by the usual warm-up: (1 + step) / (10 + step).
        keep = min(self.recipe.optimiser.average, (1 + self.step) / (10 + self.step))
        averaged, weights = self.averaged.state_dict(), self.student.state_dict()
        moving = [name for name, tensor in weights.items() if tensor.is_floating_point()]
        counts = [name for name in weights if name not in set(moving)]
        # On a GPU a call for all of them; the sums are those of one after the other.
        torch._foreach_lerp_(
            [averaged[name] for name in moving], [weights[name] for name in moving], 1 - keep
        )
        torch._foreach_copy_([averaged[name] for name in counts], [weights[name] for name in counts])

    def _require_finite(self, what: str, value: Float[Tensor, ""]) -> None:
        if not torch.isfinite(value):
            raise ValueError(
                f"the {what} is {value.item()} at step {self.step}; expected a finite number. "
                "Lower --optimiser.learning-rate; the last checkpoint is intact"
            )

    def checkpoint(self) -> Checkpoint:
        """Gather everything a resumed run needs; what is evaluated is the EMA of the weights.

        Raises:
            ValueError: If a weight is not finite, as after a step that was far too long.
        """
        weights = [each for each in self.student.state_dict().values() if each.is_floating_point()]
        self._require_finite("length of the weights", torch.nn.utils.get_total_norm(weights))
        state = {"optimiser": self.optimiser.state_dict(), "weights": dict(self.student.state_dict())}
        return Checkpoint(
            model=dict(self.averaged.state_dict()),
            step=self.step,
            config=to_dict(self.recipe),
            provenance=versions(),
            optimizer=state,
        )

    def restore(self, checkpoint: Checkpoint, source: Path) -> None:
        """Go back to where a checkpoint was taken: weights, EMA, optimiser and step."""
        load_weights(self.student, checkpoint.optimizer["weights"], source)
        self.optimiser.load_state_dict(checkpoint.optimizer["optimiser"])
        load_weights(self.averaged, checkpoint.model, source)
        self.step = checkpoint.step


def resume(run: Run, device: torch.device) -> TrainState:
    """Make the state of a run's newest checkpoint; without one, that of step 0."""
    state = TrainState(initial_student(run).to(device), run.recipe)
    path = run.checkpoint_path
    if path.exists() or previous_path(path).exists():
        state.restore(load_checkpoint(path), path)
    return state


def save(run: Run, state: TrainState) -> None:
    """Write a run's checkpoint, atomically."""
    save_checkpoint(run.checkpoint_path, state.checkpoint())
