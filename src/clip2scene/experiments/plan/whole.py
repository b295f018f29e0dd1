"""What follows for the whole: hours on one machine, on several, and the disk."""

import shutil
from pathlib import Path

from clip2scene.experiments.plan.estimate import Range, Work, total
from clip2scene.experiments.plan.figures import Plan, shown

_SIZES = (2, 4, 8, 16, 64, 256)

TOTAL = "in all, on this machine"
"""The name of the figure that is the end of a plan."""


def plan_total(plan: Plan, parts: dict[str, Range], left_out: str) -> Range:
    """Add up the parts.

    Args:
        plan: Where the sum is added.
        parts: By their names in the plan.
        left_out: What is not counted.
    """
    found = total(parts.values())
    plan.extrapolated(TOTAL, "seconds", found, f"{' + '.join(parts)}; not counted: {left_out}")
    return found


def plan_ranks(
    plan: Plan, work: Work, within: float | None, *, called: str, limit: str, lacking: str
) -> None:
    """Say how long several take, and how many are needed for a wanted time.

    Args:
        plan: Where it is added.
        work: What they share, and what they do not.
        within: The wanted hours; None asks for no number.
        called: What one of them is: a rank, a worker.
        limit: Why there cannot be more of them, for the message.
        lacking: What several cost beside, which nobody measured.
    """
    plan.extrapolated(f"  of it, the same by however many {called}s", "seconds", work.alone, "their sum")
    for size in (size for size in _SIZES if size in work.sizes):
        formula = f"Amdahl: {shown(work.alone.value, 'seconds')} + "
        formula += f"{shown(work.shared.value, 'seconds')} / {size}; each with cores like these"
        plan.extrapolated(f"in all, by {size} {called}s", "seconds", work.by(size), formula)
    if max(work.sizes) > 1:
        plan.unknown(f"what several {called}s cost beside", "seconds", lacking)
    if within is None:
        return
    name = f"{called}s for {within:g} hours"
    needed = work.ranks_within(3600 * within)
    if needed is not None:
        seconds = work.by(needed)
        ends = f"{shown(seconds.low, 'seconds')} .. {shown(seconds.high, 'seconds')}"
        formula = f"the fewest with alone + shared / n <= {within:g} h; they take {ends}"
        plan.extrapolated(name, "ranks", Range(float(needed), float(needed), float(needed)), formula)
        return
    most = max(work.sizes)
    least = shown(work.by(most).value, "seconds")
    plan.unknown(name, "ranks", f"no number of them does it: {limit}, and {most:,} take {least}")
    plan.fault("time", f"{within:g} hours are not enough with any number of {called}s: {limit}")


def plan_disk(plan: Plan, need: Range | None, folder: Path) -> None:
    """Compare the disk with what is needed.

    Args:
        plan: Where it is added.
        need: Bytes; None where it is not known.
        folder: On the disk; it, or the nearest folder above it that there is.
    """
    place = next(each for each in (folder.resolve(), *folder.resolve().parents) if each.exists())
    try:
        free = float(shutil.disk_usage(place).free)
    except OSError as error:
        plan.fault("disk", f"nobody can tell how much of {folder} is free: {error}")
        return
    plan.extrapolated("disk, free", "bytes", Range(free, free, free), f"as the system says of {folder}")
    if need is None:
        plan.unknown("disk, needed", "bytes", "see the fault")
        return
    if need.value > free:
        plan.fault(
            "disk",
            f"{shown(need.value, 'bytes')} are needed and {shown(free, 'bytes')} are free in {folder}; free "
            "some, name a folder on another disk, or train on fewer samples",
        )
    elif need.high > free:
        plan.note("disk", f"it may not be enough: up to {shown(need.high, 'bytes')} are needed")
