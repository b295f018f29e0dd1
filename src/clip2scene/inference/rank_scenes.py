"""Which scenes to label next: active learning by the student's uncertainty and greedy coverage.

Each predicted class has an uncertainty in a scene: the entropies of its points, added up. The order is greedy
for the sum over the classes of the logarithm of the uncertainty covered, a feature-based submodular function
(Wei, Iyer and Bilmes, "Submodularity in Data Subset Selection and Active Learning", ICML 2015): what has been
covered often counts for little, so that what is rare counts like what is frequent.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.datasets import Dataset
from clip2scene.inference.predict import open_split, predict_split
from clip2scene.io import hash_points, read_json, write_json
from clip2scene.parallel import progress_bar
from clip2scene.runs.run import Run, open_run

SATURATION = 20.0
"""Uncertainty of a class, in points as unsure as chance, from which on more of it counts less and less."""


@dataclass(frozen=True)
class Ranking:
    """Scenes or keyframes, the one to label first in front.

    Attributes:
        units: Their names. Those whose labels the run was trained on are in front, in the split's order.
        scores: What each of the others adds to the coverage of those before it, at least 0; in that order.
        labelled: How many the run was trained on.
    """

    units: tuple[str, ...]
    scores: tuple[float, ...]
    labelled: int = 0


def rank(
    run: Path,
    *,
    data_root: Path,
    out: Path,
    split: str = "train",
    by: Literal["scene", "keyframe"] = "scene",
) -> Ranking:
    """Rank the scenes or keyframes of a split by how much their labels are likely to add; write the list.

    No label is read. What the run was trained on comes first, so that whoever takes more of the list goes on
    from there; of the others, what is like it comes late. A scene is labelled when all of its samples are;
    where some are, these count as covered and the rest stand for the scene. ``finetune`` takes the list as
    ``--order``.

    Args:
        run: Folder of a trained run.
        data_root: The data set.
        split: Which of its splits is to be labelled.
        out: File for the list, JSON; finetune takes it as --order.
        by: Whether scenes are ranked, or single keyframes.

    Raises:
        ValueError: If the run or the data cannot be read, or nothing is left to label.
    """
    opened = open_run(run)
    dataset = open_split(opened, data_root, split)
    unit_of = {token: dataset.scene_of(token) if by == "scene" else token for token in dataset.tokens}
    covered, uncertainty = _uncertainty_of_units(opened, dataset, unit_of)
    units = list(dict.fromkeys(unit_of.values()))
    if not uncertainty:
        raise ValueError(
            f"{run} was trained on the labels of all {len(units)} {by}s of split {split!r} of {data_root}, "
            "so none is left to rank; add recordings to the split, or name another one"
        )
    ranking = rank_by_coverage(list(uncertainty), torch.stack(list(uncertainty.values())), covered=covered)
    labelled = [unit for unit in units if unit not in uncertainty]
    ranking = replace(ranking, units=(*labelled, *ranking.units), labelled=len(labelled))
    run_of = {"recipe": opened.recipe.name, "seed": opened.recipe.seed}
    about = {"by": by, "split": split, "run": run_of, "labelled": ranking.labelled}
    write_json(out, {**about, "order": ranking.units, "scores": ranking.scores})
    return ranking


def _uncertainty_of_units(
    run: Run, dataset: Dataset, unit_of: Mapping[str, str]
) -> tuple[Float[Tensor, " classes"], dict[str, Float[Tensor, " classes"]]]:
    """Find the uncertainty of every unit that is not labelled whole, the mean over its samples.

    Returns:
        The uncertainty of all labelled samples, each a share of its unit's; and by unit that of the others.
    """
    labels_used, sizes = run.labels_used(), Counter(unit_of.values())
    covered, uncertainty = torch.zeros(len(run.prompts.classes)), dict[str, Tensor]()
    predictions = predict_split(run, dataset)
    for sample, prediction in progress_bar(
        predictions, desc="rank", total=len(dataset.tokens), unit="sample"
    ):
        unit = unit_of[sample.token]
        found = class_uncertainty(prediction.logits) / sizes[unit]
        if hash_points(sample.cloud.positions) in labels_used:
            covered = covered + found
        else:
            uncertainty[unit] = uncertainty.get(unit, torch.zeros_like(covered)) + found
    return covered, uncertainty


def read_ranking(path: Path) -> tuple[Literal["scene", "keyframe"], tuple[str, ...]]:
    """Read what :func:`rank` wrote: "scene" or "keyframe", and the names in order.

    Raises:
        ValueError: If the file is something else.
    """
    found = read_json(path)
    order, by = (found.get("order"), found.get("by")) if isinstance(found, dict) else (None, None)
    listed = isinstance(order, list) and all(isinstance(name, str) for name in order)
    if not order or not listed or by not in ("scene", "keyframe"):
        raise ValueError(f"{path} is no ranking; expected what clip2scene rank-scenes writes")
    return by, tuple(order)


def class_uncertainty(logits: Float[Tensor, "points classes"]) -> Float[Tensor, " classes"]:
    """Add up the entropies of the points that are predicted as each class.

    Returns:
        Sums of entropies, each divided by that of chance, so that a point adds 0..1.
    """
    shares = logits.softmax(1)
    chance = torch.tensor(float(shares.shape[1])).log().clamp_min(1e-12)
    entropies = -(shares * shares.clamp_min(1e-12).log()).sum(1) / chance
    return shares.new_zeros(shares.shape[1]).index_add_(0, shares.argmax(1), entropies)


def rank_by_coverage(
    units: Sequence[str],
    uncertainty: Float[Tensor, "units classes"],
    *,
    covered: Float[Tensor, " classes"] | None = None,
) -> Ranking:
    """Order units greedily by how much each adds to the sum of log(1 + uncertainty / :data:`SATURATION`).

    Args:
        units: Their names.
        uncertainty: What :func:`class_uncertainty` gives for each, the mean over its samples.
        covered: The uncertainty of what is labelled already.
    """
    left = torch.ones(len(units), dtype=torch.bool)
    held = uncertainty.new_zeros(uncertainty.shape[1]) if covered is None else covered
    held = held.double() / SATURATION
    order: list[str] = []
    scores: list[float] = []
    for _ in units:
        gains = (torch.log1p(held + uncertainty.double() / SATURATION) - torch.log1p(held)).sum(1)
        best = int(torch.where(left, gains, -torch.inf).argmax())
        held = held + uncertainty[best].double() / SATURATION
        left[best] = False
        order.append(units[best])
        scores.append(float(gains[best]))
    return Ranking(tuple(order), tuple(scores))
