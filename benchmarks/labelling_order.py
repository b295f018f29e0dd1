"""What ranking scenes for labelling saves against labelling scenes at random.

Takes a table that ``clip2scene label-efficiency`` wrote (by scene), whose way "ours" labels scenes at random,
and fine-tunes the same starts with as many scenes of the list of ``rank-scenes``. Random draws are nested, a
draw a seed; so is the list.

    python benchmarks/labelling_order.py --table few --data-root town --out order
"""

import argparse
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from clip2scene.config import from_dict
from clip2scene.evaluate import evaluate
from clip2scene.files import read_json
from clip2scene.ranking import rank
from clip2scene.run import open_start
from clip2scene.significance import spread
from clip2scene.train import finetune

AMOUNTS = ("1-percent", "5-percent", "10-percent", "25-percent")


def learn(table: Path, data_root: Path, out: Path, amount: str, seed: int) -> None:
    """Fine-tune a run of the table once more, with the first scenes of a ranking in place of random ones."""
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    random = table / amount / "runs" / "ours" / f"seed-{seed}"
    run = out / amount / f"seed-{seed}"
    if (run / "metrics.json").exists():
        return
    recipe = from_dict(read_json(random / "recipe.json"))
    count = len(read_json(random / "labels.json")["subset"]["units"])
    order = tuple(read_json(out / f"order-{seed}.json")["order"])
    labels = replace(recipe.labels, fraction=1.0, count=count, ranking=order)
    start = open_start(table / "pretraining" / "runs" / "ours" / f"seed-{seed}")
    shared = table / "carried"
    finetune(replace(recipe, labels=labels), data_root=data_root, out=run, start=start, carried=shared)
    evaluate(run, data_root=data_root, carried=shared)


def percent(run: Path) -> float:
    """Read a run's mIoU on all points."""
    return 100 * read_json(run / "metrics.json")["columns"]["student"]["miou"]


def scenes_for(miou: float, curve: list[tuple[int, float]]) -> float:
    """Say how many scenes a curve needs for a score, straight between its points over the logarithm."""
    for (few, low), (many, high) in zip(curve, curve[1:], strict=False):
        if low <= miou <= high:
            return few * (many / few) ** ((miou - low) / (high - low) if high > low else 0.0)
    return math.nan


def main() -> None:
    """Rank, learn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("--table", "--data-root", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    starts = sorted((asked.table / "pretraining" / "runs" / "ours").glob("seed-*"))
    seeds = [int(start.name.removeprefix("seed-")) for start in starts]
    for seed, start in zip(seeds, starts, strict=True):
        if not (asked.out / f"order-{seed}.json").exists():
            rank(start, data_root=asked.data_root, out=asked.out / f"order-{seed}.json")
    amounts = [amount for amount in AMOUNTS if (asked.table / amount / "table.md").exists()]
    with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(learn, asked.table, asked.data_root, asked.out, amount, seed)
            for amount in amounts
            for seed in seeds
        ]
        for job in jobs:
            job.result()
    random, ranked, counts = {}, {}, {}
    for amount in amounts:
        runs = [asked.table / amount / "runs" / "ours" / f"seed-{seed}" for seed in seeds]
        counts[amount] = len(read_json(runs[0] / "labels.json")["subset"]["units"])
        random[amount] = [percent(run) for run in runs]
        ranked[amount] = [percent(asked.out / amount / f"seed-{seed}") for seed in seeds]
    curve = [(counts[amount], spread(random[amount])[0]) for amount in amounts]
    print("| scenes | at random | ranked | difference, paired | random scenes for the same |")
    print("|---:|---:|---:|---:|---:|")
    for amount in amounts:
        pairs = zip(ranked[amount], random[amount], strict=True)
        cells = [spread(values) for values in (random[amount], ranked[amount], [a - b for a, b in pairs])]
        shown = [f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in cells[:2]]
        shown.append(f"{cells[2][0]:+.1f} ± {cells[2][1]:.1f}")
        print(f"| {counts[amount]} | {' | '.join(shown)} | {scenes_for(cells[1][0], curve):.1f} |")


if __name__ == "__main__":
    main()
