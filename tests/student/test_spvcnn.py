import pytest
import torch

from clip2scene.student import SPVCNN


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
