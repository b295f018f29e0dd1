"""The plan of a training: what lifting and its steps will take, and what several machines change."""

import math
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from clip2scene import build
from clip2scene.build import Experiment
from clip2scene.config import Recipe
from clip2scene.datasets import Dataset
from clip2scene.experiments.plan.estimate import Measurement, Range, Work, divisors
from clip2scene.experiments.plan.figures import Ask, Plan
from clip2scene.experiments.plan.measure import (
    Lifted,
    measure_consolidation,
    measure_lifting,
    measure_reading,
    measure_start,
    measure_teacher,
)
from clip2scene.experiments.plan.steps import StepCost, measure_steps
from clip2scene.experiments.plan.whole import plan_disk, plan_ranks, plan_total

STATISTICS, CONFIDENCE = 64, 16
"""Training clouds that are read once more when a run begins, and predicted at its end."""
CHECKPOINTS = 2
"""Files of a run's weights: the newest and the one before."""
_READING, _TEACHING, _LIFTING, _STEPS = 0.1, 0.15, 0.3, 0.45  # shares of the time that is given


def plan_training(recipe: Recipe, ask: Ask) -> Plan:
    """Measure a few samples and steps of a recipe, and say what the whole will take.

    What cannot be measured is named once, with its reason, and what does not depend on it is measured all the
    same.

    Args:
        recipe: What is trained, and how: its steps and its batches.
        ask: On what, and within which time.
    """
    plan = Plan(f"{recipe.name}, {recipe.steps:,} steps of {recipe.batch_size}, on {ask.data_root.name}")
    with TemporaryDirectory(prefix="clip2scene-plan-") as scratch:
        need = _measure(plan, recipe, ask, Path(scratch))
    plan_disk(plan, need, ask.disk)
    plan.unknown("on a GPU", "seconds", "nobody has run one, and nothing here says what it would take")
    return plan


def _measure(plan: Plan, recipe: Recipe, ask: Ask, scratch: Path) -> Range | None:
    """Measure one thing after the other, as far as it goes; give the bytes that are needed."""
    about = "data"
    try:
        start = measure_start("clip2scene.training.train")
        plan.measured("starting a command: Python and torch", "seconds", start)
        dataset, reading = _open(plan, recipe, ask)
        about = "teacher" if recipe.supervision == "label-free" else "labels"
        experiment = build.experiment_on(dataset, recipe, ask.data_root, ask.teacher_weights)
        if recipe.supervision == "labels":
            experiment = experiment.labelled(dataset.tokens)
        images = _plan_teacher(plan, experiment, _TEACHING * ask.budget, scratch)
        about = "lifting"
        lifted = measure_lifting(experiment, _LIFTING * ask.budget, scratch)
        parts = {
            "start": start.of(1),
            "statistics of clouds": reading.of(min(STATISTICS, len(dataset.tokens))),
        }
        need = lifted.bytes.of(len(dataset.tokens))
        parts |= _plan_lifting(plan, experiment, lifted)
        about = "training"
        steps = measure_steps(experiment, lifted.paths, _STEPS * ask.budget, scratch)
        need += _plan_steps(plan, experiment, steps, parts, ask.within)
        plan.extrapolated(
            "disk, needed", "bytes", need, "pseudo-labels + 2 checkpoints; without a teacher cache"
        )
        for precision, each in images.items():
            plan.extrapolated(
                f"disk, with --teacher-cache as {precision}", "bytes", need + each, "the same + the cache"
            )
        return need
    except (ValueError, OSError) as error:
        plan.fault(about, f"{error}")
        for name in _MISSING[about]:
            plan.unknown(name, "seconds", f"see the fault of {about!r} below")
        return None


_MISSING = {
    "data": ("teacher, an image", "lifting a sample", "a training step", "in all, on this machine"),
    "teacher": ("teacher, an image", "lifting a sample", "a training step", "in all, on this machine"),
    "labels": ("lifting a sample", "a training step", "in all, on this machine"),
    "lifting": ("lifting a sample", "a training step", "in all, on this machine"),
    "training": ("a training step", "in all, on this machine"),
}
"""What is not known where something is unfit."""


