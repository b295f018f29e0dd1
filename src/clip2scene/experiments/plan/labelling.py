"""The plan of labelling many clouds with a trained student, by one worker or by a fleet of them."""

import time
from dataclasses import dataclass
from pathlib import Path

from clip2scene import build
from clip2scene.config import DataConfig
from clip2scene.datasets import Dataset
from clip2scene.experiments.plan.estimate import Measurement, Work
from clip2scene.experiments.plan.figures import Ask, Plan
from clip2scene.experiments.plan.measure import evenly, measure_start, until
from clip2scene.experiments.plan.whole import plan_disk, plan_ranks, plan_total
from clip2scene.inference.segmenter import Segmenter
from clip2scene.parallel import progress_bar
from clip2scene.types import PointCloud

MOST_WORKERS = 100_000
"""More than these are not thought of."""
_MOST, _FEW = 64, 8  # labellings, and clouds, that are measured
_LABEL_BYTES = 1  # of a point's label, where there are fewer than 256 words


@dataclass(frozen=True)
class LabelJob:
    """Clouds to be labelled."""

    run: str = "builtin"
    """The run whose student labels them."""
    clouds: int | None = None
    """How many; as many as the split has, if left out."""
    split: str = "train"
    """Where some are taken from to be measured."""


def plan_labelling(job: LabelJob, data: DataConfig, ask: Ask) -> Plan:
    """Label a few clouds, and say what all will take, by one worker and by many.

    Args:
        job: How many clouds, and which student.
        data: How the data set lies on the disk.
        ask: Which data set, and within which time.
    """
    plan = Plan(f"label with {Path(job.run).name} what is like {ask.data_root.name}")
    about = "data"
    try:
        dataset = build.open_dataset(data, ask.data_root, split=job.split, sweeps=1)
        if not dataset.tokens:
            raise ValueError(f"split {job.split!r} of {ask.data_root} has no sample; name another one")
        reading, clouds = _read(dataset)
        plan.measured("reading a cloud", "seconds", reading)
        about = "run"
        start = measure_start("clip2scene.inference.segmenter")
        began = time.perf_counter()
        segmenter = Segmenter.load(job.run)
        load = Measurement((time.perf_counter() - began,))
        plan.measured("starting a worker: Python and torch", "seconds", start)
        plan.measured("starting a worker: the student", "seconds", load)
        segmenter.segment(clouds[0])  # warms up
        about = "labelling"
        took = []
        many = progress_bar(range(_MOST), desc="plan: labelling", unit="cloud")
        for number in until(many, 0.7 * ask.budget, least=3):
            began = time.perf_counter()
            segmenter.segment(clouds[number % len(clouds)])
            took.append(time.perf_counter() - began)
        labelling = Measurement(tuple(took))
        plan.measured("labelling a cloud, this machine's cores", "seconds", labelling)
    except (ValueError, OSError) as error:
        plan.fault(about, f"{error}")
        plan.unknown("in all, on this machine", "seconds", f"see the fault of {about!r} below")
        plan_disk(plan, None, ask.disk)
        return plan
    count = job.clouds or len(dataset.tokens)
    points = Measurement(tuple(float(len(cloud)) for cloud in clouds))
    shared = reading.of(count) + labelling.of(count)
    alone = start.of(1) + load.of(1)
    parts = {"start": alone, f"{count:,} x (reading + labelling)": shared}
    plan_total(plan, parts, "writing, pictures, a store that is not this disk")
    plan_ranks(
        plan,
        Work(alone, shared, range(1, MOST_WORKERS + 1)),
        ask.within,
        called="worker",
        limit="each has to start",
        lacking="a store that all read from, losses, stragglers (docs/scale.md simulates them)",
    )
    need = points.of(count * _LABEL_BYTES)
    plan.extrapolated(
        "disk, needed", "bytes", need, f"{points.mean:,.0f} points x {count:,} x 1 byte; labels alone"
    )
    plan_disk(plan, need, ask.disk)
    plan.unknown("on a GPU", "seconds", "nobody has run one, and nothing here says what it would take")
    return plan


def _read(dataset: Dataset) -> tuple[Measurement, list[PointCloud]]:
    """Read some clouds of a split; give seconds of each, and them."""
    dataset[0]  # tables that are read once
    took, clouds = [], []
    for number in evenly(len(dataset.tokens), _FEW):
        began = time.perf_counter()
        clouds.append(dataset[number].cloud)
        took.append(time.perf_counter() - began)
    return Measurement(tuple(took)), clouds
