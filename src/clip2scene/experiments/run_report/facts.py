"""What a run's folder says of it, as far as it is there; what is not, or is damaged, is said in sentences."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from clip2scene.config import Recipe, flat_settings
from clip2scene.experiments.results import Row
from clip2scene.io import in_a_sentence, read_json, without_places
from clip2scene.runs.builtin import run_folder
from clip2scene.runs.copies import ABOUT
from clip2scene.runs.cost import COST, read_cost
from clip2scene.runs.folder import CONFIDENCE, CORRECTIONS, LABELS
from clip2scene.runs.log import read_steps
from clip2scene.runs.run_files import read_recipe, read_run_json
from clip2scene.runs.sources import Sources

MOST_LOG_BYTES = 1 << 28
"""Of a log that are read; a longer one is told to be cut."""
MOST_TERMS = 24
"""Of a log that are drawn."""

Part = TypeVar("Part")

DOCTOR = "doctor.json"
"""Findings of ``doctor --json``, if they were written into the run's folder."""


@dataclass(frozen=True)
class Evaluation:
    """What ``metrics.json`` holds.

    Attributes:
        split: What was evaluated on.
        classes: In the order of the matrix.
        columns: Scores by column, as :data:`clip2scene.evaluation.counting.COLUMNS` names them, as they
            stand in the file; each has ``miou`` and ``iou``.
        confidence: Calibration and coverage; empty if the run has none.
    """

    split: str
    classes: tuple[str, ...]
    columns: Mapping[str, Mapping[str, Any]]
    confidence: Mapping[str, Any] = field(default_factory=dict)

    def percent(self, column: str, what: str = "miou") -> float:
        """Give ``miou`` or ``accuracy`` of a column in percent; nan if not known."""
        return percent(self.columns.get(column, {}).get(what))

    def iou(self, column: str, name: str) -> float:
        """Give the IoU of a class in percent; nan if not known."""
        return percent(self.columns.get(column, {}).get("iou", {}).get(name))

    @property
    def num_points(self) -> int:
        """How many points were evaluated; 0 if not known."""
        found = self.columns.get("student", {}).get("num_points")
        return found if type(found) is int and found >= 0 else 0

    def confusion(self, column: str) -> np.ndarray | None:
        """Give points by true and predicted class, last those without a prediction; None if not there."""
        found, count = self.columns.get(column, {}), len(self.classes)
        try:
            counts = np.array(found["confusion"], dtype=float)
            without = np.array(found.get("unanswered", [0] * count), dtype=float)
        except (KeyError, ValueError, TypeError, OverflowError):
            return None
        if not count or counts.shape != (count, count) or without.shape != (count,):
            return None
        whole = np.column_stack([counts, without])
        return whole if np.isfinite(whole).all() and (whole >= 0).all() else None


@dataclass(frozen=True)
class LabelsUsed:
    """What ``labels.json`` says of the labels that a run was trained on.

    Attributes:
        samples: How many clouds have some.
        units: How many scenes or keyframes these are of.
        held_out: Clouds of these that a checkpoint was chosen on.
        points: How many points may be labelled; None for all.
        by_hand: Hash of the labels by hand, if it was trained on such; else empty.
    """

    samples: int
    units: int
    held_out: int
    points: int | None
    by_hand: str


@dataclass(frozen=True)
class RunFacts:
    """A run, read.

    Attributes:
        folder: Where it lies.
        name: What it is called here.
        recipe: Its settings.
        classes: Prompt classes.
        sources: Teacher, data and start.
        curves: Each number of the log by name, in the order of ``steps``, nan where a line lacks it.
        steps: Of the log, each once.
        repeated: Lines of the log for steps that were taken again after an interruption.
        evaluation: Of the last one; None without.
        cost: Of each call; empty if not recorded.
        packed: What ``about.json`` of a packed run says; empty for others.
        labelled: The labels used; None for a run without.
        temperature: Of its scores; None if none was fitted.
        findings: Of the doctor; None if they are not there.
        has_weights: Whether there is a checkpoint.
        faults: What could not be read, by the name of the file.
    """

    folder: Path
    name: str
    recipe: Recipe
    classes: tuple[str, ...]
    sources: Sources
    curves: Mapping[str, np.ndarray]
    steps: np.ndarray
    repeated: int
    evaluation: Evaluation | None
    cost: tuple[Mapping[str, Any], ...]
    packed: Mapping[str, Any]
    labelled: LabelsUsed | None
    temperature: float | None
    findings: tuple[Mapping[str, str], ...] | None
    has_weights: bool
    faults: Mapping[str, str]

    @property
    def step(self) -> int:
        """The step it has reached, as far as the log says."""
        return int(self.steps[-1]) if len(self.steps) else 0

    @property
    def state(self) -> str:
        """Say finished, unfinished, or copy: weights without a log, as of a packed run."""
        if self.has_weights and not len(self.steps):
            return "copy"
        return "finished" if self.has_weights and self.step >= self.recipe.steps else "unfinished"

    @property
    def group(self) -> str:
        """Say which labels had a part in it; results of different kinds never mix."""
        taught = self.recipe.teacher.trained_on_2d_labels
        return Row("", "", self.recipe.supervision == "label-free", taught).group

    @property
    def settings(self) -> dict[str, str]:
        """All settings of the recipe as the command line names them, as text, without places of a machine."""
        return {name: str(value) for name, value in flat_settings(self.recipe).items()}


