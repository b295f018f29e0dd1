import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage

from clip2scene.geometry.pieces import connected_pieces, find_pieces, heights_of
from clip2scene.geometry.superpoints import find_superpoints, height_above_ground


def connected(cells, around=None):
    return torch.from_numpy(connected_pieces(cells.numpy(), around=around))


def test_they_need_no_torch():
    script = "import sys, clip2scene.geometry.pieces; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


def test_superpoints_are_these_pieces_as_tensors():
    cloud = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([30.0, 30.0, 4.0])
    assert find_superpoints(cloud).tolist() == find_pieces(cloud.numpy()).tolist()
    heights = height_above_ground(cloud)
    assert heights.dtype == cloud.dtype and np.array_equal(heights.numpy(), heights_of(cloud.numpy()))


@pytest.mark.parametrize("seed", range(8))
def test_pieces_are_those_of_the_whole_grid(seed):
    generator = torch.Generator().manual_seed(seed)
    size = torch.randint(1, 30, (3, 1), generator=generator)
    cells = (torch.rand(3, 50 + 150 * seed, generator=generator) * size).long() - 7
    occupied = np.zeros(size.flatten().tolist(), dtype=bool)
    occupied[tuple(cells + 7)] = True
    pieces, _ = ndimage.label(occupied, np.ones((3, 3, 3)))
    assert connected(cells).tolist() == (pieces[tuple(cells + 7)] - 1).tolist()


def test_a_grid_without_end_costs_no_memory():
    assert connected(torch.tensor([[0, 10**6, 10**6 + 1], [0, 10**6, 10**6], [0, 5, 4]])).tolist() == [
        0,
        1,
        1,
    ]


def test_pieces_go_on_over_the_seam_of_a_grid_that_closes():
    cells = torch.tensor([[0, 9, 9, 5, 0], [3, 4, 9, 3, 2], [7, 6, 7, 7, 7]])
    assert connected(cells).tolist() == [0, 2, 3, 1, 0]
    assert connected(cells, around=10).tolist() == [0, 0, 2, 1, 0]
    assert connected(cells, around=11).tolist() == [0, 2, 3, 1, 0]
    assert connected(cells[:, 1:4] + 1, around=10).tolist() == [1, 2, 0]


@pytest.mark.parametrize("seed", range(4))
def test_a_grid_that_closes_has_the_pieces_of_one_that_is_laid_out_three_times(seed):
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([[12], [6], [9]])
    cells = (torch.rand(3, 120, generator=generator) * size).long()
    thrice = torch.cat([cells + torch.tensor([[12 * turn], [0], [0]]) for turn in range(3)], dim=1)
    laid_out = connected(thrice).view(3, -1)
    same = torch.zeros(120, 120, dtype=torch.bool)
    for one in laid_out:
        for other in laid_out:
            same |= one[:, None] == other[None]
    for middle in range(120):  # what touches what touches it is of its piece
        same |= same[:, middle : middle + 1] & same[middle : middle + 1]
    closed = connected(cells, around=12)
    assert torch.equal(same, closed[:, None] == closed[None])
