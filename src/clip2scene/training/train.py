"""Training: one step, and the loop around it."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene import build
from clip2scene.config import LabelsConfig, Recipe
from clip2scene.distill.batch import Batch, step_generator
from clip2scene.distill.items import TrainSet
from clip2scene.distill.losses.objective import Objective, StepInputs
from clip2scene.distill.self_training import self_training_predictions, switch_targets
from clip2scene.experiments.jobs import check_device
from clip2scene.parallel import count_cores, file_lock, prefetch, progress_bar
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.folder import LOCK, release_folder
from clip2scene.runs.init_weights import InitWeights
from clip2scene.runs.run import Run
from clip2scene.student.model import Embedder
from clip2scene.training.best_checkpoint import keep_best
from clip2scene.training.state import TrainState
from clip2scene.types import Prompts

READERS = 4
"""Processes that read samples ahead of a GPU's steps."""

SelfTraining = Callable[[Batch, Float[Tensor, "points hidden"]], Batch]


def train_step(
    student: Embedder,
    batch: Batch,
    prompts: Prompts,
    objective: Objective,
    self_train: SelfTraining,
    anchor: Embedder | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
    """Run the forward pass of one step and compute its loss.

    The targets (pseudo-labels of the teacher, or true labels) were lifted onto the points before the first
    step: see :mod:`clip2scene.distill.lift`.

    Args:
        student: The network in training.
        batch: Points, targets and pixel-point pairs.
        prompts: Text embeddings of the classes.
        objective: The loss terms.
        self_train: Replaces some targets by the student's own predictions (S3).
        anchor: The frozen student as it was at step 0, for the term that keeps its text embeddings.

    Returns:
        The loss, which is the sum of the terms, and each term by name.
    """
    point_features = student(batch.positions, batch.features, batch.item_of_point)
    batch = self_train(batch, point_features)
    terms = objective(StepInputs(student, point_features, batch, prompts, anchor))
    return sum(terms.values(), point_features.new_zeros(())), terms


def pretrain(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None = None,
    device: str = "cpu",
    save_every: int = 500,
    lifted: Path | None = None,
    teacher_cache: Path | None = None,
) -> Path:
    """Teach a student from chance, or go on where an interrupted call stopped.

    Args:
        recipe: What to learn and how.
        data_root: The data set; its labels are opened only if the recipe learns from labels.
        out: Folder of the run. If it holds an unfinished run of the same recipe, that run is resumed; the
            result is the same as if it had never stopped.
        teacher_weights: Folder or hub id of the image-text model, or file of text embeddings for label
            maps; None takes the model that ships with the package.
        device: Where to compute, as torch names it. Only "cpu" has been tested.
        save_every: Steps between checkpoints.
        lifted: Folder to keep the teacher's answers in, which other runs may share; the run's own by
            default.
        teacher_cache: Folder of what the teacher saw in each image; images that are not in it are looked at,
            and added.

    Returns:
        ``out``.

    Raises:
        ValueError: If the data, the teacher, the folder, the device or an option is unfit; before the first
            step. If the loss, its gradient or the weights are not finite; what was saved before is whole.
    """
    place = check_device(device)
    _check_save_every(save_every)
    with file_lock(out / LOCK, wait=False):
        run = create_or_resume(recipe, data_root=data_root, out=out, teacher_weights=teacher_weights)
        prepare_and_train(
            run, data_root, device=place, save_every=save_every, lifted=lifted, teacher_cache=teacher_cache
        )
    return out


def finetune(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    start: InitWeights | None = None,
    teacher_weights: str | None = None,
    device: str = "cpu",
    save_every: int = 500,
    lifted: Path | None = None,
) -> Path:
    """Teach a student from few labels, or many; from chance, or from what another run has learnt.

    Args:
        recipe: What to learn and how, with ``supervision="labels"``.
        data_root: The data set. Of the labels, only those that ``recipe.labels`` allows are read.
        out: Folder of the run; resumed as by :func:`pretrain`. ``labels.json`` in it names what was labelled.
        start: Weights to begin with (:func:`clip2scene.runs.run.init_weights_of`); None begins from chance.
        teacher_weights: As for :func:`pretrain`; what opens the text space.
        device: Where to compute.
        save_every: Steps between checkpoints.
        lifted: Folder to keep clouds and labels in, which other runs may share.

    Returns:
        ``out``.

    Raises:
        ValueError: If the start is another network's, the labels that were asked for are none, or lack a
            class, or anything else is unfit; before the first step.
    """
    if recipe.supervision != "labels":
        raise ValueError(f"fine-tuning learns from labels, but recipe {recipe.name!r} learns without")
    place = check_device(device)
    _check_save_every(save_every)
    with file_lock(out / LOCK, wait=False):
        run = create_or_resume(
            recipe, data_root=data_root, out=out, teacher_weights=teacher_weights, start=start
        )
        prepare_and_train(run, data_root, device=place, save_every=save_every, lifted=lifted)
    return out


def prepare_and_train(
    run: Run,
    data_root: Path,
    *,
    device: torch.device,
    save_every: int,
    lifted: Path | None = None,
    teacher_cache: Path | None = None,
) -> None:
    """Gather what a run learns from, and let it learn; arguments as for :func:`pretrain`."""
    labelled = run.recipe.supervision == "labels"
    carry = partial(run.carry, data_root, split="train", with_labels=labelled, into=lifted)
    keep = None
    if run.subset is None:
        paths = carry(teacher_cache=teacher_cache)
    else:
        try:
            paths, held_out = _lift_labels(run, carry)
        except ValueError:
            release_folder(run.folder)  # where nothing has been learnt, other settings may begin
            raise
        run.note_labels_used([*paths, *held_out])
        if held_out:
            keep = partial(keep_best, run, held_out)
            if run.checkpoint_path.exists():  # an interrupted call may not have judged it
                keep(run.state(device))
    ahead = 0 if device.type == "cpu" else min(READERS, count_cores() - 1)  # a CPU has no time to spare
    train(run, paths, device=device, save_every=save_every, workers=ahead, after_save=keep)


def _lift_labels(run: Run, carry: Callable[..., list[Path]]) -> tuple[list[Path], list[Path]]:
    """Carry what is learnt from and what is held out, and refuse labels that are too few for that."""
    subset, visible = run.subset, run.visible_labels()
    assert subset is not None
    paths = carry(subset=subset.taught)
    held_out = carry(subset=subset.held_out) if subset.held_out else []
    taught, kept = (
        dict(zip(run.prompts.classes, counts.tolist(), strict=True))
        for counts in (
            TrainSet(each, run.recipe, visible).count_targets(len(run.prompts.classes))
            for each in (paths, held_out)
        )
    )
    check_classes(taught, kept, run.recipe.labels)
    if held_out and not any(kept.values()):
        raise ValueError(
            f"the {len(held_out)} held-out samples have no label to choose by; label more, or set "
            "labels.holdout to 0"
        )
    return paths, held_out


def check_classes(taught: Mapping[str, int], held_out: Mapping[str, int], labels: LabelsConfig) -> None:
    """Refuse labels that lack a class, unless the recipe allows it; and those that teach nothing at all.

    Args:
        taught: Points of each class that are learnt from.
        held_out: Points of each class that are held out.
        labels: What was asked for.

    Raises:
        ValueError: If a class that was asked for has no point to learn from.
    """
    wanted = labels.classes or tuple(taught)
    absent = [name for name in wanted if not taught[name]]
    apart = [name for name in absent if held_out[name]]
    where = f" ({', '.join(apart)} only in what is held out)" if apart else ""
    if len(absent) == len(wanted):
        raise ValueError(
            f"no labelled point is of {', '.join(labels.classes) or 'any class'}{where}, so there is nothing "
            "to learn from; label more, or other scenes, or name classes that are there as labels.classes"
        )
    if absent and labels.absent == "refuse" and not labels.are_all:
        raise ValueError(
            f"no labelled point is of {', '.join(absent)}{where}; label more, name the others as "
            "labels.classes, or learn without them: --labels.absent allow"
        )


def _check_save_every(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"--save-every is a number of steps, expected 1 or more, got {steps}; correct it")


def train(
    run: Run,
    paths: Sequence[Path],
    *,
    device: torch.device,
    save_every: int,
    workers: int = 0,
    after_save: Callable[[TrainState], None] | None = None,
) -> None:
    """Take the steps that a run has left, saving now and then.

    Args:
        run: Where to save, and what to train.
        paths: Lifted samples.
        device: Where to compute.
        save_every: Steps between checkpoints.
        workers: Processes that read batches ahead of the steps, two each; the result is the same.
        after_save: Called whenever a checkpoint was written.
    """
    recipe = run.recipe
    train_items = TrainSet(paths, recipe, run.visible_labels())
    objective = build.build_objective(recipe, train_items.target_histogram(len(run.prompts.classes)))
    torch.manual_seed(recipe.seed)
    state, anchor, prompts = run.state(device), run.anchor(device), run.prompts.to(device)
    self_train = partial(_self_train, state, prompts)
    steps, pin = range(state.step, recipe.steps), device.type == "cuda"
    batches = prefetch(train_items.read_step, steps, processes=workers, title="read ahead", pin_memory=pin)
    began = time.perf_counter()
    with progress_bar(
        total=recipe.steps, initial=state.step, desc=recipe.name, unit="step", smoothing=0.02
    ) as bar:
        for batch in batches:
            state.prepare()
            loss, terms = train_step(state.student, batch.to(device), prompts, objective, self_train, anchor)
            state.update(loss)
            values = {name: value.item() for name, value in {"loss": loss, **terms}.items()}
            bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)
            bar.update()
            run.log(step=state.step, **values, seconds=round(time.perf_counter() - began, 4))
            began = time.perf_counter()
            if state.step % save_every == 0 or state.step == recipe.steps:
                run.save(state)
                if after_save is not None:
                    after_save(state)


def _self_train(
    state: TrainState, prompts: Prompts, batch: Batch, point_features: Float[Tensor, "points hidden"]
) -> Batch:
    """Replace targets by self-training predictions, from the step on that the recipe names (S3)."""
    settings, recipe, student = state.recipe.self_training, state.recipe, state.student
    if not settings.is_on or state.step < settings.start * recipe.steps:
        return batch
    if settings.source == "average":
        student = state.averaged
        with torch.no_grad():
            point_features = student(batch.positions, batch.features, batch.item_of_point)
    predictions = self_training_predictions(
        student,
        point_features.detach(),
        batch.superpoints if settings.superpoint_mean else None,
        prompts,
        confidence=settings.confidence,
    )
    return switch_targets(
        batch,
        predictions,
        step_generator(recipe.seed, state.step, purpose=3),
        probability=settings.probability,
        switch=settings.switch,
        unseen=settings.unseen,
    )
