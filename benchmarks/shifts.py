"""Measure how far a trained student travels: other mounts, tilts, sensors, and real streets.

    python benchmarks/shifts.py RUN [RUN ...] --data-root demo/toytown [--clouds 10] [--shared DIR]
        [--no-lidars] [--out shifts.json] [--figure shifts.png] [--pictures DIR]

Runs are seeds of one recipe. Clouds are keyframes of the evaluated split of toytown in nuScenes' layout, all
their points; each is shifted (:mod:`shift.grid`) and predicted anew. Scores are over all clouds, in percent;
changes are to what the same run says of the same points as they are, so that dropping hard points gains
nothing. Other lidars (:mod:`shift.lidars`) record the same streets at the same moments; their points are
others, and their changes are to the clouds of the data set. Spread over streets is that of draws of streets
with repetition (:mod:`shift.scores`). ``--shared`` names a folder with real clouds
(:mod:`shift.recordings`), which are predicted as they are.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from shift.grid import AS_IT_IS, GRID, NOTHING, Shift, Shifted
from shift.lidars import OTHERS, OWN, record, same_cloud
from shift.recordings import GROUPS, Boxed, Labelled, read_recordings
from shift.report import draw_families, draw_recording, grid_rows, machine, recording_tables
from shift.scores import Pair, count, summarise
from torch import Tensor

from clip2scene import build
from clip2scene.datasets.checks import inside, read_records
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.inference.predict import predict
from clip2scene.io import read_json, write_json
from clip2scene.parallel import progress_bar
from clip2scene.runs.run import Run, open_run
from clip2scene.toytown.town.world import build_town
from clip2scene.toytown.writers.recording import KEYFRAME_US
from clip2scene.types import IGNORE_LABEL, PointCloud
from clip2scene.viz.raster import save_png

Counted: TypeAlias = dict[tuple[str, str], Pair]
"""Counts by family and name of a shift."""


@dataclass(frozen=True)
class Keyframe:
    """A cloud of the evaluated split.

    Attributes:
        cloud: As the data set has it.
        truth: True class of each point.
        rings: Ring of each point, 0 the lowest.
        street: Number of the street within the split.
        moment_us: When the sweep ended, since the drive began.
    """

    cloud: PointCloud
    truth: Int[Tensor, " points"]
    rings: Int[Tensor, " points"]
    street: int
    moment_us: int


def read_keyframes(run: Run, data_root: Path, count: int | None) -> list[Keyframe]:
    """Read so many keyframes of the evaluated split, evenly chosen; all by default.

    The loader leaves rings out, so they are read from the files that ``sample_data.json`` names.

    Raises:
        ValueError: If the data are not in nuScenes' layout.
    """
    dataset = build.open_dataset(run.recipe.data, data_root, split="val", labels=True, sweeps=1)
    if not isinstance(dataset, NuScenes):
        raise ValueError(
            f"rings are read from clouds in nuScenes' layout, and {run.folder} is of another; name a run of "
            "the recipe toytown"
        )
    records = read_json(dataset.root / dataset.version / "sample_data.json")
    files = {
        record["sample_token"]: inside(dataset.root, record["filename"])
        for record in records
        if record["is_key_frame"] and "LIDAR_TOP" in record["filename"]
    }
    chosen = np.linspace(0, len(dataset) - 1, min(count or len(dataset), len(dataset)), dtype=int).tolist()
    scenes = [dataset.scene_of(token) for token in dataset.tokens]
    streets, found = sorted(set(scenes)), []
    for number in progress_bar(chosen, desc="read", unit="cloud"):
        sample, token = dataset[number], dataset.tokens[number]
        assert sample.labels is not None
        rings = torch.from_numpy(read_records(files[token], "<f4", columns=5)[:, 4].astype("int64"))
        moment_us = (number - scenes.index(scenes[number]) + 1) * KEYFRAME_US
        street = streets.index(scenes[number])
        found.append(Keyframe(sample.cloud, sample.labels, rings, street, moment_us))
    return found


def measure_grid(run: Run, keyframes: Sequence[Keyframe]) -> Counted:
    """Count what a run says of all clouds under every shift, by family and name, and as they are."""
    label, classes = labeller(run), len(run.class_mapping.classes)
    shifts = {(family, shift.name): shift for family, row in GRID.items() for shift in row}
    streets = sorted({keyframe.street for keyframe in keyframes})
    counts = {key: _empty_pair(len(streets), classes) for key in (AS_IT_IS, *shifts)}
    bar = progress_bar(total=len(keyframes) * (1 + len(shifts)), desc=run.folder.name, unit="cloud")
    for number, keyframe in enumerate(keyframes):
        street, unshifted = streets.index(keyframe.street), label(keyframe.cloud)
        whole = Shifted(keyframe.cloud, torch.arange(len(keyframe.cloud)))
        _add(counts[AS_IT_IS], street, whole, keyframe.truth, unshifted, unshifted)
        bar.update()
        for key, shift in shifts.items():
            shifted = apply_shift(shift, keyframe, seed=number)
            _add(counts[key], street, shifted, keyframe.truth, label(shifted.cloud), unshifted)
            bar.update()
    bar.close()
    return counts


def measure_lidars(
    runs: Sequence[Run], keyframes: Sequence[Keyframe], grids: Sequence[Counted], first_town: int
) -> list[Counted]:
    """Count what runs say of the sweeps of other lidars at the moments of the keyframes.

    Args:
        runs: The runs.
        keyframes: The moments.
        grids: What the runs say of the keyframes as they are, which the other lidars are compared with.
        first_town: Number of the town of the split's first street.

    Returns:
        Counts of each run, by family and lidar; none where the data set's streets are not these towns.
    """
    evaluated = build.evaluation_classes(runs[0].recipe.data, runs[0].folder)
    streets, labellers = sorted({keyframe.street for keyframe in keyframes}), [labeller(run) for run in runs]
    empty = (len(streets), len(evaluated))
    found: list[Counted] = [{("lidar", name): _empty_pair(*empty) for name in OTHERS} for _ in runs]
    for keyframe in progress_bar(keyframes, desc="other lidars", unit="moment"):
        town, street = build_town(first_town + keyframe.street), streets.index(keyframe.street)
        if not same_cloud(record(town, keyframe.moment_us, OWN, evaluated)[0], keyframe.cloud):
            return [{} for _ in runs]
        for lidar in OTHERS:
            cloud, truth = record(town, keyframe.moment_us, lidar, evaluated)
            for counts, label in zip(found, labellers, strict=True):
                counts["lidar", lidar].shifted[street] += count(label(cloud), truth, len(evaluated))
    for counts, grid in zip(found, grids, strict=True):
        for pair in counts.values():
            pair.unshifted[:] = grid[AS_IT_IS].shifted
    return found


def labeller(run: Run) -> Callable[[PointCloud], Int[Tensor, " points"]]:
    """Give a function from a cloud to the run's evaluation class of each point."""
    student, mapping = run.student(), run.class_mapping
    return lambda cloud: mapping.translate(predict(student, run.prompts, cloud).logits.argmax(1))


