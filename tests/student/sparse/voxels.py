"""Random voxels, and how they are compared."""

import torch

from clip2scene.student.sparse import Pyramid, SparseTensor
from clip2scene.student.sparse import keys as packed

EDGE = 8


def random_voxels(generator, *, batches=2, most=120, corner=0):
    """Unique (batch, x, y, z) in a cube of EDGE cells whose lowest corner is (corner, corner, corner)."""
    count = int(torch.randint(1, most, (1,), generator=generator))
    chosen = torch.randperm(batches * EDGE**3, generator=generator)[:count]
    cells = [chosen // EDGE**2 % EDGE, chosen // EDGE % EDGE, chosen % EDGE]
    return torch.stack([chosen // EDGE**3, *(axis + corner for axis in cells)], dim=1)


def sparse_tensor(coordinates, features):
    """A sparse tensor of unique voxels in any order, and for each of its rows the row it came from."""
    keys, order = torch.sort(packed.pack(coordinates))
    return SparseTensor(features[order], Pyramid(keys)), order


def pyramid_of(coordinates):
    return Pyramid(torch.unique(packed.pack(coordinates)))


def assert_close(actual, expected, tolerance):
    scale = expected.abs().max().clamp(min=1)  # all inputs are of order one
    torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=tolerance)
