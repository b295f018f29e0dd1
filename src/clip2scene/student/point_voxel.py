"""Voxelization (mean of a voxel's points) and devoxelization (nearest or trilinear)."""

from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from clip2scene.student.sparse import Pyramid, SparseTensor
from clip2scene.student.sparse import keys as packed


@dataclass(frozen=True)
class SparseRowMatrix:
    """A fixed sparse matrix: each output row is a weighted sum of a few input rows.

    Attributes:
        rows: Input row of each term, output row by output row.
        weights: Weight of each term.
        ends: Index of each output row's first term, and at last the number of terms (as CSR has it).
        num_inputs: Rows of the input.
    """

    rows: Int[Tensor, " terms"]
    weights: Float[Tensor, " terms"]
    ends: Int[Tensor, " ends"]
    num_inputs: int

    def __call__(self, inputs: Float[Tensor, "inputs channels"]) -> Float[Tensor, "outputs channels"]:
        """Multiply by the matrix, differentiably."""
        return _Multiply.apply(inputs, self)

    def sum_up(self, inputs: Float[Tensor, "inputs channels"]) -> Float[Tensor, "outputs channels"]:
        """Multiply by the matrix, without a gradient.

        ``embedding_bag`` reads each input row once per term and writes each output row once; index_select,
        multiply, sum would write and read all terms.
        """
        return F.embedding_bag(
            self.rows,
            inputs,
            self.ends,
            mode="sum",
            per_sample_weights=self.weights.to(inputs.dtype),
            include_last_offset=True,
        )

    @cached_property
    def transposed(self) -> "SparseRowMatrix":
        """The transposed matrix, which is what the gradient needs."""
        num_outputs = len(self.ends) - 1
        outputs = torch.arange(num_outputs, device=self.rows.device).repeat_interleave(self.ends.diff())
        order = torch.argsort(self.rows, stable=True)
        ends = self.rows.new_zeros(self.num_inputs + 1)
        ends[1:] = torch.bincount(self.rows, minlength=self.num_inputs).cumsum(0)
        return SparseRowMatrix(outputs[order], self.weights[order], ends, num_outputs)


