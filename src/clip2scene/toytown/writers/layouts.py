"""Toytown written as a data set, in the layouts of public ones.

:func:`write_nuscenes` records drives through many towns as nuScenes v1.0, so that every program that reads
nuScenes reads them: tables, ``samples/``, ``sweeps/``, ``lidarseg/`` and ``maps/``.
:func:`write_semantic_kitti` records the same drives as SemanticKITTI: ``sequences/``.
:func:`write_drive_log` records them in the layout of own recordings. :func:`write_scannet` walks through
furnished rooms instead and records ScanNet's ``scans/``.
"""

import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from clip2scene.io import new_folder
from clip2scene.parallel import progress_bar
from clip2scene.toytown.rooms.room_scan import Walk, labels_table, record_room
from clip2scene.toytown.writers import log_drive
from clip2scene.toytown.writers.kitti_drive import record_sequence
from clip2scene.toytown.writers.nuscenes_drive import Drive
from clip2scene.toytown.writers.nuscenes_tables import VERSION, Tables, fixed_tables
from clip2scene.toytown.writers.recording import Recording

_TOWNS_PER_SEED = 1_000_000
_FIRST_VAL_TOWN = 500_000

Job = tuple[Path, str, int, int, Any]
Rows = dict[str, list[Any]]


def write_nuscenes(
    out: Path,
    *,
    num_scenes: int,
    num_val_scenes: int = 0,
    seed: int = 0,
    recording: Recording | None = None,
    workers: int = 2,
) -> None:
    """Drive through toytown and write the recordings as nuScenes v1.0.

    The same arguments write the same files, byte for byte, however many workers share the work. Each scene is
    a drive through a town of its own; the towns of ``val`` do not depend on how many there are in ``train``.
    Beside the tables lies ``splits.json`` with the scenes of ``train`` and ``val``. Everything is made in a
    folder beside ``out``, which takes its name only when it is complete.

    Args:
        out: Folder to make.
        num_scenes: Scenes of the split ``train``.
        num_val_scenes: Scenes of the split ``val``.
        seed: Which towns; different seeds share none.
        recording: What each drive records; None takes the defaults.
        workers: Processes to share the scenes among; 1 stays in this process.

    Raises:
        ValueError: If ``out`` exists and is not an empty folder, or a number is out of range.
    """
    _check_numbers(num_scenes, num_val_scenes, seed, workers)
    with new_folder(out) as root:
        jobs = list(_plan(root, num_scenes, num_val_scenes, seed, recording or Recording()))
        tables = fixed_tables()
        for scene in _record_all(jobs, workers):
            for table, rows in scene.items():
                tables.setdefault(table, []).extend(rows)
        names = [name for _, name, *_ in jobs]
        splits = {"train": names[:num_scenes], "val": names[num_scenes:]}
        for table, content in {**tables, "splits": splits}.items():
            path = root / VERSION / f"{table}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")


def write_semantic_kitti(
    out: Path,
    *,
    num_scenes: int,
    num_val_scenes: int = 0,
    seed: int = 0,
    recording: Recording | None = None,
    workers: int = 2,
) -> None:
    """Drive through toytown and write the recordings in SemanticKITTI's layout, a drive a sequence.

    Towns, moments and clouds are those of :func:`write_nuscenes` with the same arguments, but every sweep has
    labels and an image of its own, from the front camera alone. Sequences take the numbers of SemanticKITTI's
    own splits as long as there are any (train 00-07, 09, 10; val 08), then those from 22 on; ``splits.json``
    beside ``sequences/`` lists them. See :mod:`clip2scene.toytown.writers.kitti_drive` for what each file
    holds.

    Arguments and errors are those of :func:`write_nuscenes`, a sequence for a scene.
    """
    _check_numbers(num_scenes, num_val_scenes, seed, workers)
    free, train, val = count(22), [*range(8), 9, 10][:num_scenes], [8][:num_val_scenes]
    train += [next(free) for _ in range(num_scenes - len(train))]
    val += [next(free) for _ in range(num_val_scenes - len(val))]
    names = [f"{number:02d}" for number in train + val]
    with new_folder(out) as root:
        scenes = _plan(root, num_scenes, num_val_scenes, seed, recording or Recording())
        jobs = [(root, name, *job[2:]) for name, job in zip(names, scenes, strict=True)]
        _record_all(jobs, workers, _record_kitti)
        splits = {"train": names[:num_scenes], "val": names[num_scenes:]}
        (root / "splits.json").write_text(json.dumps(splits, indent=1) + "\n", encoding="utf-8")


