"""The whole path on the embedded world, in one call; in any of the layouts that it is written in."""

import multiprocessing
import os
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from clip2scene.classes.tables import SCANNET
from clip2scene.config import DataConfig, Recipe
from clip2scene.distill.lifted import load_lifted
from clip2scene.evaluation.evaluate import (
    EvaluationSplit,
    evaluate,
    evaluate_samples,
    evaluate_split,
    open_evaluation,
)
from clip2scene.evaluation.metrics import Scores, table
from clip2scene.inference.figures import TRUTH, draw_above, draw_samples
from clip2scene.inference.predict import predict_labels
from clip2scene.inference.segment import picture_sample
from clip2scene.io import write_atomically
from clip2scene.recipes import rooms, supervised, toytown_onward
from clip2scene.runs.builtin import BUILTIN, builtin_run
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.init_weights import InitWeights, init_weights_of
from clip2scene.runs.reopen import lift_run
from clip2scene.runs.run import open_run
from clip2scene.toytown.rooms.room_scan import Walk
from clip2scene.toytown.writers.layouts import (
    write_drive_log,
    write_nuscenes,
    write_scannet,
    write_semantic_kitti,
)
from clip2scene.toytown.writers.recording import Recording
from clip2scene.training.train import pretrain
from clip2scene.viz.raster import save_png

TOWNS = 1
"""Seed of the towns: none of these was among those that the small CLIP was trained on (seed 0)."""

STREET_WORDS = (
    *("car", "bus", "truck", "bicycle", "person", "road", "sidewalk", "grass"),
    *("tree", "bush", "house", "wall", "pole", "sign"),
)
"""Prompts in the small CLIP's words; several of them were trained as one class."""


@dataclass(frozen=True)
class World:
    """What one demo makes, and what is trained on it.

    Attributes:
        write: Writes the data set; the writers of :mod:`clip2scene.toytown.writers.layouts`.
        records: What is recorded, as that writer takes it.
        num_scenes: To train on.
        num_val_scenes: To evaluate on.
        recipe: How the student is trained.
        start: The run that it begins with; None begins from chance.
        words: In which a cloud is shown.
        caveat: What a reader of the scores must know, for the report.
    """

    write: Callable[..., None]
    records: dict[str, Recording | Walk]
    num_scenes: int
    num_val_scenes: int
    recipe: Recipe
    start: Path | None = Path(BUILTIN)
    words: tuple[str, ...] = STREET_WORDS
    caveat: str = ""


WORLDS = {
    # Training on streets by the dozen gives more than long drives along a few.
    "nuscenes": World(write_nuscenes, {"recording": Recording(2, 2)}, 100, 20, toytown_onward()),
    "semantic-kitti": World(
        write_semantic_kitti,
        {"recording": Recording(2, 1)},
        150,
        30,
        replace(
            toytown_onward(),
            name="toytown-semantic-kitti",
            data=DataConfig(layout="semantic-kitti", classes="toytown"),
            steps=900,  # as many clouds as the first demo's, which come in twos
        ),
        caveat=(
            "This world is harder than the default demo's. One camera looks ahead in place of six around: "
            "a ninth of the points are visible, and none of the ground within some metres of the "
            "vehicle, so that has no pseudo-label."
        ),
    ),
    "drive-log": World(
        write_drive_log,
        {"recording": Recording(2, 2)},
        50,
        12,
        replace(toytown_onward(), name="toytown-drive-log", data=DataConfig(layout="drive-log", sweeps=2)),
        caveat=(
            "Towns and cameras are the default demo's, but half as many streets are trained on, and 12 in "
            "place of 20 are evaluated on: expect lower scores that vary more."
        ),
    ),
    "scannet": World(
        write_scannet,
        {"walk": Walk(frames=16, points_per_m2=200.0, ground_truth=True)},
        60,
        15,
        rooms(),
        start=None,  # the student in the package was trained on streets
        words=SCANNET.classes,  # without a text encoder, there are no other prompts
        caveat=(
            "The teacher is a stand-in trained on 2D labels: the small image-text model knows no furniture, "
            "so each pixel's true class, painted by the world itself, takes its place. No real teacher is "
            "that good. The scores show that the path works indoors; they belong to a class of their own, "
            "and say nothing beside those of a teacher trained on no label."
        ),
    ),
}
"""The demos by layout; the first is the one whose figures are published."""


