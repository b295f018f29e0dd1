import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip2scene.distill.augment import augment_cloud
from clip2scene.types import PointCloud


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(points: int = 200) -> PointCloud:
    """Each point's feature is its number, by which it is known again."""
    return PointCloud(20 * torch.randn(points, 3, generator=seeded()), torch.arange(points)[:, None].float())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.1]))
def test_a_moved_cloud_keeps_its_shape_its_height_and_its_order(seed, rotate, flip, scale):
    before = cloud()
    after = augment_cloud(before, seeded(seed), rotate=rotate, flip=flip, scale=scale)
    ratio = after.positions.norm(dim=1) / before.positions.norm(dim=1)
    assert torch.allclose(ratio, ratio[:1].expand(len(ratio)), rtol=1e-4)
    assert 1 - scale - 1e-5 <= ratio[0] <= 1 + scale + 1e-5
    grown = torch.pdist(before.positions) * ratio[0]
    assert torch.allclose(torch.pdist(after.positions), grown, rtol=1e-4, atol=1e-4)
    assert torch.allclose(after.positions[:, 2], before.positions[:, 2] * ratio[0], atol=1e-4)
    assert torch.equal(after.features, before.features)


def test_nothing_moves_when_everything_is_off():
    assert torch.equal(
        augment_cloud(cloud(), seeded(), rotate=False, flip=False).positions, cloud().positions
    )


def test_the_same_seed_moves_alike_and_another_does_not():
    first = augment_cloud(cloud(), seeded(3), scale=0.1).positions
    assert torch.equal(first, augment_cloud(cloud(), seeded(3), scale=0.1).positions)
    assert not torch.equal(first, augment_cloud(cloud(), seeded(4), scale=0.1).positions)


def test_turns_cover_the_circle_and_all_four_mirrorings_occur():
    ahead = PointCloud(torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 1))
    generator = seeded()
    turned = torch.cat([augment_cloud(ahead, generator, flip=False).positions for _ in range(400)])
    angles = torch.atan2(turned[:, 1], turned[:, 0])
    assert torch.histc(angles, 8, -torch.pi, torch.pi).min() > 25
    corner = PointCloud(torch.tensor([[1.0, 2.0, 3.0]]), torch.zeros(1, 1))
    seen = [tuple(augment_cloud(corner, generator, rotate=False).positions[0].tolist()) for _ in range(100)]
    assert {seen.count(place) > 10 for place in set(seen)} == {True}
    assert set(seen) == {(1, 2, 3), (-1, 2, 3), (1, -2, 3), (-1, -2, 3)}


def test_scales_are_even_around_one():
    ahead = PointCloud(torch.tensor([[1.0, 0.0, 0.0]]), torch.zeros(1, 1))
    generator = seeded()
    sizes = torch.cat([augment_cloud(ahead, generator, scale=0.2).positions for _ in range(400)]).norm(dim=1)
    assert torch.histc(sizes, 4, 0.8, 1.2).min() > 70


@pytest.mark.parametrize("scale", [-0.1, 1.0, float("nan")])
def test_a_scale_that_would_turn_a_cloud_inside_out_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be"):
        augment_cloud(cloud(), seeded(), scale=scale)
