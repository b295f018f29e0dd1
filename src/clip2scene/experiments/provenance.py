"""Who worked on a folder of experiments, on which machine and how long."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from clip2scene.io import write_json
from clip2scene.runs.cost import shown_command, today
from clip2scene.runs.run_files import read_run_json


class Provenance:
    """The calls that worked on a folder, this one the last.

    Attributes:
        worked: Whether this call does any work; one that only writes the table anew is not counted.

    Args:
        path: File that earlier calls left, and that this one is written to.
        workers: How many runs at a time this call makes.
    """

    def __init__(self, path: Path, *, workers: int) -> None:
        self.path = path
        self.worked = True
        self.began = time.perf_counter()
        self.earlier: list[dict[str, Any]] = read_run_json(path) if path.exists() else []
        self.this = {"command": shown_command(sys.argv), "workers": workers, "date": today()}

    def all(self) -> list[dict[str, Any]]:
        """List every call, with its seconds up to now."""
        this = {**self.this, "seconds": time.perf_counter() - self.began}
        return [*self.earlier, this] if self.worked or not self.earlier else self.earlier

    def save(self) -> None:
        """Write the calls down."""
        write_json(self.path, self.all())

    def describe(self) -> dict[str, str]:
        """Say what was called and how long it took, in minutes or hours."""
        calls = self.all()
        seconds = sum(call["seconds"] for call in calls)
        workers = listed(sorted({call["workers"] for call in calls}), "or")
        return {
            "command": listed(f"`{call['command']}`" for call in calls),
            "time": f"{duration(seconds)} in {len(calls)} call{'s' * (len(calls) > 1)}, {workers} at a time",
        }


def duration(seconds: float) -> str:
    """Write a time in seconds for people.

    Example:
        >>> duration(4.26), duration(75.0), duration(11_520.0)
        ('4.3 s', '1.2 min', '3 h 12 min')
    """
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.1f} s"
    return f"{minutes:.1f} min" if minutes < 60 else f"{int(minutes // 60)} h {int(minutes % 60)} min"


def listed(things: Iterable[object], word: str = "and") -> str:
    """Put different things in a sentence, in the order they come in.

    Example:
        >>> listed([0, 1, 1, 2]), listed(["a"])
        ('0, 1 and 2', 'a')
    """
    different = list(dict.fromkeys(str(thing) for thing in things))
    return f" {word} ".join([", ".join(different[:-1]), different[-1]] if different[1:] else different)
