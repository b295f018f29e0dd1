"""Which labels are used: some scenes or keyframes of a split, some points of these, or some classes.

Two protocols are common and not comparable: SLidR's takes scenes, CLIP2Scene's takes keyframes (these come
from many more places, so that the same share of them says more). Both take every n-th, SLidR's code the last
of each n, CLIP2Scene's the first. Here that is ``order="stride"``. The default, "hash", sorts by a hash of
each name: what a small share holds, a larger one holds too, and no recording that is added or taken away
changes the order of the others.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.types import IGNORE_LABEL, Sample, Samples

_A_HAIR = 1e-9  # 0.07 * 100 is a hair more than 7


@dataclass(frozen=True)
class Subset:
    """The labelled part of a split.

    Attributes:
        units: Names of the scenes or keyframes that are labelled, the first chosen first.
        tokens: Their samples, in the split's order.
        held_out: Of these samples, the ones that nothing is trained on, to choose among checkpoints.
        points: Labelled points of each sample; None labels all.
        draw: Which shuffle the units and the points come from.
    """

    units: tuple[str, ...]
    tokens: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    points: Mapping[str, int] | None = None
    draw: int = 0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Subset":
        """Rebuild what ``asdict`` gave, as JSON keeps it."""
        named = {name: tuple(values[name]) for name in ("units", "tokens", "held_out")}
        return cls(**named, points=values["points"], draw=values["draw"])

    @property
    def fingerprint(self) -> str:
        """Hash what is labelled; equal for equal choices on any machine."""
        points = [f"{token} {number}" for token, number in sorted((self.points or {}).items())]
        lines = [str(self.draw), *self.tokens, "held out", *self.held_out, "points", *points]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Name the samples that are trained on."""
        return tuple(token for token in self.tokens if token not in set(self.held_out))

    def mask(self, token: str, labels: Int[Tensor, " points"]) -> Int[Tensor, " points"]:
        """Leave as many of a sample's labels as are used; a larger number holds a smaller one's points."""
        if self.points is None:
            return labels
        generator = torch.Generator().manual_seed(_hash(self.draw, token) % 2**63)
        labelled = (labels != IGNORE_LABEL).nonzero()[:, 0]
        kept = labelled[torch.randperm(len(labelled), generator=generator)[: self.points[token]]]
        masked = torch.full_like(labels, IGNORE_LABEL)
        masked[kept] = labels[kept]
        return masked


@dataclass(frozen=True)
class LabelMask:
    """Leaves of a sample's labels those that a run may use; the others become :data:`IGNORE_LABEL`.

    Attributes:
        subset: Which samples, and how many points of each.
        classes: Names of all classes, by train id.
        wanted: The only classes whose labels are used; none named means all.
    """

    subset: Subset
    classes: tuple[str, ...]
    wanted: tuple[str, ...] = ()

    def __call__(self, token: str, labels: Int[Tensor, " points"]) -> Int[Tensor, " points"]:
        """Mask the labels of the sample called ``token``."""
        used = torch.tensor([not self.wanted or name in self.wanted for name in self.classes])
        return self.subset.mask(token, torch.where(used[labels.clamp(min=0)], labels, IGNORE_LABEL))

    @property
    def fingerprint(self) -> str:
        """Hash what decides the labels it leaves."""
        lines = [self.subset.fingerprint, *self.classes, "wanted", *self.wanted]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def choose(
    unit_of_token: Mapping[str, str],
    *,
    among: Collection[str] | None = None,
    fraction: float = 1.0,
    count: int | None = None,
    order: str | Sequence[str] = "hash",
    draw: int = 0,
    points_per_scene: int | None = None,
    holdout: float = 0.0,
) -> Subset:
    """Choose the labelled part of a split.

    Args:
        unit_of_token: The scene (or the keyframe itself) of every sample, in the split's order.
        among: The samples that have labels; all if left out. Others are passed over, in a list of units too.
        fraction: Share of the units, in 0..1; what is left of a whole unit is dropped.
        count: How many units, instead of a share.
        order: Who comes first: "hash" (see above), "stride" for every n-th, or a list of units.
        draw: Which shuffle, for "hash" and for points.
        points_per_scene: So many points of each unit are labelled, shared evenly by its samples.
        holdout: Share of the chosen units, in 0..1, that nothing is trained on.

    Raises:
        ValueError: If no unit is chosen, more are asked for than there are, or none is left to train on.
    """
    if not isinstance(order, str):
        order = _from_list(order, list(dict.fromkeys(unit_of_token.values())))
    if among is not None:
        unit_of_token = {token: unit for token, unit in unit_of_token.items() if token in among}
    units = list(dict.fromkeys(unit_of_token.values()))
    wanted = count if count is not None else math.floor(fraction * len(units) + _A_HAIR)
    if not 0 < wanted <= len(units):
        asked = f"{wanted} of them" if count is not None else f"{fraction:.3%} of them"
        raise ValueError(
            f"the split has {len(units)} scenes or keyframes to label, and {asked} is no choice among these; "
            f"ask for 1 to {len(units)}, or count keyframes where there are few scenes (--labels.by keyframe)"
        )
    if order == "stride":
        step = _stride(fraction) if count is None else len(units) // count
        by_scene = any(token != unit for token, unit in unit_of_token.items())
        chosen = (units[step - 1 :: step] if by_scene else units[::step])[:count]
    elif order == "hash":
        chosen = sorted(units, key=lambda name: _hash(draw, name))[:wanted]
    else:
        chosen = [name for name in order if name in set(units)][:wanted]
    labelled, held_out = frozenset(chosen), _hold_out(chosen, holdout)
    tokens = tuple(token for token, unit in unit_of_token.items() if unit in labelled)
    points = None if points_per_scene is None else _share_points(points_per_scene, unit_of_token, tokens)
    held_tokens = tuple(token for token in tokens if unit_of_token[token] in held_out)
    return Subset(tuple(chosen), tokens, held_tokens, points, draw)


