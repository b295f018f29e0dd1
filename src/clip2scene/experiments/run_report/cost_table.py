"""What a run cost and where it comes from, as rows of a page."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from clip2scene.experiments.provenance import duration
from clip2scene.experiments.run_report.facts import RunFacts


def cost_rows(run: RunFacts) -> list[dict[str, str]]:
    """Say what each call did, how long each stage took, and how much memory."""
    return [
        {
            "date": str(call.get("date", "-")),
            "work": str(call["work"]),
            "steps": " to ".join(f"{step:,}" for step in call.get("steps", [])) or "-",
            "stages": ", ".join(f"{name} {duration(seconds)}" for name, seconds in call["stages"].items()),
            "time": duration(sum(call["stages"].values())),
            "memory": _memory(call),
            "machine": _machine(call),
        }
        for call in run.cost
    ]


def cost_notes(run: RunFacts) -> list[str]:
    """Say what the log tells of time, and what was not recorded."""
    notes = []
    seconds = run.curves.get("seconds")
    if seconds is not None and np.isfinite(seconds).any():
        known = seconds[np.isfinite(seconds)]
        text = f"By the log, {len(known):,} steps took {duration(float(known.sum()))}, the median step "
        text += f"{np.median(known):.2f} s"
        again = f"; {run.repeated:,} steps were taken twice, after interruptions" if run.repeated else ""
        notes.append(f"{text}{again}.")
    if not any(call["work"] in ("pretrain", "finetune") for call in run.cost):
        notes.append(
            "Stages, memory and machine of the training were not recorded: an earlier version did it, or "
            "this is a copy of a run."
        )
    if run.cost:
        notes.append(
            "Memory is the most that the process held up to the end of the call; it counts what came before, "
            "such as other runs of one table."
        )
    return notes


def provenance(run: RunFacts) -> list[tuple[str, str]]:
    """Say which software, data and weights the run is made of, as far as it was recorded."""
    sources, packed = run.sources, run.packed
    calls = [call for call in run.cost if call["work"] in ("pretrain", "finetune")]
    dates = [str(call["date"]) for call in run.cost if "date" in call] or [str(packed.get("date", ""))]
    commits = list(dict.fromkeys(str(call.get("commit", "")) for call in run.cost))
    machines = list(dict.fromkeys(_machine(call) for call in calls))
    command = [str(call["command"]) for call in calls if "command" in call] or [
        str(packed.get("command", ""))
    ]
    versions = " ".join(f"{name} {version}" for name, version in sources.versions.items())
    return [
        ("command", command[-1] or "not recorded"),
        ("date", ", ".join(dict.fromkeys(filter(None, dates))) or "not recorded"),
        ("machine", "; ".join(machines) or "not recorded"),
        ("versions", versions or "not recorded"),
        ("commit", ", ".join(filter(None, commits)) or "not recorded"),
        ("seed", str(run.recipe.seed)),
        ("teacher's files", sources.teacher_hash or "not recorded"),
        ("data's files (names, sizes, times)", sources.inputs or "not recorded"),
        ("start", "none" if sources.init is None else str(sources.init["sha256"])),
    ]


def packed_results(run: RunFacts) -> list[tuple[str, str]]:
    """Give the mIoU that a packed run was packed with, in percent by column."""
    found = run.packed.get("results")
    results = found.items() if isinstance(found, Mapping) else ()
    return [
        (str(name), f"{100 * value:.1f}")
        for name, value in results
        if type(value) in (int, float) and 0 <= value <= 1
    ]


def _memory(call: Mapping[str, Any]) -> str:
    parts = [(call.get("memory_peak"), ""), (call.get("gpu_memory_peak"), " on the GPU")]
    return ", ".join(f"{most / 1e9:.2f} GB{where}" for most, where in parts if most) or "-"


def _machine(call: Mapping[str, Any]) -> str:
    parts = [str(call[name]) for name in ("machine", "instructions") if call.get(name)]
    return ", ".join(parts) or "not recorded"
