from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip2scene.augment import ImageWindow, augment_cloud, draw_window, drop_points, window_pairs
from clip2scene.types import Pairs, PointCloud

WIDTH, HEIGHT = 90, 60


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cloud(points: int = 200) -> PointCloud:
    """Each point's feature is its number, by which it is known again."""
    return PointCloud(20 * torch.randn(points, 3, generator=seeded()), torch.arange(points)[:, None].float())


def pairs(points: int = 200, count: int = 300, seed: int = 1) -> Pairs:
    generator = seeded(seed)
    size = torch.tensor([WIDTH - 1.0, HEIGHT - 1.0])
    return Pairs(
        torch.randint(points, (count,), generator=generator),
        torch.randint(3, (count,), generator=generator),
        torch.rand(count, 2, generator=generator) * size,
        1 + torch.rand(count, generator=generator),
    )


def colour_under(image: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """Mix the four pixels around (u, v), whose centres are the integers; plain loop, the slow truth."""
    colours = []
    for u, v in pixels.tolist():
        column = min(max(int(u), 0), image.shape[1] - 2)
        row = min(max(int(v), 0), image.shape[0] - 2)
        right, down = u - column, v - row
        corner = image[row : row + 2, column : column + 2].double()
        colours.append(
            (1 - down) * ((1 - right) * corner[0, 0] + right * corner[0, 1])
            + down * ((1 - right) * corner[1, 0] + right * corner[1, 1])
        )
    return torch.stack(colours)


def smooth_image() -> torch.Tensor:
    """Red tells the column, green the row: a colour names its place."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return torch.stack([2 * columns, 4 * rows, torch.full_like(rows, 9)], 2).to(torch.uint8)


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


@pytest.mark.parametrize("scale", [-0.1, 1.0, float("nan")])
def test_a_scale_that_would_turn_a_cloud_inside_out_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be"):
        augment_cloud(cloud(), seeded(), scale=scale)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999), st.sampled_from([0.0, 0.2, 0.9, 1.0]))
def test_pairs_name_the_same_points_after_points_are_dropped(seed, share):
    before, all_pairs = cloud(), pairs()
    keep = torch.rand(200, generator=seeded(seed)) < share
    after, left = drop_points(before, all_pairs, keep)
    assert torch.equal(after.features[:, 0].long(), keep.nonzero()[:, 0])
    known = {
        (int(before.features[point]), int(view), *pixel.tolist(), float(depth))
        for point, view, pixel, depth in zip(*vars(all_pairs).values(), strict=True)
        if keep[point]
    }
    found = {
        (int(after.features[point]), int(view), *pixel.tolist(), float(depth))
        for point, view, pixel, depth in zip(*vars(left).values(), strict=True)
    }
    assert found == known


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_without_resizing_shows_each_pair_its_very_pixel(mirrored):
    image = torch.randint(256, (HEIGHT, WIDTH, 3), generator=seeded(), dtype=torch.uint8)
    whole = replace(pairs(), pixels=pairs().pixels.round())
    window = ImageWindow(7, 5, 60, 40, columns=60, rows=40, mirrored=mirrored)
    left = window_pairs(whole, 1, window)
    assert 0 < (left.views == 1).sum() < (whole.views == 1).sum()
    cut = window.cut(image)
    mine = left.views == 1
    column, row = left.pixels[mine].long().unbind(1)
    there = whole.pixels[(whole.views == 1) & window.holds(whole.pixels)].long()
    assert torch.equal(cut[row, column], image[there[:, 1], there[:, 0]])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999))
def test_pairs_keep_their_colour_through_crop_resize_and_mirror(seed):
    whole = pairs(seed=seed)
    mine = replace(whole, views=torch.zeros_like(whole.views))
    window = draw_window(
        mine.pixels, seeded(seed), width=WIDTH, height=HEIGHT, columns=64, rows=48, min_pairs=50
    )
    left = window_pairs(mine, 0, window)
    assert len(left) > 50
    # The border pixels of the cut image are mixed with nothing beyond it, so stay one pixel inside.
    inner = ((left.pixels > 1.5) & (left.pixels < torch.tensor([64, 48]) - 2.5)).all(1)
    before = colour_under(smooth_image(), mine.pixels[window.holds(mine.pixels)])
    after = colour_under(window.cut(smooth_image()), left.pixels)
    assert (after - before)[inner].abs().max() < 1.01
    assert torch.equal(left.points, mine.points[window.holds(mine.pixels)])


def test_pairs_of_other_cameras_are_left_alone():
    whole = pairs()
    left = window_pairs(whole, 2, ImageWindow(0, 0, 1, 1, columns=4, rows=4))
    others = whole.views != 2
    for name, value in vars(whole).items():
        assert torch.equal(getattr(left, name), value[others]), name


def test_mirroring_twice_changes_nothing():
    window = ImageWindow(0, 0, WIDTH, HEIGHT, columns=WIDTH, rows=HEIGHT, mirrored=True)
    assert torch.equal(window.cut(window.cut(smooth_image())), smooth_image())
    assert torch.allclose(window.move(window.move(pairs().pixels)), pairs().pixels, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 9999))
def test_drawn_windows_lie_in_the_image_and_keep_the_asked_proportions(seed):
    window = draw_window(torch.zeros(0, 2), seeded(seed), width=1600, height=900)
    assert min(window.left, window.top) >= 0
    assert window.left + window.width <= 1600
    assert window.top + window.height <= 900
    assert 0.28 <= window.width * window.height / (1600 * 900) <= 1
    assert 14 / 9 - 0.01 <= window.width / window.height <= 17 / 9 + 0.1
    assert window == draw_window(torch.zeros(0, 2), seeded(seed), width=1600, height=900)


def test_a_window_is_drawn_again_until_enough_pairs_stay():
    left_half = torch.rand(400, 2, generator=seeded()) * torch.tensor([800, 900])

    def low_shares(min_pairs: int) -> int:
        """Count draws that keep three quarters of the pairs or less."""
        windows = (
            draw_window(left_half, seeded(seed), width=1600, height=900, min_pairs=min_pairs)
            for seed in range(30)
        )
        return sum(float(window.holds(left_half).float().mean()) <= 0.75 for window in windows)

    assert low_shares(1024) == 0
    assert low_shares(0) > 10


def test_a_window_beyond_its_image_is_refused():
    with pytest.raises(ValueError, match="beyond an image of 90x60"):
        ImageWindow(50, 0, 60, 40, columns=60, rows=40).cut(smooth_image())
