"""What a fine-tuning is made of: a recipe and a start, from a run, a published checkpoint, or chance."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from clip2scene import build
from clip2scene.config import LabelsConfig, Layout, Network, Recipe, TuningConfig
from clip2scene.ranking import read_ranking
from clip2scene.recipes import RECIPES, fine_tuned
from clip2scene.run import open_run, open_start
from clip2scene.starting import Start
from clip2scene.student.published import load_published

_log = logging.getLogger(__name__)

USUAL = TuningConfig(head="classifier")
"""How a network goes on, if nothing else is asked for."""


@dataclass(frozen=True)
class Changes:
    """What is asked for beside the start; None leaves the recipe as it is.

    Attributes:
        teacher_weights: What opens the text space, where the start is no run.
        network: The student's, where the start is no run.
        layout: Of the data.
        classes: Of the data.
        labels: Which labels are seen.
        order: File of a ranking.
        tuning: How it goes on from its start.
        steps: Optimiser steps.
        learning_rate: The highest, of the backbone.
        seed: Fixes order and augmentation.
    """

    teacher_weights: str | None = None
    network: Network | None = None
    layout: Layout | None = None
    classes: Literal["own", "toytown", "scannet-200"] | None = None
    labels: LabelsConfig = LabelsConfig()
    order: Path | None = None
    tuning: TuningConfig = USUAL
    steps: int | None = None
    learning_rate: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """What :func:`clip2scene.train.finetune` is called with.

    Attributes:
        recipe: What is learnt, and how.
        start: Weights to begin with; None begins from chance.
        teacher_weights: What opens the start's text space.
    """

    recipe: Recipe
    start: Start | None = None
    teacher_weights: str | None = None


def prepare(name: str, start: Path | None, changes: Changes) -> Plan:
    """Gather what a fine-tuning needs.

    Args:
        name: A recipe for the network and the schedule, where the start is no run.
        start: A run's folder, or the file of a published checkpoint; None begins from chance.
        changes: What else is asked for.

    Raises:
        ValueError: If the recipe is unknown, the start cannot be read, or a setting is unfit.
    """
    if start is None or start.is_file():
        base = _named(name)
        if changes.network is not None:
            base = replace(base, student=replace(base.student, network=changes.network))
        if start is None:
            recipe = fine_tuned(base, from_chance=True)
            return Plan(_changed(recipe, changes), None, changes.teacher_weights)
        recipe = _changed(fine_tuned(base), changes)
        return Plan(recipe, open_published(start, base), changes.teacher_weights)
    run = open_run(start)
    if changes.teacher_weights is not None:
        raise ValueError(f"the words are those of {start}; leave --teacher-weights out")
    if changes.network not in (None, run.recipe.student.network):
        raise ValueError(
            f"{start} has learnt with network {run.recipe.student.network}, so it cannot start another, got "
            f"{changes.network}; leave --network out"
        )
    recipe = _changed(fine_tuned(run.recipe), changes)
    return Plan(recipe, open_start(start), run.text_weights)


def open_published(path: Path, recipe: Recipe) -> Start:
    """Read the weights of a published checkpoint into the network of a recipe.

    The head that follows the backbone in the file is left out: a new one learns the data's classes.

    Raises:
        ValueError: If the file cannot be read, or holds another network.
    """
    # Published networks see the intensity alone; of a height, none of them knows.
    student = build.build_student(recipe, in_channels=1, text_channels=1)
    _log.info("%s: %s", path, load_published(path, student.backbone).describe())
    weights = {f"backbone.{name}": tensor for name, tensor in student.backbone.state_dict().items()}
    return Start(path, weights)


def _named(name: str) -> Recipe:
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}, expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def _changed(recipe: Recipe, changes: Changes) -> Recipe:
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
    if changes.learning_rate is not None:
        optimiser = replace(optimiser, learning_rate=changes.learning_rate)
    return replace(
        recipe,
        data=data,
        labels=labels,
        tuning=tuning,
        optimiser=optimiser,
        steps=recipe.steps if changes.steps is None else changes.steps,
        seed=changes.seed,
    )
