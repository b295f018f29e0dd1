"""Which scenes to label next: those full of what a label-free student is unsure of and few before them hold.

Each class that the student sees has a doubt in a scene: the entropies of its points, added up. The list is
greedy for the sum over the classes of the logarithm of the doubt covered, a feature-based submodular function
(Wei, Iyer and Bilmes, "Submodularity in Data Subset Selection and Active Learning", ICML 2015): what has been
covered often counts for little, so that what is rare counts like what is frequent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from clip2scene import build
from clip2scene.carry import gather_sweeps
from clip2scene.export import open_split
from clip2scene.files import read_json, write_json
from clip2scene.run import Run, open_run

ENOUGH_DOUBT = 20.0
"""Points of a class, each as unsure as chance, from which on more of the same count less and less."""


@dataclass(frozen=True)
class Ranked:
    """Scenes or keyframes, the one to label first in front.

    Attributes:
        units: Their names.
        scores: What each adds to the doubt that those before it cover.
    """

    units: tuple[str, ...]
    scores: tuple[float, ...]


def rank(run: Path, *, data_root: Path, split: str = "train", by: str = "scene", out: Path) -> Ranked:
    """Rank the scenes or keyframes of a split by what labelling them is likely to teach; write the list.

    No label is read. What the run has learnt the labels of is not listed, and what is like it comes late.
    ``finetune`` takes the list as ``order``.

    Args:
        run: Folder of a trained run.
        data_root: The data set.
        split: Which of its splits is to be labelled.
        by: "scene" or "keyframe".
        out: File for the list, JSON.

    Raises:
        ValueError: If the run or the data cannot be read.
    """
    opened = open_run(run)
    dataset = open_split(opened, data_root, split)
    scenes = build.scenes_of(opened.recipe.data, dataset)
    unit_of = scenes if by == "scene" else {token: token for token in dataset.tokens}
    settings = {**opened.carry_settings, "viewpoint": dataset.viewpoint}
    student = opened.student()
    doubts: dict[str, list[Tensor]] = {}
    for number in tqdm(range(len(dataset.tokens)), desc=f"rank {split}", unit="sample"):
        cloud, *_ = gather_sweeps(dataset[number], settings)
        with torch.inference_mode():
            logits = student.answer(cloud.positions, cloud.features, opened.prompts).logits
        doubts.setdefault(unit_of[dataset.tokens[number]], []).append(find_doubts(logits))
    labelled = {unit_of[token] for token in opened.seen() if token in unit_of}
    units = [*sorted(labelled), *(unit for unit in doubts if unit not in labelled)]
    ranked = rank_by(
        units, torch.stack([torch.stack(doubts[unit]).mean(0) for unit in units]), known=len(labelled)
    )
    write_json(
        out,
        {"by": by, "split": split, "run": _about(opened), "order": ranked.units, "scores": ranked.scores},
    )
    return ranked


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


def find_doubts(logits: Float[Tensor, "points classes"]) -> Float[Tensor, "classes"]:
    """Add up how unsure a student is of a cloud's points, for each class that it takes them for.

    Returns:
        Sums of the points' entropies over the classes, each divided by that of chance; so a point adds 0..1.
    """
    shares = logits.softmax(1)
    chance = torch.tensor(float(shares.shape[1])).log().clamp_min(1e-12)
    entropies = -(shares * shares.clamp_min(1e-12).log()).sum(1) / chance
    return shares.new_zeros(shares.shape[1]).index_add_(0, shares.argmax(1), entropies)


def rank_by(units: Sequence[str], doubts: Float[Tensor, "units classes"], *, known: int = 0) -> Ranked:
    """Order units greedily by how much each adds to the sum of log(1 + doubt / :data:`ENOUGH_DOUBT`).

    Args:
        units: Their names.
        doubts: What :func:`find_doubts` gives for each, the mean over its samples.
        known: How many of the first units are labelled already: what they hold is covered, and they are not
            listed.
    """
    left = torch.arange(len(units)) >= known
    covered = doubts[:known].double().sum(0) / ENOUGH_DOUBT
    order: list[str] = []
    scores: list[float] = []
    for _ in units[known:]:
        gains = (torch.log1p(covered + doubts.double() / ENOUGH_DOUBT) - torch.log1p(covered)).sum(1)
        best = int(torch.where(left, gains, -torch.inf).argmax())
        covered = covered + doubts[best].double() / ENOUGH_DOUBT
        left[best] = False
        order.append(units[best])
        scores.append(float(gains[best]))
    return Ranked(tuple(order), tuple(scores))


def _about(run: Run) -> dict[str, object]:
    return {"recipe": run.recipe.name, "seed": run.recipe.seed}
