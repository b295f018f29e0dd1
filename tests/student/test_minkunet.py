import pytest
import torch

from clip2scene.student import MinkUNet, minkunet14a, minkunet18, minkunet34
from clip2scene.student.sparse import cpu_kernels


def cloud(num_points=600, *, seed=0, batches=3):
    generator = torch.Generator().manual_seed(seed)
    positions = 3 * torch.randn(num_points, 3, generator=generator)
    features = torch.rand(num_points, 1, generator=generator)
    batch_of_point = torch.randint(0, batches, (num_points,), generator=generator)
    return positions, features, batch_of_point


def small_net(**options):
    torch.manual_seed(0)
    return minkunet14a(1, width=0.25, voxel_size=0.4, **options)


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts_are_those_of_the_published_networks():
    assert num_parameters(minkunet14a(3)) == 8_013_152
    assert num_parameters(minkunet34(1)) == 37_842_976
    assert num_parameters(minkunet18(1)) > num_parameters(minkunet14a(1))
    assert minkunet34(1).out_channels == 96


def test_one_row_per_point_and_the_same_for_all_points_of_a_voxel():
    net = small_net().eval()
    positions, features, batch_of_point = cloud()
    out = net(positions, features, batch_of_point)
    assert out.shape == (600, net.out_channels)
    cells = torch.cat([batch_of_point[:, None], (positions / 0.4).floor().long()], dim=1)
    _, voxel = torch.unique(cells, dim=0, return_inverse=True)
    first = torch.zeros(int(voxel.max()) + 1, out.shape[1]).index_copy(0, voxel, out)
    assert torch.equal(first[voxel], out)


def test_permuted_points_give_permuted_features():
    net = small_net().eval()
    inputs = cloud()
    order = torch.randperm(600, generator=torch.Generator().manual_seed(1))
    straight = net(*inputs)[order]
    torch.testing.assert_close(net(*(part[order] for part in inputs)), straight, rtol=1e-4, atol=1e-5)


def test_clouds_of_a_batch_never_mix_and_may_be_missing():
    net = small_net().eval()
    positions, features, batch_of_point = cloud()
    together = net(positions, features, 2 * batch_of_point)  # items 1 and 3 are empty
    for item in range(3):
        of_item = batch_of_point == item
        alone = net(positions[of_item], features[of_item], torch.zeros_like(batch_of_point[of_item]))
        torch.testing.assert_close(together[of_item], alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_and_the_loss_falls():
    net = small_net()
    inputs = cloud()
    goal = torch.sin(inputs[0]).repeat(1, 8)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = (net(*inputs) - goal).square().mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_same_seed_same_features():
    assert torch.equal(small_net()(*cloud()), small_net()(*cloud()))


def test_a_single_point_can_be_trained_on():
    net = small_net()
    out = net(torch.zeros(1, 3), torch.ones(1, 1), torch.zeros(1, dtype=torch.long))
    out.sum().backward()
    assert torch.isfinite(out).all()


def far(positions):
    positions[0, 0] = 1e7
    return positions


def not_finite(positions):
    positions[3, 1] = float("nan")
    return positions


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lambda p: p[:0], "Empty cloud"), (far, "too far"), (not_finite, "1 of 600 points")],
)
def test_bad_clouds_are_refused(spoil, message):
    positions, features, batch_of_point = cloud()
    positions = spoil(positions)
    count = len(positions)
    with pytest.raises(ValueError, match=message):
        small_net()(positions, features[:count], batch_of_point[:count])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (1, 1)}, "number of blocks"),
        ({"planes": (8,) * 7 + (0,)}, "widths"),
        ({"voxel_size": 0.0}, "voxel_size"),
        ({"stem_kernel": 4}, "Unsupported"),
    ],
)
def test_impossible_networks_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MinkUNet(1, **options)


def test_the_compiled_network_gives_the_features_and_gradients_of_plain_torch(monkeypatch):
    results = []
    for fast in (True, False):
        torch.manual_seed(0)
        net = minkunet14a(1, width=0.5, voxel_size=0.4)
        monkeypatch.setattr(cpu_kernels, "switched_on", fast)
        out = net(*cloud())
        out.square().mean().backward()
        results.append([out.detach(), *(p.grad for p in net.parameters()), *net.buffers()])
    for actual, expected in zip(*results, strict=True):
        size = expected.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(actual / size, expected / size, rtol=0, atol=2e-3)
