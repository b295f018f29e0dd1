"""Training items, and the batches they are collated into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.types import IGNORE_LABEL, PointCloud


@dataclass(frozen=True)
class Superpixels:
    """Regions of one sample's images (SLidR).

    Attributes:
        of_pair: Region of each pixel-point pair.
        embeddings: The teacher's mean embedding of each region, over all its pixels.
    """

    of_pair: Int[Tensor, " pairs"]
    embeddings: Float[Tensor, "superpixels channels"]


@dataclass(frozen=True)
class PixelTargets:
    """The pixel-point pairs themselves.

    Attributes:
        points: Index of the point of each pair.
        logits: The teacher's logit of each class there.
        embeddings: The teacher's embedding of the pixel, unit rows; None where it has nothing but classes.
        superpixels: Regions of the images; None unless the InfoNCE is over them.
    """

    points: Int[Tensor, " pairs"]
    logits: Float[Tensor, "pairs classes"]
    embeddings: Float[Tensor, "pairs channels"] | None = None
    superpixels: Superpixels | None = None


@dataclass(frozen=True)
class TrainItem:
    """One sample to train on: its cloud, and the targets of its points, pseudo-labels or true labels.

    Attributes:
        cloud: The points.
        target_points: Index of the point of each target; a point visible to two cameras appears twice.
        targets: Train id of each target.
        superpoints: Piece of each point, from 0, -1 for the ground; None without a vote.
        pixels: The pairs, where a loss needs their logits or features.
        cells: Small grid cell of each point, from 0, shared by the sweeps of a sample; None if not compared.
        item_sizes: Points of each item the cloud is cut into, in their order; empty for one item.
    """

    cloud: PointCloud
    target_points: Int[Tensor, " targets"]
    targets: Int[Tensor, " targets"]
    superpoints: Int[Tensor, " points"] | None = None
    pixels: PixelTargets | None = None
    cells: Int[Tensor, " points"] | None = None
    item_sizes: tuple[int, ...] = ()

    @property
    def teaches(self) -> bool:
        """Whether any target is a class."""
        return bool((self.targets != IGNORE_LABEL).any())


@dataclass(frozen=True)
class Batch:
    """The points of several samples in one list; numbers that name points name them in that list.

    Attributes:
        positions: Metres, each item in its own sensor's frame.
        features: What the sensor measured beside the position.
        item_of_point: Number of each point's item in this batch, ascending; an item is a sample, or one of
            its sweeps.
        target_points: Index into the points of each target.
        targets: Train id of each target.
        superpoints: See :class:`TrainItem`; distinct between samples.
        pixels: See :class:`TrainItem`.
        cells: See :class:`TrainItem`; distinct between samples.
        sample_sizes: Points of each sample; empty where nobody needs them.
    """

    positions: Float[Tensor, "points 3"]
    features: Float[Tensor, "points channels"]
    item_of_point: Int[Tensor, " points"]
    target_points: Int[Tensor, " targets"]
    targets: Int[Tensor, " targets"]
    superpoints: Int[Tensor, " points"] | None = None
    pixels: PixelTargets | None = None
    cells: Int[Tensor, " points"] | None = None
    sample_sizes: tuple[int, ...] = ()

    def to(self, device: torch.device) -> "Batch":
        """Copy every tensor to ``device``, shapes and dtypes unchanged."""
        return _each_tensor(self, lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> "Batch":
        """Copy every tensor to pinned memory, for torch's loader; dtypes unchanged. Never run on a GPU."""
        return _each_tensor(self, Tensor.pin_memory)


def _each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:  # noqa: ANN401 - a tensor or a record
    """Change a tensor, or every tensor of a record; what is neither stays as it is."""
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: _each_tensor(each, change) for name, each in vars(value).items()})
    return change(value) if isinstance(value, Tensor) else value


