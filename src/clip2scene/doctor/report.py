"""The lines of a report on data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MARKS = ("ok", "note", "fault")


@dataclass(frozen=True)
class Line:
    """One finding.

    Attributes:
        mark: Whether it is fine, worth knowing, or to be mended before training.
        about: Which check it comes from.
        text: What was found, and for a fault what to do.
        numbers: The same for programs.
    """

    mark: Literal["ok", "note", "fault"]
    about: str
    text: str
    numbers: tuple[tuple[str, float], ...] = ()


def report_text(lines: Sequence[Line]) -> str:
    """Write lines under each other, with how many there are of each mark at the end.

    Example:
        >>> print(report_text([Line("ok", "files", "all read"), Line("fault", "labels", "none")]))
        ok     files        all read
        fault  labels       none
        1 ok, 0 note, 1 fault
    """
    rows = [f"{line.mark:<7}{line.about:<13}{line.text}" for line in lines]
    counts = [f"{sum(line.mark == mark for line in lines)} {mark}" for mark in MARKS]
    return "\n".join([*rows, ", ".join(counts)])


def report_json(lines: Sequence[Line]) -> dict[str, object]:
    """Lay lines out for a JSON file; ``healthy`` if none is a fault."""
    findings = [
        {"mark": line.mark, "about": line.about, "text": line.text, "numbers": dict(line.numbers)}
        for line in lines
    ]
    return {"healthy": all(line.mark != "fault" for line in lines), "findings": findings}
