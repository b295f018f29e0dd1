"""A trained run made small, to be handed on: the weights alone, and nothing of the machine it was made on."""

import datetime
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clip2scene import build
from clip2scene.config import Recipe, to_dict
from clip2scene.distill.lift import gather_sweeps
from clip2scene.inference.predict import open_split, predict_labels
from clip2scene.io import new_folder, read_text, write_json
from clip2scene.runs.checkpoint import Checkpoint, load_weights, save_checkpoint, versions
from clip2scene.runs.copies import ABOUT, DESCRIBING
from clip2scene.runs.run import Run, open_run
from clip2scene.runs.run_files import read_run_json
from clip2scene.runs.sources import Sources

MOST_MIB = 20
"""Largest size of a packed run."""
LEAST_AGREEMENT = 0.999
"""Share of points that must keep their label for weights to be written as float16."""

_CLOUDS = 8  # that this is measured on
_PLACE = re.compile(r"(?:^|[\s='\"])(?:[/~]|[A-Za-z]:\\)\S")


def pack_run(
    run: Path, out: Path, *, data_root: Path | None = None, split: str = "val", trained_by: str = ""
) -> dict[str, Any]:
    """Write a small copy of a run, to be used but not trained on: on a robot, or by others.

    Weights are float16 where that leaves at least :data:`LEAST_AGREEMENT` of the labels as they are, measured
    on some clouds of a split; else, and without data, float32.

    Args:
        run: Folder of a trained run.
        out: New folder. All of it is there in the end, or nothing.
        data_root: A data set like the one it was trained on; no label of it is read.
        split: Which of its splits.
        trained_by: The command that trained the run, to be told to whoever gets it.

    Returns:
        What ``about.json`` in the folder says: the precision of the weights, the share of labels that are the
        same (None if not measured), the scores of the last evaluation, and how it was trained.

    Raises:
        ValueError: If the run is not trained, anything in it names a place of this machine, the folder is in
            use, or the copy would be larger than :data:`MOST_MIB`.
    """
    opened = open_run(run)
    student = opened.student()
    sources = _without_places(opened)
    weights: Mapping[str, Tensor] = student.state_dict()
    precision, agreement = "float32", None
    if data_root is not None:
        halved = {name: each.half() if each.is_floating_point() else each for name, each in weights.items()}
        agreement = _agreement(opened, halved, data_root, split)
        if agreement >= LEAST_AGREEMENT:
            precision, weights = "float16", halved
    about = {
        **{"command": trained_by, "recipe": opened.recipe.name, "seed": opened.recipe.seed},
        **{"date": datetime.date.today().isoformat(), "versions": sources.versions or versions()},
        **{"precision": precision, "agreement": agreement, "results": _results(opened)},
    }
    with new_folder(out) as folder:
        for name in DESCRIBING:
            if (opened.folder / name).exists():
                shutil.copyfile(opened.folder / name, folder / name)
        sources.write(folder)
        recipe = _naming_no_folders(opened.recipe)
        write_json(folder / "recipe.json", to_dict(recipe))
        write_json(folder / ABOUT, about)
        kept = Checkpoint(dict(weights), opened.recipe.steps, to_dict(recipe), versions())
        save_checkpoint(folder / "checkpoint.safetensors", kept)
        _check(folder, opened)
    return about


def _without_places(run: Run) -> Sources:
    """Take out of a run's sources what was where on this machine.

    Raises:
        ValueError: If its image-text model is a folder or a file here, so that no word could be embedded.
    """
    sources = run.sources
    if sources.teacher_weights is not None and Path(sources.teacher_weights).exists():
        raise ValueError(
            f"{run.folder} takes words from {sources.teacher_weights}, which no other machine has; pack a "
            "run whose model is the one in the package, a table of words, or on the hub"
        )
    init, first = (
        None if each is None else {**each, "origin": Path(each["origin"]).name}
        for each in (sources.init, sources.second_round)
    )
    return replace(sources, data_root="", inputs="", seal="", also=(), init=init, second_round=first)


def _naming_no_folders(recipe: Recipe) -> Recipe:
    """Name the runs of a recipe's other teachers by the last part of their paths."""
    names = dict.fromkeys(Path(each).name for each in recipe.teacher.also)
    return replace(recipe, teacher=replace(recipe.teacher, also=tuple(names)))


@torch.inference_mode()
def _agreement(run: Run, halved: Mapping[str, Tensor], data_root: Path, split: str) -> float:
    """Measure which share of the points of some clouds keeps its label with other weights."""
    dataset, first, second = open_split(run, data_root, split), run.student(), run.new_student()
    load_weights(second, halved, run.folder)
    pairing, count, same = build.pairing_options(run.recipe.data), len(dataset.tokens), []
    for number in np.unique(np.linspace(0, count - 1, min(_CLOUDS, count)).round().astype(int)).tolist():
        cloud, *_ = gather_sweeps(dataset[number], dataset.viewpoint, pairing)
        labels, others = (predict_labels(each, run.prompts, cloud).labels for each in (first, second))
        same.append(labels == others)
    return float(torch.cat(same).double().mean())


def _results(run: Run) -> dict[str, Any]:
    """Give the mIoU of each column of the last evaluation, in 0..1; empty if there was none."""
    path = run.folder / "metrics.json"
    if not path.exists():
        return {}
    found = read_run_json(path)
    return {"split": found["split"], **{who: each["miou"] for who, each in found["columns"].items()}}


def _check(folder: Path, run: Run) -> None:
    """Refuse a copy that is too large, or that names a place of this machine."""
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    if size > MOST_MIB:
        raise ValueError(
            f"{run.folder} would be {size:.1f} MiB when packed, expected at most {MOST_MIB}; train a "
            "narrower student (--student.width)"
        )
    for path in sorted(folder.glob("*.json")):
        found = [line.strip() for line in read_text(path).splitlines() if _PLACE.search(line)]
        if found:
            raise ValueError(
                f"{path.name} of the packed run would name a place of this machine ({found[0]}); take it out "
                f"of what is packed, or of --trained-by"
            )
