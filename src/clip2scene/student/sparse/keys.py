"""Voxel coordinates packed into int64 keys, so that finding a neighbour is a search in a sorted list.

A key holds (batch, x, y, z) in 9 + 18 + 18 + 18 bits. Each axis is stored with a bias, so that keys sort
like the coordinates they hold, and an offset of a few cells is one addition. The bias halves from a level
to the next coarser one, so that a parent's key is three shifts and a mask, and the shift is a floor for
negatives too.
"""

import torch
from jaxtyping import Int
from torch import Tensor

AXIS_BITS = 18
MAX_BATCH = 2**9
MAX_COORDINATE = 2 ** (AXIS_BITS - 1) - 8
"""Largest absolute coordinate. Eight cells stay free at both ends: no neighbour leaves its axis."""

_AXIS_MASK = 2**AXIS_BITS - 1
_SPACE_BITS = 3 * AXIS_BITS
_SPACE_MASK = 2**_SPACE_BITS - 1
_HALF_AXIS = 2 ** (AXIS_BITS - 1) - 1
_HALVED_MASK = _HALF_AXIS << (2 * AXIS_BITS) | _HALF_AXIS << AXIS_BITS | _HALF_AXIS


def pack(coordinates: Int[Tensor, "voxels 4"]) -> Int[Tensor, " voxels"]:
    """Pack (batch, x, y, z) of the finest level into one key per row.

    Raises:
        ValueError: If a coordinate or a batch index is outside what a key can hold.
    """
    coordinates = coordinates.long()
    batch, cells = coordinates[:, 0], coordinates[:, 1:]
    if len(coordinates) and (batch.min() < 0 or batch.max() >= MAX_BATCH):
        raise ValueError(
            f"Batch index out of range: expected 0..{MAX_BATCH - 1}, got {int(batch.min())}.."
            f"{int(batch.max())}. Split the batch."
        )
    if len(coordinates) and cells.abs().max() > MAX_COORDINATE:
        raise ValueError(
            f"Voxel coordinate out of range: expected at most {MAX_COORDINATE} voxels from the origin, got "
            f"{int(cells.abs().max())}. Move the cloud to its sensor, or choose larger voxels."
        )
    biased = cells + 2 ** (AXIS_BITS - 1)
    return ((batch << AXIS_BITS | biased[:, 0]) << AXIS_BITS | biased[:, 1]) << AXIS_BITS | biased[:, 2]


def unpack(keys: Int[Tensor, " voxels"], level: int) -> Int[Tensor, "voxels 4"]:
    """Return (batch, x, y, z) of keys of a level (0 is the finest), in cells of that level."""
    bias = 2 ** (AXIS_BITS - 1) >> level
    axes = [(keys >> shift & _AXIS_MASK) - bias for shift in (2 * AXIS_BITS, AXIS_BITS, 0)]
    return torch.stack([keys >> _SPACE_BITS, *axes], dim=1)


def step(x: int, y: int, z: int) -> int:
    """Return what to add to a key to move by (x, y, z) cells of its own level."""
    return (x << 2 * AXIS_BITS) + (y << AXIS_BITS) + z


def parents(keys: Int[Tensor, " voxels"]) -> Int[Tensor, " voxels"]:
    """Return the key, one level up, of the double-size cell that holds each voxel."""
    space = keys & _SPACE_MASK
    return (keys - space) | (space >> 1 & _HALVED_MASK)


def octants(keys: Int[Tensor, " voxels"]) -> Int[Tensor, " voxels"]:
    """Return which eighth of its parent each voxel is: 0..7, x the slowest and z the fastest bit."""
    return (keys >> 2 * AXIS_BITS & 1) << 2 | (keys >> AXIS_BITS & 1) << 1 | keys & 1


def find(
    keys: Int[Tensor, " voxels"], wanted: Int[Tensor, "*shape"]
) -> tuple[Int[Tensor, "*shape"], Int[Tensor, "*shape"]]:
    """Look keys up in a sorted list.

    Returns:
        The row of each wanted key (0 where it is missing), and 1 or 0 for found or missing.
    """
    rows = torch.searchsorted(keys, wanted).clamp_(max=len(keys) - 1)
    found = (keys[rows] == wanted).long()
    return rows * found, found