def _open(plan: Plan, recipe: Recipe, ask: Ask) -> tuple[Dataset, Measurement]:
    """Open the split that is trained on, and measure reading.

    Raises:
        ValueError: If it is another layout's, damaged or empty, or has no images where they are needed.
    """
    began = time.perf_counter()
    dataset = build.open_dataset(recipe.data, ask.data_root, split="train")
    plan.measured("opening the data set", "seconds", Measurement((time.perf_counter() - began,)))
    if not dataset.tokens:
        raise ValueError(f"{ask.data_root} has no training sample; name another data set")
    reading, images = measure_reading(dataset, _READING * ask.budget)
    plan.measured("reading a sample, cloud and images", "seconds", reading)
    if recipe.supervision == "label-free":
        if not any(dataset.has_image(token) for token in dataset.tokens):
            raise ValueError(
                f"{ask.data_root} has no images, so there is nothing to learn from without labels; name "
                "other data, or a recipe that ends in -supervised"
            )
        dataset = build.open_dataset(recipe.data, ask.data_root, split="train", need_images=True)
    plan.note("data", f"{len(dataset.tokens):,} training samples, {images.mean:.3g} images each")
    return dataset, reading


def _plan_teacher(plan: Plan, experiment: Experiment, seconds: float, scratch: Path) -> dict[str, Range]:
    """Measure the teacher; give the bytes of its cache for all images, by precision."""
    if experiment.teacher is None:
        return {}
    cost, sample = measure_teacher(experiment, seconds, scratch), experiment.dataset[0]
    images = len(sample.cameras) * len(experiment.dataset.tokens)
    plan.measured("teacher, an image, one core", "seconds", cost.image)
    if cost.refinement is not None:
        plan.measured("refinement, a sample, one core", "seconds", cost.refinement)
    for precision, each in cost.cached.items():
        plan.measured(f"teacher cache, an image, {precision}", "bytes", each)
    return {precision: each.of(images) for precision, each in cost.cached.items()}


def _plan_lifting(plan: Plan, experiment: Experiment, lifted: Lifted) -> dict[str, Range]:
    """Extrapolate lifting and consolidation to the split."""
    count = len(experiment.dataset.tokens)
    plan.measured("lifting a sample, all of it, one core", "seconds", lifted.seconds)
    plan.measured("pseudo-labels, a sample", "bytes", lifted.bytes)
    processes = max(1, min(torch.get_num_threads(), count // 4))  # as parallel_for has it
    # Processes share caches and memory; how well was not measured: between half as well as wanted, and well.
    most = 1 / max(1.0, processes / 2)
    whole = lifted.seconds.of(count).times(1 / processes, most)
    formula = f"{count:,} samples x mean / {processes} processes"
    formula += f" (to {max(1.0, processes / 2):g}, as processes share memory)" if processes > 1 else ""
    plan.extrapolated("lifting the split", "seconds", whole, formula)
    parts = {"lifting": whole}
    consolidation = measure_consolidation(experiment, lifted)
    if consolidation is not None:
        moments = len(lifted.drives["measured"])
        plan.measured(
            "consolidating a moment, one core", "seconds", consolidation, f"a stretch of {moments} moments"
        )
        whole = consolidation.of(count).times(1 / processes, most)
        plan.extrapolated("consolidating the split", "seconds", whole, formula)
        parts["consolidating"] = whole
    return parts


def _plan_steps(
    plan: Plan, experiment: Experiment, steps: StepCost, parts: dict[str, Range], within: float | None
) -> Range:
    """Extrapolate steps to the schedule, add up, and say what several ranks change; give bytes of weights."""
    recipe, count = experiment.recipe, len(experiment.dataset.tokens)
    for name, each in steps.figures():
        plan.measured(name, "seconds", each)
    batches = recipe.steps * recipe.optimiser.accumulate
    first = min(batches, math.ceil(count / recipe.batch_size))
    later = batches - first
    reads = steps.read_first.of(first) + steps.read_later.of(later)
    begins = round(recipe.self_training.start * batches) if steps.after is not None else batches
    compute = steps.before.of(begins)
    if steps.after is not None:
        compute += steps.after.of(batches - begins)
    plan.extrapolated("reading batches", "seconds", reads, f"{first:,} x first + {later:,} x later")
    plan.extrapolated(f"computing {recipe.steps:,} steps", "seconds", compute, f"{batches:,} batches x mean")
    parts |= {"reading batches": reads, "steps": compute}
    if recipe.supervision == "label-free":
        parts["confidence"] = steps.predict.of(min(CONFIDENCE, count))
    whole = plan_total(plan, parts, "checkpoints, other teachers (--teacher.also), evaluation")
    shared = compute.times(steps.shared.mean)
    alone = Range(whole.value - shared.value, whole.low - shared.low, whole.high - shared.high)
    plan.measured("share of computing that ranks share", "share", steps.shared, "the backbone's")
    plan_ranks(
        plan,
        Work(alone, shared, divisors(recipe.batch_size)),
        within,
        called="rank",
        limit=f"at most as many as a batch has samples ({recipe.batch_size}), which --batch-size says",
        lacking="what they send each other",
    )
    return Range(*(float(CHECKPOINTS * steps.checkpoint),) * 3)
