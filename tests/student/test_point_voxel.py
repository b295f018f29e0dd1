import itertools

import pytest
import torch

from clip2scene.student.point_voxel import SparseRowMatrix, VoxelizedPoints
from clip2scene.student.sparse import keys as packed


def cloud(num_points):
    generator = torch.Generator().manual_seed(0)
    positions = 3 * torch.randn(num_points, 3, generator=generator)
    return positions, torch.randint(0, 3, (num_points,), generator=generator)


def test_a_sparse_row_matrix_multiplies_like_the_dense_one_and_so_does_its_gradient():
    dense = torch.tensor([[0.5, 0.0, 2.0], [0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
    rows = dense.nonzero()[:, 1]
    ends = torch.tensor([0, 2, 2, 3, 6])
    matrix = SparseRowMatrix(rows, dense[dense != 0], ends, num_inputs=3)
    inputs = torch.randn(3, 5, requires_grad=True)
    torch.testing.assert_close(matrix(inputs), dense @ inputs)
    torch.testing.assert_close(matrix.transposed(torch.eye(4)), dense.T)
    upward = torch.randn(4, 5)
    matrix(inputs).backward(upward)
    torch.testing.assert_close(inputs.grad, dense.T @ upward)


def test_a_voxel_takes_the_mean_of_its_points():
    positions = torch.tensor([[0.1, 0.1, 0.1], [0.3, 0.2, 0.1], [-0.1, 0.1, 0.1]])
    points = VoxelizedPoints(positions, torch.zeros(3, dtype=torch.long), 0.4)
    voxels = points.to_voxels(torch.tensor([[1.0], [2.0], [5.0]]))
    assert voxels.pyramid.coordinates(0).tolist() == [[0, -1, 0, 0], [0, 0, 0, 0]]
    assert voxels.features.tolist() == [[5.0], [1.5]]


@pytest.mark.parametrize("level", [0, 1, 4])
def test_each_point_is_in_the_voxel_around_it_at_every_level(level):
    positions, batch_of_point = cloud(200)
    points = VoxelizedPoints(positions, batch_of_point, 0.4)
    rows = points.voxels_of_points(level)
    cells = (positions / 0.4 / 2**level).floor().long()
    expected = torch.cat([batch_of_point[:, None], cells], dim=1)
    assert torch.equal(points.pyramid.coordinates(level)[rows], expected)
    voxels = points.to_voxels(torch.ones(200, 1), level)
    numbered = voxels.replace(torch.arange(len(voxels.features)).float()[:, None])
    assert torch.equal(points.nearest(numbered)[:, 0].long(), rows)


@pytest.mark.parametrize("level", [0, 1, 3])
def test_interpolation_equals_the_slow_truth(level):
    positions, batch_of_point = cloud(80)
    points = VoxelizedPoints(positions, batch_of_point, 0.4)
    generator = torch.Generator().manual_seed(2)
    voxels = points.to_voxels(torch.zeros(80, 5), level)
    voxels = voxels.replace(torch.randn(len(voxels.features), 5, generator=generator))
    row_of = {tuple(voxel): row for row, voxel in enumerate(voxels.pyramid.coordinates(level).tolist())}
    expected = []
    for position, batch in zip((positions / 0.4 / 2**level).tolist(), batch_of_point.tolist(), strict=True):
        total, mixed = 0.0, torch.zeros(5)
        lowest = [int((axis - 0.5) // 1) for axis in position]
        for corner in itertools.product((0, 1), repeat=3):
            cell = [low + side for low, side in zip(lowest, corner, strict=True)]
            weight = 1.0
            for axis, index in zip(position, cell, strict=True):
                weight *= 1 - abs(axis - (index + 0.5))
            row = row_of.get((batch, *cell))
            if row is not None:
                total += weight
                mixed += weight * voxels.features[row]
        expected.append(mixed / total)
    torch.testing.assert_close(points.interpolate(voxels), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_at_corners_each_voxel_is_one_point_that_keeps_its_features():
    positions, batch_of_point = cloud(200)
    corners = VoxelizedPoints(positions, batch_of_point, 0.4).at_corners()
    features = torch.randn(len(corners.pyramid.finest), 3)
    voxels = corners.to_voxels(features)
    assert torch.equal(voxels.features, features)
    torch.testing.assert_close(corners.interpolate(voxels), features)


@pytest.mark.parametrize("level", [0, 2])
def test_gradients_between_points_and_voxels_pass_gradcheck(level):
    positions, batch_of_point = cloud(30)
    points = VoxelizedPoints(positions.double(), batch_of_point, 0.8)
    features = torch.randn(30, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda rows: points.interpolate(points.to_voxels(rows, level)), (features,)
    )


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (torch.zeros(0, 3), "Empty cloud"),
        (torch.tensor([[torch.nan, 0.0, 0.0], [0.0, 0.0, 0.0]]), "1 of 2 points"),
        (torch.tensor([[0.0, 0.5 * (packed.MAX_COORDINATE + 1), 0.0]]), "too far from the origin"),
    ],
)
def test_bad_clouds_are_refused(positions, message):
    with pytest.raises(ValueError, match=message):
        VoxelizedPoints(positions, torch.zeros(len(positions), dtype=torch.long), 0.5)
