"""The work that ``doctor --plan`` is asked about: a command's own words, and its plan."""

import shlex
from typing import Annotated, Any

import tyro

from clip2scene import build
from clip2scene.config import DataConfig, Recipe
from clip2scene.experiments.plan.figures import Ask, Plan
from clip2scene.experiments.plan.labelling import LabelJob, plan_labelling
from clip2scene.experiments.plan.training import plan_training
from clip2scene.recipes import RECIPES


def work_of(words: str) -> Recipe | LabelJob:
    """Read what is planned: a recipe with its options as ``pretrain`` takes them, or ``label`` with its own.

    Raises:
        ValueError: If it is nothing.
        SystemExit: As the command line does, if a word is unknown.
    """
    given = shlex.split(words)
    if not given:
        raise ValueError(
            '--plan is empty, expected a recipe with its options, such as --plan "own --steps 500"'
        )
    kinds: dict[str, Any] = {**RECIPES, "label": LabelJob()}
    by_name = tyro.extras.subcommand_type_from_defaults(kinds, prefix_names=False)
    hint: Any = Annotated[Any, tyro.conf.arg(name="", constructor=by_name)]

    def chosen(work: hint) -> Any:  # noqa: ANN401 - one of the kinds
        return work

    config = (tyro.conf.CascadeSubcommandArgs,)
    found: Recipe | LabelJob = tyro.cli(chosen, prog="clip2scene doctor --plan", args=given, config=config)
    return found


def plan_of(words: str, data: DataConfig, ask: Ask) -> Plan:
    """Plan some work on a data set.

    Args:
        words: The work, as :func:`work_of` reads it.
        data: What ``doctor`` was told of the data set; a recipe has words of its own for it.
        ask: The data set, and how long may be measured.

    Raises:
        ValueError: If both were told, or a number is out of its range.
    """
    work = work_of(words)
    if ask.budget <= 0 or (ask.within is not None and ask.within <= 0):
        raise ValueError(
            f"--budget and --within must be above 0, got {ask.budget:g} and {ask.within}; correct them"
        )
    if isinstance(work, LabelJob):
        return plan_labelling(work, build.data_found(ask.data_root, data), ask)
    if data not in (DataConfig(), work.data):
        raise ValueError(
            "--plan names a recipe, which says itself how the data lie; give --data options between its "
            'quotes: --plan "own --data.layout kitti-raw"'
        )
    return plan_training(work, ask)
