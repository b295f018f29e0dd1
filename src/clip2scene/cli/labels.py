"""Commands that learn from few labels."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import tyro

from clip2scene.config import LabelsConfig, Layout, Network, TuningConfig
from clip2scene.recipes import USUAL_TUNING, named


def finetune(
    *,
    data_root: Path,
    out: Path,
    start: Path | None = None,
    recipe: str | None = None,
    teacher_weights: str | None = None,
    network: Network | None = None,
    layout: Layout | None = None,
    classes: Literal["own", "toytown", "scannet-200"] | None = None,
    labels: LabelsConfig = LabelsConfig(),  # noqa: B008 - frozen
    order: Path | None = None,
    tuning: TuningConfig = USUAL_TUNING,
    steps: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
    device: str = "cpu",
    save_every: int = 100,
) -> None:
    """Teach a student from few labels, or many, best from what a label-free run has learnt.

    Args:
        data_root: The data set, with labels.
        out: Folder of the run; an unfinished run in it is resumed.
        start: Folder of the run to begin with, or file of a published checkpoint
            (docs/published_weights.md). Without it, the student begins from chance.
        recipe: Network, augmentation and schedule, where no run is named as the start: toytown's by default.
        teacher_weights: As for pretrain, where no run is named as the start; what the classes' words go to.
        network: In place of that recipe's.
        layout: On-disk layout of the data, where it differs from the start's.
        classes: Classes of the data, where they differ.
        labels: Which labels are seen.
        order: List that rank-scenes wrote: who is labelled first.
        tuning: How it goes on from its start.
        steps: Optimiser steps.
        learning_rate: The schedule's highest value, of the backbone.
        seed: Fixes order and augmentation.
        device: As torch names it. Only cpu has been tested.
        save_every: Steps between checkpoints, which are what a holdout chooses among.
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
        teacher_weights=plan.teacher_weights,
        device=device,
        save_every=save_every,
    )
    print(f"trained {plan.recipe.name}: {out}")


def rank_scenes(
    run: tyro.conf.Positional[Path],
    *,
    data_root: Path,
    out: Path,
    split: str = "train",
    by: Literal["scene", "keyframe"] = "scene",
) -> None:
    """List which scenes to label next: those full of what a run is unsure of and few before them hold.

    What the run has learnt the labels of stands in front, so that finetune with more of the list goes on.

    Args:
        run: Folder of a run, label-free or not.
        data_root: The data set; no label of it is read.
        out: File for the list, JSON; finetune takes it as --order.
        split: Which split is to be labelled.
        by: Whether scenes are ranked, or single keyframes.
    """
    from clip2scene.inference.rank_scenes import rank

    ranked = rank(run, data_root=data_root, split=split, by=by, out=out)
    for name, score in list(zip(ranked.units[ranked.labelled :], ranked.scores, strict=True))[:10]:
        print(f"{name:40} {score:.4f}")
    known = f", in front {ranked.labelled} that the run has learnt from" if ranked.labelled else ""
    print(f"wrote {len(ranked.units)} {by}s to {out}{known}")


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
    """Pretrain, fine-tune and judge ways to begin with more and more labels; write the table and its curves.

    Args:
        data_root: The data set, with labels.
        out: Folder of the table. What is done in it is kept, and the same command goes on.
        recipe: Ours; the others have its network, teacher and schedule.
        methods: Some of scratch, PPKT, SLidR, CLIP2Scene and ours; all by default.
        amounts: Such as "linear probe", "1 %" or 3 (scenes or keyframes); by default the papers' six.
        by: Whether whole scenes are labelled (SLidR's protocol) or keyframes (CLIP2Scene's).
        seeds: One run of each for each; a seed draws its own scenes.
        steps: Of pretraining, instead of the recipe's.
        tuning_steps: Of fine-tuning, instead of 600.
        workers: Runs at a time.
        teacher_weights: As for pretrain.
        device: As torch names it. Only cpu has been tested.
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
