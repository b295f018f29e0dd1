"""What reading, the teacher, lifting and consolidating take, measured on a few samples of a data set."""

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from clip2scene import build, build_teacher
from clip2scene.build import Experiment
from clip2scene.datasets import Dataset
from clip2scene.datasets.drives import Moment, find_drives
from clip2scene.datasets.label_subset import Chosen
from clip2scene.distill.consolidate import consolidate_split
from clip2scene.distill.lift import LiftOptions, Teacher, lift_split
from clip2scene.experiments.plan.estimate import Measurement
from clip2scene.io import save_checksummed
from clip2scene.parallel import progress_bar
from clip2scene.teacher.cache import CachedTeacher, to_bytes
from clip2scene.teacher.cost import time_image
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.refine import LogitMaps
from clip2scene.types import Sample, Samples

MOST = 16
"""Things that are measured of one kind, at most."""
BLOCK = 5
"""Moments of one drive that are lifted, to measure consolidation."""

Thing = TypeVar("Thing")


def until(things: Iterable[Thing], seconds: float, *, least: int) -> Iterator[Thing]:
    """Go through things until the time is up; the first ``least`` in any case."""
    began = time.perf_counter()
    for number, thing in enumerate(things):
        if number >= least and time.perf_counter() - began > seconds:
            return
        yield thing


def evenly(count: int, number: int) -> list[int]:
    """Choose ``number`` of ``count`` samples, spread evenly; all, if there are no more."""
    return np.unique(np.linspace(0, count - 1, min(number, count)).round().astype(int)).tolist()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread in the block, as each process does that lifts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def read_sample(sample: Sample) -> None:
    """Read all images of a sample whose cloud has been read."""
    for view in range(len(sample.cameras)):
        sample.read_image(view)


def measure_start(module: str) -> Measurement:
    """Start Python in a process of its own, and import a module of ours, as every command does.

    Args:
        module: Its full name.

    Raises:
        ValueError: If no process can be started.
    """
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{sys.executable} cannot be started: {done.stderr.strip().splitlines()[-1:]}")
    return Measurement((time.perf_counter() - began,))


def measure_reading(dataset: Dataset, seconds: float) -> tuple[Measurement, Measurement]:
    """Read some samples, cloud and images, one after the other.

    Returns:
        Seconds of each, and how many images each has.

    Raises:
        ValueError: If one cannot be read.
    """
    dataset[0]  # tables that are read once, and the first use of each decoder
    took, images = [], []
    numbers = evenly(len(dataset.tokens), MOST)
    for number in until(progress_bar(numbers, desc="plan: reading", unit="sample"), seconds, least=2):
        began = time.perf_counter()
        sample = dataset[number]
        read_sample(sample)
        took.append(time.perf_counter() - began)
        images.append(float(len(sample.cameras)))
    return Measurement(tuple(took)), Measurement(tuple(images))


@dataclass(frozen=True)
class TeacherCost:
    """What the teacher takes, on one core.

    Attributes:
        image: Seconds of the forward pass of an image.
        refinement: Seconds to refine the maps of a sample; None where they are not refined.
        cached: Bytes of an image in the teacher's cache, by its precision; empty for teachers without one.
    """

    image: Measurement
    refinement: Measurement | None
    cached: dict[str, Measurement]


def measure_teacher(experiment: Experiment, seconds: float, folder: Path) -> TeacherCost:
    """Run the teacher on images of some samples; the first one is not counted.

    Args:
        experiment: With a teacher.
        seconds: After which no further image is begun.
        folder: Where maps are written to, to know their size.

    Raises:
        ValueError: If an image cannot be read, or the disk is full.
    """
    teacher, dataset = experiment.teacher, experiment.dataset
    assert teacher is not None
    took, refined, sizes = [], [], defaultdict(list)
    samples = (dataset[number] for number in evenly(len(dataset.tokens), MOST))
    with one_thread():
        bar = progress_bar(samples, desc="plan: teacher", unit="sample")
        for place, sample in enumerate(until(bar, seconds, least=2)):
            if isinstance(teacher, MaskClip):
                found = [time_image(teacher, sample.read_image(view)) for view in _few_views(sample, place)]
                took += [each for each, _ in found]
                for number, (_, maps) in enumerate(found):
                    for precision, rounded in (("float16", torch.Tensor.half), ("int8", to_bytes)):
                        path = folder / f"{precision}-{place}-{number}.safetensors"
                        save_checksummed(path, {str(n): rounded(each) for n, each in enumerate(maps)})
                        sizes[precision].append(float(path.stat().st_size))
            else:
                took.append(_timed(partial(teacher, sample)) / len(sample.cameras))
            refined += _refinement(experiment, sample) if place == 1 else []
    del took[0]
    return TeacherCost(
        Measurement(tuple(took)),
        Measurement(tuple(refined)) if refined else None,
        {precision: Measurement(tuple(each)) for precision, each in sizes.items()},
    )


