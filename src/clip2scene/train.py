"""Learning: the step that fits a screen, and the loop around it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from clip2scene import build
from clip2scene.augment import augment_cloud
from clip2scene.batch import Batch, Lesson, collate, sample_order, step_generator
from clip2scene.carry import load_carried
from clip2scene.config import Recipe
from clip2scene.run import Run, start_run
from clip2scene.student.embedder import Embedder
from clip2scene.types import IGNORE_LABEL, Prompts

SemanticLoss = Callable[[Float[Tensor, "targets classes"], Int[Tensor, "targets"]], Float[Tensor, ""]]


def train_step(
    student: Embedder, batch: Batch, prompts: Prompts, semantic_loss: SemanticLoss
) -> Float[Tensor, ""]:
    """Compute the loss of one step.

    What each target asks for (the class of a paired pixel, or a true label) was carried onto the points
    before the first step: see :mod:`clip2scene.carry`.
    """
    described = student(batch.positions, batch.features, batch.sample_of_point)  # points hidden
    logits = prompts.best_name(
        student.compare(described[batch.taught], prompts.embeddings)
    )  # targets classes
    return semantic_loss(logits, batch.targets)


def pretrain(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None = None,
    device: str = "cpu",
    save_every: int = 500,
) -> Path:
    """Teach a student, or go on where an interrupted call stopped.

    Args:
        recipe: What to learn and how.
        data_root: The data set; its labels are opened only if the recipe learns from labels.
        out: Folder of the run. If it holds an unfinished run of the same recipe, that run is resumed; the
            result is the same as if it had never stopped.
        teacher_weights: Folder or hub id of the image-text model, or file of text embeddings for label
            maps; None takes the model that ships with the package.
        device: Where to compute, as torch names it. Only "cpu" has been tested.
        save_every: Steps between checkpoints.

    Returns:
        ``out``.

    Raises:
        ValueError: If the data, the teacher or the folder is unfit; before the first step.
    """
    place = _device(device)
    run = start_run(recipe, data_root=data_root, out=out, teacher_weights=teacher_weights)
    paths = run.carry(data_root, split="train", with_labels=recipe.supervision == "labels")
    learn(run, paths, device=place, save_every=save_every)
    return out


def _device(name: str) -> torch.device:
    """Check a device's name before anything is done for it."""
    try:
        return torch.device(name)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"unknown device {name!r} ({reason}); expected a name such as cpu or cuda:0"
        ) from None


def learn(run: Run, paths: Sequence[Path], *, device: torch.device, save_every: int) -> None:
    """Take the steps that a run has left, saving now and then.

    Args:
        run: Where to save, and what to learn.
        paths: Samples with the teacher's answers.
        device: Where to compute.
        save_every: Steps between checkpoints.
    """
    recipe = run.recipe
    lessons = Lessons(paths, label_free=recipe.supervision == "label-free")
    semantic_loss = build.SemanticLoss(recipe.loss, lessons.target_histogram(len(run.prompts.classes)))
    torch.manual_seed(recipe.seed)
    trainee = run.trainee(device)
    prompts = run.prompts.to(device)
    progress = tqdm(total=recipe.steps, initial=trainee.step, desc=recipe.name, unit="step", smoothing=0.02)
    while trainee.step < recipe.steps:
        began = time.perf_counter()
        batch = lessons.draw(recipe, trainee.step).to(device)
        trainee.student.train()
        loss = train_step(trainee.student, batch, prompts, semantic_loss)
        trainee.update(loss)
        progress.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        progress.update()
        run.log(step=trainee.step, loss=loss.item(), seconds=round(time.perf_counter() - began, 4))
        if trainee.step % save_every == 0 or trainee.step == recipe.steps:
            run.save(trainee)
    progress.close()


class Lessons:
    """What the samples of a split teach, read one at a time.

    Args:
        paths: Files of :func:`clip2scene.carry.carry_split`.
        label_free: Whether pixels teach, or true labels.
    """

    def __init__(self, paths: Sequence[Path], *, label_free: bool) -> None:
        self.paths = paths
        self.label_free = label_free

    def read(self, number: int) -> Lesson:
        """Read one sample's lesson."""
        carried = load_carried(self.paths[number])
        return carried.lesson_of_teacher() if self.label_free else carried.lesson_of_labels()

    def draw(self, recipe: Recipe, step: int) -> Batch:
        """Put the samples of a step side by side, each moved at random; the same for the same step."""
        numbers = sample_order(len(self.paths), recipe.batch_size, step, seed=recipe.seed)
        generator = step_generator(recipe.seed, step, purpose=2)
        lessons = (self.read(number) for number in numbers)
        return collate(
            [
                replace(lesson, cloud=augment_cloud(lesson.cloud, generator, **vars(recipe.augment)))
                for lesson in lessons
            ]
        )

    def target_histogram(self, num_classes: int) -> Int[Tensor, "classes"]:
        """Count how often each class is asked for.

        Raises:
            ValueError: If nothing is asked for anywhere.
        """
        histogram = torch.zeros(num_classes, dtype=torch.long)
        for number in range(len(self.paths)):
            targets = self.read(number).targets
            histogram += torch.bincount(targets[targets != IGNORE_LABEL], minlength=num_classes)
        if not histogram.any():
            raise ValueError("the split teaches nothing: it has no labelled point; check the data set")
        return histogram
