"""How many samples a second each stage of loading gives, and how much memory it takes, for each layout.

    python benchmarks/loading.py [--scenes 2] [--keyframes 10] [--only nuscenes scannet]

Makes a small toytown in each layout in a temporary folder; PandaSet is read where ``CLIP2SCENE_DATA`` names a
folder that holds ``pandaset-002``. Rates of one process are samples for each second of its own processor
time, on one thread, with files that have just been read once; the last three columns are samples for each
second waited, with so many processes that read ahead. "lift" lets the small image-text model of the package
look (for PandaSet, class maps that lie on the disk are read), so it is what a first run takes once.

Memory is that of a process of its own that reads every cloud, image and pair once and keeps none: "held" is
what its peak grew by from the first quarter of the samples to the last, beside the size of all that it read
in between.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from clip2scene import build, build_teacher
from clip2scene.config import DataConfig, TeacherConfig
from clip2scene.datasets import Dataset
from clip2scene.datasets.label_subset import Chosen
from clip2scene.distill.augment import Augmentation
from clip2scene.distill.items import ItemOptions, TrainSet
from clip2scene.distill.lift import LiftOptions, find_pairs, gather_sweeps, lift_split
from clip2scene.distill.lifted import load_lifted
from clip2scene.parallel import prefetch
from clip2scene.runs.cost import describe_machine, today
from clip2scene.toytown.rooms.room_scan import Walk
from clip2scene.toytown.writers import layouts as writers
from clip2scene.toytown.writers.recording import Recording

READERS = (0, 1, 2)
BATCH = 2
OPENINGS = 5

DRIVES: dict[str, Callable[..., None]] = {
    "nuscenes": writers.write_nuscenes,
    "semantic-kitti": writers.write_semantic_kitti,
    "drive-log": writers.write_drive_log,
}
ROOMS = "scannet"
PANDASET = "pandaset"

COLUMNS = {
    "open": "open, ms",
    "cloud": "cloud",
    "images": "images",
    "pairs": "pairs",
    "lift": "lift",
    "read": "read carried",
    "batch": "batch",
    **{f"readers{number}": f"batch, {number} ahead" for number in READERS},
}


@dataclass(frozen=True)
class Place:
    """A data set to measure.

    Attributes:
        layout: How it lies on the disk.
        root: Where.
        most: Samples that rates are measured on, at most.
    """

    layout: str
    root: str
    most: int

    @property
    def data(self) -> DataConfig:
        """Say how it is read: keyframes alone, labels in its own classes."""
        if self.layout == ROOMS:
            return DataConfig(layout=ROOMS, min_depth=0.3, frame_step=1)
        own = self.layout in ("drive-log", PANDASET)
        return DataConfig(layout=self.layout, classes="own" if own else "toytown")  # type: ignore[arg-type]

    def open(self) -> Dataset:
        """Open its training split with labels."""
        return build.open_dataset(self.data, Path(self.root), split="train", labels=True)


def make_town(layout: str, root: Path, scenes: int, keyframes: int) -> None:
    """Write a toytown in a layout; rooms are one sample each, so there are as many as keyframes."""
    if layout == ROOMS:
        writers.write_scannet(root, num_scenes=scenes * keyframes // 2, walk=Walk(frames=8), workers=1)
        return
    recording = Recording(keyframes_per_scene=keyframes, sweeps_per_keyframe=1)
    DRIVES[layout](root, num_scenes=scenes, recording=recording, workers=1)


def peak_mb() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@contextmanager
def timed(rates: dict[str, float], stage: str, number: int) -> Iterator[None]:
    """Note how many samples a stage gave for each second of this process."""
    began = time.process_time()
    yield
    rates[stage] = number / max(time.process_time() - began, 1e-6)


def measure_rates(place: Place) -> dict[str, float]:
    """Time every stage."""
    began = time.process_time()
    for _ in range(OPENINGS):
        dataset = place.open()
    rates = {"open": 1000 * (time.process_time() - began) / OPENINGS}
    few = Chosen(dataset, dataset.tokens[: place.most])
    numbers = range(len(few.tokens))
    pairing = build.pairing_options(place.data)
    for sample in (few[number] for number in numbers):  # warm: the first read is the disk's
        find_pairs(sample.cloud.positions, sample, pairing)
        for view in range(len(sample.cameras)):
            sample.read_image(view)
    with timed(rates, "cloud", len(numbers)):
        samples = [few[number] for number in numbers]
    with timed(rates, "images", len(numbers)):
        for sample in samples:
            for view in range(len(sample.cameras)):
                sample.read_image(view)
    with timed(rates, "pairs", len(numbers)):
        clouds = [gather_sweeps(each, dataset.viewpoint, pairing).cloud for each in samples]
        pairs = [
            len(find_pairs(cloud.positions, each, pairing))
            for cloud, each in zip(clouds, samples, strict=True)
        ]
    rates["points"] = sum(len(each.cloud) for each in samples) / len(numbers)
    rates["views"] = sum(len(each.cameras) for each in samples) / len(numbers)
    rates["pairs_found"] = sum(pairs) / len(numbers)
    with TemporaryDirectory() as folder:
        paths = lift(place, few, LiftOptions(pairing, dataset.viewpoint), Path(folder), rates)
        measure_batches(paths, rates)
    rates["samples"] = len(numbers)
    return rates


def lift(
    place: Place, few: Chosen, options: LiftOptions, folder: Path, rates: dict[str, float]
) -> list[Path]:
    """Make pseudo-labels of the samples with the small model, and read them."""
    teaching = TeacherConfig(templates="toytown")
    if place.layout == PANDASET:
        teaching = TeacherConfig(kind="label-maps", trained_on_2d_labels=True)
    words = build.prompt_classes(place.data, Path(place.root))
    space = build_teacher.open_text_space(teaching, None, words)
    prompts = build_teacher.build_prompts(teaching, space, words, partly=True)
    teacher = build_teacher.build_teacher(teaching, space, prompts, few.dataset)
    teacher(few[0])  # warm
    with timed(rates, "lift", len(few.tokens)):
        paths = lift_split(few, teacher, prompts, folder, options=options)
    with timed(rates, "read", len(paths)):
        for path in paths:
            load_lifted(path)
    return paths


def measure_batches(paths: list[Path], rates: dict[str, float]) -> None:
    """Build training batches, here and in processes that read ahead."""
    train_items = TrainSet(paths, BATCH, options=ItemOptions(augmentation=Augmentation(scale=0.05)))
    steps = max(2 * len(paths) // BATCH, 20)
    with timed(rates, "batch", steps * BATCH):
        for step in range(steps):
            train_items.read_step(step)
    for readers in READERS:
        batches = prefetch(train_items.read_step, range(steps + 2), processes=readers, title="steps")
        next(batches), next(batches)  # the processes have started
        began = time.perf_counter()
        for _ in batches:
            pass
        rates[f"readers{readers}"] = steps * BATCH / (time.perf_counter() - began)


def measure_memory(place: Place) -> dict[str, float]:
    """Read every sample once, and compare the peaks after a quarter of them and after all."""
    imported = peak_mb()
    dataset = place.open()
    pairing = build.pairing_options(place.data)
    number = len(dataset.tokens)
    quarter, read_mb = max(1, number // 4), 0.0
    after_quarter, opened = 0.0, peak_mb()
    for index in range(number):
        sample = dataset[index]
        cloud = sample.cloud
        tensors = [cloud.positions, cloud.features]
        tensors += [sample.read_image(view) for view in range(len(sample.cameras))]
        find_pairs(cloud.positions, sample, pairing)
        if index >= quarter:
            read_mb += sum(tensor.numel() * tensor.element_size() for tensor in tensors) / 2**20
        if index == quarter - 1:
            after_quarter = peak_mb()
    return {
        "imported": imported,
        "opened": opened,
        "peak": peak_mb(),
        "held": peak_mb() - after_quarter,
        "read_mb": read_mb,
        "all_samples": number,
    }


def in_a_process(job: str, place: Place) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--job", job, "--place", json.dumps(asdict(place))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def shown(value: float) -> str:
    """Write a number with as many digits as it is worth."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def print_tables(found: dict[str, dict[str, float]]) -> None:
    """Print the rates, and the memory."""
    print(f"\n| | points, images, pairs a sample | {' | '.join(COLUMNS.values())} |")
    print("|---" * (2 + len(COLUMNS)) + "|")
    for name, row in found.items():
        sizes = f"{row['points']:,.0f}, {row['views']:.0f}, {row['pairs_found']:,.0f}"
        print(f"| {name} | {sizes} | {' | '.join(shown(row[column]) for column in COLUMNS)} |")
    print("\n| | samples | imported, MB | opened, MB | peak, MB | held, MB | of this many read, MB |")
    print("|---" * 7 + "|")
    for name, row in found.items():
        numbers = [row[key] for key in ("imported", "opened", "peak", "held", "read_mb")]
        print(f"| {name} | {row['all_samples']:.0f} | {' | '.join(f'{number:.0f}' for number in numbers)} |")


