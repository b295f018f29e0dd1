"""Training: one step, and the loop around it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene import build
from clip2scene.build import Experiment
from clip2scene.config import LabelsConfig, Recipe
from clip2scene.distill.batch import Batch, step_generator
from clip2scene.distill.items import TrainSet
from clip2scene.distill.losses.objective import Objective, StepInputs
from clip2scene.distill.self_training import self_training_predictions, switch_targets
from clip2scene.distill.shared_pass import backbone_features
from clip2scene.inference.confidence import fit_confidence
from clip2scene.parallel import check_device, count_cores, file_lock, prefetch
from clip2scene.ranks import here
from clip2scene.runs import training_clouds
from clip2scene.runs.cost import Cost
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.first_round import FirstRound
from clip2scene.runs.folder import CONFIDENCE, LOCK, release_folder
from clip2scene.runs.init_weights import InitWeights, initial_student
from clip2scene.runs.mixture import shares_of_sources
from clip2scene.runs.reopen import lift_run
from clip2scene.runs.run import Run, open_run
from clip2scene.student.model import Embedder
from clip2scene.teacher.kept_maps import TeacherCache
from clip2scene.training.accept_rest import StartAnswers
from clip2scene.training.linear_probe import fit_linear_probe
from clip2scene.training.record import recording
from clip2scene.training.second_round import second_round
from clip2scene.training.sending import check_sinks, sending
from clip2scene.training.state import TrainState, resume
from clip2scene.training.together import hear_first, require_same_call, require_same_start, tell_others
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
    point_features = backbone_features(student, batch)
    batch = self_train(batch, point_features)
    terms = objective(StepInputs(student, point_features, batch, prompts, anchor))
    return sum(terms.values(), point_features.new_zeros(())), terms


def pretrain(  # noqa: PLR0913 - what a user may ask of the command
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    start: InitWeights | None = None,
    first: FirstRound | None = None,
    teacher_weights: str | None = None,
    teacher_cache: TeacherCache | Path | str | None = None,
    device: str = "cpu",
    save_every: int = 500,
    lifted: Path | None = None,
    log: Sequence[str] = (),
) -> Path:
    """Train a student without labels, or (a recipe ending in -supervised) with them.

    Args:
        recipe: The experiment; every setting of it can be changed by an option.
        data_root: The data set; its labels are opened only if the recipe is trained on labels.
        out: Folder of the run; an unfinished run of the same recipe in it is resumed, with the same result as
            if it had never stopped.
        start: Weights to begin with (:func:`clip2scene.runs.init_weights.init_weights_of`), of a run with the
            same network and inputs; its text head only where the text space is the same. The recipe's
            learning rate stays; fine-tuning takes a fifth of it for a trained backbone.
        first: The run of the first round (:func:`clip2scene.runs.first_round.first_round_of`): where its
            student is surer of a training cloud than the teacher, its label counts.
        teacher_weights: Folder of a CLIP or SigLIP model, hf:owner/name on the Hugging Face hub, a .pt of
            OpenAI's, or the file of text embeddings that label maps need. Without it, the small model in the
            package.
        teacher_cache: Folder of the teacher's features of each image (float16 or int8), or address of a
            store, such as s3://bucket/folder, which cache-teacher filled, or that is filled now.
        device: Where student, teacher and image backbone compute, as torch names it. Only cpu has been
            tested.
        save_every: Steps between checkpoints.
        lifted: Folder of the pseudo-labels, which other runs may share; the run's own by default.
        log: Where each step's loss and terms are sent beside ``log.jsonl``: tensorboard, mlflow, wandb. What
            cannot be sent stops nothing.

    Returns:
        ``out``.

    Raises:
        ValueError: If the data, the teacher, the folder, the device or an option is unfit; before the first
            step. If the loss, its gradient or the weights are not finite; what was saved before is whole.
    """
    place = _check_options(device, save_every, log)
    require_same_call(
        recipe, start, data_root=Path(data_root).resolve(), out=out.resolve(), save_every=save_every
    )
    if not here().leads:
        return _follow(out, device=place, save_every=save_every)
    with file_lock(out / LOCK, wait=False):
        cost = Cost(out, "pretrain", place)
        run, experiment = create_or_resume(
            recipe, data_root=data_root, out=out, teacher_weights=teacher_weights, start=start, first=first
        )
        cost.begin("lift")
        paths, held_out = _lift(run, experiment.to(place), lifted, teacher_cache)
        if first is not None:
            cost.begin("second round")
            paths = second_round(first, experiment, paths, device=place)
        with sending(run, log):
            train(run, paths, held_out, device=place, save_every=save_every, cost=cost)
        if recipe.supervision == "label-free" and not (out / CONFIDENCE).exists():
            cost.begin("confidence")
            fit_confidence(run, paths)
            cost.save()
    return out


def finetune(  # noqa: PLR0913 - what a user may ask of the command
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    start: InitWeights | None = None,
    corrections: Path | None = None,
    teacher_weights: str | None = None,
    device: str = "cpu",
    save_every: int = 500,
    lifted: Path | None = None,
    log: Sequence[str] = (),
) -> Path:
    """Train a student on few labels, or many; from chance, or from weights that were trained before.

    Args:
        recipe: What is trained, with ``supervision="labels"`` (:func:`clip2scene.recipes.fine_tuned`). Of the
            labels, only those that ``recipe.labels`` allows are read.
        data_root: As for :func:`pretrain`.
        out: As for :func:`pretrain`; ``labels.json`` in it names what was labelled.
        start: Weights to begin with (:func:`clip2scene.runs.init_weights.init_weights_of`).
        corrections: Folder of labels by hand (:mod:`clip2scene.datasets.label_layer`): points that have one
            are trained on, and beside them what the start predicts of the same samples; the data set's labels
            are not read.
        teacher_weights: As for :func:`pretrain`; what opens the text space.
        device: As for :func:`pretrain`.
        save_every: As for :func:`pretrain`.
        lifted: Folder of clouds and labels, which other runs may share.
        log: As for :func:`pretrain`.

    Returns:
        ``out``.

    Raises:
        ValueError: If the start is another network's, the labels chosen by ``--labels.*`` are none, or lack a
            class, or anything else is unfit; before the first step.
    """
    if recipe.supervision != "labels":
        raise ValueError(f"fine-tuning trains on labels, but recipe {recipe.name!r} does without")
    place = _check_options(device, save_every, log)
    require_same_call(
        recipe, start, data_root=Path(data_root).resolve(), out=out.resolve(), save_every=save_every
    )
    if not here().leads:
        return _follow(out, device=place, save_every=save_every)
    if recipe.labels.rest == "everywhere" and (corrections is None or start is None or start.run is None):
        raise ValueError(
            "--labels.rest everywhere trains on what the start, a run, calls all that nobody labelled "
            "by hand; name that run as --start and the labels as --corrections, or leave it out"
        )
    with file_lock(out / LOCK, wait=False):
        cost = Cost(out, "finetune", place)
        rest = None
        if start is not None and start.run is not None and recipe.labels.rest != "nothing":
            rest = StartAnswers(start.run, recipe.data, Path(data_root))
        run, experiment = create_or_resume(
            recipe,
            data_root=data_root,
            out=out,
            teacher_weights=teacher_weights,
            start=start,
            corrections=corrections,
            rest=rest,
        )
        cost.begin("lift")
        paths, held_out = _lift(run, experiment, lifted)
        with sending(run, log):
            train(run, paths, held_out, device=place, save_every=save_every, cost=cost)
    return out


def _follow(out: Path, *, device: torch.device, save_every: int) -> Path:
    """Train along with the first rank, once that has prepared a run; nothing is written."""
    paths, held_out = hear_first()
    train(open_run(out), paths, held_out, device=device, save_every=save_every)
    return out


def _check_options(device: str, save_every: int, log: Sequence[str]) -> torch.device:
    """Find a device; refuse one that is not there, steps that are none, and logs without their package."""
    check_sinks(log)
    if save_every < 1:
        raise ValueError(
            f"--save-every is a number of steps, expected 1 or more, got {save_every}; correct it"
        )
    return check_device(here().own_device(device))


def _lift(
    run: Run,
    experiment: Experiment,
    lifted: Path | None,
    teacher_cache: TeacherCache | Path | str | None = None,
) -> tuple[list[Path], list[Path]]:
    """Lift what is trained on, and what is held out to choose a checkpoint by, if anything."""
    if run.subset is None:
        return lift_run(run, experiment, into=lifted, teacher_cache=teacher_cache), []
    try:
        paths, held_out = _lift_labels(run, experiment, lifted)
    except ValueError:
        release_folder(run.folder)  # where nothing was trained, other settings may begin
        raise
    layers = experiment.layers
    known = [each for each in (*paths, *held_out) if layers is None or each.stem in layers.paths]
    run.note_labels_used(known)
    return paths, held_out


def _lift_labels(run: Run, experiment: Experiment, lifted: Path | None) -> tuple[list[Path], list[Path]]:
    """Lift the labelled samples, and refuse labels that are too few to train on."""
    subset, names = run.subset, run.prompts.classes
    assert subset is not None
    paths = lift_run(run, experiment, into=lifted, tokens=subset.trained_on)
    held_out = list[Path]()
    if subset.held_out:  # judged by what people said alone
        held_out = lift_run(run, replace(experiment, rest=None), into=lifted, tokens=subset.held_out)
    trained, kept = (
        dict(zip(names, train_set(run, each).count_targets(len(names)).tolist(), strict=True))
        for each in (paths, held_out)
    )
    check_classes(trained, kept, run.recipe.labels)
    if held_out and not any(kept.values()):
        raise ValueError(
            f"the {len(held_out)} held-out samples have no label to choose by; label more, or set "
            "--labels.holdout to 0"
        )
    return paths, held_out


def train_set(run: Run, paths: Sequence[Path]) -> TrainSet:
    """Make the training items of lifted samples, as a run's recipe reads them."""
    recipe, shares = run.recipe, shares_of_sources(run, paths)
    options = build.item_options(recipe)
    return TrainSet(paths, recipe.batch_size, recipe.seed, options, run.label_mask, shares)


