"""Features on the occupied voxels of a batch of clouds, and the kernel maps between the resolutions."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.student.sparse import cpu_kernels
from clip2scene.student.sparse import keys as packed
from clip2scene.student.sparse.kernel_map import KernelMap


@dataclass(frozen=True)
class Pyramid:
    """The occupied voxels of a batch at every resolution, and the kernel maps between them.

    Levels and maps are computed when first needed and cached: all layers of a network, and both directions of
    a U-Net, share them.

    Attributes:
        finest: Sorted unique keys of the finest level.
    """

    finest: Int[Tensor, " voxels"]
    _levels: dict[int, Int[Tensor, " some"]] = field(default_factory=dict, repr=False)
    _neighbours: dict[tuple[int, int], KernelMap] = field(default_factory=dict, repr=False)
    _descents: dict[int, KernelMap] = field(default_factory=dict, repr=False)

    def keys(self, level: int) -> Int[Tensor, " voxels"]:
        """Return the sorted keys of a level; its cells are ``2**level`` finest voxels wide."""
        if level == 0:
            return self.finest
        if level not in self._levels:
            self.descent(level - 1)
        return self._levels[level]

    def coordinates(self, level: int) -> Int[Tensor, "voxels 4"]:
        """Return (batch, x, y, z) of a level's voxels, in cells of that level."""
        return packed.unpack(self.keys(level), level)

    def neighbours(self, level: int, kernel_size: int) -> KernelMap:
        """Return the submanifold map of a level."""
        if (level, kernel_size) not in self._neighbours:
            self._neighbours[level, kernel_size] = submanifold_map(self.keys(level), kernel_size)
        return self._neighbours[level, kernel_size]

    def descent(self, level: int) -> KernelMap:
        """Return the map of the kernel-2 stride-2 convolution from a level to the next coarser one."""
        if level not in self._descents:
            self._levels[level + 1], self._descents[level] = downsampling_map(self.keys(level))
        return self._descents[level]


@dataclass(frozen=True)
class SparseTensor:
    """Features of occupied voxels; all others are zero.

    Attributes:
        features: One row per voxel, in the order of the pyramid's sorted keys.
        pyramid: Coordinates of the voxels.
        level: Resolution: cells are ``2**level`` finest voxels wide.
    """

    features: Float[Tensor, "voxels channels"]
    pyramid: Pyramid
    level: int = 0

    def replace(self, features: Float[Tensor, "voxels any"]) -> "SparseTensor":
        """Return the same voxels with other features."""
        return SparseTensor(features, self.pyramid, self.level)


def submanifold_map(keys: Int[Tensor, " voxels"], kernel_size: int) -> KernelMap:
    """Build the map of a submanifold convolution: each voxel and its neighbours in a cube.

    The offset number m and its mirror image, number k**3 - 1 - m, hold the same pairs with the two ends
    swapped, so only half of the offsets are searched. The centre pairs each voxel with itself and is not
    stored. One binary search finds the lower end of a column of neighbours (same x and y offset); the rest
    of the column are the next entries of the sorted list.

    Args:
        keys: Sorted and unique.
        kernel_size: Edge of the cube in voxels, odd.
    """
    radius = kernel_size // 2
    columns = [
        packed.step(x, y, 0) for x in range(radius + 1) for y in range(-radius, radius + 1) if (x, y) > (0, 0)
    ]
    search = cpu_kernels.submanifold_pairs if cpu_kernels.usable_on(keys) else submanifold_pairs
    sources, targets, counts = search(keys, keys.new_tensor(columns), kernel_size)
    return KernelMap(sources, targets, tuple(counts), len(keys), len(keys), centre=kernel_size**3 // 2)


def submanifold_pairs(
    keys: Int[Tensor, " voxels"], columns: Int[Tensor, " columns"], kernel_size: int
) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"], list[int]]:
    """Search neighbours in plain PyTorch; the compiled twin is ``cpu_kernels.submanifold_pairs``.

    Args:
        keys: Sorted and unique.
        columns: What to add to a key to reach each of half of the columns of neighbours.
        kernel_size: Edge of the cube in voxels, odd.

    Returns:
        Source row and target row of each pair, and the number of pairs per offset.
    """
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
    """Build the map of a convolution with kernel 2 and stride 2, from voxels to cells of twice the edge.

    Each voxel has exactly one parent, so the map is a sort by octant.

    Args:
        keys: Sorted and unique.

    Returns:
        The sorted keys of the coarser level, and the map onto it.
    """
    coarse, parent = torch.unique(packed.parents(keys), return_inverse=True)
    octant = packed.octants(keys)
    order = torch.argsort(octant, stable=True)
    counts = tuple(torch.bincount(octant, minlength=8).tolist())
    return coarse, KernelMap(order, parent[order], counts, len(keys), len(coarse))
