"""Runs put side by side: which differ by their seed alone, in what the others differ, and by how much."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clip2scene.experiments.results import Difference, paired_difference, spread
from clip2scene.experiments.run_report.facts import RunFacts
from clip2scene.io import without_place


@dataclass(frozen=True)
class Setup:
    """Runs that differ by their seed alone, each seed once.

    Attributes:
        letter: What it is called in tables.
        runs: By seed, the lowest first.
        again: Names of runs whose seed was there already; they are not counted.
    """

    letter: str
    runs: tuple[RunFacts, ...]
    again: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Say its letter and its runs."""
        return f"{self.letter}: {', '.join(run.name for run in self.runs)}"

    @property
    def seeds(self) -> str:
        """List the seeds."""
        return ", ".join(str(run.recipe.seed) for run in self.runs)

    def values(self, column: str, what: str = "miou") -> list[float]:
        """Give a score of every run that has it, in percent."""
        found = [
            math.nan if run.evaluation is None else run.evaluation.percent(column, what) for run in self.runs
        ]
        return [value for value in found if not math.isnan(value)]

    def mean_iou(self, column: str, name: str) -> float:
        """Give the mean IoU of a class over the seeds, in percent; nan if not known."""
        found = [
            math.nan if run.evaluation is None else run.evaluation.iou(column, name) for run in self.runs
        ]
        return spread(found)[0]

    def by_seed(self) -> dict[int, float]:
        """Give the student's mIoU on all points by seed, in percent; nan if not known."""
        return {
            run.recipe.seed: math.nan if run.evaluation is None else run.evaluation.percent("student")
            for run in self.runs
        }


def find_setups(runs: Sequence[RunFacts]) -> dict[str, list[Setup]]:
    """Sort runs by the labels that had a part in them, and put those together that differ by seed alone.

    Runs that were evaluated on different points are never put together, and one that is not finished stands
    alone. Versions of the software do not count.
    """
    found: dict[str, dict[object, list[RunFacts]]] = {}
    for run in runs:
        found.setdefault(run.group, {}).setdefault(_what_it_is(run), []).append(run)
    letters = (_letter(number) for number in range(len(runs)))
    return {
        group: [_setup(next(letters), alike) for alike in setups.values()] for group, setups in found.items()
    }


def differing_settings(setups: Sequence[Setup]) -> list[tuple[str, list[str]]]:
    """List what setups differ in but for seeds: its name, and the value of each."""
    described = [_describe(setup.runs[0]) for setup in setups]
    names = list(dict.fromkeys(name for each in described for name in each))
    rows = [(name, [each.get(name, "-") for each in described]) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def compare(setup: Setup, first: Setup) -> Difference | str:
    """Compare the student's mIoU on all points with that of another setup, seed by seed.

    Returns:
        The difference, or in words why there is none.
    """
    one, other = (each.runs[0].evaluation for each in (setup, first))
    if one is None or other is None:
        return "not evaluated"
    if (one.split, one.num_points, one.classes) != (other.split, other.num_points, other.classes):
        return "evaluated on other points or classes"
    return paired_difference(setup.by_seed(), first.by_seed())


def _setup(letter: str, runs: Sequence[RunFacts]) -> Setup:
    by_seed: dict[int, RunFacts] = {}
    again = []
    for run in runs:
        if by_seed.setdefault(run.recipe.seed, run) is not run:
            again.append(run.name)
    return Setup(letter, tuple(by_seed[seed] for seed in sorted(by_seed)), tuple(again))


def _what_it_is(run: RunFacts) -> object:
    """Tell runs apart by all but their seed; one that is not finished, from every other."""
    found = run.evaluation
    evaluated = None if found is None else (found.split, found.num_points, found.classes)
    alone = run.folder if run.state == "unfinished" else None
    return tuple(sorted(_describe(run).items())), evaluated, run.state, alone


def _describe(run: RunFacts) -> dict[str, str]:
    """Give everything that was decided on for a run but its seed, as text by name."""
    settings = {name: value for name, value in run.settings.items() if name not in ("seed", "teacher.also")}
    sources = run.sources
    return {
        **settings,
        "data": f"{without_place(sources.data_root) or 'not told'} ({sources.num_samples} clouds)",
        "start": start_of(run),
        "second-round": "no" if sources.second_round is None else weights_of(sources.second_round),
        "data's files": sources.inputs[:8] or f"not told (folder {_short_hash(sources.data_root)})",
        "classes": ", ".join(run.classes),
        "teacher's files": sources.teacher_hash[:8],
        "proxy's files": sources.proxy_hash[:8] or "-",
        "image backbone's files": sources.backbone_hash[:8] or "-",
        "other teachers": (", ".join(map(_place_told_apart, sources.also or run.recipe.teacher.also)) or "-"),
        "labels by hand": (run.labelled.by_hand[:8] if run.labelled else "") or "-",
        "steps taken": "-" if run.state == "copy" else str(run.step),
        "evaluated": "no" if run.evaluation is None else run.evaluation.split,
    }


def start_of(run: RunFacts) -> str:
    """Say what a run began with, and which weights these were."""
    return "from chance" if run.sources.init is None else weights_of(run.sources.init)


def weights_of(about: Mapping[str, Any]) -> str:
    """Name a run by its folder and the hash of its weights."""
    return f"{without_place(str(about.get('origin', '')))} ({str(about.get('sha256', 'not told'))[:8]})"


def _place_told_apart(place: str) -> str:
    """Name a folder by its last part; two of that name differ by a hash of the whole."""
    return f"{without_place(place)} ({_short_hash(place)})"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


def _letter(number: int) -> str:
    """Name a setup.

    Example:
        >>> _letter(0), _letter(27)
        ('A', 'AB')
    """
    first, last = divmod(number, 26)
    return (_letter(first - 1) if first else "") + chr(ord("A") + last)