def check_classes(trained: Mapping[str, int], held_out: Mapping[str, int], labels: LabelsConfig) -> None:
    """Refuse labels that lack a class, unless the recipe allows it; warn of those that have one class alone.

    Args:
        trained: Number of points of each class that are trained on.
        held_out: Number of points of each class that are held out.
        labels: Which labels are used.

    Raises:
        ValueError: If a class of ``--labels.classes`` has no point to train on.
    """
    wanted = labels.classes or tuple(trained)
    absent = [name for name in wanted if not trained[name]]
    apart = [name for name in absent if held_out[name]]
    where = f" ({', '.join(apart)} only in what is held out)" if apart else ""
    if len(absent) == len(wanted):
        raise ValueError(
            f"no labelled point is of {', '.join(labels.classes) or 'any class'}{where}, so there is nothing "
            "to train on; label more, or other scenes, or name classes that are there as --labels.classes"
        )
    if absent and labels.absent == "refuse" and not labels.are_all:
        raise ValueError(
            f"no labelled point is of {', '.join(absent)}{where}; label more, name the others as "
            "--labels.classes, or train without them: --labels.absent allow"
        )
    if len(wanted) - len(absent) == 1:
        only = next(name for name in wanted if trained[name])
        training_clouds.say(
            f"all labelled points are of {only}, so the classifier calls every point that and tells nothing "
            "apart; label another class, or name more as --labels.classes"
        )


