"""The whole path on the embedded world, in one call."""

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import torch

from clip2scene.evaluate import evaluate
from clip2scene.metrics import Scores, table
from clip2scene.recipes import supervised, toytown
from clip2scene.showcase import draw_samples
from clip2scene.toytown.writers import write_nuscenes
from clip2scene.train import pretrain

TOWN = {"num_scenes": 60, "num_val_scenes": 12, "keyframes_per_scene": 3, "sweeps_per_keyframe": 1}
"""How much of the world the demo sees: streets by the dozen teach more than long drives along a few."""


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
        write_nuscenes(data, seed=0, **TOWN)
    recipe = replace(toytown(), seed=seed)
    _side_by_side((recipe, data, label_free), (supervised(recipe), data, ceiling))
    scores = evaluate(label_free, data_root=data)
    scores["supervised"] = evaluate(ceiling, data_root=data)["student"]
    pictures = draw_samples(label_free, data_root=data, split="val", count=2)
    report = "\n".join([_report(scores), "", *(f"picture: {path}" for path in pictures)])
    report += f"\ntime: {(time.perf_counter() - began) / 60:.1f} minutes"
    (out / "report.txt").write_text(report + "\n", encoding="utf-8")
    return report
