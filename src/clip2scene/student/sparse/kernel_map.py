"""Kernel maps: which input voxel meets which output voxel under which weight of a sparse convolution.

The offsets of a kernel of size k are numbered x slowest, z fastest, like the last three dimensions of
``conv3d``'s weight. For a submanifold map the offset number m and its mirror image, number k**3 - 1 - m,
hold the same pairs with the two ends swapped, so only half of the offsets are searched. The centre pairs
each voxel with itself and is not stored at all.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.student.sparse import cpu_kernels as compiled
from clip2scene.student.sparse import keys as packed


@dataclass(frozen=True)
class KernelMap:
    """The pairs of one convolution, grouped by kernel offset.

    Attributes:
        sources: Input row of each pair; strictly ascending within an offset.
        targets: Output row of each pair; strictly ascending within an offset.
        counts: Number of pairs of each offset; they are stored in this order.
        num_sources: Rows of the input.
        num_targets: Rows of the output.
        centre: Number of the offset that pairs each voxel with itself, whose pairs are left out; None if
            there is no such offset.
    """

    sources: Int[Tensor, " pairs"]
    targets: Int[Tensor, " pairs"]
    counts: tuple[int, ...]
    num_sources: int
    num_targets: int
    centre: int | None = None

    @cached_property
    def num_pairs(self) -> int:
        """Count the pairs, the centre's included: one row-times-matrix product each."""
        return len(self.sources) + (self.num_targets if self.centre is not None else 0)

    @cached_property
    def starts(self) -> Int[Tensor, " ends"]:
        """Where each offset's pairs begin, and at last where all end; always on the CPU."""
        return torch.tensor([0, *accumulate(self.counts)])

    @cached_property
    def transposed(self) -> "KernelMap":
        """The same pairs with input and output swapped: the map of the adjoint convolution."""
        return KernelMap(
            self.targets, self.sources, self.counts, self.num_targets, self.num_sources, self.centre
        )


def submanifold_map(keys: Int[Tensor, " voxels"], kernel_size: int) -> KernelMap:
    """Pair each voxel with its neighbours in a cube of odd edge ``kernel_size``.

    One binary search finds the lower end of a column of neighbours (same x and y offset); the rest of the
    column are the next entries of the sorted list.

    Args:
        keys: Sorted and unique.
        kernel_size: Odd.
    """
    radius = kernel_size // 2
    columns = [
        packed.step(x, y, 0) for x in range(radius + 1) for y in range(-radius, radius + 1) if (x, y) > (0, 0)
    ]
    search = compiled.submanifold_pairs if compiled.usable_on(keys) else submanifold_pairs
    sources, targets, counts = search(keys, keys.new_tensor(columns), kernel_size)
    return KernelMap(sources, targets, tuple(counts), len(keys), len(keys), centre=kernel_size**3 // 2)


def submanifold_pairs(
    keys: Int[Tensor, " voxels"], columns: Int[Tensor, " columns"], kernel_size: int
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"], list[int]]:
    """Return sources, targets and counts per offset; ``columns`` are the steps to half of the columns."""
    if kernel_size == 1:
        return keys.new_empty(0), keys.new_empty(0), [0]
    radius = kernel_size // 2
    end = keys.new_full((1,), torch.iinfo(torch.int64).max)
    padded = torch.cat([keys, end])
    first = keys + columns[:, None] - radius
    row = torch.searchsorted(keys, first)
    above = torch.arange(1, len(keys) + 1, device=keys.device)
    hits, rows = [], []
    for z in range(1, radius + 1):  # the voxel's own column, upper half
        hits.append(padded[above] == keys + z)
        rows.append(above)
        above = above + hits[-1]
    column_hits, column_rows = [], []
    for z in range(kernel_size):
        column_hits.append(padded[row] == first + z)
        column_rows.append(row)
        row = row + column_hits[-1]
    hit = torch.cat([torch.stack(hits), torch.stack(column_hits, 1).flatten(0, 1)])
    neighbour = torch.cat([torch.stack(rows), torch.stack(column_rows, 1).flatten(0, 1)])
    targets = hit.nonzero()[:, 1]
    sources = neighbour[hit]
    half = hit.sum(1).tolist()
    mirrored_targets = torch.cat(sources.split(half)[::-1])
    mirrored_sources = torch.cat(targets.split(half)[::-1])
    every_source = torch.cat([mirrored_sources, sources])
    every_target = torch.cat([mirrored_targets, targets])
    return every_source, every_target, [*half[::-1], 0, *half]


def downsampling_map(keys: Int[Tensor, " voxels"]) -> tuple[Int[Tensor, " parents"], KernelMap]:
    """Pair each voxel with the double-size cell that holds it: kernel 2, stride 2.

    Each voxel has exactly one parent, so the map is a sort by octant.

    Returns:
        The sorted keys of the coarser level, and the map onto it.
    """
    coarse, parent = torch.unique(packed.parents(keys), return_inverse=True)
    octant = packed.octants(keys)
    order = torch.argsort(octant, stable=True)
    counts = tuple(torch.bincount(octant, minlength=8).tolist())
    return coarse, KernelMap(order, parent[order], counts, len(keys), len(coarse))
