"""The figures of a plan, each with how it is known, as a table and for programs."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from clip2scene.doctor.report import Line
from clip2scene.experiments.plan.estimate import Measurement, Range
from clip2scene.runs.cost import describe_machine, instructions, today

Unit = Literal["seconds", "bytes", "ranks", "share"]
_WIDTH = 46  # of the names' column


@dataclass(frozen=True)
class Ask:
    """What a plan is asked for.

    Attributes:
        data_root: The data set.
        teacher_weights: As ``pretrain`` takes them.
        budget: About how many seconds may be spent on measuring.
        within: The hours that the work may take; None asks for no number of machines.
        disk: A folder on the disk that the run is to lie on.
    """

    data_root: Path
    teacher_weights: str | None = None
    budget: float = 60.0
    within: float | None = None
    disk: Path = Path()


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: What of.
        unit: Of the numbers.
        how: Whether it was measured here, follows from what was, or is not known.
        basis: How many samples it is the mean of, the formula, or why it is not known.
        value: Itself; None where it is not known.
        low: The least that it may be.
        high: The most.
        samples: How many were measured.
        spread: Their standard deviation.
    """

    name: str
    unit: Unit
    how: Literal["measured", "extrapolated", "not measured"]
    basis: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    samples: int | None = None
    spread: float | None = None


@dataclass
class Plan:
    """What work will cost.

    Attributes:
        work: What is planned, in a line.
        figures: All figures, measured ones first.
        lines: What stands in the way, and what is worth knowing.
    """

    work: str
    figures: list[Figure] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def measured(self, name: str, unit: Unit, found: Measurement, basis: str = "") -> None:
        """Add what was measured: the mean of some samples, and their spread."""
        number = len(found.values)
        text = f"{number} sample{'s' * (number > 1)}{basis and ', '}{basis}"
        mean = found.of(1)
        high = min(1.0, mean.high) if unit == "share" else mean.high
        self.figures.append(
            Figure(name, unit, "measured", text, mean.value, mean.low, high, number, found.spread)
        )

    def extrapolated(self, name: str, unit: Unit, found: Range, formula: str) -> None:
        """Add what follows by a formula."""
        self.figures.append(Figure(name, unit, "extrapolated", formula, found.value, found.low, found.high))

    def unknown(self, name: str, unit: Unit, reason: str) -> None:
        """Add what is not known, and why: no number."""
        self.figures.append(Figure(name, unit, "not measured", reason))

    def fault(self, about: str, text: str) -> None:
        """Add what is to be mended before it can be done."""
        self.lines.append(Line("fault", about, text))

    def note(self, about: str, text: str) -> None:
        """Add what is worth knowing."""
        self.lines.append(Line("note", about, text))


def plan_json(plan: Plan) -> dict[str, Any]:
    """Lay a plan out for a JSON file; ``healthy`` if nothing stands in the way."""
    return {
        "healthy": all(line.mark != "fault" for line in plan.lines),
        "findings": [{"mark": line.mark, "about": line.about, "text": line.text} for line in plan.lines],
        "plan": {
            "work": plan.work,
            **{"machine": describe_machine("cpu"), "instructions": instructions(), "date": today()},
            "figures": [asdict(figure) for figure in plan.figures],
        },
    }


def plan_text(plan: Plan) -> str:
    """Write a plan as a table, with what stands in the way below it."""
    head = f"{plan.work}\n{describe_machine('cpu')}, {today()}\n"
    rows = [f"{'':<{_WIDTH}}{'':>10}  {'95 % or as said':>19}  how it is known"]
    for each in plan.figures:
        value, between = "-", ""
        if each.value is not None:
            assert each.low is not None and each.high is not None
            value = shown(each.value, each.unit)
            between = f"{shown(each.low, each.unit)} .. {shown(each.high, each.unit)}"
            between = "" if each.low == each.high else between
        basis = textwrap.wrap(f"{each.how}: {each.basis}", 72)
        rows.append(f"{each.name:<{_WIDTH}}{value:>10}  {between:>19}  {basis[0]}")
        rows += [f"{'':<{_WIDTH + 33}}{line}" for line in basis[1:]]
    return "\n".join([head, *rows, *_said(plan.lines)])


def _said(lines: Sequence[Line]) -> list[str]:
    return ["", *(f"{line.mark:<7}{line.about:<13}{line.text}" for line in lines)] if lines else []


def shown(value: float, unit: Unit) -> str:
    """Write a number for people.

    Example:
        >>> shown(0.0123, "seconds"), shown(5000.0, "seconds"), shown(2.5e9, "bytes"), shown(4.0, "ranks")
        ('12 ms', '1.4 h', '2.5 GB', '4')
    """
    if unit == "share":
        return f"{100 * value:.0f} %"
    if unit == "ranks":
        return f"{value:,.0f}"
    steps: tuple[tuple[float, str], ...] = ((1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"))
    if unit == "seconds":
        steps = ((1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "days"))
    size, name = max((step for step in steps if value >= step[0]), default=steps[0])
    return f"{value / size:.2g} {name}" if value / size < 99.5 else f"{value / size:,.0f} {name}"
