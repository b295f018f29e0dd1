import pytest
import torch
from tests.student.sparse.voxels import pyramid_of, random_voxels

from clip2scene.student.sparse import Pyramid, SparseTensor
from clip2scene.student.sparse import keys as packed
from clip2scene.student.sparse.tensor import submanifold_map


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_the_submanifold_map_holds_exactly_the_neighbours_and_is_symmetric(kernel, seed, path):
    generator = torch.Generator().manual_seed(seed)
    coordinates = random_voxels(generator, most=300, corner=-4)
    pairs = submanifold_map(torch.sort(packed.pack(coordinates))[0], kernel)
    ordered = sorted(map(tuple, coordinates.tolist()))
    row_of = {voxel: row for row, voxel in enumerate(ordered)}
    expected = []
    for offset in range(kernel**3):
        x, y, z = offset // kernel**2, offset // kernel % kernel, offset % kernel
        moved = [(b, i + x - kernel // 2, j + y - kernel // 2, k + z - kernel // 2) for b, i, j, k in ordered]
        found = {(row_of[m], target) for target, m in enumerate(moved) if m in row_of}
        expected.append(set() if offset == kernel**3 // 2 else found)
    split = zip(pairs.sources.split(pairs.counts), pairs.targets.split(pairs.counts), strict=True)
    actual = [set(zip(s.tolist(), t.tolist(), strict=True)) for s, t in split]
    assert actual == expected
    assert sum(pairs.counts) == sum(map(len, expected))
    assert [{(t, s) for s, t in group} for group in actual] == actual[::-1]


def test_coordinates_of_coarser_levels_are_floored_also_below_zero():
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(-70_000, 70_000, (500, 3), generator=generator)
    coordinates = torch.cat([torch.randint(0, 512, (500, 1), generator=generator), cells], dim=1)
    pyramid = Pyramid(torch.unique(packed.pack(coordinates)))
    for level in range(6):
        expected = torch.cat([coordinates[:, :1], cells.div(2**level, rounding_mode="floor")], dim=1)
        assert torch.equal(pyramid.coordinates(level), torch.unique(expected, dim=0))


def test_voxels_at_the_far_ends_of_the_range_have_no_neighbours_across_it(path):
    most = packed.MAX_COORDINATE
    ends = torch.cartesian_prod(torch.tensor([0, 1, 511]), *[torch.tensor([-most, most])] * 3)
    pyramid = Pyramid(torch.unique(packed.pack(ends)))
    for level in range(4):
        assert pyramid.neighbours(level, 5).num_pairs == len(ends)


def test_maps_are_made_once_per_level():
    coordinates = random_voxels(torch.Generator().manual_seed(5))
    pyramid = Pyramid(torch.unique(packed.pack(coordinates)))
    assert pyramid.neighbours(1, 3) is pyramid.neighbours(1, 3)
    assert pyramid.descent(0).transposed is pyramid.descent(0).transposed


def test_features_are_replaced_on_the_same_voxels():
    pyramid = pyramid_of(torch.tensor([[0, 1, 2, 3], [0, -1, 2, 3]]))
    tensor = SparseTensor(torch.zeros(1, 1), pyramid, level=1)
    other = tensor.replace(torch.ones(1, 2))
    assert other.pyramid is pyramid and other.level == 1
    assert torch.equal(other.features, torch.ones(1, 2))
