import itertools

import pytest
import torch

from clip2scene.student import SPVCNN
from clip2scene.student.point_voxel import VoxelizedPoints


def cloud(num_points=600, *, seed=0, batches=3):
    generator = torch.Generator().manual_seed(seed)
    positions = 3 * torch.randn(num_points, 3, generator=generator)
    features = torch.rand(num_points, 1, generator=generator)
    batch_of_point = torch.randint(0, batches, (num_points,), generator=generator)
    return positions, features, batch_of_point


def small_net():
    torch.manual_seed(0)
    return SPVCNN(1, 0.25, voxel_size=0.4)


def test_parameter_count_is_that_of_the_released_network():
    net = SPVCNN(1)
    assert sum(parameter.numel() for parameter in net.parameters()) == 21_773_568
    assert net.out_channels == 480
    assert sum(p.numel() for p in net.point_layers.parameters()) == 54_688


def test_width_scales_the_channels():
    net = small_net()
    assert net.out_channels == 120
    assert net(*cloud()).shape == (600, 120)


def test_points_of_one_voxel_are_told_apart():
    positions = torch.tensor([[0.1, 0.1, 0.1], [0.3, 0.2, 0.1], [-0.1, 0.1, 0.1]])
    out = small_net().eval()(positions, torch.ones(3, 1), torch.zeros(3, dtype=torch.long))
    assert not torch.allclose(out[0], out[1])


def test_permuted_points_give_permuted_features():
    net = small_net().eval()
    inputs = cloud()
    order = torch.randperm(600, generator=torch.Generator().manual_seed(1))
    straight = net(*inputs)[order]
    torch.testing.assert_close(net(*(part[order] for part in inputs)), straight, rtol=1e-4, atol=1e-5)


def test_clouds_of_a_batch_never_mix_and_may_be_missing():
    net = small_net().eval()
    positions, features, batch_of_point = cloud()
    together = net(positions, features, 2 * batch_of_point)
    for item in range(3):
        of_item = batch_of_point == item
        alone = net(positions[of_item], features[of_item], torch.zeros_like(batch_of_point[of_item]))
        torch.testing.assert_close(together[of_item], alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns():
    net = small_net()
    net(*cloud()).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(p.grad.abs().sum() > 0 for name, p in net.named_parameters() if "linear.bias" not in name)


@pytest.mark.parametrize("level", [0, 1, 3])
def test_interpolation_equals_the_slow_truth(level):
    positions, _, batch_of_point = cloud(80)
    points = VoxelizedPoints(positions, batch_of_point, 0.4)
    generator = torch.Generator().manual_seed(2)
    voxels = points.to_voxels(torch.zeros(80, 5), level)
    voxels = voxels.replace(torch.randn(len(voxels.features), 5, generator=generator))
    row_of = {tuple(voxel): row for row, voxel in enumerate(voxels.coordinates.tolist())}
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


@pytest.mark.parametrize("level", [0, 2])
def test_gradients_between_points_and_voxels_pass_gradcheck(level):
    positions, _, batch_of_point = cloud(30)
    points = VoxelizedPoints(positions.double(), batch_of_point, 0.8)
    features = torch.randn(30, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda rows: points.interpolate(points.to_voxels(rows, level)), (features,)
    )


def test_bad_clouds_and_networks_are_refused():
    positions, features, batch_of_point = cloud()
    positions[5] = float("inf")
    with pytest.raises(ValueError, match="not finite"):
        small_net()(positions, features, batch_of_point)
    with pytest.raises(ValueError, match="Empty cloud"):
        small_net()(positions[:0], features[:0], batch_of_point[:0])
    with pytest.raises(ValueError, match="voxel_size"):
        SPVCNN(1, voxel_size=-0.1)
    with pytest.raises(ValueError, match="widths"):
        SPVCNN(1, 0.0)