def _empty_pair(streets: int, classes: int) -> Pair:
    shape = (streets, classes, classes + 1)
    return Pair(np.zeros(shape, int), np.zeros(shape, int))


def apply_shift(shift: Shift, keyframe: Keyframe, *, seed: int) -> Shifted:
    """Shift a keyframe's cloud, drawing with a seed."""
    generator = torch.Generator().manual_seed(seed)
    return shift.apply(keyframe.cloud, keyframe.rings, generator)


def _add(
    pair: Pair,
    street: int,
    shifted: Shifted,
    truth: Int[Tensor, " points"],
    predicted: Int[Tensor, " shifted_points"],
    unshifted: Int[Tensor, " points"],
) -> None:
    """Add a cloud's points to the counts of its street; points that were not in the cloud do not count."""
    known = torch.where(shifted.kept == NOTHING, IGNORE_LABEL, truth[shifted.kept])
    classes = pair.shifted.shape[1]
    pair.shifted[street] += count(predicted, known, classes)
    pair.unshifted[street] += count(unshifted[shifted.kept], known, classes)


def measure_recordings(
    runs: Sequence[Run], folder: Path, pictures: Path | None
) -> tuple[dict[str, list[np.ndarray]], dict[str, dict[str, np.ndarray]]]:
    """Predict real clouds with every run, and draw what the first says of each.

    Returns:
        For each kind of labelled cloud one matrix a run, of points by true and predicted class; and for each
        kind of boxed cloud, by group, runs x (points right, points).
    """
    evaluated = build.evaluation_classes(runs[0].recipe.data, runs[0].folder)
    matrices: dict[str, list[np.ndarray]] = {}
    shares: dict[str, dict[str, np.ndarray]] = defaultdict(
        lambda: defaultdict(lambda: np.zeros((len(runs), 2)))
    )
    labellers = [labeller(run) for run in runs]
    for recording in progress_bar(read_recordings(folder, evaluated), desc="real clouds", unit="cloud"):
        for number, label in enumerate(labellers):
            predicted = label(recording.cloud)
            if isinstance(recording, Labelled):
                empty = [np.zeros((len(evaluated), len(evaluated) + 1), int) for _ in runs]
                found = matrices.setdefault(recording.kind, empty)
                found[number] += count(predicted, recording.truth, len(evaluated))
            else:
                for group, right in _right(recording, predicted, evaluated.classes).items():
                    shares[recording.kind][group][number] += right
            if pictures is not None and number == 0:
                save_png(pictures / f"{recording.name}.png", draw_recording(recording, predicted, evaluated))
    return matrices, {kind: dict(groups) for kind, groups in shares.items()}