class _Multiply(torch.autograd.Function):
    """:meth:`SparseRowMatrix.sum_up` with the transposed matrix as its gradient."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, matrix: SparseRowMatrix) -> Tensor:  # noqa: ANN401
        ctx.matrix = matrix
        return matrix.sum_up(inputs.contiguous())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return ctx.matrix.transposed.sum_up(gradient.contiguous()), None


class VoxelizedPoints:
    """A batch of voxelized point clouds, with the cached matrices between points and voxels.

    Args:
        positions: Points of all clouds, in metres, each cloud in its own frame.
        batch_of_point: Index of each point's cloud, in 0..511; clouds may be of any size, or empty.
        voxel_size: Edge of the finest voxels, in metres.

    Raises:
        ValueError: If there is no point, if a position is not finite, or if a point lies too far from the
            origin.
    """

    def __init__(
        self, positions: Float[Tensor, "points 3"], batch_of_point: Int[Tensor, " points"], voxel_size: float
    ) -> None:
        if len(positions) == 0:
            raise ValueError("Empty cloud: expected at least one point, got 0. Leave empty clouds out.")
        if not torch.isfinite(positions).all():
            bad = int((~torch.isfinite(positions)).any(1).sum())
            raise ValueError(f"Positions not finite: {bad} of {len(positions)} points. Drop them first.")
        in_voxels = positions / voxel_size
        if in_voxels.abs().max() > packed.MAX_COORDINATE:
            raise ValueError(
                f"Point too far from the origin: expected at most {packed.MAX_COORDINATE} voxels of "
                f"{voxel_size} m, got {float(in_voxels.abs().max()):.0f}. Move the cloud to its sensor, or "
                "choose larger voxels."
            )
        self.in_voxels = in_voxels
        self._value_at = 0.5  # where in a voxel its features are located: its centre
        coordinates = torch.cat([batch_of_point[:, None].long(), in_voxels.floor().long()], dim=1)
        self.key_of_point = packed.pack(coordinates)
        finest, self.voxel_of_point = torch.unique(self.key_of_point, return_inverse=True)
        self.pyramid = Pyramid(finest)
        self._rows = {0: self.voxel_of_point}
        self._means: dict[int, SparseRowMatrix] = {}
        self._interpolations: dict[int, SparseRowMatrix] = {}

    def at_corners(self) -> "VoxelizedPoints":
        """Return the same voxels with one point each, at the voxel's lower corner.

        Features of voxels are then located at lower corners too, at every level, as in SPVNAS's code.
        """
        corners = copy(self)
        corners.in_voxels = self.pyramid.coordinates(0)[:, 1:].to(self.in_voxels.dtype)
        corners.key_of_point = self.pyramid.finest
        corners.voxel_of_point = torch.arange(len(self.pyramid.finest), device=self.in_voxels.device)
        corners._value_at = 0.0
        corners._rows = {0: corners.voxel_of_point}
        corners._means, corners._interpolations = {}, {}
        return corners

    def voxels_of_points(self, level: int) -> Int[Tensor, " points"]:
        """Return the row of each point's voxel at a level."""
        if level not in self._rows:
            descent = self.pyramid.descent(level - 1)
            parent = torch.empty_like(descent.sources)
            parent[descent.sources] = descent.targets
            self._rows[level] = parent[self.voxels_of_points(level - 1)]
        return self._rows[level]

    def to_voxels(self, features: Float[Tensor, "points channels"], level: int = 0) -> SparseTensor:
        """Voxelize: average the features of the points in each cell of a level (``2**level`` voxels wide)."""
        if level not in self._means:
            rows = self.voxels_of_points(level)
            counts = torch.bincount(rows, minlength=len(self.pyramid.keys(level)))
            ends = F.pad(counts.cumsum(0), (1, 0))
            points = torch.argsort(rows, stable=True)
            weights = (1.0 / counts).to(features.dtype).repeat_interleave(counts)
            self._means[level] = SparseRowMatrix(points, weights, ends, len(features))
        return SparseTensor(self._means[level](features), self.pyramid, level)

    def nearest(self, voxels: SparseTensor) -> Float[Tensor, "points channels"]:
        """Devoxelize: copy the features of each point's voxel."""
        return voxels.features.index_select(0, self.voxels_of_points(voxels.level))

    def interpolate(self, voxels: SparseTensor) -> Float[Tensor, "points channels"]:
        """Devoxelize by trilinear interpolation between the centres (or corners) of the eight voxels around.

        Empty voxels have weight zero, and the weights of the others are scaled to sum to one. A point's own
        voxel is always among them.
        """
        level = voxels.level
        if level not in self._interpolations:
            self._interpolations[level] = self._interpolation(level, voxels.features.dtype)
        return self._interpolations[level](voxels.features)

    def _interpolation(self, level: int, dtype: torch.dtype) -> SparseRowMatrix:
        keys = self.pyramid.keys(level)
        position = self.in_voxels / 2**level
        own = position.floor()
        fraction = position - own - self._value_at  # from the own voxel's centre, in its edges
        side = torch.where(fraction < 0, -1, 1)  # the nearer neighbour along each axis
        away = fraction.abs()
        own_key = keys[self.voxels_of_points(level)]
        steps = side * side.new_tensor([packed.step(1, 0, 0), packed.step(0, 1, 0), 1])
        corners = torch.cartesian_prod(*[torch.arange(2, device=keys.device)] * 3)
        wanted = own_key[:, None] + (steps[:, None] * corners).sum(2)  # no product: CUDA has none of integers
        rows, found = packed.find(keys, wanted)
        chosen = torch.where(corners.bool(), away[:, None], 1 - away[:, None])
        weights = chosen.prod(2) * found
        weights = (weights / weights.sum(1, keepdim=True)).to(dtype)
        ends = torch.arange(0, rows.numel() + 1, 8, device=keys.device)
        return SparseRowMatrix(rows.flatten(), weights.flatten(), ends, len(keys))
