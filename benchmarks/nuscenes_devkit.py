"""Where the official nuScenes devkit puts points in images, against where this package does.

The devkit wants an older NumPy, so it runs in an environment of its own and writes what it found:

    python3 -m venv devkit && devkit/bin/pip install nuscenes-devkit matplotlib
    devkit/bin/python benchmarks/nuscenes_devkit.py project --data-root town --found devkit.npz
    python benchmarks/nuscenes_devkit.py compare --data-root town --found devkit.npz

The devkit computes in float32 in the city's frame, far from its origin. So the same way is also gone
in float64, from the tables, and both are compared with that. Pairs are matched by place: at the images'
borders, rounding decides which are kept.
"""

import argparse
import json
from pathlib import Path

import numpy as np

VERSION = "v1.0-trainval"


def project(data_root: Path, found: Path) -> None:
    """Let the devkit open the data set and project every keyframe into every camera."""
    from nuscenes.nuscenes import NuScenes

    devkit = NuScenes(version=VERSION, dataroot=str(data_root), verbose=True)
    pairs = {}
    for sample in devkit.sample:
        for camera in (channel for channel in sample["data"] if channel.startswith("CAM_")):
            points, depths, _ = devkit.explorer.map_pointcloud_to_image(
                sample["data"]["LIDAR_TOP"], sample["data"][camera]
            )
            pairs[f"{sample['token']}/{camera}"] = np.vstack([points[:2], depths])
    np.savez(found, **pairs)


class Chain:
    """The way from a lidar's points to pixels in float64, from the tables alone."""

    def __init__(self, data_root: Path) -> None:
        """Read the tables."""
        rows = {
            name: json.loads((data_root / VERSION / f"{name}.json").read_text())
            for name in ("sample_data", "ego_pose", "calibrated_sensor", "sensor")
        }
        self._poses = {row["token"]: row for row in rows["ego_pose"]}
        self._sensors = {row["token"]: row for row in rows["calibrated_sensor"]}
        channels = {row["token"]: row["channel"] for row in rows["sensor"]}
        self._files = {
            (
                row["sample_token"],
                channels[self._sensors[row["calibrated_sensor_token"]]["sensor_token"]],
            ): row
            for row in rows["sample_data"]
            if row["is_key_frame"]
        }
        self._root = data_root

    def project(self, token: str, camera: str) -> np.ndarray:
        """Give u, v and depth of every point, in the file's order."""
        lidar, image = self._files[token, "LIDAR_TOP"], self._files[token, camera]
        cloud = np.fromfile(self._root / lidar["filename"], "<f4").reshape(-1, 5)[:, :3].astype(np.float64)
        world = self._place(lidar) @ np.vstack([cloud.T, np.ones(len(cloud))])
        rays = np.linalg.inv(self._place(image)) @ world
        intrinsics = np.array(self._sensors[image["calibrated_sensor_token"]]["camera_intrinsic"])
        pixels = intrinsics @ rays[:3]
        return np.vstack([pixels[:2] / pixels[2], rays[2]])

    def _place(self, file: dict) -> np.ndarray:
        """Give the pose of a sensor in the city."""
        pose, sensor = self._poses[file["ego_pose_token"]], self._sensors[file["calibrated_sensor_token"]]
        return _rigid(pose) @ _rigid(sensor)


def _rigid(row: dict) -> np.ndarray:
    w, x, y, z = np.array(row["rotation"]) / np.linalg.norm(row["rotation"])
    motion = np.eye(4)
    motion[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    motion[:3, 3] = row["translation"]
    return motion


def compare(data_root: Path, found: Path) -> None:
    """Print how far the devkit's pixels and ours lie from each other and from float64's."""
    from scipy.spatial import cKDTree

    from clip2scene.datasets.nuscenes.loader import NuScenes
    from clip2scene.geometry.projection import project_points

    theirs, chain = np.load(found), Chain(data_root)
    gaps: dict[str, list[np.ndarray]] = {"devkit, ours": [], "devkit, float64": [], "ours, float64": []}
    borderline = 0
    for split in ("train", "val"):
        dataset = NuScenes(data_root, split=split, labels=False)
        for sample in (dataset[number] for number in range(len(dataset))):
            pairs = project_points(sample.cloud.positions, sample.cameras, border=-0.5)
            for view, camera in enumerate(sample.cameras):
                u, v = pairs.pixels.T
                kept = (pairs.views == view) & (pairs.depths > 1) & (u > 1) & (v > 1)
                kept &= (u < camera.width - 1) & (v < camera.height - 1)  # as the devkit keeps them
                ours, exact = pairs.pixels[kept].T.numpy(), chain.project(sample.token, camera.name)
                exact = exact[:2, pairs.points[kept].numpy()]
                official = theirs[f"{sample.token}/{camera.name}"]
                own = np.vstack([ours, pairs.depths[kept].numpy()])
                far, nearest = cKDTree(official.T).query(own.T)
                both = far < 0.1
                borderline += len(official.T) + len(own.T) - 2 * int(both.sum())
                official, ours, exact = official[:2, nearest[both]], ours[:, both], exact[:, both]
                for name, gap in zip(gaps, (official - ours, official - exact, ours - exact), strict=True):
                    gaps[name].append(np.abs(gap).max(0))
    print("| pixels between | median | 99.9 % | worst | within 0.001 |\n|---|---:|---:|---:|---:|")
    for name, parts in gaps.items():
        gap = np.concatenate(parts)
        shown = f"{np.median(gap):.1e} | {np.quantile(gap, 0.999):.1e} | {gap.max():.1e}"
        print(f"| {name} | {shown} | {100 * (gap < 1e-3).mean():.3f} % |")
    print(f"\n{len(gap)} pairs, {borderline} of one side alone, at the borders")


def main() -> None:
    """Do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("project", "compare"))
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--found", type=Path, required=True)
    asked = parser.parse_args()
    {"project": project, "compare": compare}[asked.what](asked.data_root, asked.found)


if __name__ == "__main__":
    main()
