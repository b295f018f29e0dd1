"""The kernel map of a sparse convolution: which input voxel meets which output voxel under which weight.

The offsets of a kernel of size k are numbered x slowest, z fastest, like the last three dimensions of
``conv3d``'s weight.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class KernelMap:
    """The input-output pairs of one convolution, grouped by kernel offset.

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
        """Number of row-times-matrix products: the pairs, the centre's included."""
        return len(self.sources) + (self.num_targets if self.centre is not None else 0)

    @cached_property
    def starts(self) -> Int[Tensor, " ends"]:
        """Index at which each offset's pairs begin, and at last their number; always on the CPU."""
        return torch.tensor([0, *accumulate(self.counts)])

    @cached_property
    def transposed(self) -> "KernelMap":
        """Pairs with input and output swapped: the map of the transposed convolution."""
        return KernelMap(
            self.targets, self.sources, self.counts, self.num_targets, self.num_sources, self.centre
        )
