"""Samples a second of ``clip2scene label``: a pool of one process and of two, and two actors of Ray.

    python benchmarks/fleet.py [--scenes 30] [--run builtin]

Makes a toytown in a temporary folder and labels its split ``val`` with each engine, one after another, each
process with one thread. Times are those of the whole command, start included; beside them, samples a second
from the first part that is done to the last, when all workers are at work. User seconds are those of all
processes of a command. Then a worker of each engine is killed as soon as all have done something: the figure
is how long it takes until a part is done by a process that was not there before.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from pyarrow import dataset

from clip2scene.runs.cost import describe_machine, today

ENGINES = {"local, 1": ("local", 1), "local, 2": ("local", 2), "ray, 2": ("ray", 2)}
_TICK = os.sysconf("SC_CLK_TCK")
_POLL_S = 0.1


def user_seconds(mark: str, found: dict[str, float]) -> None:
    """Note the user seconds so far of all processes that have a mark in their environment."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (path / "environ").read_bytes():
                stat = (path / "stat").read_text().rpartition(")")[2].split()
                found[path.name] = int(stat[11]) / _TICK
        except OSError:
            continue


def workers_of(out: Path) -> dict[int, int]:
    """Count the samples of each process."""
    if not list((out / "parts").glob("[!.]*")):
        return {}
    names = (
        dataset.dataset(out / "parts", format="parquet").to_table(columns=["worker"])["worker"].to_pylist()
    )
    pids = [int(name.rpartition(":")[2]) for name in names if name]
    return {pid: pids.count(pid) for pid in set(pids)}


def label(words: list[str], out: Path, engine: str, workers: int, *, kill: bool) -> dict[str, float]:
    """Label once; gives seconds, user seconds, samples a second, and seconds to recover from a kill."""
    mark, user = f"FLEET_BENCHMARK={uuid4().hex}", dict[str, float]()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "FLEET_BENCHMARK": mark.partition("=")[2]}
    command = [*words, "--out", str(out), "--engine", engine, "--workers", str(workers)]
    begun, killed_at, recovered, known = time.perf_counter(), 0.0, 0.0, set[int]()
    with subprocess.Popen(
        [sys.executable, "-m", "clip2scene", *command],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        while process.poll() is None:
            time.sleep(_POLL_S)
            user_seconds(mark, user)
            if not kill or recovered:
                continue
            there = workers_of(out)
            if not killed_at and len(there) == workers:
                known = set(there)
                os.kill(next(iter(there)), signal.SIGKILL)
                killed_at = time.perf_counter()
            elif killed_at and set(there) - known:
                recovered = time.perf_counter() - killed_at
        assert process.stderr is not None
        if process.returncode:
            sys.exit(process.stderr.read().decode())
    seconds = time.perf_counter() - begun
    times = sorted(path.stat().st_mtime for path in (out / "parts").iterdir())
    table = dataset.dataset(out / "parts", format="parquet").to_table()
    assert len(set(table["token"].to_pylist())) == len(table) and table["error"].null_count == len(table)
    steady = len(table) * (1 - 1 / len(times)) / (times[-1] - times[0])
    return {"s": seconds, "user": sum(user.values()), "a_s": steady, "recovered": recovered}


def kilobytes(folder: Path, pattern: str) -> float:
    """Sum up the sizes of some files."""
    return sum(path.stat().st_size for path in folder.glob(pattern)) / 1000


def main() -> None:
    """Make the town, label it by each engine, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=30)
    parser.add_argument("--run", default="builtin")
    asked = parser.parse_args()
    print(f"{describe_machine('cpu')}, {today()}")
    with TemporaryDirectory() as temporary:
        folder, town = Path(temporary), Path(temporary) / "town"
        size = ["--scenes", "1", "--val-scenes", str(asked.scenes), "--keyframes", "2", "--sweeps", "1"]
        make = [sys.executable, "-m", "clip2scene", "make-toytown", "--out", str(town), *size]
        subprocess.run(make, check=True, capture_output=True)
        words = ["label", asked.run, "--data-root", str(town)]
        print("engine, workers | s | samples/s at work | user s | s to recover from a kill")
        for name, (engine, workers) in ENGINES.items():
            plain = label(words, folder / name, engine, workers, kill=False)
            killed = label(words, folder / f"{name}, killed", engine, workers, kill=workers > 1)
            back = f"{killed['recovered']:.1f}" if killed["recovered"] else "-"
            print(
                f"{name} | {plain['s']:.1f} | {plain['a_s']:.2f} | {plain['user']:.1f} | {back}", flush=True
            )
        out = folder / next(iter(ENGINES))
        number = len(list((out / "labels").iterdir()))
        clouds = kilobytes(town, "samples/LIDAR_TOP/*.bin") / len(list(town.glob("samples/LIDAR_TOP/*.bin")))
        print(f"kB a sample: cloud read {clouds:.0f}", end="")
        for kind in ("labels", "parts", "claims"):
            print(f", {kind} written {kilobytes(out, f'{kind}/*') / number:.2f}", end="")
        print(f"; {number} samples")


if __name__ == "__main__":
    main()