def collate(train_items: Sequence[TrainItem]) -> Batch:
    """Collate training items into one batch of points, dropping targets that are ignored.

    What an item may lack (superpoints, pixels, cells) is there if the first item has it.
    """
    counts = torch.tensor([len(train_item.cloud) for train_item in train_items])
    starts = (counts.cumsum(0) - counts).tolist()
    target_points = torch.cat(
        [train_item.target_points + start for train_item, start in zip(train_items, starts, strict=True)]
    )
    targets = torch.cat([train_item.targets for train_item in train_items])
    useful = targets != IGNORE_LABEL
    items = torch.tensor([size for each in train_items for size in each.item_sizes or (len(each.cloud),)])
    return Batch(
        positions=torch.cat([train_item.cloud.positions for train_item in train_items]),
        features=torch.cat([train_item.cloud.features for train_item in train_items]),
        item_of_point=torch.repeat_interleave(torch.arange(len(items)), items),
        target_points=target_points[useful],
        targets=targets[useful],
        superpoints=number_on([train_item.superpoints for train_item in train_items]),
        pixels=join_pixels([train_item.pixels for train_item in train_items], starts),
        cells=number_on([train_item.cells for train_item in train_items]),
        sample_sizes=tuple(counts.tolist()),
    )


def number_on(parts: Sequence[Int[Tensor, " _"] | None]) -> Int[Tensor, " _"] | None:
    """Join numberings so that no two samples share a number; negative ones stay what they are."""
    if parts[0] is None:
        return None
    start, joined = 0, []
    for part in parts:
        assert part is not None
        joined.append(torch.where(part < 0, part, part + start))
        start += int(part.max()) + 1 if len(part) and int(part.max()) >= 0 else 0
    return torch.cat(joined)


def join_pixels(parts: Sequence[PixelTargets | None], starts: Sequence[int]) -> PixelTargets | None:
    """Join the pairs of all samples."""
    present = [part for part in parts if part is not None]
    if not present:
        return None
    regions = [part.superpixels for part in present if part.superpixels is not None]
    sizes = [0, *(len(region.embeddings) for region in regions)]
    superpixels = None
    if regions:
        firsts = torch.tensor(sizes).cumsum(0).tolist()
        of_pair = [region.of_pair + first for region, first in zip(regions, firsts[:-1], strict=True)]
        superpixels = Superpixels(torch.cat(of_pair), torch.cat([region.embeddings for region in regions]))
    embeddings = [part.embeddings for part in present if part.embeddings is not None]
    return PixelTargets(
        torch.cat([part.points + start for part, start in zip(present, starts, strict=True)]),
        torch.cat([part.logits for part in present]),
        torch.cat(embeddings) if embeddings else None,
        superpixels,
    )


def draw_cells(cells: Int[Tensor, " pairs"], number: int, generator: torch.Generator) -> Int[Tensor, " kept"]:
    """Choose the pairs of whole cells, drawn at random, about ``number`` of them; all where there are fewer.

    Each cell has the same chance, so a mean over cells stays what it was in expectation.

    Args:
        cells: Cell of each pair, from 0.
        number: About how many pairs to keep.
        generator: Source of the draws.
    """
    if len(cells) <= number:
        return torch.arange(len(cells))
    lot = torch.rand(int(cells.max()) + 1, generator=generator)
    return (lot[cells] < number / len(cells)).nonzero()[:, 0]


def sample_order(num_samples: int, batch_size: int, step: int, *, seed: int) -> list[int]:
    """Say which samples a step uses: every sample once an epoch, in an order drawn anew for each.

    It depends on nothing but its arguments, so a resumed run uses what an uninterrupted one would.

    Args:
        num_samples: Samples in the split.
        batch_size: Samples in a step; a batch may reach over the end of an epoch.
        step: Number of the step, from 0.
        seed: The run's seed, 0 or more.

    Returns:
        ``batch_size`` indices below ``num_samples``.

    Example:
        >>> sorted(sample_order(4, 2, 0, seed=7) + sample_order(4, 2, 1, seed=7))
        [0, 1, 2, 3]
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: torch.randperm(num_samples, generator=step_generator(seed, epoch, purpose=1)).tolist()
        for epoch in {place // num_samples for place in places}
    }
    return [orders[place // num_samples][place % num_samples] for place in places]


def step_generator(seed: int, step: int, *, purpose: int) -> torch.Generator:
    """Make the random generator of one step and one purpose, independent of all others."""
    mixed = (seed * 1_000_003 + step) * 8 + purpose
    return torch.Generator().manual_seed(mixed % 2**63)
