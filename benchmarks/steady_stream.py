"""What a memory of the last seconds does for the labels of a drive: mIoU, and how much labels flicker.

``python benchmarks/steady_stream.py``: drives through varied towns of toytown, ten sweeps a second, labelled
by ``builtin`` sweep by sweep, and by :class:`~clip2scene.inference.stream.SegmenterStream` with each memory.
Flicker is the share of cubes of 20 cm, seen in two sweeps one after the other, whose label changes.
The first second of each drive is not judged. ``--first 800`` are towns that settings were chosen
on.
"""

import argparse

import numpy as np
import torch
from hilly_map import MERGED
from scipy import stats

from clip2scene.evaluation.metrics import Confusion
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.stream import SegmenterStream, StreamOptions
from clip2scene.toytown.lidars import LIDARS, ego_from_lidar
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.types import PointCloud

NAMES = [str(number) for number in range(max(MERGED.values()) + 1)]


class Judge:
    """Counts right and wrong labels of one way of labelling, and how often they change."""

    def __init__(self) -> None:
        self.drives: list[Confusion] = []
        self.changed = self.met = 0
        self.before = np.empty(0, np.int64), np.empty(0, np.int64)

    def forget(self) -> None:
        """Begin another drive."""
        self.drives.append(Confusion(len(NAMES)))
        self.before = np.empty(0, np.int64), np.empty(0, np.int64)

    def add(self, labels: np.ndarray, true: np.ndarray, cubes: np.ndarray, *, judged: bool) -> None:
        """Take the labels of a sweep."""
        places, which = self.before
        cubes, first = np.unique(cubes, return_index=True)
        _, now, then = np.intersect1d(cubes, places, assume_unique=True, return_indices=True)
        self.before = cubes, labels[first]
        if judged:
            self.drives[-1].update(torch.from_numpy(labels), torch.from_numpy(true))
            self.changed += int((labels[first][now] != which[then]).sum())
            self.met += len(now)

    def miou_of_drives(self) -> np.ndarray:
        """Give the mIoU of each drive, in percent, over the classes that are there."""
        return np.array([100 * counts.scores(NAMES).miou for counts in self.drives])

    def row(self, name: str, alone: "Judge") -> str:
        """Give a row of the table: scores of all drives together, and the gain over each sweep by itself."""
        every = Confusion(len(NAMES))
        for drive in self.drives:
            every.counts += drive.counts
            every.unanswered += drive.unanswered
        scores, flicker = every.scores(NAMES), 100 * self.changed / self.met
        told = f"| {name} | {100 * scores.miou:.1f} | {100 * scores.accuracy:.1f} | {flicker:.1f} |"
        gains = self.miou_of_drives() - alone.miou_of_drives()
        if self is alone or len(gains) < 2:
            return f"{told} |"
        p = stats.ttest_1samp(gains, 0).pvalue
        return f"{told} {gains.mean():+.1f} +- {gains.std(ddof=1):.1f} (p {p:.3f}) |"


def main() -> None:
    """Parse, drive, label both ways, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--first", type=int, default=900)
    parser.add_argument("--towns", type=int, default=8)
    parser.add_argument("--sweeps", type=int, default=30)
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0])
    parser.add_argument("--cube", type=float, nargs="+", default=[0.4])
    parser.add_argument("--steps", type=int, default=720, help="firings of a turn of the lidar")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    segmenter = Segmenter.load("builtin")
    ways = [StreamOptions(seconds, cube) for seconds in args.seconds for cube in args.cube]
    alone, judges = Judge(), [Judge() for _ in ways]
    merged = np.array([MERGED.get(label, -1) for label in range(256)])
    for number in range(args.first, args.first + args.towns):
        town, rng = build_town(number, varied=True), np.random.default_rng(number)
        streams = [SegmenterStream(segmenter, way) for way in ways]
        for judge in (alone, *judges):
            judge.forget()
        for time_s in np.arange(args.sweeps) / 10 + 1:
            sweep = lidar_sweep(town, time_s, rng, azimuth_steps=args.steps)
            pose = town.world_from_ego(time_s) @ ego_from_lidar(LIDARS["spinning-32"])
            features = torch.as_tensor(sweep.intensity).float()[:, None]
            cloud = PointCloud(torch.as_tensor(sweep.positions).float(), features)
            cubes = np.floor((sweep.positions @ pose[:3, :3].T + pose[:3, 3]) / 0.2).astype(np.int64) + 2**15
            places = (cubes[:, 0] << 32) + (cubes[:, 1] << 16) + cubes[:, 2]
            true = np.where(sweep.labels < 0, -1, merged[sweep.labels.clip(0, 255)])
            found = [segmenter.segment(cloud).labels]
            found += [stream.push(cloud, torch.as_tensor(pose), float(time_s)).labels for stream in streams]
            for judge, labels in zip((alone, *judges), found, strict=True):
                judge.add(labels.numpy(), true, places, judged=time_s >= 2)
    print("| | mIoU | right, % | flicker, % | gain in mIoU of a drive |\n|---|---:|---:|---:|---:|")
    print(alone.row("each sweep by itself", alone))
    for way, judge in zip(ways, judges, strict=True):
        print(judge.row(f"memory of {way.seconds:g} s in cubes of {way.cube_m:g} m", alone))


if __name__ == "__main__":
    main()
