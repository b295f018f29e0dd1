"""How well ``clip2scene doctor`` finds faults of a calibration, on towns whose calibration is exact.

    python benchmarks/calibration_check.py

Each camera of each sample is scored with its true calibration and with one spoilt in memory, by each kind and
size of fault: half of the cameras one way, half the other. Then some samples are drawn, and the camera is
judged from those alone, as ``doctor`` would, had it seen no others. The false alarms are those of the true
calibration. The method was worked out on towns of the seeds 501 and 502.
"""

import argparse
import datetime
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.doctor.edge_score import (
    AXES,
    UNITS,
    Velocity,
    find_changes,
    fits_nowhere,
    score_image,
    turn_about,
)
from clip2scene.doctor.lidar_edges import find_lidar_edges
from clip2scene.doctor.timing import find_velocities
from clip2scene.toytown.writers.layouts import write_nuscenes
from clip2scene.toytown.writers.recording import Recording
from clip2scene.types import Camera

SIZES = {"deg": (0.5, 1.0, 5.0), "m": (0.05, 0.1), "s": (0.025, 0.05)}
SHOWN = {"deg": (1, "degree"), "m": (100, "cm"), "s": (1000, "ms")}

Fault = tuple[str, float]


def faults() -> Iterator[Fault]:
    """List the faults; the first is none."""
    yield "none", 0.0
    for axis, unit in zip(AXES, UNITS, strict=True):
        yield from ((axis, size) for size in SIZES[unit])


def misplace(
    camera: Camera,
    axis: str,
    amount: float,
    velocity: Velocity | None = None,
) -> Camera:
    """Spoil a calibration, to find out whether that is noticed; ``find_changes`` then finds minus ``amount``.

    Args:
        camera: With a true calibration.
        axis: One of :data:`AXES`.
        amount: Degrees, metres or seconds.
        velocity: Of the lidar, as in :func:`score_image`; needed for a change in time.
    """
    number, change = AXES.index(axis), torch.eye(4)
    motion = camera.camera_from_lidar
    if axis == "time":
        assert velocity is not None
        turn = velocity[1] * amount
        x, y, z = turn.tolist()
        change[:3, :3] -= torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        change[:3, 3] = -velocity[0] * amount
        return replace(camera, camera_from_lidar=motion @ change)
    if number < 3:
        change[:3, :3] = turn_about(number, amount)
    else:
        change[number - 3, 3] = amount
    return replace(camera, camera_from_lidar=change @ motion)


def score(dataset: NuScenes, numbers: list[int]) -> torch.Tensor:
    """Score every camera of some samples with every fault: faults samples views axes steps."""
    velocities, found = find_velocities(dataset, numbers), []
    for number in numbers:
        sample, velocity = dataset[number], velocities[number]
        assert velocity is not None
        edges = find_lidar_edges(sample.cloud.positions)
        images = [sample.read_image(view) for view in range(len(sample.cameras))]
        for axis, size in faults():
            for view, (camera, image) in enumerate(zip(sample.cameras, images, strict=True)):
                if axis != "none":  # half of the cameras one way, half the other, the same in all samples
                    camera = misplace(camera, axis, size if view % 2 else -size, velocity)
                found.append(score_image(image, camera, sample.cloud.positions, edges, velocity))
    table = torch.stack(found).unflatten(0, (len(numbers), -1, len(images)))
    return table.transpose(0, 1)


def recall(table: torch.Tensor, frames: int, draws: int) -> list[tuple[float, float, float]]:
    """For each fault: the share of cameras that alarm, and how the size was estimated, mean and deviation.

    Frames are shuffled ``draws`` times and dealt into groups of so many, no frame into two groups of a deal.
    """
    rng, rows = np.random.default_rng(1), []
    deals = [rng.permutation(table.shape[1]) for _ in range(draws)]
    groups = [
        deal[first : first + frames] for deal in deals for first in range(0, len(deal) - frames + 1, frames)
    ]
    for scores, (axis, _) in zip(table, faults(), strict=True):
        alarms, sizes = [], []
        for chosen in groups:
            for view in range(scores.shape[1]):
                findings = find_changes(scores[chosen, view])
                alarms.append(findings[0].alarms or fits_nowhere(scores[chosen, view]))
                sizes += [abs(each.best) for each in findings if each.axis == axis]
        rows.append((float(np.mean(alarms)), float(np.mean(sizes or [0])), float(np.std(sizes or [0]))))
    return rows


def main() -> None:
    """Record, spoil, judge, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, help="a town in nuScenes' layout; made if left out")
    parser.add_argument("--scenes", type=int, default=120)
    parser.add_argument("--skip", type=int, default=0, help="scenes to leave out at the start")
    parser.add_argument("--seed", type=int, default=888)
    parser.add_argument("--frames", type=int, nargs="*", default=[5, 10, 20, 40, 60])
    parser.add_argument("--draws", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.data_root or Path(folder) / "town"
        if arguments.data_root is None:
            recording = Recording(keyframes_per_scene=2, sweeps_per_keyframe=1)
            write_nuscenes(
                root, num_scenes=arguments.scenes, seed=arguments.seed, recording=recording, workers=1
            )
        dataset = NuScenes(root, split="train", labels=False)
        names = list(dict.fromkeys(dataset.scenes))[arguments.skip :][: arguments.scenes]
        firsts = [dataset.scenes.index(name) for name in names]
        numbers = sorted([*firsts, *(first + 1 for first in firsts)])
        table = score(dataset, numbers)
    columns = [recall(table, frames, arguments.draws) for frames in arguments.frames]
    print(f"{datetime.datetime.now():%Y-%m-%d}, {len(numbers)} frames of {len(names)} towns, 6 cameras,")
    print(f"{arguments.draws} draws, {time.process_time() - start:.0f} s on one core\n")
    heads = " | ".join(f"{frames} frames" for frames in arguments.frames)
    print(f"| fault | {heads} | estimate at {arguments.frames[-1]} |\n|---|" + "---|" * (len(columns) + 1))
    for number, (axis, size) in enumerate(faults()):
        cells = " | ".join(f"{100 * column[number][0]:.0f}" for column in columns)
        if axis == "none":
            print(f"| none: false alarms | {cells} | |")
            continue
        factor, unit = SHOWN[UNITS[AXES.index(axis)]]
        mean, deviation = (factor * each for each in columns[-1][number][1:])
        print(f"| {axis} {factor * size:g} {unit} | {cells} | {mean:.2f} +- {deviation:.2f} |")


if __name__ == "__main__":
    main()
