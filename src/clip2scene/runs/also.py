"""The other teachers of a run: further runs, whose pseudo-labels are fused with its own."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.config import Recipe
from clip2scene.datasets.drives import Moment
from clip2scene.distill.agreement import measure_agreement
from clip2scene.distill.fuse import check_alike
from clip2scene.io import write_json
from clip2scene.runs.folder import TEACHERS
from clip2scene.runs.run import Run, open_run, require_same_supervision
from clip2scene.runs.run_files import read_run_json
from clip2scene.types import Prompts

_log = logging.getLogger(__name__)


def open_others(also: Sequence[str], recipe: Recipe, prompts: Prompts) -> list[Run]:
    """Open the runs whose teachers label the points too.

    Args:
        also: Their folders.
        recipe: Of the run that they are to be fused for.
        prompts: Its classes.

    Raises:
        ValueError: If one is no label-free run, or of other classes or settings of the data; or if its
            teacher saw labels of images and it is not said so of this run.
    """
    others = []
    for folder in also:
        try:
            other = open_run(folder)
        except ValueError as error:
            raise ValueError(f"--teacher.also: {error}") from None
        _check_other(other, recipe, prompts)
        others.append(other)
    return others


def _check_other(other: Run, recipe: Recipe, prompts: Prompts) -> None:
    """Refuse a run whose teacher cannot be fused with that of a recipe."""
    if other.recipe.supervision != "label-free":
        raise ValueError(
            f"--teacher.also: {other.folder} is trained on labels and has no teacher; name a label-free run, "
            "or make one without training: clip2scene lift"
        )
    if other.prompts.classes != prompts.classes:
        raise ValueError(
            f"--teacher.also: the teacher of {other.folder} labels {', '.join(other.prompts.classes)}, "
            f"expected {', '.join(prompts.classes)}; name a run of the same class list"
        )
    theirs, ours = vars(other.recipe.data), vars(recipe.data)
    differ = [name for name, value in theirs.items() if value != ours[name]]
    if differ:
        raise ValueError(
            f"--teacher.also: {other.folder} has --data.{differ[0].replace('_', '-')} {theirs[differ[0]]!r}, "
            f"expected {ours[differ[0]]!r} as here, so that both label the same points; make it anew"
        )
    require_same_supervision(other, recipe, "--teacher.also")


def trust_teachers(
    run: Run,
    others: Sequence[Run],
    paths_of: Sequence[Sequence[Path]],
    drives: Mapping[str, Sequence[Moment]],
    *,
    viewpoint: tuple[float, float, float],
    training: bool,
) -> Float[Tensor, "teachers classes"]:
    """Say how far each teacher is trusted when it says a class, 0..1: the run's own, then the others.

    It is measured on the whole of the split that is trained on, kept in the run's folder, and used from there
    for other samples.

    Args:
        run: Whose teachers they are.
        others: The runs of the others.
        paths_of: The lifted samples of each.
        drives: The drives of the split, as :func:`clip2scene.distill.agreement.measure_agreement` takes them.
        viewpoint: As there.
        training: Whether they are the whole of the split that is trained on.

    Raises:
        ValueError: If teachers label other samples or classes, or there is nothing to measure on.
    """
    check_alike(paths_of)
    path, classes = run.folder / TEACHERS, run.prompts.classes
    if path.exists() and not training:
        weights = torch.tensor([each["weights"] for each in read_run_json(path)["teachers"]])
        if weights.shape == (len(paths_of), len(classes)):
            return weights
        raise ValueError(f"{path} does not fit the run's teachers and classes; restore it, or train anew")
    measured = measure_agreement(paths_of, drives, viewpoint=viewpoint)
    weights = torch.stack([each.weights() for each in measured]).float()
    if training:
        names = [str(run.folder), *(str(other.folder) for other in others)]
        teachers = [
            {"run": Path(name).name, "weights": row.tolist(), "compared": each.said.round().int().tolist()}
            for name, row, each in zip(names, weights, measured, strict=True)
        ]
        write_json(path, {"classes": list(classes), "teachers": teachers})
        for name, row in zip(names, weights.tolist(), strict=True):
            shown = ", ".join(f"{each} {weight:.2f}" for each, weight in zip(classes, row, strict=True))
            _log.warning("note: the teacher of %s is trusted (0 to 1) in %s", name, shown)
    return weights
