"""Colours of points and their legend: by class, by right and wrong, by heat, by three numbers."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from clip2scene.classes.class_set import ClassSet
from clip2scene.types import IGNORE_LABEL
from clip2scene.viz.raster import (
    ERROR_ENTRIES,
    NO_LABEL,
    Colour,
    class_colours,
    class_entries,
    error_colours,
    heat_colours,
)

NOTHING = "no label"
OF_NO_CLASS, NOT_LABELLED = "of no class", "not labelled"
NO_CLASS = (150, 105, 60)
POINTS, BELOW, ABOVE = "points", "below the threshold", "at or above it"
_ENDS = 0.005  # of the points lie beyond each end of a scale that is fitted to them


@dataclass(frozen=True)
class Entry:
    """A line of the legend.

    Attributes:
        name: What points of this colour are.
        colour: Red, green and blue; of a heat map, that of its hot end.
        count: Points of this kind, hidden ones too.
    """

    name: str
    colour: Colour
    count: int


@dataclass(frozen=True)
class Scale:
    """What the colours of a heat map mean: the values at its two ends, with their unit."""

    low: float
    high: float
    unit: str = ""


@dataclass(frozen=True)
class Painting:
    """Points, painted.

    Attributes:
        colours: Of each point.
        entries: The legend.
        kinds: Which entry each point belongs to.
        scale: Of a heat map.
    """

    colours: UInt8[Tensor, "points 3"]
    entries: tuple[Entry, ...]
    kinds: Int[Tensor, " points"]
    scale: Scale | None = None

    def visible(self, hidden: frozenset[str]) -> Bool[Tensor, " points"]:
        """Say which points are left when the entries of some names are hidden."""
        shown = torch.tensor([each.name not in hidden for each in self.entries], dtype=torch.bool)
        return shown[self.kinds]


def paint_classes(labels: Int[Tensor, " points"], class_set: ClassSet) -> Painting:
    """Paint points by class; the legend lists the classes that there are, the most frequent first."""
    names = {**class_entries(class_set), NOTHING: NO_LABEL}
    numbers = torch.where(labels == IGNORE_LABEL, len(class_set), labels)
    return _painting(class_colours(labels, class_set), numbers, names, by_count=True)


def paint_by_hand(labels: Int[Tensor, " points"], class_set: ClassSet) -> Painting:
    """Paint points by the label that somebody gave them (:mod:`clip2scene.datasets.label_layer`)."""
    names = {**class_entries(class_set), OF_NO_CLASS: NO_CLASS, NOT_LABELLED: NO_LABEL}
    numbers = torch.where(labels < 0, len(class_set) - 1 - labels, labels)  # -1 and -2 come last
    colours = torch.tensor([*names.values()], dtype=torch.uint8)[numbers]
    return _painting(colours, numbers, names, by_count=True)


def paint_errors(predicted: Int[Tensor, " points"], truth: Int[Tensor, " points"]) -> Painting:
    """Paint points by whether the prediction is right; grey without a true label, or without a prediction."""
    kinds = torch.where(predicted == truth, 0, 1)
    kinds[(truth == IGNORE_LABEL) | (predicted == IGNORE_LABEL)] = 2
    return _painting(error_colours(predicted, truth), kinds, ERROR_ENTRIES)


def paint_heat(
    values: Float[Tensor, " points"],
    *,
    low: float | None = None,
    high: float | None = None,
    unit: str = "",
    threshold: float = 0.0,
) -> Painting:
    """Paint points from violet (low) to pale yellow (high); those below the threshold are grey.

    Args:
        values: One a point, finite.
        low: Where the scale begins; None fits it to the points, but for a few outliers.
        high: Where it ends.
        unit: Of the values.
        threshold: Share of the scale, 0..1.
    """
    ordered = values.sort().values
    last = len(ordered) - 1
    low = float(ordered[int(_ENDS * last)]) if low is None else low
    high = float(ordered[int((1 - _ENDS) * last)]) if high is None else high
    high = high if high > low else low + 1.0
    hot = values >= low + threshold * (high - low) if threshold > 0 else torch.ones_like(values).bool()
    colours = heat_colours(values, low=low, high=high)
    colours[~hot] = torch.tensor(NO_LABEL, dtype=torch.uint8)
    top = heat_colours(torch.tensor([0.6]))[0].tolist()
    names: dict[str, Colour] = {ABOVE if threshold > 0 else POINTS: (top[0], top[1], top[2]), BELOW: NO_LABEL}
    painted = _painting(colours, (~hot).long(), names)
    return Painting(painted.colours, painted.entries, painted.kinds, Scale(low, high, unit))


def paint_colours(colours: UInt8[Tensor, "points 3"]) -> Painting:
    """Paint points in colours that have no legend."""
    return Painting(
        colours, (Entry(POINTS, (200, 200, 200), len(colours)),), torch.zeros(len(colours)).long()
    )


def paint_nothing(count: int) -> Painting:
    """Paint points grey, where what was asked for is not to be had."""
    return paint_colours(torch.tensor([NO_LABEL], dtype=torch.uint8).expand(count, 3).contiguous())


def _painting(
    colours: UInt8[Tensor, "points 3"],
    kinds: Int[Tensor, " points"],
    names: dict[str, Colour],
    *,
    by_count: bool = False,
) -> Painting:
    """Count the points of each kind; kinds without points are left out of the legend."""
    counts = torch.bincount(kinds, minlength=len(names)).tolist()
    order = [number for number, count in enumerate(counts) if count]
    if by_count:
        order.sort(key=lambda number: -counts[number])
    place = torch.zeros(len(names), dtype=torch.long)
    place[order] = torch.arange(len(order))
    listed = [*names.items()]
    entries = tuple(Entry(*listed[number], counts[number]) for number in order)
    return Painting(colours, entries, place[kinds])
