"""Features on the occupied voxels of a batch of clouds, at one of several resolutions."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.student.sparse import keys as packed
from clip2scene.student.sparse.kernel_map import KernelMap, downsampling_map, submanifold_map


@dataclass(frozen=True)
class Pyramid:
    """The occupied voxels of a batch at every resolution, and the kernel maps between them.

    Levels and maps are worked out when first asked for and kept: all layers of a network, and both
    directions of a U-Net, share them.

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
        pyramid: Where the voxels are.
        level: Which resolution; 0 is the finest.
    """

    features: Float[Tensor, "voxels channels"]
    pyramid: Pyramid
    level: int = 0

    @property
    def coordinates(self) -> Int[Tensor, "voxels 4"]:
        """(batch, x, y, z) of each row in cells of this level: floor(finest coordinate / stride)."""
        return self.pyramid.coordinates(self.level)

    @property
    def stride(self) -> int:
        """Edge of this level's cells in finest voxels."""
        return 2**self.level

    def replace(self, features: Float[Tensor, "voxels any"]) -> "SparseTensor":
        """Return the same voxels with other features."""
        return SparseTensor(features, self.pyramid, self.level)


def sparse_tensor(
    coordinates: Int[Tensor, "voxels 4"], features: Float[Tensor, "voxels channels"]
) -> tuple[SparseTensor, Int[Tensor, " voxels"]]:
    """Build a sparse tensor from unique voxel coordinates.

    Args:
        coordinates: (batch, x, y, z) per row, in any order.
        features: Their features.

    Returns:
        The tensor, whose rows are sorted by coordinate, and for each of its rows the row it came from.

    Raises:
        ValueError: If there is no voxel, if one is given twice, or if a coordinate is out of range.
    """
    if len(coordinates) == 0:
        raise ValueError("No voxels: expected at least one row of coordinates. Leave empty clouds out.")
    keys, order = torch.sort(packed.pack(coordinates))
    if (keys[1:] == keys[:-1]).any():
        raise ValueError(
            f"Voxels given twice: expected unique coordinates, got {int((keys[1:] == keys[:-1]).sum())} "
            "repeated rows. Merge them first."
        )
    return SparseTensor(features[order], Pyramid(keys)), order
