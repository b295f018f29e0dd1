"""Checks that people need before they train: what is wrong with a data set, and what training on it costs."""

import copy
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip2scene import build, build_teacher
from clip2scene.classes.class_set import ClassSet
from clip2scene.config import DataConfig, TeacherConfig
from clip2scene.datasets import Dataset
from clip2scene.datasets.checks import MissingLabelsError
from clip2scene.datasets.label_subset import Chosen
from clip2scene.distill.lift import LiftOptions, PairingOptions, lift_split
from clip2scene.doctor.calibration import check_calibration
from clip2scene.doctor.clouds import check_clouds, compare_with_run
from clip2scene.doctor.overlays import draw_overlays
from clip2scene.doctor.report import Line
from clip2scene.doctor.samples import (
    MOVING_CAMERA,
    Measured,
    count_labels,
    measure_sample,
    names_of_cameras,
)
from clip2scene.doctor.timing import check_times, find_places, find_velocities
from clip2scene.parallel import progress_bar
from clip2scene.types import IGNORE_LABEL

_MOST_RAW_ID = 65_536
_CHANGING = re.compile(r"sample \S+: |\S*/\S+|[0-9.]+")  # of two faults with one cause


def examine(
    data: DataConfig,
    root: Path,
    *,
    split: str = "train",
    samples: int = 60,
    calibration: bool = True,
    costs: bool = True,
    pictures: Path | None = None,
    run: Path | None = None,
) -> list[Line]:
    """Examine a data set; it is opened once.

    Args:
        data: How it lies on the disk, and how points meet pixels.
        root: Where it lies.
        split: Which split to examine.
        samples: How many samples, spread evenly over the split; 0 for all.
        calibration: Whether to compare clouds with images.
        costs: Whether to run the package's own image model on two samples, to measure time and disk.
        pictures: Folder for a picture of each camera of one sample, with the points that it sees.
        run: A trained run, whose training clouds these clouds are compared with.

    Returns:
        The report.
    """
    try:
        dataset, lines = _open(data, root, split)
    except ValueError as error:
        return [Line("fault", "files", f"cannot be opened: {error}")]
    count = len(dataset)
    numbers = np.unique(np.linspace(0, count - 1, min(samples or count, count)).round().astype(int)).tolist()
    pairing = build.pairing_options(data)
    times = check_times(dataset, numbers)
    velocities, places = _motion(dataset, numbers)
    if any(line.mark == "fault" for line in times):  # nor would the calibration fit at such a speed
        velocities = {}
    measured = [
        measure_sample(dataset, number, pairing=pairing, velocity=velocities.get(number), align=calibration)
        for number in progress_bar(numbers, desc="looking", unit="sample")
    ]
    lines += [*_files(measured, count), *check_clouds(measured, dataset, numbers), *_cameras(measured)]
    lines += [] if run is None else compare_with_run(dataset, run)
    lines += times
    lines += check_calibration(measured, places) if calibration else []
    lines += _labels(measured, dataset, numbers)
    healthy = [n for n, each in zip(numbers, measured, strict=True) if each.views and not each.faults]
    if costs and healthy:
        lines += _costs(data, root, dataset, healthy[:2], measured)
    return lines if pictures is None else [*lines, _draw(dataset, pairing, pictures)]


def _open(data: DataConfig, root: Path, split: str) -> tuple[Dataset, list[Line]]:
    """Open a split with labels, or without if there are none or they are damaged."""
    try:
        return build.open_dataset(data, root, split=split, labels=True), []
    except MissingLabelsError as error:
        line = Line("note", "labels", f"none to judge by: {error}")
    except ValueError as error:
        line = Line("fault", "labels", f"cannot be read: {error}")
    return build.open_dataset(data, root, split=split), [line]


def _draw(dataset: Dataset, pairing: PairingOptions, folder: Path) -> Line:
    """Draw the pictures, and say so."""
    try:
        drawn = draw_overlays(dataset, pairing, folder=folder)
    except ValueError as error:
        return Line("note", "pictures", f"none drawn: {error}")
    return Line("ok", "pictures", f"drew {len(drawn)} pictures: {folder}")


def _motion(dataset: Dataset, numbers: Sequence[int]) -> tuple[dict[int, Any], list[int]]:
    """Find out how fast the vehicle drove at some samples, and which of them were taken at one place."""
    try:
        return dict(find_velocities(dataset, numbers)), find_places(dataset, numbers)
    except ValueError:  # check_times names it
        return {}, list(numbers)


def _files(measured: Sequence[Measured], count: int) -> list[Line]:
    """Say how many samples can be read, and each cause once that keeps others from it, at most three."""
    bad = [each for each in measured if each.faults]
    images = sum(len(each.views) for each in measured)
    looked = f"{len(measured)} of {count} samples"
    if not bad:
        return [Line("ok", "files", f"{looked} looked at: all clouds and {images} images can be read")]
    causes: dict[str, list[tuple[str, str]]] = {}
    for each in bad:
        for fault in each.faults:
            causes.setdefault(_CHANGING.sub("", fault), []).append((each.token, fault))
    lines = []
    for faults in sorted(causes.values(), key=len, reverse=True)[:3]:
        count, more = len({token for token, _ in faults}), len(faults) - 1
        text = f"{count} of {looked} looked at cannot be read whole: {faults[0][1]}"
        lines.append(Line("fault", "files", f"{text} (and {more} more like it)" if more else text))
    return lines


