from dataclasses import replace

import pytest
import torch

from clip2scene.distill.batch import PixelTargets, Superpixels, TrainItem
from clip2scene.distill.mix import forget_targets, keep_points, mix_items, take_points
from clip2scene.types import PointCloud


def make_item(points=60, sizes=(), seed=0, first=0):
    """Points whose feature, target, superpoint and logits are all told by their number, from ``first``."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.arange(first, first + points)
    seen = torch.randperm(points, generator=generator)[: points // 2]
    pixels = PixelTargets(
        seen,
        numbers[seen, None].float().repeat(1, 2),
        numbers[seen, None].float(),
        Superpixels(numbers[seen] % 3, torch.zeros(3, 4)),
    )
    cloud = PointCloud(torch.randn(points, 3, generator=generator) * 10, numbers[:, None].float())
    return TrainItem(cloud, seen, numbers[seen], numbers % 7, pixels, None, sizes)


def check_true(item):
    """Whatever names a point must name the one it named before."""
    numbers = item.cloud.features[:, 0]
    assert torch.equal(numbers[item.target_points].long(), item.targets)
    assert torch.equal(numbers[item.pixels.points], item.pixels.logits[:, 0])
    assert torch.equal(numbers[item.pixels.points], item.pixels.embeddings[:, 0])


def test_points_taken_in_any_order_keep_what_belongs_to_them():
    item = make_item()
    taken = take_points(item, torch.tensor([5, 50, 3, 20, 7, 8]))
    assert taken.cloud.features[:, 0].tolist() == [5, 50, 3, 20, 7, 8]
    assert taken.superpoints.tolist() == [5 % 7, 50 % 7, 3, 20 % 7, 0, 1]
    assert len(taken.targets) == int(torch.isin(item.targets, torch.tensor([5, 50, 3, 20, 7, 8])).sum()) > 0
    check_true(taken)


def test_kept_points_are_counted_sweep_by_sweep():
    item, kept = make_item(sizes=(40, 20)), torch.arange(60) % 4 == 0
    smaller = keep_points(item, kept)
    assert smaller.item_sizes == (10, 5) and len(smaller.cloud) == 15
    check_true(smaller)
    assert keep_points(item, torch.ones(60, dtype=torch.bool)) is item


def test_forgotten_points_stay_without_targets():
    item, gone = make_item(), torch.arange(60) < 30
    less = forget_targets(item, gone)
    assert torch.equal(less.cloud.positions, item.cloud.positions)
    assert (less.targets >= 30).all() and len(less.targets) == int((item.targets >= 30).sum())
    assert (less.superpoints[:30] == -1).all() and torch.equal(less.superpoints[30:], item.superpoints[30:])
    check_true(less)


@pytest.mark.parametrize("sizes", [(), (35, 25)])
def test_an_overlay_has_all_points_of_both_and_keeps_superpoints_apart(sizes):
    one, other = make_item(sizes=sizes), make_item(80, seed=1, first=1000)
    both = mix_items(one, other, "overlay", torch.Generator())
    assert len(both.cloud) == 140 and len(both.targets) == len(one.targets) + len(other.targets)
    assert both.item_sizes == ((35 + 80, 25) if sizes else ())
    old = both.cloud.features[:, 0] < 1000
    assert both.superpoints[old].max() < both.superpoints[~old].min()
    check_true(both)


def test_a_sector_of_the_other_takes_the_place_of_the_same_sector():
    one, other = make_item(2000), make_item(2000, seed=1, first=5000)
    both = mix_items(one, other, "polar", torch.Generator().manual_seed(0))
    azimuth = torch.rad2deg(torch.atan2(both.cloud.positions[:, 1], both.cloud.positions[:, 0]))
    foreign = both.cloud.features[:, 0] >= 5000
    share = foreign.float().mean().item()
    assert 60 / 360 - 0.03 < share < 180 / 360 + 0.03 and abs(len(both.cloud) - 2000) < 150
    order = azimuth.argsort()
    changes = (foreign[order].int().diff() != 0).sum() + (foreign[order][0] != foreign[order][-1])
    assert changes == 2  # one sector, and the rest
    check_true(both)


def test_cells_of_two_scenes_stay_apart():
    one, other = (replace(make_item(first=first), cells=torch.arange(60) // 10) for first in (0, 1000))
    both = mix_items(one, other, "overlay", torch.Generator())
    old = both.cloud.features[:, 0] < 1000
    assert both.cells[old].max() < both.cells[~old].min() and len(both.cells.unique()) == 12


def test_nothing_is_mixed_where_no_target_would_be_left():
    ahead, behind = (
        replace(make_item(), cloud=replace(make_item().cloud, positions=side * torch.rand(60, 3) + side))
        for side in (1, -1)
    )
    for seed in range(40):
        mixed = mix_items(ahead, behind, "polar", torch.Generator().manual_seed(seed))
        assert len(mixed.targets) and len(mixed.cloud)
