"""One run of an ablation: what is to be done, how far it is, and whether it can be done at all."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from clip2scene import build
from clip2scene.config import Recipe
from clip2scene.datasets.label_subset import Chosen
from clip2scene.io import read_json
from clip2scene.runs.folder import clear_half_started, require_same

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
        device: Where to compute.
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
        return marked and read_json(metrics)["split"] == SPLIT

    def steps_done(self) -> int:
        """Say how many steps the run has taken."""
        if self.is_done:
            return self.recipe.steps
        lines = _whole_lines(self.folder / "log.jsonl", last_bytes=1000)
        return int(lines[-1]["step"]) if lines else 0

    def minutes(self) -> float:
        """Add up what the steps took, those too that an interruption made vain; nan without a log."""
        lines = _whole_lines(self.folder / "log.jsonl")
        return sum(line["seconds"] for line in lines) / 60 if lines else math.nan


def _whole_lines(path: Path, *, last_bytes: int | None = None) -> list[dict[str, Any]]:
    """Read a log, or its end; a line that was cut short, or is being written, is left out."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        if last_bytes is not None:
            file.seek(max(0, path.stat().st_size - last_bytes))
        lines = file.read().decode().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]


def check_device(device: str) -> torch.device:
    """Give the device of a name; refuse one that is not there.

    Raises:
        ValueError: If torch cannot compute on it.
    """
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch says the latter where it was built without CUDA
        raise ValueError(
            f"cannot compute on device {device!r} ({str(error).splitlines()[0]}); expected a name such as "
            "cpu or cuda:0"
        ) from None


def check_jobs(jobs: Sequence[Job]) -> str | None:
    """Check the folders, the data and the teachers of all runs before the first of them begins.

    Returns:
        What :func:`check_data` returns.

    Raises:
        ValueError: If a run could not be done.
    """
    for job in jobs:
        check_folder(job)
    layout = check_data(jobs)
    check_teachers(jobs)
    return layout


def check_folder(job: Job) -> None:
    """Refuse a folder with another run in it; empty one that a call left before it had begun.

    Raises:
        ValueError: If the run there has another recipe, teacher or data set.
    """
    if not (job.folder / "recipe.json").exists():
        clear_half_started(job.folder)
    else:
        require_same(job.folder, job.recipe, data_root=job.data_root, teacher_weights=job.teacher_weights)


def check_data(jobs: Sequence[Job]) -> str | None:
    """Open every split as the runs will, and read a sample.

    Returns:
        The layout of the data set if it is the whole public one, as papers evaluate on it.

    Raises:
        ValueError: If one of them cannot be read; it names the variant.
    """
    found: dict[str, int] = {}
    for job in _one_each(jobs, _what_it_reads):
        data = job.recipe.data
        val_sweeps = data.sweeps if data.merge_sweeps else 1
        try:
            _read_first(job)
            val = build.open_dataset(data, job.data_root, split=SPLIT, labels=True, sweeps=val_sweeps)
            val[0]
        except ValueError as error:
            raise ValueError(f"variant {job.variant!r}: {error}") from None
        if data.classes == "own":
            found[data.layout] = max(found.get(data.layout, 0), len(val.tokens))
    whole = [layout for layout, count in found.items() if _PUBLIC_VAL.get(layout) == count]
    return whole[0] if whole else None


def _what_it_reads(job: Job) -> object:
    """Tell apart runs that read other samples of the train split, or others of their labels."""
    recipe = job.recipe
    choice = (recipe.labels, recipe.seed) if recipe.supervision == "labels" else None
    return recipe.data, recipe.supervision, choice


def _read_first(job: Job) -> None:
    """Read the first sample that a run trains on, with its label where it trains on labels."""
    data, root, labelled = job.recipe.data, job.data_root, job.recipe.supervision == "labels"
    opened = partial(build.open_dataset, data, root, split="train")
    dataset = opened(need_images=not labelled)
    if not labelled:
        dataset[0]
        return
    tokens = build.choose_labels(job.recipe, dataset).tokens
    Chosen(opened(labels=tokens), tokens)[0]


def check_teachers(jobs: Sequence[Job]) -> None:
    """Place the words of every variant in its teacher's text space.

    Raises:
        ValueError: If the teacher or the image backbone cannot be opened, its words do not fit, or what cuts
            images into superpixels is not installed; it names the variant.
    """
    for job in _one_each(
        jobs, lambda job: (job.recipe.teacher, job.recipe.data, job.recipe.keep, job.recipe.loss.backbone)
    ):
        prompted = build.prompt_classes(job.recipe.data, job.data_root)
        try:
            space = build.open_text_space(job.recipe.teacher, job.teacher_weights, prompted)
            partly = job.recipe.data.words != "own"
            build.build_prompts(job.recipe.teacher, space, prompted, partly=partly)
            build.build_backbone(job.recipe.loss, space)
            if job.recipe.keep == "superpixels" and find_spec("skimage") is None:
                raise ValueError("superpixels need scikit-image; install clip2scene[rivals]")
        except ValueError as error:
            raise ValueError(f"variant {job.variant!r}: {error}") from None


def _one_each(jobs: Sequence[Job], key: Callable[[Job], object]) -> Iterable[Job]:
    """Give the first job for each value of ``key``."""
    first: dict[object, Job] = {}
    for job in jobs:
        first.setdefault(key(job), job)
    return first.values()
