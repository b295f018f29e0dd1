"""Which scenes to label next: those that a label-free student is unsure of, and that are unlike each other.

The rule is greedy k-centre (Sener and Savarese, "Active Learning for Convolutional Neural Networks: A
Core-Set Approach", ICLR 2018, Algorithm 1) with each distance multiplied by how unsure the student is of the
scene: its mean entropy over the points. A scene's place is the mean embedding of its points in each class
that the student sees, so that what is rare counts like what is frequent.
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
from clip2scene.student.embedder import Embedder
from clip2scene.types import PointCloud, Prompts


@dataclass(frozen=True)
class Ranked:
    """Scenes or keyframes, the one to label first in front.

    Attributes:
        units: Their names.
        scores: Distance to those before it times uncertainty; the first one's is its uncertainty.
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
    doubts: dict[str, list[float]] = {}
    places: dict[str, list[Tensor]] = {}
    for number in tqdm(range(len(dataset.tokens)), desc=f"rank {split}", unit="sample"):
        cloud, *_ = gather_sweeps(dataset[number], settings)
        doubt, place = describe(student, opened.prompts, cloud)
        doubts.setdefault(unit_of[dataset.tokens[number]], []).append(doubt)
        places.setdefault(unit_of[dataset.tokens[number]], []).append(place)
    labelled = {unit_of[token] for token in opened.seen() if token in unit_of}
    units = [*sorted(labelled), *(unit for unit in doubts if unit not in labelled)]
    ranked = rank_by(
        units,
        torch.tensor([sum(doubts[unit]) / len(doubts[unit]) for unit in units]),
        torch.stack([torch.stack(places[unit]).mean(0) for unit in units]),
        known=len(labelled),
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


@torch.inference_mode()
def describe(
    student: Embedder, prompts: Prompts, cloud: PointCloud
) -> tuple[float, Float[Tensor, "classes_times_channels"]]:
    """Say how unsure a student is of a cloud, 0..1, and where it lies among others.

    Uncertainty is the points' mean entropy over the classes, divided by that of chance. The place holds, for
    each class, the mean unit embedding of the points that are taken for it, zeros where there is none.
    """
    answers = student.answer(cloud.positions, cloud.features, prompts)
    shares = answers.logits.softmax(1)
    entropy = -(shares * shares.clamp_min(1e-12).log()).sum(1).mean()
    chance = torch.tensor(float(shares.shape[1])).log().clamp_min(1e-12)
    units = torch.nn.functional.normalize(answers.embeddings, dim=1)
    sums = units.new_zeros(shares.shape[1], units.shape[1]).index_add_(0, answers.logits.argmax(1), units)
    counts = torch.bincount(answers.logits.argmax(1), minlength=shares.shape[1]).clamp_min(1)
    return float(entropy / chance), (sums / counts[:, None]).flatten()


def rank_by(
    units: Sequence[str],
    doubts: Float[Tensor, "units"],
    places: Float[Tensor, "units channels"],
    *,
    known: int = 0,
) -> Ranked:
    """Order units greedily: the most doubtful first, then the one with the largest doubt times distance.

    Args:
        units: Their names.
        doubts: How unsure the student is of each.
        places: Where each lies; the distance is to the nearest unit that is in the list already.
        known: How many of the first units are labelled already: others keep away from them, and they are not
            listed.
    """
    distances = torch.cdist(places.double(), places.double())
    nearest = distances[:known].amin(0) if known else torch.ones(len(units), dtype=torch.double)
    left = torch.arange(len(units)) >= known
    order: list[str] = []
    scores: list[float] = []
    for _ in units[known:]:
        gains = torch.where(left, doubts.double() * nearest, -torch.inf)
        best = int(gains.argmax())
        nearest = distances[best] if not order and not known else torch.minimum(nearest, distances[best])
        left[best] = False
        order.append(units[best])
        scores.append(float(gains[best]))
    return Ranked(tuple(order), tuple(scores))


def _about(run: Run) -> dict[str, object]:
    return {"recipe": run.recipe.name, "seed": run.recipe.seed}
