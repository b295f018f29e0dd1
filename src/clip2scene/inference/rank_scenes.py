"""Which scenes to label next: those full of what a label-free student is unsure of and few before them hold.

Each class that the student sees has a doubt in a scene: the entropies of its points, added up. The list is
greedy for the sum over the classes of the logarithm of the doubt covered, a feature-based submodular function
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
from tqdm import tqdm

from clip2scene.datasets import Dataset
from clip2scene.distill.lift import gather_sweeps
from clip2scene.distill.lifted import hash_points
from clip2scene.inference.export_kitti import open_split
from clip2scene.io import read_json, write_json
from clip2scene.runs.run import Run, open_run

ENOUGH_DOUBT = 20.0
"""Points of a class, each as unsure as chance, from which on more of the same count less and less."""


@dataclass(frozen=True)
class Ranked:
    """Scenes or keyframes, the one to label first in front.

    Attributes:
        units: Their names. Those whose labels the run has learnt from are in front, in the split's order.
        scores: What each of the others adds to the doubt that those before it cover.
        labelled: How many have been learnt from.
    """

    units: tuple[str, ...]
    scores: tuple[float, ...]
    labelled: int = 0


def rank(run: Path, *, data_root: Path, split: str = "train", by: str = "scene", out: Path) -> Ranked:
    """Rank the scenes or keyframes of a split by what labelling them is likely to teach; write the list.

    No label is read. What the run has learnt the labels of comes first, so that whoever takes more of the
    list goes on from there; of the others, what is like it comes late. A scene has been learnt from when all
    of its samples have; where some have, these count as covered and the rest speak for the scene.
    ``finetune`` takes the list as ``order``.

    Args:
        run: Folder of a trained run.
        data_root: The data set.
        split: Which of its splits is to be labelled.
        by: "scene" or "keyframe".
        out: File for the list, JSON.

    Raises:
        ValueError: If the run or the data cannot be read, or nothing is left to label.
    """
    opened = open_run(run)
    dataset = open_split(opened, data_root, split)
    unit_of = {token: dataset.scene_of(token) if by == "scene" else token for token in dataset.tokens}
    covered, doubts = _find_all_doubts(opened, dataset, unit_of)
    units = list(dict.fromkeys(unit_of.values()))
    if not doubts:
        raise ValueError(
            f"{run} has learnt from the labels of all {len(units)} {by}s of split {split!r} of {data_root}, "
            "so none is left to rank; add recordings to the split, or name another one"
        )
    ranked = rank_by(list(doubts), torch.stack(list(doubts.values())), covered=covered)
    labelled = [unit for unit in units if unit not in doubts]
    ranked = replace(ranked, units=(*labelled, *ranked.units), labelled=len(labelled))
    about = {"by": by, "split": split, "run": _about(opened), "labelled": ranked.labelled}
    write_json(out, {**about, "order": ranked.units, "scores": ranked.scores})
    return ranked


def _find_all_doubts(
    run: Run, dataset: Dataset, unit_of: Mapping[str, str]
) -> tuple[Float[Tensor, " classes"], dict[str, Float[Tensor, " classes"]]]:
    """Find the doubts of every unit that is not labelled whole, the mean over its samples.

    Returns:
        The doubts of all samples that the run has learnt the labels of, each a share of its unit's; and by
        unit those of the others.
    """
    settings = {**run.carry_settings, "viewpoint": dataset.viewpoint}
    student, seen, sizes = run.student(), run.seen(), Counter(unit_of.values())
    covered, doubts = torch.zeros(len(run.prompts.classes)), dict[str, Tensor]()
    for number in tqdm(range(len(dataset.tokens)), desc="rank", unit="sample"):
        sample = dataset[number]
        cloud, *_ = gather_sweeps(sample, settings)
        with torch.inference_mode():
            logits = student.answer(cloud.positions, cloud.features, run.prompts).logits
        unit = unit_of[sample.token]
        found = find_doubts(logits) / sizes[unit]
        if hash_points(sample.cloud.positions) in seen:
            covered = covered + found
        else:
            doubts[unit] = doubts.get(unit, torch.zeros_like(covered)) + found
    return covered, doubts


def read_ranking(path: Path) -> tuple[Literal["scene", "keyframe"], tuple[str, ...]]:
    """Read what :func:`rank` wrote: what was ranked, and the names.

    Raises:
        ValueError: If the file is something else.
    """
    found = read_json(path)
    order, by = (found.get("order"), found.get("by")) if isinstance(found, dict) else (None, None)
    listed = isinstance(order, list) and all(isinstance(name, str) for name in order)
    if not order or not listed or by not in ("scene", "keyframe"):
        raise ValueError(f"{path} is no ranking; expected what clip2scene rank-scenes writes")
    return by, tuple(order)


def find_doubts(logits: Float[Tensor, "points classes"]) -> Float[Tensor, " classes"]:
    """Add up how unsure a student is of a cloud's points, for each class that it takes them for.

    Returns:
        Sums of the points' entropies over the classes, each divided by that of chance; so a point adds 0..1.
    """
    shares = logits.softmax(1)
    chance = torch.tensor(float(shares.shape[1])).log().clamp_min(1e-12)
    entropies = -(shares * shares.clamp_min(1e-12).log()).sum(1) / chance
    return shares.new_zeros(shares.shape[1]).index_add_(0, shares.argmax(1), entropies)


def rank_by(
    units: Sequence[str],
    doubts: Float[Tensor, "units classes"],
    *,
    covered: Float[Tensor, " classes"] | None = None,
) -> Ranked:
    """Order units greedily by how much each adds to the sum of log(1 + doubt / :data:`ENOUGH_DOUBT`).

    Args:
        units: Their names.
        doubts: What :func:`find_doubts` gives for each, the mean over its samples.
        covered: The doubts of what is labelled already.
    """
    left = torch.ones(len(units), dtype=torch.bool)
    held = doubts.new_zeros(doubts.shape[1]) if covered is None else covered
    held = held.double() / ENOUGH_DOUBT
    order: list[str] = []
    scores: list[float] = []
    for _ in units:
        gains = (torch.log1p(held + doubts.double() / ENOUGH_DOUBT) - torch.log1p(held)).sum(1)
        best = int(torch.where(left, gains, -torch.inf).argmax())
        held = held + doubts[best].double() / ENOUGH_DOUBT
        left[best] = False
        order.append(units[best])
        scores.append(float(gains[best]))
    return Ranked(tuple(order), tuple(scores))


def _about(run: Run) -> dict[str, object]:
    return {"recipe": run.recipe.name, "seed": run.recipe.seed}