def _right(
    recording: Boxed, predicted: Int[Tensor, " points"], classes: Sequence[str]
) -> dict[str, tuple[int, int]]:
    """Count for each group with points how many are called one of its classes, and how many there are."""
    found = {}
    for group, mine in recording.groups.items():
        numbers = torch.tensor([classes.index(name) for name in GROUPS[group] if name in classes])
        if mine.any():
            found[group] = (int(torch.isin(predicted[mine], numbers).sum()), int(mine.sum()))
    return found


def main() -> None:
    """Parse, measure, print tables, write the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--clouds", type=int, help="how many, evenly chosen; all by default")
    parser.add_argument(
        "--first-town", type=int, default=1_500_000, help="of the split; the demo's by default"
    )
    parser.add_argument("--no-lidars", action="store_true", help="leave them out; they take most of the time")
    parser.add_argument("--shared", type=Path, help="folder of real clouds, or that holds it as data/")
    parser.add_argument("--out", type=Path, help="JSON file of all scores")
    parser.add_argument("--figure", type=Path, help="PNG file")
    parser.add_argument("--pictures", type=Path, help="folder for a picture of each real cloud")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("medium")
    runs = [open_run(folder) for folder in arguments.runs]
    keyframes = read_keyframes(runs[0], arguments.data_root, arguments.clouds)
    about = machine([run.recipe.seed for run in runs], len(keyframes))
    print("\n".join(f"{key}: {value}" for key, value in about.items()), flush=True)
    grids = [measure_grid(run, keyframes) for run in runs]
    counted = grids
    if not arguments.no_lidars:
        lidars = measure_lidars(runs, keyframes, grids, arguments.first_town)
        counted = [{**grid, **each} for grid, each in zip(grids, lidars, strict=True)]
    summaries = {key: summarise([each[key] for each in counted]) for key in counted[0]}
    print("\n" + "\n".join(grid_rows(summaries)), flush=True)
    if counted[0].keys() == grids[0].keys() and not arguments.no_lidars:
        print(
            f"\nOther lidars were left out: the first street of {arguments.data_root} is not town "
            f"{arguments.first_town} as {OWN} records it; name its town in --first-town."
        )
    recordings: dict[str, object] = {}
    folder = arguments.shared and next(
        (each for each in (arguments.shared / "data", arguments.shared) if each.is_dir()), None
    )
    if folder is None:
        print("\nReal clouds were left out: --shared names no folder of them.")
    else:
        classes = runs[0].class_mapping.classes
        lines, recordings = recording_tables(*measure_recordings(runs, folder, arguments.pictures), classes)
        print("\n" + "\n".join(lines))
    if arguments.out:
        grid = [{"family": key[0], "shift": key[1], **vars(each)} for key, each in summaries.items()]
        write_json(arguments.out, {**about, "grid": grid, "recordings": recordings})
    if arguments.figure:
        save_png(arguments.figure, draw_families(summaries))


if __name__ == "__main__":
    main()