def train(
    run: Run,
    paths: Sequence[Path],
    held_out: Sequence[Path] = (),
    *,
    device: torch.device,
    save_every: int,
    workers: int | None = None,
    cost: Cost | None = None,
) -> None:
    """Take the steps that a run has left, saving now and then; of several ranks, the first saves.

    Args:
        run: Where to save, and what to train.
        paths: Lifted samples.
        held_out: Lifted samples to choose the best checkpoint by; none keeps the last.
        device: Where to compute.
        save_every: Steps between checkpoints.
        workers: Processes that read batches ahead, two each; by default none for a CPU. Nothing else changes.
        cost: Where time and memory are written down at each checkpoint; None for nowhere.
    """
    recipe = run.recipe
    train_items = train_set(run, paths)
    objective = build.build_objective(recipe, train_items.target_histogram(len(run.prompts.classes)))
    tell_others(paths, held_out)
    workers = _readers(device) if workers is None else workers
    torch.manual_seed(recipe.seed)
    state, anchor, prompts = resume(run, device), _anchor(run, device), run.prompts.to(device)
    require_same_start(paths, state)
    self_train = partial(apply_self_training, state, prompts)
    each, pin = recipe.optimiser.accumulate, device.type == "cuda"
    at_once = recipe.tuning.fit == "optimum"
    numbers = range(state.step * each, 0 if at_once else recipe.steps * each)
    batches = prefetch(train_items.read_step, numbers, processes=workers, title="read ahead", pin_memory=pin)
    with recording(run, state, held_out, device=device, save_every=save_every, cost=cost) as record:
        means: dict[str, Float[Tensor, ""]] = {}
        if at_once and state.step < recipe.steps:
            loss = fit_linear_probe(state.student, train_items)
            state.jump_to_the_end()
            record({"loss": loss})
        for batch in batches:
            state.prepare()
            loss, terms = train_step(state.student, batch.to(device), prompts, objective, self_train, anchor)
            state.update(loss)
            for name, value in {"loss": loss, **terms}.items():
                means[name] = means.get(name, 0) + value.detach() / each
            if not state.gathered:
                record(means)
                means = {}


def _readers(device: torch.device) -> int:
    """Say how many processes read ahead of the steps: none for a CPU, which has no time to spare."""
    return 0 if device.type == "cpu" else max(0, min(READERS, count_cores() // here().local_size - 1))


def _anchor(run: Run, device: torch.device) -> Embedder | None:
    """Freeze the network as it is at step 0, where its text embeddings are to be kept."""
    if not run.recipe.tuning.keep_words:
        return None
    return initial_student(run).to(device).eval().requires_grad_(False)


def apply_self_training(
    state: TrainState, prompts: Prompts, batch: Batch, point_features: Float[Tensor, "points hidden"]
) -> Batch:
    """Replace targets by self-training predictions, from the step on that the recipe names (S3)."""
    settings, recipe, student = state.recipe.self_training, state.recipe, state.student
    if not settings.is_on or state.step < settings.start * recipe.steps:
        return batch
    if settings.source == "average":
        student = state.averaged
        with torch.no_grad():
            point_features = backbone_features(student, batch)
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
        step_generator(recipe.seed, state.batch_number, purpose=3),
        probability=settings.probability,
        switch=settings.switch,
        unseen=settings.unseen,
    )
