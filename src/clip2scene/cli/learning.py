"""Commands that train and judge."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from clip2scene.config import Recipe
from clip2scene.recipes import RECIPES, named

RecipeByName = tyro.extras.subcommand_type_from_defaults(RECIPES, prefix_names=False)


def demo(out: Path | None = None, *, data: str = "nuscenes", seed: int = 0) -> None:
    """Walk the whole path on the embedded world: make data, learn without labels, judge, draw.

    Args:
        out: Folder for everything that is made: demo, or demo-LAYOUT for another layout than nuscenes. An
            interrupted demo goes on where it stopped.
        data: Layout of the data, and with it the world: nuscenes, semantic-kitti, drive-log, or scannet,
            which has rooms.
        seed: Fixes the training; the towns and rooms are always the same.
    """
    from clip2scene.experiments.demo import run_demo

    out = out or Path("demo" if data == "nuscenes" else f"demo-{data}")
    print(run_demo(out, data=data, seed=seed))


def look(
    recipe: Annotated[Recipe, tyro.conf.arg(name="", constructor=RecipeByName)],
    *,
    data_root: Path,
    teacher_cache: Path,
    split: str = "train",
    teacher_weights: str | None = None,
) -> None:
    """Let the teacher look at every image of a split once, and keep what it saw for any number of runs.

    Says first how much disk and time that takes. An interrupted call goes on where it stopped.

    Args:
        recipe: Says how the teacher looks; every setting of it can be changed by an option.
        data_root: The data set.
        teacher_cache: Folder for what it sees; then give it to pretrain.
        split: Whose images.
        teacher_weights: As for pretrain.
    """
    from clip2scene.training.precompute import look as run_look

    run_look(
        recipe,
        data_root=data_root,
        teacher_cache=teacher_cache,
        split=split,
        teacher_weights=teacher_weights,
        announce=print,
    )
    print(f"looked at all images of {split}: {teacher_cache}")


def pretrain(
    recipe: Annotated[Recipe, tyro.conf.arg(name="", constructor=RecipeByName)],
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None = None,
    teacher_cache: Path | None = None,
    device: str = "cpu",
    save_every: int = 500,
) -> None:
    """Teach a student without labels, or (a recipe ending in -supervised) with them.

    Args:
        recipe: The experiment; every setting of it can be changed by an option.
        data_root: The data set.
        out: Folder of the run; an unfinished run in it is resumed.
        teacher_weights: Folder or hub id of a CLIP or SigLIP model, a .pt file of OpenAI's, or the file of
            text embeddings that label maps need. Without it, the small model in the package.
        teacher_cache: Folder that look filled, or that is filled now: what the teacher saw in each image.
        device: As torch names it. Only cpu has been tested.
        save_every: Steps between checkpoints.
    """
    from clip2scene.training.train import pretrain as run_pretrain

    run_pretrain(
        recipe,
        data_root=data_root,
        out=out,
        teacher_weights=teacher_weights,
        teacher_cache=teacher_cache,
        device=device,
        save_every=save_every,
    )
    print(f"trained {recipe.name}: {out}")


def evaluate(
    run: tyro.conf.Positional[Path],
    *,
    data_root: Path,
    split: str = "val",
    teacher_cache: Path | None = None,
    pictures: int = 2,
) -> None:
    """Judge a run per point, beside its teacher and chance.

    Args:
        run: Folder of the run.
        data_root: The data set, with labels.
        split: Which split to judge.
        teacher_cache: Folder that look filled, or that is filled now: what the teacher saw in each image.
        pictures: Samples to draw.
    """
    from clip2scene.evaluation.evaluate import evaluate_split, open_evaluation
    from clip2scene.evaluation.metrics import table
    from clip2scene.inference.figures import draw_samples

    opened = open_evaluation(run, data_root=data_root, split=split, teacher_cache=teacher_cache)
    print(table(evaluate_split(opened)))
    print(f"wrote {run / 'metrics.json'}")
    for path in draw_samples(opened.run, opened.student, opened.dataset, opened.paths, count=pictures):
        print(f"drew {path}")


def evaluate_point_clip(
    *, data_root: Path, split: str = "val", recipe: str = "toytown", teacher_weights: str | None = None
) -> None:
    """Judge PointCLIP, a rival that needs no training: depth maps of pieces, named by the image-text model.

    Args:
        data_root: The data set, with labels.
        split: Which split to judge.
        recipe: Name of the recipe that says what the data set is.
        teacher_weights: Folder or hub id of a CLIP or SigLIP model. Without it, the small one in the package.
    """
    from clip2scene.evaluation.evaluate import evaluate_point_clip as run_point_clip
    from clip2scene.evaluation.metrics import table

    scores = run_point_clip(
        named(recipe).data,
        data_root=data_root,
        split=split,
        teacher=named(recipe).teacher,
        teacher_weights=teacher_weights,
    )
    print(table(scores))


def ablate(
    table: tyro.conf.Positional[Literal["paper", "self-training", "words", "rivals", "additions", "on-top"]],
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
    """Train and judge a table of variants over seeds; write it as Markdown, CSV and a figure.

    Args:
        table: Which variants; see docs/ablations.md.
        data_root: The data set, with labels to judge by.
        out: Folder of the table; an unfinished table in it is taken up.
        recipe: Name of the recipe that is varied.
        steps: Optimiser steps of every run; the recipe's own when left out.
        variants: Names of the rows to run, beside the one that others are compared with; all when left out.
        seeds: One run of each variant for each of them.
        workers: Runs at a time.
        teacher_weights: As for pretrain.
        device: As torch names it. Only cpu has been tested.
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


def pretrain_clip(out: Path, *, steps: int = 8000, seed: int = 0) -> None:
    """Train the small image-text model on captioned views of the embedded world.

    Args:
        out: Folder for the model; an unfinished training in it is resumed.
        steps: Optimiser steps.
        seed: Fixes views and weights.
    """
    from functools import partial

    from clip2scene.evaluation.small_clip import evaluate_clip, hold_out
    from clip2scene.toytown.clip import pretrain_clip as training
    from clip2scene.toytown.clip.captions import caption_views

    evaluate = partial(evaluate_clip, held_out=hold_out(num_towns=4, views_per_class=20))
    training.pretrain_clip(out, caption_views, evaluate, steps=steps, seed=seed)
    print(f"trained a small CLIP: {out}")


def evaluate_clip(weights: Path | None = None) -> None:
    """Judge a small CLIP on towns it never saw.

    Args:
        weights: Its folder; the one in the package when left out.
    """
    from clip2scene.build import SMALL_CLIP
    from clip2scene.evaluation.small_clip import evaluate_small_clip

    for name, value in evaluate_small_clip(weights or SMALL_CLIP).items():
        print(f"{name:32} {100 * value:5.1f}")
