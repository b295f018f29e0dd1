"""How far KISS-ICP's poses are from the true ones, on drives through the embedded world.

    python benchmarks/lidar_odometry.py

24 sweeps of 0.1 s in each of the towns 0 to 2, of which nothing but the clouds is told.
"""

import time

import numpy as np

from clip2scene.datasets.convert.lidar_odometry import estimate_poses
from clip2scene.toytown.sensors import ego_from_lidar, lidar_sweep
from clip2scene.toytown.town.world import build_town

SWEEPS, HALF_SECOND = 24, 5


def main() -> None:
    """Print the errors of each town."""
    for seed in range(3):
        town, clouds, places = build_town(seed), [], []
        for number in range(SWEEPS):
            seconds = 0.5 + 0.1 * number
            sweep = lidar_sweep(town, seconds, np.random.default_rng([1, number]), azimuth_steps=540)
            clouds.append((1_000_000 + 100_000 * number, sweep.positions.astype(np.float32)))
            places.append(town.world_from_ego(seconds) @ ego_from_lidar())
        begin = time.perf_counter()
        found = estimate_poses(clouds, f"town {seed}").poses.numpy()
        seconds = (time.perf_counter() - begin) / SWEEPS
        truth = np.linalg.inv(places[0]) @ np.array(places)
        off = np.linalg.norm((np.linalg.inv(truth) @ found)[:, :3, 3], axis=1)
        way = np.linalg.norm(np.diff(truth[:, :3, 3], axis=0), axis=1).sum()
        early, late = slice(SWEEPS // 2, -HALF_SECOND), slice(SWEEPS // 2 + HALF_SECOND, None)
        steps = [np.linalg.inv(poses[early]) @ poses[late] for poses in (found, truth)]
        short = np.linalg.norm((steps[0] - steps[1])[:, :3, 3], axis=1).max()
        print(
            f"town {seed}: {off.max():.2f} m off after {way:.1f} m; at most {100 * short:.0f} cm over half a "
            f"second, after the first 1.2 s; {seconds:.2f} s a sweep of {len(clouds[0][1])} points"
        )


if __name__ == "__main__":
    main()
