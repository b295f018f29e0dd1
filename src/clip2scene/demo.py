"""The whole path on the embedded world, in one call."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from clip2scene.config import Recipe
from clip2scene.evaluate import evaluate
from clip2scene.metrics import Scores, table
from clip2scene.recipes import supervised, toytown
from clip2scene.run import start_run
from clip2scene.showcase import draw_samples
from clip2scene.toytown.drive import Recording
from clip2scene.toytown.writers import write_nuscenes
from clip2scene.train import pretrain

NUM_SCENES, NUM_VAL_SCENES = 100, 20
RECORDING = Recording(keyframes_per_scene=2, sweeps_per_keyframe=2)
"""Streets by the dozen teach more than long drives along a few."""
TOWNS = 1
"""Seed of the towns: none of these was among those that the small CLIP was trained on (seed 0)."""


def run_demo(out: Path, *, seed: int = 0) -> str:
    """Make data, learn without labels and (to know the ceiling) with them, judge both, draw pictures.

    Every part that is already there is kept, so an interrupted demo goes on where it stopped.

    Args:
        out: Folder for everything.
        seed: Fixes the training; the towns are the same for every seed.

    Returns:
        The report that is also written to ``report.txt``.
    """
    began = time.perf_counter()
    data, label_free, ceiling = out / "toytown", out / "label-free", out / "supervised"
    if not data.exists():
        write_nuscenes(
            data, num_scenes=NUM_SCENES, num_val_scenes=NUM_VAL_SCENES, seed=TOWNS, recording=RECORDING
        )
    recipe = replace(toytown(), seed=seed)
    run = start_run(recipe, data_root=data, out=label_free, teacher_weights=None)
    run.carry(data, split="train", with_labels=False)  # with all cores, before each training has its share
    _side_by_side((recipe, data, label_free), (supervised(recipe), data, ceiling))
    scores = evaluate(label_free, data_root=data)
    seen = evaluate(ceiling, data_root=data, carried=label_free / "carried")  # the teacher looked already
    scores["supervised"] = seen["student"]
    pictures = draw_samples(label_free, data_root=data, split="val", count=2)
    report = "\n".join([_report(scores), "", *(f"picture: {path}" for path in pictures)])
    report += f"\ntime: {(time.perf_counter() - began) / 60:.1f} minutes"
    (out / "report.txt").write_text(report + "\n", encoding="utf-8")
    return report


def _side_by_side(*runs: tuple[Recipe, Path, Path]) -> None:
    """Train several runs at once, each in a process with its share of the cores."""
    cores = max(1, (os.cpu_count() or 1) // len(runs))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(runs), mp_context=spawn) as pool:
        started = [pool.submit(_train, *run, cores) for run in runs]
        for each in started:
            each.result()


def _train(recipe: Recipe, data: Path, out: Path, cores: int) -> None:
    torch.set_num_threads(cores)
    torch.set_float32_matmul_precision("medium")
    pretrain(recipe, data_root=data, out=out)


def _report(scores: dict[str, Scores]) -> str:
    """Lay the columns side by side, and say in a sentence what distillation gained."""
    unseen, ceiling = (100 * scores[name].miou for name in ("student_unseen", "supervised"))
    gain = 100 * (scores["student_seen"].miou - scores["teacher_seen"].miou)
    return (
        f"{table(scores)}\n\n"
        f"No label was used. On points that a camera sees, the student is {gain:+.1f} points of mIoU from\n"
        f"its teacher's labels; on those that none sees, it scores {unseen:.1f}.\n"
        f"The same network taught by true labels scores {ceiling:.1f} on all points."
    )