def _stride(fraction: float) -> int:
    """Give the n of a share of 1/n."""
    step = round(1 / fraction)
    if abs(1 / fraction - step) > 0.01:
        raise ValueError(
            f"every n-th of the scenes or keyframes is a share of 1/n, got {fraction:g}; take such a share, "
            "or --labels.order hash"
        )
    return step


def _share_points(number: int, unit_of_token: Mapping[str, str], tokens: Sequence[str]) -> dict[str, int]:
    """Share so many points of each unit evenly by its samples, the first of which get what is left over."""
    total, met, points = Counter(unit_of_token[token] for token in tokens), Counter[str](), {}
    for token in tokens:
        unit = unit_of_token[token]
        share, rest = divmod(number, total[unit])
        points[token] = share + (met[unit] < rest)
        met[unit] += 1
    return points


def _hold_out(chosen: Sequence[str], share: float) -> frozenset[str]:
    """Take the units that came last; at least one, where any is asked for, and never all."""
    if share == 0:
        return frozenset()
    number = max(1, math.floor(share * len(chosen) + _A_HAIR))
    if number >= len(chosen):
        raise ValueError(
            f"of {len(chosen)} labelled scenes or keyframes none would be left to learn from with a holdout "
            f"of {share:.0%}; label more, or set it to 0"
        )
    return frozenset(chosen[-number:])


def _from_list(order: Sequence[str], units: Sequence[str]) -> list[str]:
    """Follow a list; units it does not name come last, in the split's order."""
    known = set(units)
    foreign = [name for name in order if name not in known]
    if foreign:
        raise ValueError(
            f"the order of labelling names {foreign[0]!r}, which is not in the split; it has {units[0]!r} "
            f"and {len(units) - 1} more. Rank the split that is to be labelled"
        )
    return list(dict.fromkeys([*order, *units]))


def _hash(draw: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{draw} {name}".encode()).digest()[:16], "big")


class Chosen:
    """Some samples of a data set, read as it reads them.

    Args:
        dataset: The whole.
        tokens: Names of the samples.

    Raises:
        ValueError: If the data set lacks one.
    """

    def __init__(self, dataset: Samples, tokens: Sequence[str]) -> None:
        number_of = {token: number for number, token in enumerate(dataset.tokens)}
        lost = [token for token in tokens if token not in number_of]
        if lost:
            raise ValueError(
                f"the data set lacks {len(lost)} of {len(tokens)} samples that were chosen to be labelled, "
                f"such as {lost[0]}; restore them, or train anew"
            )
        self.dataset = dataset
        self.tokens = tuple(tokens)
        self._numbers = [number_of[token] for token in tokens]

    def __getitem__(self, index: int) -> Sample:
        """Read one sample."""
        return self.dataset[self._numbers[index]]
