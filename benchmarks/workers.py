"""How much faster two processes take the steps that one takes, on a CPU, each with one thread.

    python benchmarks/workers.py [--steps 12] [--rounds 3] [--batch-size 4] [--network minkunet18]

Makes a small toytown and its pseudo-labels in a temporary folder. Then a student is trained from chance, by
one process and by two that ``torchrun`` starts, in turn; all take the same steps (docs/distributed.md). A
round's figure is the median of the seconds of its steps, without the first two; the table has the least of
the rounds, as the one that other work on the machine has held up least, and all of them.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from clip2scene.runs.cost import describe_machine, today
from clip2scene.runs.folder import LIFTED

SIZES = (1, 2)
WARM_UP = 2
TOWN = ("--scenes", "2", "--val-scenes", "1", "--keyframes", "4", "--seed", "3", "--workers", "1")


def clip2scene(words: list[str], size: int = 1) -> None:
    """Run a command by as many processes, each with one thread."""
    module = ["-m", "clip2scene", *words]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size), *module]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *(module if size == 1 else torchrun)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)


def measure(folder: Path, command: list[str], size: int, number: int) -> float:
    """Train once, and give the median of the seconds of a step."""
    out = folder / f"{size}-{number}"
    shutil.copytree(folder / "lifted" / LIFTED, out / LIFTED)
    clip2scene([*command, "--out", str(out)], size)
    steps = [json.loads(line)["seconds"] for line in (out / "log.jsonl").read_text().splitlines()]
    return statistics.median(steps[WARM_UP:])


def main() -> None:
    """Make the town, measure in turn, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--network", default="minkunet18")
    asked = parser.parse_args()
    if asked.steps <= WARM_UP:
        parser.error(f"--steps {asked.steps}: the first {WARM_UP} do not count, expected more")
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        clip2scene(["make-toytown", "--out", str(folder / "town"), *TOWN])
        teacher = ["--teacher.scales", "1.0", "--teacher.refine", "none", "--data.sweeps", "1"]
        shared = ["toytown", "--data-root", str(folder / "town"), *teacher]
        clip2scene(["lift", *shared, "--out", str(folder / "lifted")])
        sizes = ["--steps", str(asked.steps), "--batch-size", str(asked.batch_size)]
        command = ["pretrain", *shared, *sizes, "--student.network", asked.network]
        found: dict[int, list[float]] = {size: [] for size in SIZES}
        for number in range(asked.rounds):
            for size in SIZES:
                found[size].append(measure(folder, command, size, number))
    print(f"{asked.network}, {asked.batch_size} samples a step; {describe_machine('cpu')}, {today()}\n")
    print("| processes | seconds a step | as many steps in a second | all rounds |\n|---:|---:|---:|---|")
    alone = min(found[1])
    for size, seconds in found.items():
        every = ", ".join(f"{each:.2f}" for each in seconds)
        print(f"| {size} | {min(seconds):.2f} | x {alone / min(seconds):.2f} | {every} |")


if __name__ == "__main__":
    main()
