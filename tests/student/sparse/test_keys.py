import pytest
import torch

from clip2scene.student.sparse import keys as packed


def some_voxels(seed=0):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(-packed.MAX_COORDINATE, packed.MAX_COORDINATE + 1, (400, 3), generator=generator)
    return torch.cat([torch.randint(0, packed.MAX_BATCH, (400, 1), generator=generator), cells], dim=1)


def test_what_is_packed_is_unpacked():
    voxels = some_voxels()
    assert torch.equal(packed.unpack(packed.pack(voxels), 0), voxels)


def test_keys_sort_like_their_coordinates():
    voxels = some_voxels()
    by_key = voxels[packed.pack(voxels).argsort()].tolist()
    assert by_key == sorted(voxels.tolist())


def test_a_step_is_one_addition():
    voxels = some_voxels()
    moved = packed.pack(voxels) + packed.step(-2, 3, -1)
    expected = voxels + torch.tensor([0, -2, 3, -1])
    assert torch.equal(packed.unpack(moved, 0), expected)


def test_a_parent_is_the_floor_of_half_and_the_octant_is_the_rest():
    voxels = some_voxels()
    keys = packed.pack(voxels)
    halves = voxels[:, 1:].div(2, rounding_mode="floor")
    parents = packed.unpack(packed.parents(keys), 1)
    assert torch.equal(parents, torch.cat([voxels[:, :1], halves], dim=1))
    rest = voxels[:, 1:] - 2 * halves
    assert torch.equal(packed.octants(keys), rest @ torch.tensor([4, 2, 1]))


def test_keys_that_are_missing_are_not_found():
    keys = torch.tensor([3, 5, 9])
    rows, found = packed.find(keys, torch.tensor([[5, 4], [9, 10]]))
    assert rows.tolist() == [[1, 0], [2, 0]]
    assert found.tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("coordinates", "message"),
    [
        (torch.tensor([[0, 2**17, 0, 0]]), "out of range"),
        (torch.tensor([[0, 0, 0, -(2**40)]]), "out of range"),
        (torch.tensor([[-1, 0, 0, 0]]), "Batch index out of range"),
        (torch.tensor([[512, 0, 0, 0]]), "Batch index out of range"),
    ],
)
def test_impossible_coordinates_are_refused(coordinates, message):
    with pytest.raises(ValueError, match=message):
        packed.pack(coordinates)
