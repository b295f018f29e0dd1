"""How long one sweep takes to label, stage by stage, and how long until a fresh process has its first labels.

``python benchmarks/latency.py``: sweeps of about 34,000 points of toytown, each of another street, labelled
by ``builtin`` one at a time on one thread with four words. Processor time and time passed, in ms: the median
and the 95th percentile. A stage within another counts for itself. Then three processes import, open and label
one sweep; the least time of each step.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clip2scene.datasets.clouds import read_cloud
from clip2scene.inference import predict, segmenter
from clip2scene.inference.segmenter import Segmenter
from clip2scene.student.inputs import InputOptions
from clip2scene.student.model import Embedder
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import build_town
from clip2scene.types import Prompts

WORDS = ["car", "road", "tree", "building"]
STEPS = 1170
STAGES: tuple[tuple[str, Any, str], ...] = (
    ("level", InputOptions, "find_levelling"),
    ("heights, quantiles", segmenter, "prepare_cloud"),
    ("superpoints", predict, "find_superpoints"),
    ("network", Embedder, "forward_to"),
    ("votes", predict, "average_within"),
    ("names to words", Prompts, "best_name"),
    ("scores", Segmenter, "_all_scores"),
)
_START = """
import time
began = time.perf_counter()
def said(what):
    print(what, 1e3 * (time.perf_counter() - began), 1e3 * time.process_time(), sep=":", flush=True)
import torch
torch.set_num_threads(1)
torch.set_float32_matmul_precision("medium")
said("import torch")
from clip2scene.inference.segmenter import Segmenter
from clip2scene.datasets.clouds import read_cloud
said("import clip2scene")
import sys
segmenter = Segmenter.load("builtin")
said("open the student")
segmenter.set_prompts(["car", "road", "tree", "building"])
said("place the words")
cloud = read_cloud(sys.argv[1])
said("read the sweep")
segmenter.segment(cloud)
said("label it")
"""


class Clock:
    """Adds up what stages take, each without those inside of it."""

    def __init__(self) -> None:
        self.spent: dict[str, list[np.ndarray]] = {}
        self._inner: list[np.ndarray] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block takes."""
        self._inner.append(np.zeros(2))
        began = np.array([time.process_time(), time.perf_counter()])
        try:
            yield
        finally:
            whole = np.array([time.process_time(), time.perf_counter()]) - began
            own = whole - self._inner.pop()
            if self._inner:
                self._inner[-1] += whole
            self.spent.setdefault(name, []).append(own)

    def watch(self, owner: Any, attribute: str, name: str) -> None:  # noqa: ANN401 - a module or a class
        """Count each call of a function."""
        function: Callable[..., Any] = getattr(owner, attribute)

        def counted(*args: Any, **options: Any) -> Any:  # noqa: ANN401
            with self.stage(name):
                return function(*args, **options)

        setattr(owner, attribute, counted)


def write_sweep(path: Path, town: int) -> int:
    """Write a sweep of a street as KITTI has it; say how many points it has."""
    sweep = lidar_sweep(build_town(town), 1.0, np.random.default_rng(town), azimuth_steps=STEPS)
    rows = np.column_stack([sweep.positions, sweep.intensity]).astype("<f4")
    path.write_bytes(rows.tobytes())
    return len(rows)


def measure_sweeps(paths: list[Path]) -> None:
    """Label each sweep, and print a table of the stages."""
    segmenter = Segmenter.load("builtin")
    segmenter.set_prompts(WORDS)
    segmenter.segment(read_cloud(paths[0]))
    clock, whole = Clock(), Clock()
    for name, owner, attribute in STAGES:
        clock.watch(owner, attribute, name)
    for path in paths:
        with whole.stage("all"), clock.stage("the rest"):
            with clock.stage("read"):
                cloud = read_cloud(path)
            segmenter.segment(cloud)
    print("| stage | CPU ms, median | 95 % | ms, median | 95 % |\n|---|---:|---:|---:|---:|")
    for name, spent in [*clock.spent.items(), *whole.spent.items()]:
        times = 1e3 * np.array(spent).reshape(len(paths), -1, 2).sum(1)
        cells = [f"{value:.1f}" for column in times.T for value in np.percentile(column, [50, 95])]
        print(f"| {name} | {' | '.join(cells)} |")


def measure_start(path: Path, times: int) -> None:
    """Start processes that label one sweep, and print when each step was done."""
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in range(times):
        command = [sys.executable, "-c", _START, str(path)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        for line in said.splitlines():
            name, passed, busy = line.split(":")
            found.setdefault(name, []).append((float(passed), float(busy)))
    print("\n| from the start until the end of | ms | CPU ms |\n|---|---:|---:|")
    for name, spent in found.items():
        print(f"| {name} | {min(each[0] for each in spent):.0f} | {min(each[1] for each in spent):.0f} |")


def main() -> None:
    """Parse, write sweeps, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=40)
    parser.add_argument("--starts", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.bin" for number in range(args.sweeps)]
        counts = [write_sweep(path, 60_000 + number) for number, path in enumerate(paths)]
        print(f"{len(paths)} sweeps of {min(counts)} to {max(counts)} points\n")
        measure_sweeps(paths)
        measure_start(paths[0], args.starts)


if __name__ == "__main__":
    main()
