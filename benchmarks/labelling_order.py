"""What ranking scenes for labelling saves against labelling scenes at random.

Takes label-free runs, one a seed, and fine-tunes each with some scenes: those in front of the list of
``rank-scenes``, and as many at random, over some draws. Nothing else differs. What is drawn for a few scenes
is part of what is drawn for more.

    clip2scene make-toytown --out sparse --missing-kinds 0.85 --seed 3
    clip2scene label-efficiency --data-root sparse --out few --methods ours --amounts 1
    python benchmarks/labelling_order.py --runs few/pretraining/runs/ours --data-root sparse --out order
"""

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch
from tqdm import tqdm

from clip2scene.config import LabelsConfig, from_dict
from clip2scene.evaluation.evaluate import evaluate
from clip2scene.experiments.results import spread
from clip2scene.inference.rank_scenes import rank, read_ranking
from clip2scene.io import read_json
from clip2scene.recipes import fine_tuned
from clip2scene.runs.init_weights import init_weights_of
from clip2scene.training.train import finetune

RANKED = "ranked"


def learn(start: Path, data_root: Path, out: Path, count: int, who: str, steps: int, lifted: Path) -> None:
    """Fine-tune a label-free run with so many scenes, ranked or of a random draw, and judge it."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    run = folder(out, start, count, who)
    if (run / "metrics.json").exists():
        return
    labels = LabelsConfig(count=count, absent="allow", draw=None if who == RANKED else int(who))
    if who == RANKED:
        labels = replace(labels, ranking=read_ranking(out / f"{start.name}.json")[1])
    recipe = replace(fine_tuned(from_dict(read_json(start / "recipe.json"))), labels=labels, steps=steps)
    finetune(recipe, data_root=data_root, out=run, start=init_weights_of(start), lifted=lifted)
    evaluate(run, data_root=data_root, lifted=lifted)


def folder(out: Path, start: Path, count: int, who: str) -> Path:
    """Say where a run lies."""
    return out / f"{count}-scenes" / who / start.name


def percent(run: Path) -> float:
    """Read a run's mIoU on all points."""
    return 100 * read_json(run / "metrics.json")["columns"]["student"]["miou"]


def scenes_for(miou: float, curve: Sequence[tuple[int, float]]) -> float:
    """Say how many scenes a curve first needs for a score, straight between its points over the logarithm.

    Returns:
        nan for a score that the curve begins above, or does not reach.
    """
    if curve and miou < curve[0][1]:
        return math.nan
    for (few, low), (many, high) in zip(curve, curve[1:], strict=False):
        if low <= miou <= high:
            return few * (many / few) ** ((miou - low) / (high - low) if high > low else 0.0)
    return math.nan


def main() -> None:
    """Rank, learn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--runs", "--data-root", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--carried", type=Path, help="folder of carried samples to share; made if left out")
    parser.add_argument("--counts", type=int, nargs="*", default=[1, 3, 8, 20])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    starts = sorted(asked.runs.glob("seed-*"))
    for start in starts:
        if not (asked.out / f"{start.name}.json").exists():
            rank(start, data_root=asked.data_root, out=asked.out / f"{start.name}.json")
    draws = [str(draw) for draw in range(asked.draws)]
    lifted = asked.lifted or asked.out / "carried"
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(learn, start, asked.data_root, asked.out, count, who, asked.steps, lifted)
            for start in starts
            for who in [RANKED, *draws]
            for count in asked.counts
        ]
        for job in tqdm(jobs, desc="learn", unit="run"):
            job.result()
    none = spread([percent(start) for start in starts])
    print(f"without labels {none[0]:.1f} ± {none[1]:.1f}\n")
    print("| scenes | at random | ranked | difference, paired by start | random scenes for the same |")
    print("|---:|---:|---:|---:|---:|")
    rows, curve = [], []
    for count in asked.counts:
        ranked = [percent(folder(asked.out, start, count, RANKED)) for start in starts]
        random = [[percent(folder(asked.out, start, count, draw)) for draw in draws] for start in starts]
        paired = [each - sum(drawn) / len(drawn) for each, drawn in zip(ranked, random, strict=True)]
        rows.append(
            (count, spread([each for drawn in random for each in drawn]), spread(ranked), spread(paired))
        )
        curve.append((count, rows[-1][1][0]))
    for count, random_spread, ranked_spread, difference in rows:
        shown = [f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in (random_spread, ranked_spread)]
        shown.append(f"{difference[0]:+.1f} ± {difference[1]:.1f}")
        print(f"| {count} | {' | '.join(shown)} | {scenes_for(ranked_spread[0], curve):.1f} |")


if __name__ == "__main__":
    main()
