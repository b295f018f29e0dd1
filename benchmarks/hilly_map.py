"""How well a hilly map is labelled away from its origin: its ground as a map's, and as that of one sweep.

``python benchmarks/hilly_map.py``: drives through varied towns of toytown, 240 m apart on a slope, each seen
at several moments; all sweeps together, where they were measured, are a map, which ``builtin`` labels tile by
tile. Shown are mIoU (over the classes that are there) and accuracy by the distance from the map's origin
along x or y, and the same before superpoint means.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from clip2scene.datasets.clouds.labelled import PointLabels
from clip2scene.evaluation.metrics import Confusion
from clip2scene.geometry.ground import estimate_ground
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.tiles import TileOptions, label_tiles, pieces_of
from clip2scene.toytown.lidars import LIDARS, ego_from_lidar
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.types import PointCloud

APART_M, SLOPE = 240.0, 0.04
RINGS_M = ((0, 48), (48, 120), (120, 240), (240, 1e9))
MERGED = {0: 0, 1: 1, 2: 2, 3: 3, 6: 4, 7: 5, 9: 6, 10: 7, 12: 8, 13: 9, 14: 10, 15: 11}
"""Train ids of the student by those of the world."""


def make_map(towns: int, moments: int, steps: int) -> tuple[PointCloud, np.ndarray]:
    """Drive through towns; give the map around the middle of its points, and the class of each."""
    positions, intensities, labels = [], [], []
    for number in range(towns):
        town, rng = build_town(900 + number, varied=True), np.random.default_rng(900 + number)
        for moment in np.linspace(0.5, 9.5, moments):
            sweep = lidar_sweep(town, moment, rng, azimuth_steps=steps)
            pose = town.world_from_ego(moment) @ ego_from_lidar(LIDARS["spinning-32"])
            world = sweep.positions @ pose[:3, :3].T + pose[:3, 3]
            kept = (np.abs(world[:, 0] - 40) < APART_M / 2) & (sweep.labels >= 0)
            world[:, 0] += APART_M * number
            world[:, 2] += SLOPE * world[:, 0]
            positions.append(world[kept])
            intensities.append(sweep.intensity[kept])
            labels.append(sweep.labels[kept])
    points = np.concatenate(positions)
    points[:, :2] -= np.median(points[:, :2], axis=0)
    features = torch.as_tensor(np.concatenate(intensities)).float()[:, None]
    merged = np.array([MERGED.get(label, -1) for label in range(max(MERGED) + 1)])
    return PointCloud(torch.as_tensor(points).float(), features), merged[np.concatenate(labels)]


def score(found: np.ndarray, true: np.ndarray) -> str:
    """Give mIoU and accuracy in percent."""
    names = [str(number) for number in range(max(MERGED.values()) + 1)]
    counts = Confusion(len(names))
    counts.update(torch.from_numpy(found), torch.from_numpy(true))
    scores = counts.scores(names)
    return f"{100 * scores.miou:.1f} ({100 * scores.accuracy:.1f})"


def label(segmenter: Segmenter, cloud: PointCloud, *, as_sweep: bool) -> PointLabels:
    """Label a map tile by tile."""
    ground = estimate_ground(cloud.positions) if as_sweep else None
    with tempfile.TemporaryDirectory() as folder:
        options = TileOptions(keep_raw=True)
        found = label_tiles(segmenter, pieces_of(cloud), cloud, Path(folder), options, ground=ground)
        return found.part(0, len(cloud))


def main() -> None:
    """Parse, make the map, label it both ways, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--towns", type=int, default=4)
    parser.add_argument("--moments", type=int, default=8)
    parser.add_argument("--steps", type=int, default=1240, help="firings of a turn of the lidar")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    cloud, true = make_map(args.towns, args.moments, args.steps)
    away = cloud.positions[:, :2].abs().amax(1).numpy()
    segmenter = Segmenter.load("builtin")
    ways = {
        "one sweep": label(segmenter, cloud, as_sweep=True),
        "a map": label(segmenter, cloud, as_sweep=False),
    }
    print("| m from the origin | points | " + " | ".join(f"as {way} | before means" for way in ways) + " |")
    print("|---|---:|" + "---:|" * 2 * len(ways))
    for low, high in RINGS_M:
        here = (away >= low) & (away < high)
        if here.any():
            cells = [
                score(each[here], true[here]) for part in ways.values() for each in (part.labels, part.raw)
            ]
            print(f"| {low} to {min(high, away.max()):.0f} | {here.sum()} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