def main() -> None:
    """Make the data sets, measure each, print tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=2, help="drives of each toytown")
    parser.add_argument("--keyframes", type=int, default=10, help="of each drive")
    parser.add_argument("--most", type=int, default=20, help="samples that rates are measured on")
    parser.add_argument("--only", nargs="+", choices=[*DRIVES, ROOMS, PANDASET], help="layouts to measure")
    parser.add_argument("--job", choices=["rates", "memory"], help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.job:
        place = Place(**json.loads(options.place))
        print(json.dumps((measure_rates if options.job == "rates" else measure_memory)(place)))
        return
    wanted = options.only or [*DRIVES, ROOMS, PANDASET]
    real = Path(os.environ.get("CLIP2SCENE_DATA", "")) / "pandaset-002"
    load = f"{os.getloadavg()[0]:.1f} processes were running before"
    print(f"{describe_machine('cpu')}, one of them used, {today()}; {load}")
    found = {}
    with TemporaryDirectory() as folder:
        for layout in wanted:
            root = real if layout == PANDASET else Path(folder) / layout
            if layout == PANDASET and not root.is_dir():
                print(f"{PANDASET}: left out, CLIP2SCENE_DATA names no folder with pandaset-002")
                continue
            if layout != PANDASET:
                make_town(layout, root, options.scenes, options.keyframes)
            place = Place(layout, str(root), options.most)
            found[layout] = {**in_a_process("rates", place), **in_a_process("memory", place)}
            print(f"{layout}: measured, {os.getloadavg()[0]:.1f} processes running", file=sys.stderr)
    print_tables(found)


if __name__ == "__main__":
    main()
