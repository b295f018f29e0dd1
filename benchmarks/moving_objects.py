"""Measure on toytown what moving things do to earlier sweeps, and what is done about it.

    python benchmarks/moving_objects.py [--streets 24] [--first-town 1300000] [--sweeps 3 5]

Each street is recorded at one moment: a keyframe, its earlier sweeps (chosen as the nuScenes loader does),
six images. The town knows where each thing was at any time, so it knows which earlier points lie on things
that have moved by more than 0.3 m when the keyframe is taken, and the true class of every pixel. Earlier
points are carried into the keyframe's frame and paired with the pixels they project to. A pair is wrong when
the pixel shows another class than the point's; a moved point is harmful when it is in a wrong pair. IoU of a
group is that of the pixels' and the points' classes over the pairs. The parameters of ``seen_through`` were
chosen on towns 1200000-1200011.
"""

import argparse
import datetime
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clip2scene.classes.tables import NUSCENES
from clip2scene.datasets.nuscenes.records import choose_sweeps
from clip2scene.geometry.dynamic_points import seen_through
from clip2scene.geometry.projection import drop_occluded, project_points
from clip2scene.toytown.sensors import (
    Sweep,
    camera_rig,
    ego_from_lidar,
    lidar_sweep,
    render_camera,
)
from clip2scene.toytown.town.world import Town, build_town
from clip2scene.toytown.writers.recording import EXPOSURE_LEAD_US
from clip2scene.types import Camera

MOVED_M = 0.3
SWEEP_US = 50_000
GROUPS = {"vehicles": ("bus", "car", "truck"), "pedestrians": ("pedestrian",)}
TREATMENTS: dict[str, tuple[str, bool]] = {
    "only projected": ("none", False),
    "`drop_occluded`": ("none", True),
    "`seen_through`, `drop_occluded`": ("seen", True),
    "true motion, `drop_occluded`": ("truth", True),
}


@dataclass(frozen=True)
class Points:
    """A sweep in the keyframe's frame: positions, true classes, and which points lie on what has moved."""

    positions: Tensor
    labels: np.ndarray
    moved: np.ndarray


@dataclass(frozen=True)
class Street:
    """One moment of a town: the keyframe's points, earlier sweeps by age in sweeps, cameras, true classes."""

    keyframe: Points
    earlier: dict[int, Points]
    cameras: tuple[Camera, ...]
    classes: np.ndarray


def record(seed: int, ages: Sequence[int]) -> Street:
    """Record a keyframe, the sweeps of some ages before it, and the images."""
    town, rng = build_town(seed), np.random.default_rng(seed)
    now_s = float(rng.uniform(1.0, Town.duration_s - 1.0))
    world_from_key = town.world_from_ego(now_s) @ ego_from_lidar()
    cameras, classes = [], []
    for each in camera_rig():
        exposed_s = now_s - EXPOSURE_LEAD_US[each.name] / 1e6
        pose = town.world_from_ego(exposed_s) @ each.ego_from_camera
        picture = render_camera(town.at(exposed_s), pose, each.intrinsics, each.width, each.height, rng)
        matrix = torch.from_numpy(np.linalg.inv(pose) @ world_from_key).float()
        intrinsics = torch.from_numpy(each.intrinsics).float()
        cameras.append(Camera(each.name, intrinsics, matrix, each.width, each.height))
        classes.append(picture.labels)
    earlier = {}
    for age in ages:
        end_s = now_s - age * SWEEP_US / 1e6
        sweep = lidar_sweep(town, end_s, rng)
        world_from_sweep = town.world_from_ego(end_s) @ ego_from_lidar()
        earlier[age] = carry(town, sweep, world_from_sweep, world_from_key, end_s, now_s)
    sweep = lidar_sweep(town, now_s, rng)
    keyframe = Points(torch.from_numpy(sweep.positions), sweep.labels, np.zeros(len(sweep.labels), bool))
    return Street(keyframe, earlier, tuple(cameras), np.stack(classes))


def carry(
    town: Town,
    sweep: Sweep,
    world_from_sweep: np.ndarray,
    world_from_key: np.ndarray,
    end_s: float,
    now_s: float,
) -> Points:
    """Carry a sweep into the keyframe's frame, and find out which of its points have moved since."""
    world = sweep.positions.astype(np.float64) @ world_from_sweep[:3, :3].T + world_from_sweep[:3, 3]
    travelled = np.zeros(len(world))
    now = town.poses(now_s)[sweep.instances]
    for measured_s in np.unique(sweep.times_s):
        mine = sweep.times_s == measured_s
        then = town.poses(end_s + float(measured_s))[sweep.instances[mine]]
        turn = now[mine, 3] - then[:, 3]
        offset = world[mine] - then[:, :3]
        x = np.cos(turn) * offset[:, 0] - np.sin(turn) * offset[:, 1]
        y = np.sin(turn) * offset[:, 0] + np.cos(turn) * offset[:, 1]
        later = np.stack([x, y, offset[:, 2]], 1) + now[mine, :3]
        travelled[mine] = np.linalg.norm(later - world[mine], axis=1)
    key_from_world = np.linalg.inv(world_from_key)
    positions = world @ key_from_world[:3, :3].T + key_from_world[:3, 3]
    return Points(torch.from_numpy(positions).float(), sweep.labels, travelled > MOVED_M)


