import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from clip2scene.distill.augment import (
    Augmentation,
    draw_kept,
    drop_intensity,
    move_cloud,
    tilt_cloud,
    weather,
)
from clip2scene.student.inputs import Prepared
from clip2scene.types import PointCloud


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(points: int = 200) -> PointCloud:
    """Each point's feature is its number, by which it is known again."""
    return PointCloud(20 * torch.randn(points, 3, generator=seeded()), torch.arange(points)[:, None].float())


def augment_cloud(cloud: PointCloud, generator: torch.Generator, **how) -> PointCloud:
    return move_cloud(Prepared(cloud), Augmentation(**how), generator).cloud


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


def street(rings: int = 32, azimuths: int = 360) -> PointCloud:
    """A flat ground 1.8 m below the sensor, and what lies beyond 40 m, ring by ring."""
    elevation = torch.linspace(-30, 10, rings).deg2rad().repeat(azimuths)
    azimuth = (torch.arange(azimuths) * 360.0 / azimuths).deg2rad().repeat_interleave(rings)
    beams = torch.stack(
        [elevation.cos() * azimuth.cos(), elevation.cos() * azimuth.sin(), elevation.sin()], 1
    )
    ranges = (-1.8 / beams[:, 2].clamp(max=-0.045)).clamp(max=40.0)
    return PointCloud(beams * ranges[:, None], torch.rand(len(beams), 1, generator=seeded()))


def test_pitch_roll_and_height_are_even_and_keep_distances():
    before = street()
    how = Augmentation(tilt=5.0, height=1.0)
    tilts, lifts = [], []
    for seed in range(200):
        after = tilt_cloud(Prepared(before, before.positions[:, 2]), how, seeded(seed))
        lift = (after.heights - before.positions[:, 2])[0].item()
        up = torch.linalg.lstsq(
            before.positions, after.cloud.positions - torch.tensor([0, 0, lift])
        ).solution.T
        tilts.append(up[2, 2].clamp(max=1).acos().rad2deg().item())
        lifts.append(lift)
        assert torch.allclose(up @ up.T, torch.eye(3), atol=1e-4)
    assert 5.0 < max(tilts) <= 7.1 and 0.9 < max(lifts) <= 1.0 and -1.0 <= min(lifts) < -0.9
    untouched = Prepared(before)
    assert tilt_cloud(untouched, Augmentation(), seeded()) is untouched


def test_noise_lies_along_the_beams_and_drops_come_before_their_target():
    before, viewpoint = street(), (1.0, -2.0, 0.5)
    after, fallen = weather(before, Augmentation(noise=0.1), seeded(3), viewpoint)
    origin = torch.tensor(viewpoint)
    one, other = (F.normalize(each.positions - origin, dim=1) for each in (before, after))
    assert torch.allclose(one, other, atol=1e-4) and not fallen.any()
    spread = [
        (weather(before, Augmentation(noise=0.1), seeded(seed))[0].positions - before.positions)
        .norm(dim=1)
        .max()
        for seed in range(20)
    ]
    assert min(spread) < 0.15 < 0.25 < max(spread) < 0.5
    after, fallen = weather(before, Augmentation(rain=0.5), seeded(3), viewpoint)
    nearer = (after.positions - origin).norm(dim=1) < (before.positions - origin).norm(dim=1) - 1e-4
    assert not nearer[~fallen].any() and nearer[fallen].float().mean() > 0.7
    assert 0.02 < fallen.float().mean() <= 0.5
    assert torch.equal(after.positions[~fallen], before.positions[~fallen])


def test_intensities_keep_their_order_under_another_gain_and_are_dropped_as_often_as_asked():
    before = street()
    after, _ = weather(before, Augmentation(intensity=0.5), seeded(1))
    assert torch.equal(after.positions, before.positions) and not torch.equal(after.features, before.features)
    order = before.features[:, 0].argsort()
    assert (after.features[order, 0].diff() >= 0).all() and after.features.max() <= 1
    how = Augmentation(drop_intensity=0.25)
    gone = [
        not drop_intensity(Prepared(before), how, seeded(seed)).cloud.features.any() for seed in range(200)
    ]
    assert 30 < sum(gone) < 70


def test_thinned_rings_are_dropped_whole():
    positions, rings = street().positions, 32
    shares = []
    for seed in range(60):
        kept = draw_kept(positions, Augmentation(thin_rings=1.0), seeded(seed)).reshape(-1, rings)
        assert (kept == kept[:1]).float().mean() > 0.999  # all firings alike, but for rounding at a border
        shares.append(kept.float().mean().item())
    assert min(shares) < 0.4 and max(shares) > 0.6 and 0.3 < sum(shares) / len(shares) < 0.8


def test_points_are_dropped_at_random_beyond_a_range_or_outside_of_a_sector():
    positions = street().positions
    for seed in range(20):
        far = draw_kept(positions, Augmentation(cut_range=1.0), seeded(seed))
        ranges = positions.norm(dim=1)
        assert far.all() or 15 <= ranges[far].max() <= ranges[~far].min() <= 60
        sector = draw_kept(positions, Augmentation(narrow=1.0), seeded(seed))
        assert 60 / 360 - 0.01 < sector.float().mean() < 300 / 360 + 0.01
        spread = draw_kept(positions, Augmentation(thin_points=1.0), seeded(seed)).float().mean()
        assert 0.18 < spread <= 1
    assert draw_kept(positions, Augmentation(), seeded()).all()
    few = positions[:150]
    assert draw_kept(few, Augmentation(thin_points=1.0, narrow=1.0), seeded()).all()
