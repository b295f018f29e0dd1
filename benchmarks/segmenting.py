"""Segmenting one cloud: superpoint means of name logits against superpoint means of embeddings.

A dense sweep of the embedded world is labelled by an untrained student in a text space of 512 channels, once
as :func:`clip2scene.inference.predict.predict` does, and once by averaging the embeddings, which are then
compared with the names. "heads" has random features in the place of the backbone's. Each measurement has a
process of its own; memory is what it adds to that process's peak, for each point. Labels are compared too;
with a run and its data, those of its trained student on every cloud of a split.

    python benchmarks/segmenting.py --points 200000 --channels 512
    python benchmarks/segmenting.py --run RUN --data-root DATA
"""

import argparse
import multiprocessing
import resource
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clip2scene import build
from clip2scene.geometry.superpoints import average_within, find_superpoints
from clip2scene.inference.predict import open_split, predict
from clip2scene.recipes import toytown
from clip2scene.runs.run import open_run
from clip2scene.student.inputs import prepare_cloud
from clip2scene.student.model import Embedder
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.types import PointCloud, Prompts

NAMES, CLASSES = 40, 16
WAYS = ("means of embeddings", "means of logits")


class Given(nn.Module):
    """A backbone whose features are random waves over the place, worked out beforehand."""

    out_channels = 96

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.features = torch.sin(positions @ torch.randn(3, self.out_channels))

    def forward(self, positions: Tensor, features: Tensor, batch_of_point: Tensor) -> Tensor:
        """Give them."""
        return self.features


def sweep_of(town: int, points: int) -> PointCloud:
    """Record a sweep of about so many points."""
    steps = 1080
    for _ in range(3):
        sweep = lidar_sweep(build_town(town), 1.0, np.random.default_rng(0), azimuth_steps=steps)
        steps = round(steps * points / len(sweep.positions))
    return PointCloud(
        torch.as_tensor(sweep.positions).float(), torch.as_tensor(sweep.intensity).float()[:, None]
    )


def make(part: str, cloud: PointCloud, channels: int) -> tuple[Embedder, Prompts]:
    """Make an untrained student and prompts, the same at each call."""
    torch.manual_seed(0)
    if part == "heads":
        student = Embedder(Given(cloud.positions), channels, superpoint_mean=True)
    else:
        student = build.build_student(toytown(), in_channels=1, text_channels=channels)
        student.superpoint_mean = True
    towards = nn.functional.normalize(torch.randn(NAMES, channels), dim=1)
    names = tuple(str(number) for number in range(NAMES))
    return student, Prompts(names[:CLASSES], names, torch.arange(NAMES) % CLASSES, towards)


@torch.inference_mode()
def by_embeddings(student: Embedder, prompts: Prompts, cloud: PointCloud) -> Tensor:
    """Average the embeddings within superpoints, then compare them with the names."""
    student.eval()
    given = prepare_cloud(cloud, student.inputs)
    hidden = student(given.positions, given.features, torch.zeros(len(cloud), dtype=torch.long))
    embeddings = average_within(find_superpoints(cloud.positions), student.embed(hidden))
    return prompts.class_logits(embeddings)


def by_logits(student: Embedder, prompts: Prompts, cloud: PointCloud) -> Tensor:
    """Predict as the package does."""
    return predict(student, prompts, cloud).logits


def measure(
    part: str,
    way: str,
    cloud: PointCloud,
    channels: int,
    results: "multiprocessing.Queue[tuple[float, float, np.ndarray]]",
) -> None:
    """Put CPU seconds, kilobytes a point and labels into ``results``."""
    student, prompts = make(part, cloud, channels)
    label = by_embeddings if way == WAYS[0] else by_logits
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(3):
        began = time.process_time()
        labels = label(student, prompts, cloud).softmax(1).argmax(1)
        seconds.append(time.process_time() - began)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    results.put((min(seconds), added * 1.024 / len(cloud), labels.numpy()))


def compare(folder: Path, data_root: Path) -> None:
    """Print how many labels of a trained student differ between the two ways, over the val split."""
    run = open_run(folder)
    student, points, differ = run.student(), 0, 0
    assert student.superpoint_mean, "a run without superpoint means has only one way"
    dataset = open_split(run, data_root, "val")
    for number in range(len(dataset.tokens)):
        cloud = dataset[number].cloud
        one, other = (label(student, run.prompts, cloud).argmax(1) for label in (by_embeddings, by_logits))
        points, differ = points + len(cloud), differ + int((one != other).sum())
    print(f"{differ} labels of {points} points in {len(dataset.tokens)} clouds differ")


def main() -> None:
    """Parse, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--points", type=int, default=200_000)
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--towns", type=int, default=1, help="clouds to compare the labels on")
    parser.add_argument("--run", type=Path, help="a trained run, to compare its labels and nothing else")
    parser.add_argument("--data-root", type=Path)
    args = parser.parse_args()
    if args.run:
        compare(args.run, args.data_root)
        return
    spawn = multiprocessing.get_context("spawn")
    print(
        "| part | way | points | CPU seconds | kB a point | times faster | times less | labels that differ |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for town in range(args.towns):
        cloud = sweep_of(town, args.points)
        for part in ("heads", "whole"):
            found = []
            for way in WAYS:
                results = spawn.Queue()
                process = spawn.Process(target=measure, args=(part, way, cloud, args.channels, results))
                process.start()
                found.append(results.get())
                process.join()
                seconds, memory, labels = found[-1]
                faster, less = found[0][0] / seconds, found[0][1] / memory
                differ = int((labels != found[0][2]).sum())
                row = f"{len(cloud)} | {seconds:.2f} | {memory:.2f} | {faster:.2f} | {less:.2f} | {differ}"
                print(f"| {part} | {way} | {row} |")


if __name__ == "__main__":
    main()