def write_drive_log(
    out: Path,
    *,
    num_scenes: int,
    num_val_scenes: int = 0,
    seed: int = 0,
    recording: Recording | None = None,
    workers: int = 2,
) -> None:
    """Drive through toytown and write all recordings into one drive log, the layout of own recordings.

    Towns, moments, clouds and the six cameras are those of :func:`write_nuscenes` with the same arguments.
    Only keyframes have images and labels and stand in ``splits.json``; the other sweeps are earlier ones.
    A log has one calibration, so all its drives have one lidar, that of the first varied town.
    See :mod:`clip2scene.toytown.writers.log_drive` for what each file holds.

    Arguments and errors are those of :func:`write_nuscenes`, a drive for a scene.
    """
    _check_numbers(num_scenes, num_val_scenes, seed, workers)
    recording = recording or Recording()
    recording = replace(recording, lidar=(lidar := recording.lidar_of(seed * _TOWNS_PER_SEED)))
    with new_folder(out) as root:
        jobs = list(_plan(root, num_scenes, num_val_scenes, seed, recording))
        drives = _record_all(jobs, workers, _record_log)
        splits = {"train": drives[:num_scenes], "val": drives[num_scenes:]}
        log_drive.write_tables(root, recording, lidar, splits)


def write_scannet(
    out: Path,
    *,
    num_scenes: int,
    num_val_scenes: int = 0,
    seed: int = 0,
    walk: Walk | None = None,
    workers: int = 2,
) -> None:
    """Walk through furnished rooms and write the recordings in ScanNet's layout.

    The same arguments write the same files, each scene a room of its own. Beside ``scans/`` lie the lists of
    the splits and the table of words. See :mod:`clip2scene.toytown.rooms.room_scan` for what each file holds.

    Arguments and errors are those of :func:`write_nuscenes`; ``walk`` is what each walk records.
    """
    _check_numbers(num_scenes, num_val_scenes, seed, workers)
    with new_folder(out) as root:
        scenes = _plan(root, num_scenes, num_val_scenes, seed, walk or Walk())
        jobs = [(root, f"scene{job[2]:04d}_00", *job[2:]) for job in scenes]
        _record_all(jobs, workers, _record_room)
        names = [name for _, name, *_ in jobs]
        for split, mine in (("train", names[:num_scenes]), ("val", names[num_scenes:])):
            (root / f"scannetv2_{split}.txt").write_text(
                "".join(f"{name}\n" for name in mine), encoding="ascii"
            )
        (root / "scannetv2-labels.combined.tsv").write_text(labels_table(), encoding="utf-8")


def _check_numbers(num_scenes: int, num_val_scenes: int, seed: int, workers: int) -> None:
    """Refuse what makes no data set."""
    if num_scenes < 0 or num_val_scenes < 0 or num_scenes + num_val_scenes < 1 or seed < 0 or workers < 1:
        raise ValueError(
            "expected at least one scene in all, a seed of 0 or more and at least one worker, "
            f"got {num_scenes} and {num_val_scenes} scenes, seed {seed} and {workers} workers"
        )


def _plan(
    root: Path, num_scenes: int, num_val_scenes: int, seed: int, recording: Recording | Walk
) -> Iterator[Job]:
    """Name the scenes and choose their towns, or rooms."""
    first = seed * _TOWNS_PER_SEED
    towns = [first + number for number in range(num_scenes)]
    towns += [first + _FIRST_VAL_TOWN + number for number in range(num_val_scenes)]
    whole = replace(recording, missing_kinds=0.0) if isinstance(recording, Recording) else recording
    for number, town_seed in enumerate(towns):
        what = recording if number < num_scenes else whole  # every class can be evaluated
        yield root, f"scene-{number + 1:04d}", number, town_seed, what


def _record(job: Job) -> Tables:
    """Record one scene, perhaps in a process of its own."""
    root, name, number, town_seed, recording = job
    return Drive(root, name, number, town_seed, recording).record()


def _record_kitti(job: Job) -> Tables:
    """Record one sequence, which has no tables, perhaps in a process of its own."""
    root, name, _, town_seed, recording = job
    record_sequence(root / "sequences" / name, town_seed, recording)
    return {}


def _record_room(job: Job) -> Rows:
    """Record one room, which has no tables, perhaps in a process of its own."""
    root, name, _, seed, walk = job
    record_room(root / "scans" / name, name, seed, walk)
    return {}


def _record_log(job: Job) -> Rows:
    """Record one drive, perhaps in a process of its own."""
    return log_drive.record_log(*job)


def _record_all(jobs: Sequence[Job], workers: int, record: Callable[[Job], Rows] = _record) -> list[Rows]:
    """Record every scene; the results stand in the order of the jobs."""
    if workers == 1:
        return [record(job) for job in progress_bar(jobs, desc="toytown", unit="scene", mininterval=1)]
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the threads of torch in mid-step
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=spawn) as pool:
        futures = [pool.submit(record, job) for job in jobs]
        try:
            for future in progress_bar(as_completed(futures), desc="toytown", total=len(jobs), unit="scene"):
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        return [future.result() for future in futures]
