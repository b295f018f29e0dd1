"""What a fine-tuning is made of: a recipe and a start, from a run, a published checkpoint, or chance."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from clip2scene import build
from clip2scene.config import LabelsConfig, Layout, Network, Recipe, TuningConfig
from clip2scene.inference.rank_scenes import read_ranking
from clip2scene.recipes import SLOWED, USUAL_TUNING, fine_tuned, named
from clip2scene.runs.init_weights import InitWeights, init_weights_of
from clip2scene.runs.run import Run, open_run
from clip2scene.student.published import load_published

USUAL_RECIPE = "toytown"
"""For the network and the schedule, where neither a run nor a name gives others."""


@dataclass(frozen=True)
class Changes:
    """Settings that replace the recipe's; None leaves each as it is.

    Attributes:
        teacher_weights: What opens the text space, where the start is no run.
        network: The student's, where the start is no run.
        layout: Of the data.
        classes: Of the data.
        labels: Which labels are used.
        order: File of a ranking.
        tuning: Which head is trained, what it begins with, what stays frozen.
        steps: Optimiser steps, 1 or more.
        batch_size: Samples in a step, 1 or more; of all processes together (docs/distributed.md).
        learning_rate: The highest, of the backbone, above 0.
        seed: Fixes order and augmentation.
    """

    teacher_weights: str | None = None
    network: Network | None = None
    layout: Layout | None = None
    classes: Literal["own", "toytown", "scannet-200"] | None = None
    labels: LabelsConfig = LabelsConfig()
    order: Path | None = None
    tuning: TuningConfig = USUAL_TUNING
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """What :func:`clip2scene.training.train.finetune` is called with.

    Attributes:
        recipe: What is trained, and how.
        start: Weights to begin with; None begins from chance.
        teacher_weights: What opens the start's text space.
    """

    recipe: Recipe
    start: InitWeights | None = None
    teacher_weights: str | None = None


def prepare(name: str | None, start: Path | None, changes: Changes) -> Plan:
    """Gather what a fine-tuning needs.

    Args:
        name: A recipe for the network and the schedule, where the start is no run; None takes
            :data:`USUAL_RECIPE` there.
        start: A run's folder, or the file of a published checkpoint; None begins from chance.
        changes: Settings that replace the recipe's.

    Raises:
        ValueError: If the recipe is unknown, the start cannot be read, or a setting is unfit.
    """
    if start is None or start.is_file():
        base = named(USUAL_RECIPE if name is None else name)
        if changes.network is not None:
            base = replace(base, student=replace(base.student, network=changes.network))
        if start is None:
            recipe = fine_tuned(base, from_chance=True)
            return Plan(_changed(recipe, changes, knows_words=False), None, changes.teacher_weights)
        recipe = _changed(fine_tuned(base), changes, knows_words=False)
        return Plan(recipe, open_published(start, base), changes.teacher_weights)
    run = open_run(start)
    if name is not None:
        raise ValueError(
            f"network and schedule are those of {start}, a run of recipe {run.recipe.name}, and --recipe "
            f"names {name!r} beside it; leave --recipe out"
        )
    if changes.teacher_weights is not None:
        raise ValueError(f"the text space is that of {start}; leave --teacher-weights out")
    if changes.network not in (None, run.recipe.student.network):
        raise ValueError(
            f"{start} was trained with network {run.recipe.student.network}, so it cannot start another, got "
            f"{changes.network}; leave --network out"
        )
    recipe = _changed(fine_tuned(_before_tuning(run)), changes, knows_words=run.knows_words)
    return Plan(recipe, init_weights_of(start), run.text_weights)


def open_published(path: Path, recipe: Recipe) -> InitWeights:
    """Read the weights of a published checkpoint into the network of a recipe.

    The head that follows the backbone in the file is left out: a new one is trained on the data's classes.

    Raises:
        ValueError: If the file cannot be read, or holds another network.
    """
    # The input of published networks is the intensity alone, without the height.
    student = build.build_student(recipe, in_channels=1, text_channels=1)
    loaded = load_published(path, student.backbone)
    weights = {f"backbone.{name}": tensor for name, tensor in student.backbone.state_dict().items()}
    return InitWeights(path, weights, report=tuple(loaded.describe().splitlines()))


def _before_tuning(run: Run) -> Recipe:
    """Give a run's recipe; one that was slowed down to be fine-tuned gets its own learning rate back."""
    optimiser = run.recipe.optimiser
    if run.recipe.tuning.head_rate is None or run.sources.init is None:  # never tuned, or from chance
        return run.recipe
    rate = optimiser.learning_rate / SLOWED
    return replace(run.recipe, optimiser=replace(optimiser, learning_rate=rate))


def _steps(recipe: Recipe, changes: Changes) -> int:
    """Give the optimiser steps; what is found at once counts as one."""
    if changes.tuning.fit == "steps":
        return recipe.steps if changes.steps is None else changes.steps
    if changes.steps not in (None, 1):
        raise ValueError(
            f"--tuning.fit optimum takes no optimiser steps, and --steps says {changes.steps}; leave it out"
        )
    return 1


def _changed(recipe: Recipe, changes: Changes, *, knows_words: bool) -> Recipe:
    data, labels = recipe.data, changes.labels
    if changes.layout is not None:
        data = replace(data, layout=changes.layout)
    if changes.classes is not None:
        data = replace(data, classes=changes.classes)
    if changes.order is not None:
        by, names = read_ranking(changes.order)
        labels = replace(labels, by=by, ranking=names)
    optimiser, tuning = recipe.optimiser, changes.tuning
    if tuning.head_rate is None:
        tuning = replace(tuning, head_rate=recipe.tuning.head_rate)
    if tuning.start is None:
        tuning = replace(tuning, start="words" if knows_words else "random")
    if changes.learning_rate is not None:
        optimiser = replace(optimiser, learning_rate=changes.learning_rate)
    return replace(
        recipe,
        data=data,
        labels=labels,
        tuning=tuning,
        optimiser=optimiser,
        steps=_steps(recipe, changes),
        batch_size=recipe.batch_size if changes.batch_size is None else changes.batch_size,
        seed=changes.seed,
    )
