"""Are the clouds in metres, z up, with intensities of 0..1: like one another, and like those of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clip2scene.datasets import Dataset
from clip2scene.doctor.report import Line
from clip2scene.doctor.samples import Measured
from clip2scene.geometry.cloud_statistics import CloudSpread
from clip2scene.geometry.unlike import compare_statistics, find_unlike
from clip2scene.runs.builtin import run_folder
from clip2scene.runs.run_files import read_recipe
from clip2scene.runs.training_clouds import compare_split, read_statistics, tolerance_of

FAINT = 0.02
"""Brightest intensities below this are in another unit than 0..1; the faintest sensor known reaches 0.1."""

_OWN_KINDS = ("ground", "range", "intensity", "frame")
_FEWEST = 8  # clouds that say what is usual


def check_clouds(measured: Sequence[Measured], dataset: Dataset, numbers: Sequence[int]) -> list[Line]:
    """Say how many points there are, how far, where the ground lies, and what is implausible or odd.

    Args:
        measured: What was found in each sample.
        dataset: The samples.
        numbers: Which of them were measured.
    """
    read = [each for each in measured if each.num_points and each.statistics is not None]
    if not read:
        return []
    spread = CloudSpread.of([each.statistics for each in read if each.statistics], indoors=dataset.indoors)
    near, middle, far = np.median([each.ranges for each in read], axis=0)
    counts = np.array([each.num_points for each in read])
    text = f"{np.median(counts):.0f} points (median; {counts.min()} to {counts.max()}), all finite, "
    text += f"range {near:.1f} to {far:.1f} m, half within {middle:.1f} m"
    if spread.middle("ground_share") > 0:
        text += f"; the {'floor' if dataset.indoors else 'ground'} lies at z = "
        text += f"{spread.middle('ground_height'):.2f} m"
    lines = [Line("ok", "clouds", text)]
    is_room = dataset.indoors or any(view.depth is not None for each in read for view in each.views)
    if far < (0.5 if is_room else 5) or far > 500:
        lines.append(Line("note", "clouds", f"range {far:.1f} m is unusual: are the units metres?"))
    poor = [each.token for each in read if each.num_points < 0.25 * np.median(counts)]
    if poor:
        text = f"{len(poor)} clouds have less than a quarter of the usual points, the first is {poor[0]}"
        lines.append(Line("note", "clouds", text))
    lines += _upright(read) + ([] if dataset.indoors else _intensities(spread))
    return lines + _odd(measured, spread, dataset, numbers)


def compare_with_run(dataset: Dataset, run: Path) -> list[Line]:
    """Say in what the clouds are unlike those that a run was trained on.

    Raises:
        ValueError: If the run's statistics are damaged.
    """
    folder = run_folder(run)
    trained = read_statistics(folder)
    if trained is None:
        text = f"not compared: {run} keeps no statistics of its training clouds (clouds.json)"
        return [Line("note", "run", text)]
    remarks, count = compare_split(trained, dataset, tolerance_of(read_recipe(folder)))
    lines = [
        Line(
            "fault" if remark.severe else "note",
            "run",
            f"{times} of {count} clouds: unlike those that {run} was trained on, {remark.sentence}",
        )
        for remark, times in remarks
    ]
    return lines or [Line("ok", "run", f"{count} clouds are like those that {run} was trained on")]


def _upright(read: Sequence[Measured]) -> list[Line]:
    """Compare z with what the cameras take for up, as they are carried upright on the whole."""
    ups = [each.camera_up for each in read if each.camera_up is not None]
    if not ups:
        return []
    up = np.mean(ups, axis=0)
    length = np.linalg.norm(up)
    if length < 0.6 or up[2] > 0.7 * length:
        return []
    axis = int(np.abs(up).argmax())
    where = f"{'+' if up[axis] > 0 else '-'}{'xyz'[axis]}"
    text = (
        f"z should point up, but the cameras stand upright along {where}, so the ground or floor is a wall: "
    )
    return [Line("note", "clouds", text + "turn clouds and poses until z points up")]


def _intensities(spread: CloudSpread) -> list[Line]:
    """Notice intensities that are missing, or were divided by too much or by too little."""
    if spread.middle("zero_intensity") >= 0.995:
        return [Line("note", "clouds", "the clouds have no intensity (all are 0)")]
    bright = spread.high("bright_intensity")
    if bright < FAINT:
        text = f"90 % of the intensities lie below {bright:.2g}, expected up to 1: what they are divided by "
        text += (
            "(intensity_max of a drive log, 255 in nuScenes' layout) is too large, or they were 0..1 before"
        )
        return [Line("note", "clouds", text)]
    if spread.low("dim_intensity") > 0.98:
        text = (
            "more than half of the intensities are 1: what they are divided by (intensity_max) is too small"
        )
        return [Line("note", "clouds", text)]
    return []


def _odd(
    measured: Sequence[Measured], spread: CloudSpread, dataset: Dataset, numbers: Sequence[int]
) -> list[Line]:
    """Name clouds that are unlike the others of the same data set."""
    if spread.clouds < _FEWEST:
        return []
    odd = [
        number
        for number, each in zip(numbers, measured, strict=True)
        if each.statistics is not None
        and any(remark.kind in _OWN_KINDS for remark in compare_statistics(spread, each.statistics))
    ]
    if not odd:
        return []
    named = [each for each in find_unlike(spread, dataset[odd[0]].cloud) if each.kind != "points"]
    why = f": {named[0].sentence}" if named else ""
    text = f"{len(odd)} of {spread.clouds} clouds are unlike the others, the first is "
    return [Line("note", "clouds", f"{text}{dataset.tokens[odd[0]]}{why}")]
