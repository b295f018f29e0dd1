import pytest
import torch
from tests.student.sparse.voxels import pyramid_of, random_voxels

from clip2scene.student.sparse import KernelMap, sparse_convolution


def test_pairs_are_counted_and_cut_by_offset():
    pairs = KernelMap(torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0]), (1, 0, 2), 3, 2)
    assert pairs.num_pairs == 3
    assert pairs.starts.tolist() == [0, 1, 1, 3]
    with_centre = KernelMap(pairs.sources, pairs.targets, (1, 0, 2), 2, 2, centre=1)
    assert with_centre.num_pairs == 5


def test_transposed_twice_is_the_map_itself():
    pairs = pyramid_of(random_voxels(torch.Generator().manual_seed(1))).descent(0)
    twice = pairs.transposed.transposed
    assert pairs.transposed.num_sources == pairs.num_targets < pairs.num_sources
    assert torch.equal(twice.sources, pairs.sources) and torch.equal(twice.targets, pairs.targets)


@pytest.mark.parametrize("seed", range(5))
def test_going_up_is_the_adjoint_of_going_down(seed):
    generator = torch.Generator().manual_seed(seed)
    coordinates = random_voxels(generator)
    down = pyramid_of(coordinates).descent(0)
    weight = torch.randn(8, 5, 7, generator=generator, dtype=torch.float64)
    fine = torch.randn(down.num_sources, 5, generator=generator, dtype=torch.float64)
    coarse = torch.randn(down.num_targets, 7, generator=generator, dtype=torch.float64)
    there = (sparse_convolution(fine, weight, down) * coarse).sum()
    back = (sparse_convolution(coarse, weight.transpose(1, 2).contiguous(), down.transposed) * fine).sum()
    torch.testing.assert_close(there, back)
