"""Commands that train, or run a teacher. Arguments that the library describes are not described again."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clip2scene.config import LabelsConfig, Layout, Network, Recipe, TuningConfig
from clip2scene.recipes import USUAL_TUNING, named

if TYPE_CHECKING:
    from clip2scene.teacher.kept_maps import TeacherCache


def lift(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None = None,
    teacher_cache: str | None = None,
    teacher_cache_copies: Path | None = None,
    teacher_cache_copies_gb: float = 20.0,
    device: str = "cpu",
) -> None:
    """Lift a teacher's pseudo-labels onto the points of the train split; train nothing.

    The folder is a run that was begun: others fuse its teacher with theirs (--teacher.also), and pretrain
    with the same recipe goes on with it.

    Args:
        recipe: The teacher, and what the data set is.
        data_root: The data set; its labels are not opened.
        out: Folder of the run.
        teacher_cache_copies: Local folder where copies are kept of what is read from a teacher cache that is
            a store elsewhere.
        teacher_cache_copies_gb: That they may take; the least recently used are removed.
    """
    from clip2scene.training.precompute import lift as run_lift

    run_lift(
        recipe,
        data_root=data_root,
        out=out,
        teacher_weights=teacher_weights,
        teacher_cache=teacher_cache_of(teacher_cache, teacher_cache_copies, teacher_cache_copies_gb),
        device=device,
    )


def pretrain(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    start: Path | None = None,
    second_round: Path | None = None,
    teacher_weights: str | None = None,
    teacher_cache: str | None = None,
    teacher_cache_copies: Path | None = None,
    teacher_cache_copies_gb: float = 20.0,
    device: str = "cpu",
    save_every: int = 500,
    log: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = (),
) -> None:
    """Train a student without labels, or (a recipe ending in -supervised) with them.

    Args:
        start: Folder of a label-free run to begin with, or builtin, the student in the package; it must have
            the same network and inputs. Its text head is taken where the text space is the same. The recipe's
            learning rate stays; for a trained backbone, finetune takes a fifth (--optimiser.learning-rate).
            Without it, the student begins from chance.
        second_round: Folder of a label-free run that was trained on these data and classes. Where its student
            is surer of a training cloud than the teacher, its label counts (--self-training.lead).
        teacher_cache_copies: Local folder where copies are kept of what is read from a teacher cache that is
            a store elsewhere.
        teacher_cache_copies_gb: That they may take; the least recently used are removed.
    """
    from clip2scene.runs.first_round import first_round_of
    from clip2scene.runs.init_weights import init_weights_of
    from clip2scene.training.train import pretrain as run_pretrain

    run_pretrain(
        recipe,
        data_root=data_root,
        out=out,
        start=None if start is None else init_weights_of(start),
        first=None if second_round is None else first_round_of(second_round),
        teacher_weights=teacher_weights,
        teacher_cache=teacher_cache_of(teacher_cache, teacher_cache_copies, teacher_cache_copies_gb),
        device=device,
        save_every=save_every,
        log=log,
    )


def finetune(
    *,
    data_root: Path,
    out: Path,
    start: Path | None = None,
    corrections: Path | None = None,
    recipe: str | None = None,
    teacher_weights: str | None = None,
    network: Network | None = None,
    layout: Layout | None = None,
    classes: Literal["own", "toytown", "scannet-200"] | None = None,
    labels: LabelsConfig = LabelsConfig(),  # noqa: B008 - frozen
    order: Path | None = None,
    tuning: TuningConfig = USUAL_TUNING,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    save_every: int = 100,
    log: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = (),
) -> None:
    """Train a student on few labels, or many, best from a label-free run.

    Args:
        start: Folder of the run to begin with; builtin, the student in the package; or file of a published
            checkpoint (docs/published_weights.md). Without it, the student begins from chance.
        corrections: Folder of labels by hand (docs/corrections.md): training samples that have some are
            trained on, and the data set's own labels are not read.
        recipe: Network, augmentation and schedule, where no run is named as the start: toytown's by default.
    """
    from clip2scene.training.finetune import Changes, prepare
    from clip2scene.training.train import finetune as run_finetune

    changes = Changes(
        teacher_weights=teacher_weights,
        network=network,
        layout=layout,
        classes=classes,
        labels=labels,
        order=order,
        tuning=tuning,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
    )
    plan = prepare(recipe, start, changes)
    for line in () if plan.start is None else plan.start.report:
        print(f"{start}: {line}")
    run_finetune(
        plan.recipe,
        data_root=data_root,
        out=out,
        start=plan.start,
        corrections=corrections,
        teacher_weights=plan.teacher_weights,
        device=device,
        save_every=save_every,
        log=log,
    )
    print(f"trained {plan.recipe.name}: {out}")


def ablate(
    table: Literal["paper", "self-training", "words", "rivals", "additions", "on-top"],
    *,
    data_root: Path,
    out: Path,
    recipe: str = "toytown",
    steps: int | None = None,
    variants: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    workers: int = 1,
    teacher_weights: str | None = None,
    device: str = "cpu",
) -> None:
    """Train and evaluate a table of variants over seeds; write it as Markdown, CSV and a figure.

    Args:
        table: Which variants; see docs/ablations.md.
        recipe: Name of the recipe that is varied.
        steps: Optimiser steps of every run; the recipe's own when left out.
        variants: Names of the rows to run, beside the one that others are compared with; all when left out.
    """
    from clip2scene.experiments.ablation import ablate as run_ablate
    from clip2scene.experiments.variants import TABLES

    base = named(recipe) if steps is None else replace(named(recipe), steps=steps)
    whole = TABLES[table](base)
    path = run_ablate(
        whole.only(variants) if variants else whole,
        data_root=data_root,
        out=out,
        seeds=seeds,
        workers=workers,
        teacher_weights=teacher_weights,
        device=device,
    )
    print(path.read_text(encoding="utf-8"))
    print(f"wrote {path}, {out / 'table.csv'} and {out / 'figure.png'}")


def label_efficiency(
    *,
    data_root: Path,
    out: Path,
    recipe: str = "toytown",
    methods: tuple[str, ...] = (),
    amounts: tuple[str, ...] = (),
    by: Literal["scene", "keyframe"] = "scene",
    seeds: tuple[int, ...] = (0, 1, 2),
    steps: int | None = None,
    tuning_steps: int | None = None,
    workers: int = 1,
    teacher_weights: str | None = None,
    device: str = "cpu",
) -> None:
    """Pretrain, fine-tune and evaluate, with more and more labels; write the table and its curves.

    Args:
        recipe: Ours; the others have its network, teacher and schedule.
        steps: Of pretraining, instead of the recipe's.
    """
    from clip2scene.experiments.label_efficiency import AMOUNTS
    from clip2scene.experiments.label_efficiency import label_efficiency as run_table

    base = named(recipe) if steps is None else replace(named(recipe), steps=steps)
    path = run_table(
        base,
        data_root=data_root,
        out=out,
        methods=methods or None,
        amounts=amounts or AMOUNTS,
        by=by,
        seeds=seeds,
        tuning_steps=tuning_steps,
        workers=workers,
        teacher_weights=teacher_weights,
        device=device,
    )
    print(path.read_text(encoding="utf-8"))
    print(f"wrote {path}, with table.csv and figure.png beside it")


def pretrain_clip(out: Path, *, steps: int = 8000, seed: int = 0) -> None:
    """Train the small image-text model on captioned views of the embedded world."""
    from functools import partial

    from clip2scene.evaluation.small_clip import evaluate_clip, hold_out
    from clip2scene.toytown.clip import pretrain_clip as training
    from clip2scene.toytown.clip.captions import caption_views

    evaluate = partial(evaluate_clip, held_out=hold_out(num_towns=4, views_per_class=20))
    training.pretrain_clip(out, caption_views, evaluate, steps=steps, seed=seed)
    print(f"trained a small CLIP: {out}")


def teacher_cache_of(address: str | None, copies: Path | None, copies_gb: float) -> "TeacherCache | None":
    """Say where a teacher cache lies."""
    from clip2scene.teacher.kept_maps import TeacherCache

    if address is None:
        if copies is not None:
            raise ValueError(
                "--teacher-cache-copies are of a --teacher-cache; name that too, or leave it out"
            )
        return None
    return TeacherCache(address, copies, copies_gb)
