"""One run of an ablation: what is to be done, how far it is, and whether it can be done at all."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clip2scene import build
from clip2scene.config import Recipe
from clip2scene.datasets.label_subset import Chosen
from clip2scene.runs.folder import check_folder, clear_half_started
from clip2scene.runs.run_files import read_run_json

SPLIT = "val"
"""What runs are evaluated on."""

_PUBLIC_VAL = {"nuscenes": 6019, "semantic-kitti": 4071, "scannet": 312}
"""Samples of the whole public split that papers evaluate on, by layout."""


@dataclass(frozen=True)
class Job:
    """One run of a table.

    Attributes:
        variant: Name of the row.
        recipe: With the run's seed in it.
        folder: Of the run.
        lifted: Folder of the teacher's pseudo-labels, shared by all runs.
        data_root: The data set.
        teacher_weights: As :func:`clip2scene.training.train.pretrain` takes them.
        device: Where to compute, as torch names it.
    """

    variant: str
    recipe: Recipe
    folder: Path
    lifted: Path
    data_root: Path
    teacher_weights: str | None
    device: str

    @property
    def is_done(self) -> bool:
        """Whether the run has been trained and evaluated."""
        metrics = self.folder / "metrics.json"
        marked = (self.folder / "done.json").exists() and metrics.exists()
        return marked and read_run_json(metrics)["split"] == SPLIT

    def steps_done(self) -> int:
        """Count the optimiser steps that the run has taken, 0..``recipe.steps``."""
        if self.is_done:
            return self.recipe.steps
        lines = _whole_lines(self.folder / "log.jsonl", last_bytes=1000)
        return int(lines[-1]["step"]) if lines else 0

    def minutes(self) -> float:
        """Minutes that the steps took, those too that an interruption made vain; nan without a log."""
        lines = _whole_lines(self.folder / "log.jsonl")
        return sum(line["seconds"] for line in lines) / 60 if lines else math.nan


def _whole_lines(path: Path, *, last_bytes: int | None = None) -> list[dict[str, Any]]:
    """Read a log, or its end; a line that was cut short, or is being written, is left out."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        if last_bytes is not None:
            file.seek(max(0, path.stat().st_size - last_bytes))
        lines = file.read().decode(errors="replace").splitlines()
    return [found for found in map(_parse_line, lines) if found is not None]


def _parse_line(line: str) -> dict[str, Any] | None:
    """Read a line of a log: its step and seconds are numbers; None if it was cut, or two run into one."""
    try:
        found = json.loads(line)
        return found if math.isfinite(found["seconds"]) and int(found["step"]) >= 0 else None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


def check_jobs(jobs: Sequence[Job]) -> str | None:
    """Refuse jobs whose folder holds another run, or whose data or models are unfit (:func:`check_data`)."""
    for job in jobs:
        if (job.folder / "recipe.json").exists():
            check_folder(job.folder, job.recipe, data_root=job.data_root, teacher_weights=job.teacher_weights)
        else:  # notes of a run that failed may lie there
            clear_half_started(job.folder)
    return check_data(jobs)


def check_data(jobs: Sequence[Job]) -> str | None:
    """Open for every variant what its runs will open, and read a sample of each split.

    Returns:
        The layout of the data set if it is the whole public one, as papers evaluate on it.

    Raises:
        ValueError: If data, teacher, prompts or backbone are unfit, or what cuts images into superpixels is
            not installed; it names the variant.
    """
    found: dict[str, int] = {}
    for job in _one_each(jobs, _what_it_opens):
        data = job.recipe.data
        try:
            _read_first(job)
            evaluated = build.open_dataset(
                data, job.data_root, split=SPLIT, labels=True, sweeps=data.seen_sweeps
            )
            evaluated[0]
        except ValueError as error:
            raise ValueError(f"variant {job.variant!r}: {error}") from None
        if data.classes == "own":
            found[data.layout] = max(found.get(data.layout, 0), len(evaluated.tokens))
    whole = [layout for layout, count in found.items() if _PUBLIC_VAL.get(layout) == count]
    return whole[0] if whole else None


def _what_it_opens(job: Job) -> object:
    """Tell apart runs that open other samples of the train split, others of their labels, or other models."""
    recipe = job.recipe
    choice = (recipe.labels, recipe.seed) if recipe.supervision == "labels" else None
    return recipe.data, recipe.supervision, choice, recipe.teacher, recipe.keep, recipe.loss.backbone


def _read_first(job: Job) -> None:
    """Read the first sample that a run is trained on, with its label where it is trained on labels."""
    recipe = job.recipe
    experiment = build.open_experiment(recipe, job.data_root, job.teacher_weights)
    if recipe.keep == "superpixels" and find_spec("skimage") is None:
        raise ValueError("superpixels need scikit-image; install clip2scene[rivals]")
    if recipe.supervision != "labels":
        experiment.dataset[0]
        return
    tokens = build.choose_labels(recipe, experiment.dataset).tokens
    Chosen(experiment.labelled(tokens).dataset, tokens)[0]


def _one_each(jobs: Sequence[Job], key: Callable[[Job], object]) -> Iterable[Job]:
    """Give the first job for each value of ``key``."""
    first: dict[object, Job] = {}
    for job in jobs:
        first.setdefault(key(job), job)
    return first.values()
