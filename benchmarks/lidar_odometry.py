"""How far KISS-ICP's poses are from the true ones.

    python benchmarks/lidar_odometry.py [--pandaset DATA/pandaset-002]

24 sweeps of 0.1 s in each of the towns 0 to 2, of which nothing but the clouds is told; and a real drive in
PandaSet's layout, whose poses are GNSS-aided.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from clip2scene.datasets.convert.lidar_odometry import estimate_poses
from clip2scene.datasets.pandaset.loader import PandaSet
from clip2scene.toytown.sensors import ego_from_lidar, lidar_sweep
from clip2scene.toytown.town.world import build_town

SWEEPS, SECOND, HALF_SECOND = 24, 10, 5


def compare(name: str, clouds: list, places: np.ndarray) -> None:
    """Print the errors of a drive, whose clouds follow each other every 0.1 s."""
    begin = time.perf_counter()
    found = estimate_poses(clouds, name).poses.numpy()
    seconds = (time.perf_counter() - begin) / len(clouds)
    truth = np.linalg.inv(places[0]) @ places
    off = np.linalg.norm((np.linalg.inv(truth) @ found)[:, :3, 3], axis=1)
    way = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).sum()
    early, late = slice(SECOND, -HALF_SECOND), slice(SECOND + HALF_SECOND, None)
    steps = [np.linalg.inv(poses[early]) @ poses[late] for poses in (found, truth)]
    short = np.linalg.norm((steps[0] - steps[1])[:, :3, 3], axis=1).max()
    print(
        f"{name}: {way:.1f} m, at most {off.max():.3f} m off, {off[SECOND]:.3f} m after 1 s, {off[-1]:.3f} m "
        f"at the end; from 1 s on, at most {100 * short:.0f} cm over half a second; {seconds:.2f} s a sweep "
        f"of {len(clouds[0][1])} points"
    )


def main() -> None:
    """Compare the towns, and a real drive if one is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pandaset", type=Path)
    folder = parser.parse_args().pandaset
    for seed in range(3):
        town, clouds, places = build_town(seed), [], []
        for number in range(SWEEPS):
            at = 0.5 + 0.1 * number
            sweep = lidar_sweep(town, at, np.random.default_rng([1, number]), azimuth_steps=540)
            clouds.append((1_000_000 + 100_000 * number, sweep.positions.astype(np.float32)))
            places.append(town.world_from_ego(at) @ ego_from_lidar())
        compare(f"town {seed}", clouds, np.array(places))
    if folder is not None:
        drive = PandaSet(folder, split=None, labels=False)
        told = [drive.timestamps(number) for number in range(len(drive))]
        clouds = [(each.cloud_us, drive[n].cloud.positions.numpy()) for n, each in enumerate(told)]
        compare(folder.name, clouds, np.array([each.world_from_cloud.numpy() for each in told]))


if __name__ == "__main__":
    main()