def _cameras(measured: Sequence[Measured]) -> list[Line]:
    """Say what share of the points each camera sees."""
    lines = []
    for name in names_of_cameras(measured):
        shares = [view.visible for each in measured for view in each.views if view.camera == name]
        text = f"{name}: sees {100 * np.median(shares):.1f} % of the points in {len(shares)} images"
        if max(shares) == 0:
            text = f"{name}: sees no point in any of {len(shares)} images: its calibration cannot be right"
            text += ", or the unit of the depth images" if name == MOVING_CAMERA else ""
            lines.append(Line("fault", "cameras", text))
        elif min(shares) == 0:
            lines.append(Line("note", "cameras", f"{text}, in {shares.count(0)} of them none"))
        else:
            lines.append(Line("ok", "cameras", text))
        if any(view.is_cut for each in measured for view in each.views if view.camera == name):
            text = f"{name}: its principal point lies far from the middle of its images, as of images that "
            text += "were cut; if they were not, the calibration is another's"
            lines.append(Line("note", "cameras", text))
    if not lines and not any(each.faults for each in measured):
        lines.append(Line("fault", "cameras", "there is no image, so there is nothing to learn from"))
    return lines


def _labels(measured: Sequence[Measured], dataset: Dataset, numbers: Sequence[int]) -> list[Line]:
    """Say how often there is each class, and which raw ids are of none."""
    found = sum((each.labels for each in measured), Counter())
    total = found.total() if hasattr(found, "total") else sum(found.values())
    if not total:
        return []
    names = dataset.class_set.classes
    ranked = sorted(range(len(names)), key=lambda label: -found[label])
    shares = [f"{names[label]} {100 * found[label] / total:.2g}" for label in ranked if found[label]]
    lines = [Line("ok", "labels", f"share of points in percent: {', '.join(shares)}")]
    missing = [name for label, name in enumerate(names) if not found[label]]
    if missing:
        lines.append(Line("note", "labels", f"no point of {', '.join(missing)} in the samples looked at"))
    if found[IGNORE_LABEL]:
        text = f"{100 * found[IGNORE_LABEL] / total:.2g} % of the points are of no class"
        foreign = _foreign_ids(dataset, numbers[:5])
        text += f"; raw ids {', '.join(map(str, foreign[:12]))}" if foreign else ""
        only = found[IGNORE_LABEL] == total
        lines.append(Line("fault" if only else "note", "labels", text))
    return lines


def _foreign_ids(dataset: Dataset, numbers: Sequence[int]) -> list[int]:
    """List raw ids that stand for no class, in a few samples."""
    names = tuple(str(raw) for raw in range(_MOST_RAW_ID))
    raw = copy.copy(dataset)
    raw.class_set = ClassSet(
        "raw",
        names,
        tuple((name,) for name in names),
        ((0, 0, 0),) * len(names),
        {number: number for number in range(len(names))},
    )
    found: Counter[int] = Counter()
    for number in numbers:
        try:
            labels = raw[number].labels
        except ValueError:
            continue
        found += Counter() if labels is None else count_labels(labels)
    return sorted(set(found) - set(dataset.class_set.train_id_of_raw) - {IGNORE_LABEL})


def _costs(
    data: DataConfig, root: Path, dataset: Dataset, numbers: Sequence[int], measured: Sequence[Measured]
) -> list[Line]:
    """Estimate what lifting a teacher's pseudo-labels onto the split takes, from a few samples."""
    teaching = TeacherConfig(templates="toytown")
    count, read = len(dataset.tokens), np.median([each.seconds for each in measured if not each.faults])
    try:
        words = build.prompt_classes(data, Path(root))
        space = build_teacher.open_text_space(teaching, None, words)
        prompts = build_teacher.build_prompts(teaching, space, words, partly=True)
        teacher = build_teacher.build_teacher(teaching, space, prompts, dataset)
        options = LiftOptions(build.pairing_options(data), dataset.viewpoint)
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            few = Chosen(dataset, [dataset.tokens[number] for number in numbers])
            paths = lift_split(few, teacher, prompts, Path(folder), options=options)
            seconds = (time.perf_counter() - start) / len(paths)
            size = sum(path.stat().st_size for path in paths) / len(paths)
    except ValueError as error:
        return [Line("note", "costs", f"not estimated: {error}")]
    disk = f"{size / 1e6:.1f} MB a sample, {count * size / 1e9:.2g} GB for {count} samples"
    lines = [Line("ok", "costs", f"disk for the pseudo-labels: {disk}")]
    text = f"reading takes {read:.2f} s a sample; with the package's own image model, {seconds:.2f} s, "
    text += f"{count * seconds / 3600:.2g} hours for the split, once; a larger model takes longer"
    return [*lines, Line("ok", "costs", text)]
