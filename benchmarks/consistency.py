"""Memory and time of spatial-temporal consistency: sums by scatter against the released code's dense pack.

Three sweeps of a street of the embedded world, 0.1 m cells, forward and backward. The rival is written anew
after the released code's description: rows of pixel features, point features and a label, sorted by cell, the
first eight of each cell packed into a table whose rows are all voxels of all sweeps. Each measurement has a
process of its own; memory is what it adds to that process's peak.

    python benchmarks/consistency.py --channels 512
"""

import argparse
import multiprocessing
import resource
import statistics
import time

import numpy as np
import torch
from torch import Tensor

from clip2scene.distill.losses.consistency import packed_consistency, spatial_temporal_consistency
from clip2scene.geometry.projection import transform_points, voxelize
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import build_town

CLASSES = 16


def three_sweeps(seed: int) -> tuple[Tensor, Tensor]:
    """Positions of three sweeps in the frame of the last, and the sweep of each point."""
    town = build_town(seed)
    end = 0.5 * town.duration_s
    clouds = []
    for back in (0.0, 0.2, 0.45):
        sweep = lidar_sweep(town, end - back, np.random.default_rng(0), azimuth_steps=1080)
        key_from_world = torch.linalg.inv(torch.as_tensor(town.world_from_ego(end)).double())
        motion = key_from_world @ torch.as_tensor(town.world_from_ego(end - back)).double()
        clouds.append(transform_points(motion, torch.as_tensor(sweep.positions).float()))
    return torch.cat(clouds), torch.arange(3).repeat_interleave(torch.tensor([len(c) for c in clouds]))


def dense_pack(points: Tensor, pixels: Tensor, labels: Tensor, cells: Tensor, text: Tensor) -> Tensor:
    """Pack cells x 8 x (pixel, point, label) as the released code does, and compute its loss."""
    channels = points.shape[1]
    rows = torch.cat([pixels, points, labels[:, None].to(points)], dim=1)
    order = torch.argsort(cells, stable=True)
    rows, cells = rows[order], cells[order]
    counts = torch.bincount(cells)
    rank = torch.arange(len(cells)) - (counts.cumsum(0) - counts)[cells]
    kept = rank < 8
    packed = rows.new_zeros(len(counts), 8, rows.shape[1])
    packed = packed.index_put((cells[kept], rank[kept]), rows[kept])
    point, label = packed[..., channels : 2 * channels], packed[:, 0, -1].long()
    scores = torch.einsum("nsc,nc->ns", point, text[label])
    filled = counts > 0
    point, scores = point[filled], scores[filled]
    weights = scores.masked_fill(scores == 0, -torch.inf).softmax(1)
    fused = torch.einsum("ns,nsc->nc", weights, point)
    return (1 - torch.einsum("nc,nsc->ns", fused, point).sigmoid()).mean()


def measure(method: str, channels: int, results: "multiprocessing.Queue[tuple[float, float, int]]") -> None:
    """Put megabytes, seconds and the number of pairs into ``results``."""
    torch.set_num_threads(1)
    positions, sweep = three_sweeps(1_300_000)
    generator = torch.Generator().manual_seed(0)
    pairs = torch.rand(len(positions), generator=generator) < 0.6  # about what six cameras see
    _, cells = voxelize(positions, 0.1)
    _, of_sweep = voxelize(positions + 1000.0 * sweep[:, None], 0.1)  # the pack's rows: voxels of all sweeps
    cells, offset = cells[pairs], int(of_sweep.max()) + 1 - int(cells.max()) - 1
    number = len(cells)
    pixels = torch.randn(number, channels, generator=generator) / channels**0.5
    points = (torch.randn(number, channels, generator=generator) / channels**0.5).requires_grad_()
    text = torch.nn.functional.normalize(torch.randn(CLASSES, channels, generator=generator), dim=1)
    labels = torch.randint(CLASSES, (number,), generator=generator)

    def loss() -> Tensor:
        if method == "dense pack":
            return dense_pack(points, pixels, labels, cells + max(offset, 0), text)
        if method == "its value by scatter":
            return packed_consistency(points, labels, cells, text)
        return spatial_temporal_consistency(points, pixels, labels, cells, text)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        loss().backward()
        seconds.append(time.perf_counter() - began)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    results.put((added / 1024, statistics.median(seconds[1:]), number))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--channels", type=int, nargs="+", default=[128, 512])
    spawn = multiprocessing.get_context("spawn")
    print("| channels | method | pairs | memory, MB | step, ms | memory, times ours | time, times ours |")
    print("|---:|---|---:|---:|---:|---:|---:|")
    for channels in parser.parse_args().channels:
        found = {}
        for method in ("paper, by scatter (ours)", "dense pack", "its value by scatter"):
            results = spawn.Queue()
            process = spawn.Process(target=measure, args=(method, channels, results))
            process.start()
            found[method] = results.get()
            process.join()
        memory, seconds, _ = found["paper, by scatter (ours)"]
        for method, (mb, s, number) in found.items():
            print(
                f"| {channels} | {method} | {number:,} | {mb:.0f} | {1000 * s:.0f} | {mb / memory:.1f} | "
                f"{s / seconds:.1f} |"
            )


if __name__ == "__main__":
    main()
