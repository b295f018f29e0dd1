"""How far a teacher can be trusted, told without labels: does it agree with itself?

A point may be seen by two cameras, and a place of the world at two moments of a drive. A teacher that knows a
class names it again from there; one that guesses does so as often as chance has it. The measure is Fleiss'
kappa of each class (Fleiss 1971, Eq. 9 and on), where views are the raters: agreement beyond chance, 1 for
always, 0 for chance. What errs alike from everywhere is not found out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.datasets.drives import Moment
from clip2scene.distill.consolidate import find_moving, hash_poses, in_drive
from clip2scene.distill.lifted import LiftedSample, load_lifted
from clip2scene.geometry.place_votes import PlaceVotes
from clip2scene.io import load_checksummed, save_checksummed, write_json
from clip2scene.parallel import file_lock, parallel_for

FORMAT = 1
"""Of the files of agreement; to be raised whenever other code would make others."""

PLACE_M = 0.4
"""Edge of the places at which moments are compared, in metres."""

FEW = 50
"""Of so many comparisons, a class counts half for itself and half as the mean of all classes."""

_TOGETHER = 100  # samples that share a file where no drive joins them


@dataclass(frozen=True)
class Agreement:
    """How often a teacher said each class where it could be compared with itself, and how often it agreed.

    Attributes:
        said: Views of a point or place, of which there were others, that were given each class.
        agreed: Sum over these of the share of the others that had the same class.
    """

    said: Float[Tensor, " classes"]
    agreed: Float[Tensor, " classes"]

    def __add__(self, other: "Agreement") -> "Agreement":
        """Take what was compared here and there together."""
        return Agreement(self.said + other.said, self.agreed + other.agreed)

    def kappas(self) -> Float[Tensor, " classes"]:
        """Give each class's agreement beyond chance, at most 1; classes that were rarely said, near the mean.

        Raises:
            ValueError: If there was nothing to compare.
        """
        total = self.said.sum()
        if not total:
            raise ValueError(
                "no point has pseudo-labels of two cameras, and no place of two moments, so nothing tells "
                "how far a teacher can be trusted; fuse teachers where cameras overlap or poses are known"
            )
        chance = self.said / total
        mean = _beyond(self.agreed.sum() / total, chance.square().sum())
        own = _beyond(self.agreed / self.said.clamp(min=1), chance)
        return (self.said * own + FEW * mean) / (self.said + FEW)

    def weights(self) -> Float[Tensor, " classes"]:
        """Give how far each class is to be trusted when it is said, in 0..1.

        The root of kappa is how well an answer goes with what the teacher would say on average over all views
        (the index of reliability of test theory).

        Raises:
            ValueError: If there was nothing to compare.
        """
        return self.kappas().clamp(0, 1).sqrt()


def _beyond(agreed: Float[Tensor, "*_"], chance: Float[Tensor, "*_"]) -> Float[Tensor, "*_"]:
    """Rescale a share of agreement: 0 for chance; also where chance alone makes it 1."""
    return torch.where(chance < 1, (agreed - chance) / (1 - chance).clamp(min=1e-12), 0.0)


def between_cameras(lifted: LiftedSample) -> Agreement:
    """Compare the cameras that see the same point of a sample."""
    labels, classes = lifted.pair_logits.argmax(1), lifted.pair_logits.shape[1]
    views = torch.bincount(lifted.pair_points, minlength=len(lifted.cloud))[lifted.pair_points]
    _, which, counts = torch.unique(
        lifted.pair_points * classes + labels, return_inverse=True, return_counts=True
    )
    return _compare(labels, counts[which].double(), views.double(), classes)


def _compare(
    labels: Int[Tensor, " views"], same: Float[Tensor, " views"], of: Float[Tensor, " views"], classes: int
) -> Agreement:
    """Count views by their label, and how many of the others have the same.

    Args:
        labels: Of each view.
        same: Views of the same thing with that label, itself included.
        of: Views of the same thing.
        classes: Number of classes.
    """
    several = of > 1
    shares = ((same - 1) / (of - 1).clamp(min=1))[several]
    said = torch.bincount(labels[several], minlength=classes).double()
    agreed = torch.bincount(labels[several], weights=shares, minlength=classes)
    return Agreement(said, agreed.double())  # without any, it is of whole numbers


def between_moments(
    moments: Sequence[Moment], paths: Sequence[Path], still: Sequence[Tensor], *, size: float = PLACE_M
) -> Agreement:
    """Compare the moments of a drive that see the same place; of each moment one view counts, the first.

    Args:
        moments: Of one drive.
        paths: Their lifted samples.
        still: Which points of each do not move.
        size: Edge of a place, in metres.
    """
    classes = load_lifted(paths[0]).pair_logits.shape[1]
    with PlaceVotes(size, classes) as votes:
        said = []
        for moment, path, kept in zip(moments, paths, still, strict=True):
            lifted = load_lifted(path)
            pairs = kept[lifted.pair_points].nonzero()[:, 0]
            positions = in_drive(moment, lifted)[lifted.pair_points[pairs]]
            first = _first_of_each(torch.floor(positions / size).long())
            labels = lifted.pair_logits[pairs[first]].argmax(1)
            votes.add(positions[first], torch.eye(classes)[labels])
            said.append((positions[first], labels))
        found = Agreement(torch.zeros(classes).double(), torch.zeros(classes).double())
        for positions, labels in said:
            counts = votes.at(positions).double()
            own = counts.gather(1, labels[:, None])[:, 0]
            found += _compare(labels, own, counts.sum(1), classes)
    return found


def _first_of_each(places: Int[Tensor, "points 3"]) -> Int[Tensor, " places"]:
    """Give the number of the first point in each place."""
    count, which = torch.unique(places, dim=0, return_inverse=True)
    first = torch.full((len(count),), len(places))
    return first.scatter_reduce_(0, which, torch.arange(len(places)), "amin")


def measure_agreement(
    paths_of: Sequence[Sequence[Path]],
    drives: Mapping[str, Sequence[Moment]],
    *,
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> list[Agreement]:
    """Compare each of several teachers with itself, over a split.

    What was measured is kept beside the first teacher's samples. Several processes share the drives.

    Args:
        paths_of: The lifted samples of each teacher (:func:`clip2scene.distill.lift.lift_split`), in the same
            order.
        drives: The drives of the split (:func:`clip2scene.datasets.drives.find_drives`); empty where no poses
            are known, so that cameras alone are compared.
        viewpoint: Where the lidar stands in the clouds' frame, in metres.

    Raises:
        ValueError: If the poses of a drive contradict what its clouds show.
    """
    groups: list[Sequence[Moment]] = list(drives.values())
    numbers = range(len(paths_of[0]))
    alone = [numbers[start : start + _TOGETHER] for start in numbers[::_TOGETHER]]
    samples = [[each.number for each in group] for group in groups] or alone
    key = {"format": FORMAT, "teachers": [paths[0].parent.name for paths in paths_of[1:]]}
    key |= {"poses": hash_poses(drives), "size": PLACE_M, "samples": len(numbers)}
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = paths_of[0][0].parent / f"agreement-{digest}"
    write_json(folder / "manifest.json", key)
    found = [folder / f"{number}.safetensors" for number in range(len(samples))]
    work = partial(_measure, paths_of, groups, samples, found, viewpoint)
    with file_lock(folder / "lock"):
        missing = [number for number, path in enumerate(found) if not path.exists()]
        parallel_for(work, missing, title="compare views", unit="drive")
    tensors = [load_checksummed(path) for path in found]
    said, agreed = (torch.stack([each[name] for each in tensors]).sum(0) for name in ("said", "agreed"))
    return [Agreement(*each) for each in zip(said, agreed, strict=True)]


def _measure(
    paths_of: Sequence[Sequence[Path]],
    groups: Sequence[Sequence[Moment]],
    samples: Sequence[Sequence[int]],
    found: Sequence[Path],
    viewpoint: tuple[float, float, float],
    number: int,
) -> None:
    """Compare each teacher with itself over a drive, or some samples, and write what came of it."""
    mine = [[paths[each] for each in samples[number]] for paths in paths_of]
    measured = []
    moments = groups[number] if groups else ()
    still = [~each for each in find_moving(moments, mine[0], viewpoint)] if len(moments) > 1 else []
    for paths in mine:
        told = reduce(add, (between_cameras(load_lifted(path)) for path in paths))
        measured.append(told + between_moments(moments, paths, still) if still else told)
    stacked = {name: torch.stack([getattr(each, name) for each in measured]) for name in ("said", "agreed")}
    save_checksummed(found[number], stacked)
