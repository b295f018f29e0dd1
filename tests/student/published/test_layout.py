import pytest
import torch

from clip2scene.student.published.layout import edge_of, x_fastest_to_slowest


def test_offsets_counted_x_first_become_z_first():
    kernel = torch.arange(27.0)[:, None, None]
    ours = x_fastest_to_slowest(kernel, torch.Size((27, 1, 1)))
    for x in range(3):
        for y in range(3):
            for z in range(3):
                assert ours[9 * x + 3 * y + z] == x + 3 * y + 9 * z


def test_a_lone_offset_may_come_as_a_matrix():
    matrix = torch.randn(4, 5)
    assert torch.equal(x_fastest_to_slowest(matrix, torch.Size((1, 4, 5))), matrix[None])


@pytest.mark.parametrize("kernel", [torch.ones(8, 2, 2), torch.ones(27, 2)])
def test_a_kernel_with_other_offsets_is_refused(kernel):
    with pytest.raises(ValueError, match="another number of offsets"):
        x_fastest_to_slowest(kernel, torch.Size((27, 2, 2)))


@pytest.mark.parametrize("edge", [1, 2, 3, 5, 7])
def test_the_edge_of_a_kernel_is_the_cube_root_of_its_offsets(edge):
    assert edge_of(torch.Size((edge**3, 1, 1))) == edge
