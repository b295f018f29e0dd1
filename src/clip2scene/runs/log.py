"""Reading a run's ``log.jsonl``: whole lines only, whoever wrote them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

Step: TypeAlias = Mapping[str, float | int]
"""A line of a log: ``step``, a whole number from 1, and finite numbers by name."""

BLOCK = 1 << 20
"""Bytes that are read at once."""


def read_steps(path: Path, place: int = 0) -> tuple[list[Step], int]:
    """Read the lines that a block of a log has; those that are no steps are left out.

    Args:
        path: The log; none need be there.
        place: Where to begin, in bytes.

    Returns:
        The steps, and where they end: the place of the next block, and ``place`` itself if no whole line
        follows.
    """
    if not path.is_file():
        return [], place
    with path.open("rb") as log:
        log.seek(place)
        block = log.read(BLOCK)
    end = block.rfind(b"\n") + 1
    parsed = map(_parse, block[:end].splitlines())
    return [step for step in parsed if step is not None], place + end


def last_step(path: Path) -> int:
    """Give the highest step near the end of a log; 0 without one."""
    size = path.stat().st_size if path.is_file() else 0
    steps, _ = read_steps(path, max(0, size - BLOCK))
    return max((int(each["step"]) for each in steps), default=0)


def _parse(line: bytes) -> Step | None:
    """Read a line; None for one that was cut, or is no step."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    numbers = {name: value for name, value in found.items() if _is_number(value)}
    return numbers if type(numbers.get("step")) is int and numbers["step"] >= 0 else None


def _is_number(value: object) -> bool:
    """Tell whether JSON gave a number that others can take: finite, and no whole number beyond 64 bits."""
    return type(value) in (int, float) and -(2.0**63) < value < 2.0**63  # type: ignore[operator]