def read_facts(named: Path, name: str = "") -> RunFacts:
    """Read a run.

    Args:
        named: Its folder, or ``builtin``; finished or not, packed, or of an earlier version.
        name: What it is called; the folder's name by default.

    Raises:
        ValueError: If it is no run, or its recipe, classes or sources are missing or damaged.
    """
    folder = run_folder(named)
    if not folder.is_dir():
        raise ValueError(f"{named} is no folder; name a run, as pretrain wrote it")
    if not (folder / "recipe.json").exists():
        raise ValueError(f"{named} is not a run: it has no recipe.json; name a folder that pretrain wrote")
    faults: dict[str, str] = {}
    steps, curves, repeated = _read_log(folder / "log.jsonl", faults)
    recipe, sources = read_recipe(folder), Sources.read(folder)
    return RunFacts(
        folder,
        name or (str(named) if folder != Path(named) else folder.resolve().name),
        recipe,
        tuple(read_run_json(folder / "prompts.json")["classes"]),
        sources,
        curves,
        steps,
        repeated,
        _attempt(lambda: _read_evaluation(folder / "metrics.json"), "metrics.json", faults, None),
        _attempt(lambda: tuple(read_cost(folder)), COST, faults, ()),
        _attempt(lambda: _read_object(folder / ABOUT), ABOUT, faults, {}),
        _attempt(lambda: _read_labels(folder / LABELS), LABELS, faults, None),
        _attempt(lambda: _read_temperature(folder / CONFIDENCE), CONFIDENCE, faults, None),
        _attempt(lambda: _read_findings(folder / DOCTOR, sources), DOCTOR, faults, None),
        (folder / "checkpoint.safetensors").exists(),
        faults,
    )


def percent(share: object) -> float:
    """Turn a share in 0..1 into percent; nan for anything else."""
    known = type(share) in (int, float) and 0 <= share <= 1  # type: ignore[operator]
    return 100 * float(share) if known else math.nan  # type: ignore[arg-type]


def _attempt(read: Callable[[], Part], name: str, faults: dict[str, str], otherwise: Part) -> Part:
    """Read a part of a run; what is damaged is noted, and is as if it were not there."""
    try:
        return read()
    except ValueError as error:
        faults[name] = in_a_sentence(error)
        return otherwise


def _read_log(path: Path, faults: dict[str, str]) -> tuple[np.ndarray, dict[str, np.ndarray], int]:
    """Read a log: its steps, each once and in order, the numbers of each, and how many came again."""
    lines: dict[int, Mapping[str, float | int]] = {}
    place, count = 0, 0
    while place < MOST_LOG_BYTES:
        found, after = read_steps(path, place)
        count += len(found)
        lines |= {int(each["step"]): each for each in found}
        if after == place:
            break
        place = after
    else:
        faults[path.name] = f"log.jsonl is longer than {MOST_LOG_BYTES >> 20} MiB; the rest was left out"
    steps = sorted(lines)
    names = list(dict.fromkeys(name for each in lines.values() for name in each if name != "step"))
    if len(names) > MOST_TERMS:
        faults[path.name] = f"log.jsonl has {len(names)} numbers a step; the first {MOST_TERMS} are shown"
    curves = {
        name: np.array([lines[step].get(name, math.nan) for step in steps], dtype=float)
        for name in names[:MOST_TERMS]
    }
    return np.array(steps, dtype=np.int64), curves, count - len(steps)


def _read_evaluation(path: Path) -> Evaluation | None:
    if not path.exists():
        return None
    found = read_run_json(path)
    columns: dict[str, Any] = found["columns"]
    classes = found.get("classes") or next(iter(columns.values()))["iou"] if columns else ()
    confidence = found.get("confidence")
    return Evaluation(
        found["split"], tuple(classes), columns, confidence if isinstance(confidence, dict) else {}
    )


def _read_object(path: Path) -> dict[str, Any]:
    found = read_json(path) if path.exists() else {}
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no object; restore it")
    return found


def _read_labels(path: Path) -> LabelsUsed | None:
    """Count what ``labels.json`` names."""
    if not path.exists():
        return None
    found = read_run_json(path)
    subset, points = found["subset"], found["subset"]["points"]
    return LabelsUsed(
        len(subset["tokens"]),
        len(subset["units"]),
        len(subset["held_out"]),
        None if points is None else sum(points.values()),
        found.get(CORRECTIONS) or "",
    )


def _read_temperature(path: Path) -> float | None:
    return float(read_run_json(path)["temperature"]) if path.exists() else None


def _read_findings(path: Path, sources: Sources) -> tuple[Mapping[str, str], ...] | None:
    """Read the findings of ``doctor --json``, which name places of the machine that it ran on."""
    if not path.exists():
        return None
    found = _read_object(path).get("findings")
    lines = found if isinstance(found, list) else []
    root = Path(sources.data_root)
    return tuple(
        {part: without_places(str(line.get(part, "")), root) for part in ("mark", "about", "text")}
        for line in lines
        if isinstance(line, dict)
    )
