"""What a training step takes on this machine's cores, from a few real ones."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clip2scene.build import Experiment
from clip2scene.distill.lifted import load_lifted
from clip2scene.experiments.plan.estimate import Measurement
from clip2scene.experiments.plan.measure import until
from clip2scene.inference.predict import predict
from clip2scene.parallel import progress_bar
from clip2scene.training.step_time import Phase, Rehearsal
from clip2scene.types import PointCloud

_MOST, _WARM_UP, _CUT = 60, 2, 3


@dataclass(frozen=True)
class StepCost:
    """What steps take, in seconds.

    Attributes:
        read_first: To read a batch with a sample that was not read before.
        read_later: To read one of samples that were; the same measurement where none was read twice.
        before: To compute a step, before self-training (S3) begins, or without it.
        after: With self-training; None for a recipe without.
        shared: Share of a step's computing that ranks share, 0..1.
        predict: To predict a cloud, as is done of a few at the end.
        checkpoint: Bytes of a checkpoint.
    """

    read_first: Measurement
    read_later: Measurement
    before: Measurement
    after: Measurement | None
    shared: Measurement
    predict: Measurement
    checkpoint: int

    def figures(self) -> list[tuple[str, Measurement]]:
        """Name what was measured in seconds."""
        rows = [
            ("reading a batch, the first time", self.read_first),
            ("reading a batch, later", self.read_later),
            ("computing a step", self.before),
        ]
        if self.after is not None:
            rows.append(("computing a step, with self-training", self.after))
        return [*rows, ("predicting a cloud", self.predict)]


def measure_steps(experiment: Experiment, paths: Sequence[Path], seconds: float, folder: Path) -> StepCost:
    """Take a few steps of a recipe on a few lifted samples; the first two are not counted.

    Args:
        experiment: What is trained.
        paths: Lifted samples.
        seconds: After which no further step is begun, but for the first five.
        folder: For a checkpoint, to know its size.

    Raises:
        ValueError: If there is nothing to train on, a loss is not finite, or the disk is full.
    """
    phases: list[Phase] = ["before"]
    if experiment.recipe.self_training.is_on:
        phases.append("after")
    computing, firsts, laters = [], [], []
    for phase in phases:
        rehearsal = Rehearsal(experiment, paths, self_training=phase)
        bar = progress_bar(range(_MOST), desc="plan: steps", unit="step")
        taken = [
            rehearsal.step(number) for number in until(bar, 0.8 * seconds / len(phases), least=_WARM_UP + 3)
        ]
        computing.append(Measurement(tuple(each.compute for each in taken[_WARM_UP:])))
        firsts += [each.read for each in taken[1:] if each.is_first]
        laters += [each.read for each in taken[_WARM_UP:] if not each.is_first]
    rounds = until(range(_CUT), 0.2 * seconds, least=1)
    shared = Measurement(tuple(rehearsal.shared_part(number) for number in rounds))
    first = Measurement(tuple(firsts or laters))
    return StepCost(
        read_first=first,
        read_later=Measurement(tuple(laters)) if laters else first,
        before=computing[0],
        after=computing[1] if len(computing) > 1 else None,
        shared=shared,
        predict=_time_prediction(rehearsal, paths[:3]),
        checkpoint=rehearsal.checkpoint_bytes(folder),
    )


def _time_prediction(rehearsal: Rehearsal, paths: Sequence[Path]) -> Measurement:
    """Predict a few clouds with weights that know nothing: it takes as long."""
    took = []
    for path in paths:
        lifted = load_lifted(path)
        size = lifted.sweep_sizes[0] if lifted.sweep_sizes else len(lifted.cloud)
        began = time.perf_counter()
        predict(
            rehearsal.state.averaged,
            rehearsal.prompts,
            PointCloud(lifted.cloud.positions[:size], lifted.cloud.features[:size]),
        )
        took.append(time.perf_counter() - began)
    return Measurement(tuple(took[1:] or took))  # the first warms up