def run_demo(out: Path | None = None, *, data: str = "nuscenes", seed: int = 0) -> str:
    """Make data, train without labels and (to know the ceiling) with them, evaluate both, draw pictures.

    Every part that is already there is kept, so an interrupted demo goes on where it stopped.

    Args:
        out: Folder for everything that is made; by default demo, or demo-LAYOUT for another layout than
            nuscenes.
        data: Layout of the data, and with it the world: nuscenes, semantic-kitti, drive-log, or scannet,
            which has rooms.
        seed: Fixes the training; the towns are the same for every seed.

    Returns:
        The report that is also written to ``report.txt``: scores in percent, time in minutes.

    Raises:
        ValueError: If there is no such world, or ``out`` holds the demo of another one or of another seed.
    """
    if data not in WORLDS:
        raise ValueError(f"no demo has data {data!r}; choose one of {', '.join(WORLDS)}")
    world, began = WORLDS[data], time.perf_counter()
    out = out or Path("demo" if data == "nuscenes" else f"demo-{data}")
    root, label_free, ceiling = out / "toytown", out / "label-free", out / "supervised"
    if not root.exists():
        numbers = {"num_scenes": world.num_scenes, "num_val_scenes": world.num_val_scenes, "seed": TOWNS}
        world.write(root, **numbers, **world.records)
    recipe = replace(world.recipe, seed=seed)
    begun = create_or_resume(recipe, data_root=root, out=label_free, start=_start(world.start))
    lift_run(*begun)  # with all cores, before each has its share
    _side_by_side((recipe, root, label_free, world.start), (supervised(recipe), root, ceiling, world.start))
    opened = open_evaluation(label_free, data_root=root)
    scores = evaluate_split(opened)
    supervised_scores = evaluate(
        ceiling, data_root=root, lifted=label_free / "carried"
    )  # pseudo-labels are there
    scores["supervised"] = supervised_scores["student"]
    if world.start is not None:
        _add_builtin(opened, scores)
    drawn = draw_samples(opened.run, opened.student, opened.dataset, opened.paths, count=2)
    drawn.append(picture_sample(opened.run, opened.dataset[0], world.words))
    if BUILTIN in scores:
        drawn.append(_draw_builtin(opened))
    report = "\n".join([_report(scores, world), "", *(f"picture: {path}" for path in drawn)])
    report += f"\ntime: {(time.perf_counter() - began) / 60:.1f} minutes"
    with write_atomically(out / "report.txt") as temporary:
        temporary.write_text(report + "\n", encoding="utf-8")
    return report


def _side_by_side(*runs: tuple[Recipe, Path, Path, Path | None]) -> None:
    """Train several runs at once, each in a process with its share of the cores."""
    cores = max(1, (os.cpu_count() or 1) // len(runs))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(runs), mp_context=spawn) as pool:
        started = [pool.submit(_train, *run, cores) for run in runs]
        for each in started:
            each.result()


def _train(recipe: Recipe, data: Path, out: Path, start: Path | None, cores: int) -> None:
    torch.set_num_threads(cores)
    torch.set_float32_matmul_precision("medium")
    pretrain(recipe, data_root=data, out=out, start=_start(start))


def _start(run: Path | None) -> InitWeights | None:
    """Open what a training begins with; None is chance."""
    return None if run is None else init_weights_of(run)


def _add_builtin(opened: EvaluationSplit, scores: dict[str, Scores]) -> None:
    """Score what the students began with on the same points, if it is of the same classes."""
    run = open_run(builtin_run())
    theirs = (opened.run.prompts.classes, opened.run.class_mapping.classes)
    if (run.prompts.classes, run.class_mapping.classes) != theirs:
        return
    samples = (load_lifted(path) for path in opened.paths)
    scores[BUILTIN] = evaluate_samples(run.student(), run.prompts, samples, run.class_mapping)["student"]


def _draw_builtin(opened: EvaluationSplit) -> Path:
    """Draw what the student in the package says of the first sample, beside the truth."""
    run, sample, lifted = open_run(builtin_run()), opened.dataset[0], load_lifted(opened.paths[0])
    assert lifted.labels is not None
    predicted = predict_labels(run.student(), run.prompts, lifted.cloud, lifted.sweep_sizes).labels
    labels = {"student in the package": run.class_mapping.translate(predicted), TRUTH: lifted.labels}
    labels = {who: each[: len(sample.cloud)] for who, each in labels.items()}
    path = opened.run.folder / "pictures" / f"{sample.token}-{BUILTIN}.png"
    save_png(path, draw_above(sample, labels, opened.dataset.class_set))
    return path


def _report(scores: dict[str, Scores], world: World) -> str:
    """Lay the columns side by side, and say in sentences what distillation gained, and what to beware of."""
    hidden, ceiling = (100 * scores[name].miou for name in ("student_unseen", "supervised"))
    gain = 100 * (scores["student_seen"].miou - scores["teacher_seen"].miou)
    unused = "No label of a point" if world.recipe.teacher.trained_on_2d_labels else "No label"
    other = ""
    if world.start is not None:
        as_it_is = f", and scores {100 * scores[BUILTIN].miou:.1f} as it is" if BUILTIN in scores else ""
        other = (
            "\nBoth went on from the student in the package (builtin), which was trained without labels on "
            f"other\nstreets and sensors{as_it_is}."
        )
    caveat = f"\n\n{textwrap.fill(world.caveat, 100, break_on_hyphens=False)}" if world.caveat else ""
    return (
        f"{table(scores)}\n\n"
        f"{unused} was used. On points that a camera sees, the student is {gain:+.1f} points of mIoU from\n"
        f"its teacher's labels; on those that none sees, it scores {hidden:.1f}.\n"
        f"The same network trained on true labels scores {ceiling:.1f} on all points.{other}{caveat}"
    )
