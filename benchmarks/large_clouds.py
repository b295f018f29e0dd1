"""Time and peak memory of ``segment`` on large LAS files, in pieces and tile by tile.

``python benchmarks/large_clouds.py --millions 1.1 10``. A file is a grid of squares of 60 m, each the middle
of a sweep of toytown, repeated with 2 cm of noise to 500 points a square metre; point format 6, 30 bytes a
point. Each is labelled by ``builtin`` with four words in a process of its own, on one thread; first
comes one of 50,000 points, which is read and labelled at once.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import laspy
import numpy as np

from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town.world import build_town

SIDE_M = 60.0
A_SQUARE_METRE = 500
_LABEL = """
import resource, sys, time
from pathlib import Path
import torch
from clip2scene.inference.segment import SegmentOptions, segment_files
torch.set_num_threads(1)
torch.set_float32_matmul_precision("medium")
began = time.process_time(), time.time()
segment_files(
    Path("builtin"), [Path(sys.argv[1])], ["car", "road", "tree", "building"], Path(sys.argv[2]),
    SegmentOptions(unlike="accept", picture=False), note=lambda _: None,
)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.process_time() - began[0], time.time() - began[1], peak)
"""


def write_map(path: Path, points: int) -> None:
    """Write a LAS file of squares of 60 m, each the middle of a town, on a grid."""
    square = round(A_SQUARE_METRE * SIDE_M**2)
    count = max(1, round(points / square))
    a_square, columns = points // count, int(np.ceil(np.sqrt(count)))
    header = laspy.LasHeader(point_format=6, version="1.4")
    header.scales, header.offsets = [0.001] * 3, [4.5e5, 5.4e6, 0]
    rng = np.random.default_rng(0)
    towns = [lidar_sweep(build_town(50_000 + number), 1.0, rng, azimuth_steps=2160) for number in range(4)]
    with laspy.open(path, mode="w", header=header) as writer:
        for number in range(count):
            sweep = towns[number % len(towns)]
            near = np.flatnonzero((np.abs(sweep.positions[:, :2]) < SIDE_M / 2).all(1))
            chosen = rng.choice(near, a_square)
            record = laspy.ScaleAwarePointRecord.zeros(a_square, header=header)
            xyz = sweep.positions[chosen] + rng.normal(0, 0.02, (a_square, 3))
            record.x = xyz[:, 0] + 4.5e5 + SIDE_M * (number % columns - columns // 2)
            record.y = xyz[:, 1] + 5.4e6 + SIDE_M * (number // columns - columns // 2)
            record.z = xyz[:, 2]
            record.intensity = (65535 * sweep.intensity[chosen]).astype(np.uint16)
            writer.write_points(record)


def main() -> None:
    """Parse, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--millions", type=float, nargs="+", default=[1.1, 10.0])
    parser.add_argument("--folder", type=Path, help="for the files; a temporary one by default")
    args = parser.parse_args()
    print("| points | file, MB | CPU s | s | peak, MB |")
    print("|---:|---:|---:|---:|---:|")
    for millions in [0.05, *args.millions]:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder) / "map.las"
            write_map(path, round(1e6 * millions))
            command = [sys.executable, "-c", _LABEL, str(path), str(Path(folder) / "out")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            busy, waited, peak = map(float, done.stdout.split())
            size = path.stat().st_size / 1e6
            row = f"{millions:g} million | {size:.0f} | {busy:.0f} | {waited:.0f} | {peak * 1.024e-3:.0f}"
            print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