def _few_views(sample: Sample, place: int) -> list[int]:
    """Choose two views of a sample, others for each."""
    views = len(sample.cameras)
    return sorted({(2 * place) % views, (2 * place + 1) % views})


def _refinement(experiment: Experiment, sample: Sample) -> list[float]:
    """Time the refinement of a sample's maps, if there is one."""
    refinement = build_teacher.build_refinement(experiment.recipe.teacher)
    assert experiment.teacher is not None
    maps = experiment.teacher(sample) if refinement is not None else None
    if refinement is None or not isinstance(maps, LogitMaps):
        return []
    return [_timed(lambda: refinement.of_sample(maps, sample, experiment.prompts))]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


class _Watched:
    """Samples, and when each was asked for."""

    def __init__(self, samples: Samples) -> None:
        self.samples, self.tokens = samples, samples.tokens
        self.asked: list[float] = []

    def __getitem__(self, index: int) -> Sample:
        self.asked.append(time.perf_counter())
        return self.samples[index]


@dataclass(frozen=True)
class Lifted:
    """Samples that were lifted to be measured.

    Attributes:
        paths: Their files.
        seconds: Of each, on one core, from reading to writing.
        bytes: Of each file.
        drives: Those of them that follow each other in one drive, to be consolidated; maybe none.
    """

    paths: list[Path]
    seconds: Measurement
    bytes: Measurement
    drives: dict[str, tuple[Moment, ...]]


def measure_lifting(experiment: Experiment, seconds: float, folder: Path) -> Lifted:
    """Lift some samples on one core, as a run does; the first one is not counted.

    Args:
        experiment: What is lifted, with the teacher or with labels.
        seconds: About how long it may take, if two samples do not take longer.
        folder: Where the files go.

    Raises:
        ValueError: If a sample is bad, no camera sees any point of these samples, or the disk is full.
    """
    dataset, recipe = experiment.dataset, experiment.recipe
    count = len(dataset.tokens)
    with one_thread():
        first = _lift(experiment, [count // 2], folder / "first")[1][0]
        number = max(2, min(MOST, int(seconds / max(first, 1e-3))))
        block = _block(experiment) if recipe.teacher.consolidate and experiment.teacher else ()
        chosen = sorted({*evenly(count, number), *(moment.number for moment in block)})
        paths, took = _lift(experiment, chosen, folder)
    places = {each: place for place, each in enumerate(chosen)}
    moments = tuple(replace(moment, number=places[moment.number]) for moment in block)
    return Lifted(
        paths,
        Measurement(tuple(took)),
        Measurement(tuple(float(path.stat().st_size) for path in paths)),
        {"measured": moments} if len(moments) > 1 else {},
    )


def _lift(experiment: Experiment, numbers: Sequence[int], folder: Path) -> tuple[list[Path], list[float]]:
    """Lift samples one after the other; give their files, and the seconds of each."""
    recipe, dataset, teacher = experiment.recipe, experiment.dataset, experiment.teacher
    few = _Watched(Chosen(dataset, [dataset.tokens[number] for number in numbers]))
    rounded: Teacher | None = teacher
    if isinstance(teacher, MaskClip):
        rounded = CachedTeacher(teacher, "", None, recipe.teacher.precision)
    options = LiftOptions(
        build.pairing_options(recipe.data),
        dataset.viewpoint,
        recipe.teacher.superpoint_vote,
        recipe.keep,
        recipe.teacher.precision,
        refinement=build_teacher.build_refinement(recipe.teacher),
    )
    paths = lift_split(
        few, rounded, experiment.prompts, folder, options=options, backbone=experiment.backbone, alone=True
    )
    ends = [*few.asked[1:], time.perf_counter()]
    return paths, [end - began for began, end in zip(few.asked, ends, strict=True)]


def _block(experiment: Experiment) -> tuple[Moment, ...]:
    """Choose moments that follow each other in the middle of the longest drive.

    Raises:
        ValueError: If it is not known where a sample was recorded.
    """
    moments = max(find_drives(experiment.dataset).values(), key=len)
    start = max(0, (len(moments) - BLOCK) // 2)
    return moments[start : start + BLOCK]


def measure_consolidation(experiment: Experiment, lifted: Lifted) -> Measurement | None:
    """Consolidate the moments of one drive, in seconds a moment; None where none were lifted.

    Raises:
        ValueError: If the poses contradict the clouds.
    """
    if not lifted.drives:
        return None
    viewpoint = experiment.dataset.viewpoint or (0.0, 0.0, 0.0)
    options = build_teacher.consolidate_options(experiment.recipe.teacher)
    with one_thread():
        took = _timed(
            lambda: consolidate_split(lifted.drives, lifted.paths, viewpoint=viewpoint, options=options)
        )
    return Measurement((took / len(lifted.drives["measured"]),))
