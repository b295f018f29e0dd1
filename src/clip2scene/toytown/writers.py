"""Recordings of toytown, written in the layouts of public data sets.

:func:`write_nuscenes` records drives through many towns as nuScenes v1.0, so that every program that reads
nuScenes reads them: tables, ``samples/``, ``sweeps/``, ``lidarseg/`` and ``maps/``.
"""

import json
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from clip2scene.toytown.drive import Drive, Recording
from clip2scene.toytown.nuscenes_tables import VERSION, Tables, fixed_tables

_TOWNS_PER_SEED = 1_000_000
_FIRST_VAL_TOWN = 500_000

Job = tuple[Path, str, int, int, Recording]


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
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; remove it or name another folder")
    if num_scenes < 0 or num_val_scenes < 0 or num_scenes + num_val_scenes < 1 or seed < 0 or workers < 1:
        raise ValueError(
            "expected at least one scene in all, a seed of 0 or more and at least one worker, "
            f"got {num_scenes} and {num_val_scenes} scenes, seed {seed} and {workers} workers"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".partial-{out.name}-"))
    try:
        temporary.chmod(0o755)
        jobs = list(_plan(temporary, num_scenes, num_val_scenes, seed, recording or Recording()))
        tables = fixed_tables()
        for scene in _record_all(jobs, workers):
            for table, rows in scene.items():
                tables.setdefault(table, []).extend(rows)
        names = [name for _, name, *_ in jobs]
        splits = {"train": names[:num_scenes], "val": names[num_scenes:]}
        for table, content in {**tables, "splits": splits}.items():
            path = temporary / VERSION / f"{table}.json"
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content, indent=0) + "\n", encoding="utf-8")
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _plan(root: Path, num_scenes: int, num_val_scenes: int, seed: int, recording: Recording) -> Iterator[Job]:
    """Name the scenes and choose their towns."""
    first = seed * _TOWNS_PER_SEED
    towns = [first + number for number in range(num_scenes)]
    towns += [first + _FIRST_VAL_TOWN + number for number in range(num_val_scenes)]
    for number, town_seed in enumerate(towns):
        yield root, f"scene-{number + 1:04d}", number, town_seed, recording


def _record_all(jobs: Sequence[Job], workers: int) -> list[Tables]:
    """Record every scene; the answers stand in the order of the jobs."""
    if workers == 1:
        return [_record(job) for job in tqdm(jobs, desc="toytown", unit="scene", mininterval=1)]
    spawn = multiprocessing.get_context("spawn")  # a fork would copy the threads of torch in mid-step
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=spawn) as pool:
        futures = [pool.submit(_record, job) for job in jobs]
        try:
            for future in tqdm(as_completed(futures), desc="toytown", total=len(jobs), unit="scene"):
                future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _record(job: Job) -> Tables:
    """Record one scene, perhaps in a process of its own."""
    root, name, number, town_seed, recording = job
    return Drive(root, name, number, town_seed, recording).record()
