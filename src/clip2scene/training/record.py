"""What is written while a run trains: its log, the progress bar, checkpoints and their cost."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.parallel import progress_bar
from clip2scene.ranks import here
from clip2scene.runs.cost import Cost, memory_shown
from clip2scene.runs.run import Run
from clip2scene.training.best_checkpoint import keep_best
from clip2scene.training.state import TrainState, save

Record: TypeAlias = Callable[[Mapping[str, Float[Tensor, ""]]], None]
"""Writes down the step that was just taken: its loss and each term, by name."""


@contextmanager
def recording(
    run: Run,
    state: TrainState,
    held_out: Sequence[Path],
    *,
    device: torch.device,
    save_every: int,
    cost: Cost | None,
) -> Iterator[Record]:
    """Write down what the block trains; of several ranks, the first alone writes.

    Args:
        run: Where to save.
        state: What is trained.
        held_out: Lifted samples to choose the best checkpoint by; none keeps the last.
        device: Whose memory is shown.
        save_every: Steps between checkpoints.
        cost: Where time and memory are written down at each checkpoint; None for nowhere.

    Yields:
        What is to be called after each step.
    """
    if not here().leads:
        yield lambda values: None
        return
    run.mend_log()
    if cost is not None:
        cost.begin("train")
        cost.steps = [state.step, state.step]
    if held_out and state.step:  # an interrupted call may not have scored its last checkpoint
        keep_best(run, held_out, state)
    steps, began = run.recipe.steps, time.perf_counter()
    with progress_bar(
        total=steps, initial=state.step, desc=run.recipe.name, unit="step", smoothing=0.02
    ) as bar:

        def record(tensors: Mapping[str, Float[Tensor, ""]]) -> None:
            nonlocal began
            values = {name: value.item() for name, value in tensors.items()}
            shown = {name: f"{value:.3f}" for name, value in values.items()}
            bar.set_postfix({**shown, "memory": memory_shown(device)}, refresh=False)
            bar.update()
            run.log(step=state.step, **values, seconds=round(time.perf_counter() - began, 4))
            began = time.perf_counter()
            if state.step % save_every == 0 or state.step == steps:
                save(run, state)
                if held_out:
                    keep_best(run, held_out, state)
                if cost is not None:
                    cost.steps[1] = state.step
                    cost.save()

        yield record