def judge(street: Street, ages: Sequence[int], counts: dict[str, Counter]) -> None:
    """Count points and pairs of the keyframe with the sweeps of some ages, under every treatment."""
    sweeps = [street.keyframe, *(street.earlier[age] for age in ages)]
    positions = torch.cat([sweep.positions for sweep in sweeps])
    labels = np.concatenate([sweep.labels for sweep in sweeps])
    moved = np.concatenate([sweep.moved for sweep in sweeps])
    called = [seen_through(sweep.positions, street.keyframe.positions).numpy() for sweep in sweeps[1:]]
    seen = np.concatenate([np.zeros(len(street.keyframe.labels), bool), *called])
    is_earlier = np.arange(len(moved)) >= len(street.keyframe.labels)
    gone = {"none": np.zeros_like(moved), "seen": seen, "truth": moved}
    harmful = np.zeros_like(moved)
    for name, (removed, hides) in TREATMENTS.items():
        kept = torch.from_numpy(np.flatnonzero(~gone[removed]))
        pairs = project_points(positions[kept], street.cameras)
        pairs = drop_occluded(pairs, street.cameras) if hides else pairs
        points = kept[pairs.points].numpy()
        column, row = pairs.pixels.round().long().numpy().T
        shown = street.classes[pairs.views.numpy(), row, column]
        for title, mine in ((name, is_earlier[points]), (f"keyframe, {name}", ~is_earlier[points])):
            counts[title] += count_pairs(shown[mine], labels[points][mine], moved[points][mine])
        if removed == "none":
            harmful[points[(shown != labels[points]) & moved[points]]] = True
    both, caught = seen & moved, seen & harmful
    sets = {"moved": moved, "called": seen, "both": both, "harmful": harmful, "caught": caught}
    counts["points"] += Counter(all=is_earlier.sum(), **{name: each.sum() for name, each in sets.items()})


def count_pairs(shown: np.ndarray, labels: np.ndarray, moved: np.ndarray) -> Counter:
    """Count pairs, wrong ones, and for each group those where pixel and point, or either, are of it."""
    wrong = shown != labels
    found = Counter(pairs=len(shown), wrong=wrong.sum(), moved=(wrong & moved).sum())
    for group, names in GROUPS.items():
        numbers = [NUSCENES.classes.index(name) for name in names]
        pixel, point = np.isin(shown, numbers), np.isin(labels, numbers)
        found += Counter({f"{group} both": (pixel & point).sum(), f"{group} either": (pixel | point).sum()})
    return found


def report_test(sweeps: int, points: Counter) -> None:
    """Print how well the test finds what moved."""
    shares = (("moved", "all"), ("both", "called"), ("both", "moved"), ("caught", "harmful"))
    percent = " | ".join(f"{100 * points[part] / points[whole]:.1f}" for part, whole in shares)
    print(f"| {sweeps} | {points['all']:,} | {percent} |")


def report_pairs(sweeps: int, counts: dict[str, Counter]) -> None:
    """Print what the pairs are worth, after each treatment."""
    own = "keyframe, `drop_occluded`"
    for title, name in ((own, "(the keyframe's, `drop_occluded`)"), *((name, name) for name in TREATMENTS)):
        found = counts[title]
        wrong, moved = (100 * found[part] / found["pairs"] for part in ("wrong", "moved"))
        ious = [100 * found[f"{group} both"] / found[f"{group} either"] for group in GROUPS]
        groups = " | ".join(f"{iou:.1f}" for iou in ious)
        print(f"| {sweeps} | {name} | {found['pairs']:,} | {wrong:.2f} | {moved:.2f} | {groups} |")


def main() -> None:
    """Record, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streets", type=int, default=24)
    parser.add_argument("--first-town", type=int, default=1_300_000)
    parser.add_argument("--sweeps", type=int, nargs="*", default=[3, 5], help="the keyframe included")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    key_us = 500_000
    times = range(0, key_us + 1, SWEEP_US)
    ages = {
        number: [(key_us - times[place]) // SWEEP_US for place in choose_sweeps(times, key_us, number - 1)]
        for number in arguments.sweeps
    }
    counts: dict[int, dict[str, Counter]] = {number: defaultdict(Counter) for number in ages}
    for seed in range(arguments.first_town, arguments.first_town + arguments.streets):
        street = record(seed, sorted({age for chosen in ages.values() for age in chosen}))
        for number, chosen in ages.items():
            judge(street, chosen, counts[number])
    towns = f"towns {arguments.first_town}-{arguments.first_town + arguments.streets - 1}"
    print(f"{datetime.datetime.now():%Y-%m-%d}, {towns}, {time.process_time() - start:.0f} s on one core\n")
    columns = ("sweeps", "earlier points", "moved %", "precision %", "recall %", "recall of harmful %")
    print("|", " | ".join(columns), "|\n" + "|---" * len(columns) + "|")
    for number, found in counts.items():
        report_test(number, found["points"])
    ious = [f"{group} IoU %" for group in GROUPS]
    columns = ("sweeps", "earlier points' pairs", "pairs", "wrong %", "wrong and moved %", *ious)
    print("\n|", " | ".join(columns), "|\n" + "|---" * len(columns) + "|")
    for number, found in counts.items():
        report_pairs(number, found)


if __name__ == "__main__":
    main()
