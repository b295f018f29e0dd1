"""What work on a run cost: seconds by stage, memory, and the machine and versions it was done with.

``cost.json`` in a run's folder has an entry for every call of ``pretrain``, ``finetune`` and ``evaluate``.
"""

import datetime
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from clip2scene.io import write_json
from clip2scene.parallel import count_cores, file_lock
from clip2scene.runs.checkpoint import versions
from clip2scene.runs.run_files import read_run_json

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

COST = "cost.json"
_SOURCE = Path(__file__).parents[3]


class Cost:
    """The cost of one call, written beside that of the calls before it.

    Attributes:
        steps: The step that training began at in this call, and the one it has reached; none for other work.

    Args:
        folder: Of the run; nothing is written there before :meth:`save`.
        work: What is done, as the command is called.
        device: Where it computes.

    Raises:
        ValueError: If what earlier calls have left cannot be read.
    """

    def __init__(self, folder: Path, work: str, device: torch.device) -> None:
        self.path, self.work, self.device = folder / COST, work, device
        read_cost(folder)
        self.steps: list[int] = []
        self._seconds: dict[str, float] = {}
        self._stage, self._since = "open", time.perf_counter()
        self._about = {
            **{
                "call": secrets.token_hex(8),
                "work": work,
                "command": shown_command(sys.argv),
                "date": today(),
            },
            **{"machine": describe_machine(str(device)), "instructions": instructions()},
            **{"versions": versions(), "commit": commit()},
        }

    def begin(self, stage: str) -> None:
        """End one stage and begin another; the first, from the start, is "open"."""
        self._seconds, self._stage, self._since = self._stages(), stage, time.perf_counter()

    def save(self) -> None:
        """Write the cost up to now, atomically, beside what other calls have written meanwhile.

        Raises:
            ValueError: If the disk is full, or what others have written is damaged.
        """
        stages = {stage: round(seconds, 3) for stage, seconds in self._stages().items()}
        memory = {"memory_peak": peak_memory(), "gpu_memory_peak": None}
        if self.device.type == "cuda":
            memory["gpu_memory_peak"] = torch.cuda.max_memory_allocated(self.device)
        this = {**self._about, "stages": stages, "steps": self.steps, **memory}
        with file_lock(self.path.with_name(f"{COST}.lock")):
            calls = read_cost(self.path.parent)
            own = [call.get("call") == this["call"] for call in calls]
            place = own.index(True) if any(own) else len(calls)
            write_json(self.path, {"calls": [*calls[:place], this, *calls[place + 1 :]]})

    def _stages(self) -> dict[str, float]:
        """Give the seconds of every stage up to now."""
        now = self._seconds.get(self._stage, 0.0) + time.perf_counter() - self._since
        return {**self._seconds, self._stage: now}


def read_cost(folder: Path) -> list[dict[str, Any]]:
    """Read what the calls on a run cost, in their order; none for runs of earlier versions.

    Raises:
        ValueError: If ``cost.json`` is damaged.
    """
    path = folder / COST
    return list(read_run_json(path)["calls"]) if path.exists() else []


def peak_memory() -> int | None:
    """Give the most bytes that this process has ever held in memory; None where the system does not say."""
    if resource is None:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def resident_memory() -> int | None:
    """Give the bytes that this process holds in memory now; None where the system does not say."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def memory_shown(device: torch.device) -> str:
    """Write the memory held now and the most so far, of the GPU where one computes: ``1.2/1.4 GB``."""
    if device.type == "cuda":
        now: int | None = torch.cuda.memory_allocated(device)
        most: int | None = torch.cuda.max_memory_allocated(device)
    else:
        now, most = resident_memory(), peak_memory()
    known = [f"{each / 1e9:.2f}" for each in (now, most) if each is not None]
    return f"{'/'.join(known)} GB" if known else "?"


def describe_machine(device: str) -> str:
    """Say what kind of machine computes.

    Example:
        >>> describe_machine("cpu").endswith("no GPU")
        True
    """
    place = torch.device(device)
    accelerator = torch.cuda.get_device_name(place) if place.type == "cuda" else None
    cores = count_cores()
    return f"{cores} core{'s' * (cores > 1)}, {accelerator or ('no GPU' if place.type == 'cpu' else device)}"


def instructions() -> str:
    """Name the widest vector instructions of the processor that torch uses, such as AVX512."""
    return str(torch.backends.cpu.get_cpu_capability())


def commit() -> str:
    """Name the commit of this package's source, with -dirty for one that was changed; empty if not known."""
    if not (_SOURCE / ".git").exists():
        return ""
    words = ["git", "-C", str(_SOURCE), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    return ""


def today() -> str:
    """Give the date as year-month-day."""
    return datetime.date.today().isoformat()


def shown_command(words: Sequence[str]) -> str:
    """Write a command line without the machine's own paths: of these, the last part remains.

    Example:
        >>> shown_command(["/opt/bin/clip2scene", "ablate", "--out=/home/me/table", "--data-root", "/data/x"])
        'clip2scene ablate --out=table --data-root x'
    """
    shown = []
    for word in words:
        option, equals, value = word.rpartition("=")
        path = Path(value)
        if len(path.parts) > 1 and (path.is_absolute() or value.startswith(("~", "..")) or path.exists()):
            value = path.name
        shown.append(option + equals + value)
    return " ".join(f"'{word}'" if " " in word else word for word in shown)
