import numpy as np
import pytest
import torch
from tests.coloured_squares import paint_squares, speechless_clip

from clip2scene.toytown.clip.view_pool import ViewPool, augment


def test_augmentation_shows_part_of_the_view_and_may_mirror_it():
    images = torch.zeros(64, 64, 64, 3, dtype=torch.uint8)
    images[:, :, 32:] = 255  # bright on the right
    clip = speechless_clip()
    shown = augment(images, clip, torch.Generator().manual_seed(0), 48)
    assert shown.shape == (64, 3, 48, 48)
    right = shown[..., 40:].mean((1, 2, 3)) > shown[..., :8].mean((1, 2, 3))
    assert 16 < int(right.sum()) < 48
    again = augment(images, clip, torch.Generator().manual_seed(0), 48)
    torch.testing.assert_close(shown, again)


def test_a_pool_forgets_its_oldest_views_first():
    def numbered(seed, num_views):
        return (
            np.full((num_views, 2, 2, 3), seed // 128, np.uint8),
            [f"{seed}"] * num_views,
            np.zeros(num_views, int),
        )

    with ViewPool(numbered, seed=0, capacity=300, workers=0) as pool:
        pool.fill(300)
        assert (pool.num_painted, len(pool.captions)) == (300, 300)
        pool.fill(350)
        assert pool.num_painted == 428
        assert (pool.images[:128] == 3).all()
        assert (pool.images[128:256] == 1).all()
        images, captions = pool.sample(50, torch.Generator().manual_seed(0))
        assert [int(image[0, 0, 0]) * 128 for image in images] == [int(caption) for caption in captions]


def test_an_empty_pool_is_refused():
    with (
        ViewPool(paint_squares, capacity=10, workers=0) as pool,
        pytest.raises(ValueError, match="holds no views"),
    ):
        pool.sample(2, torch.Generator())


def test_other_processes_paint_while_the_pool_is_used():
    with ViewPool(paint_squares, seed=0, capacity=256, workers=1) as pool:
        pool.fill(128)
        expected = paint_squares(0, 128)
        assert (pool.images[:128] == expected[0]).all()
        assert pool.captions == expected[1]
        pool.pending[0].result()
        pool.refresh()
        assert pool.num_painted >= 256
