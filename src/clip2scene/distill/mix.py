"""Training items with other points: some left out, those of two items mixed, all their targets kept true."""

from dataclasses import replace
from itertools import zip_longest
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clip2scene.distill.batch import PixelTargets, TrainItem, join_pixels, number_on
from clip2scene.types import PointCloud

Mix = Literal["none", "polar", "overlay"]

WIDEST, NARROWEST = 180.0, 60.0
"""Of the sector that is exchanged, in degrees."""


def take_points(item: TrainItem, chosen: Int[Tensor, " kept"], sizes: tuple[int, ...] = ()) -> TrainItem:
    """Make an item of some of another's points, in any order; targets and pairs of the others fall away.

    Args:
        item: Any item.
        chosen: Numbers of the points, each at most once.
        sizes: Points of each sweep among them; empty for one.
    """
    place = torch.full((len(item.cloud),), -1)
    place[chosen] = torch.arange(len(chosen))
    targets = place[item.target_points] >= 0
    return replace(
        item,
        cloud=PointCloud(item.cloud.positions[chosen], item.cloud.features[chosen]),
        target_points=place[item.target_points[targets]],
        targets=item.targets[targets],
        superpoints=None if item.superpoints is None else item.superpoints[chosen],
        pixels=None if item.pixels is None else _take_pairs(item.pixels, place),
        cells=None if item.cells is None else item.cells[chosen],
        item_sizes=sizes,
    )


def keep_points(item: TrainItem, kept: Bool[Tensor, " points"]) -> TrainItem:
    """Leave points out, but for their order."""
    sizes = tuple(int(each.sum()) for each in kept.split(list(item.item_sizes))) if item.item_sizes else ()
    return item if kept.all() else take_points(item, kept.nonzero()[:, 0], sizes)


def forget_targets(item: TrainItem, points: Bool[Tensor, " points"]) -> TrainItem:
    """Leave the targets and pairs of some points out; the points stay."""
    if not points.any():
        return item
    place = torch.where(points, -1, torch.arange(len(points)))
    targets = place[item.target_points] >= 0
    return replace(
        item,
        target_points=item.target_points[targets],
        targets=item.targets[targets],
        superpoints=None if item.superpoints is None else torch.where(points, -1, item.superpoints),
        pixels=None if item.pixels is None else _take_pairs(item.pixels, place),
    )


def mix_items(one: TrainItem, other: TrainItem, how: Mix, generator: torch.Generator) -> TrainItem:
    """Make one item of two, sweep by sweep.

    ``polar`` puts a sector of the other in the place of the same sector of the one, as PolarMix does with
    scenes (Xiao et al. 2022, Sec. 3.2); ``overlay`` lays both over each other (Mix3D: Nekrasov et al. 2021).

    Args:
        one: An item that was moved at random.
        other: Another, with the ground as high.
        how: Which.
        generator: Source of the draws.

    Returns:
        The item; superpoints, regions and cells of the two stay apart. It is ``one`` as it was where the mix
        would have no target, as lidars may have that see some sectors alone.
    """
    if how == "overlay":
        return _lay_over(one, other)
    start, width = (torch.rand(2, generator=generator) * 360.0).tolist()
    width = NARROWEST + (WIDEST - NARROWEST) * width / 360.0
    rest = keep_points(one, ~_in_sector(one.cloud, start, width))
    mixed = _lay_over(rest, keep_points(other, _in_sector(other.cloud, start, width)))
    return mixed if mixed.teaches else one


def _in_sector(cloud: PointCloud, start: float, width: float) -> Bool[Tensor, " points"]:
    """Tell which points lie in a sector around the sensor, in degrees."""
    x, y, _ = cloud.positions.unbind(1)
    return (torch.rad2deg(torch.atan2(y, x)) - start) % 360.0 < width


def _lay_over(one: TrainItem, other: TrainItem) -> TrainItem:
    """Join two items, the first sweep with the first, and so on."""
    starts = [0, len(one.cloud)]
    joined = TrainItem(
        PointCloud(
            torch.cat([one.cloud.positions, other.cloud.positions]),
            torch.cat([one.cloud.features, other.cloud.features]),
        ),
        torch.cat([one.target_points, other.target_points + starts[1]]),
        torch.cat([one.targets, other.targets]),
        number_on([one.superpoints, other.superpoints]),
        join_pixels([one.pixels, other.pixels], starts),
        number_on([one.cells, other.cells]),
    )
    everywhere = torch.arange(len(joined.cloud))
    first, second = everywhere[: starts[1]].split(_sizes(one)), everywhere[starts[1] :].split(_sizes(other))
    pairs = [torch.cat(both) for both in zip_longest(first, second, fillvalue=everywhere[:0])]
    sizes = tuple(map(len, pairs)) if len(pairs) > 1 else ()
    return take_points(joined, torch.cat(pairs), sizes)


def _sizes(item: TrainItem) -> list[int]:
    """Give the points of each sweep."""
    return list(item.item_sizes) or [len(item.cloud)]


def _take_pairs(pixels: PixelTargets, place: Int[Tensor, " points"]) -> PixelTargets:
    """Keep the pairs whose points have a new place, 0 or more."""
    kept = (place[pixels.points] >= 0).nonzero()[:, 0]
    regions = pixels.superpixels
    return PixelTargets(
        place[pixels.points[kept]],
        pixels.logits[kept],
        None if pixels.embeddings is None else pixels.embeddings[kept],
        None if regions is None else replace(regions, of_pair=regions.of_pair[kept]),
    )
