"""A tiny CLIP, and captioned views of coloured squares for it, for tests."""

from dataclasses import replace

import numpy as np
import torch

from clip2scene.teacher.clip.load import clip_of_resnet
from clip2scene.teacher.clip.resnet import ClipResNet, ResNetClipConfig
from clip2scene.teacher.clip.tokenizer import word_tokenizer

TINY = ResNetClipConfig(16, 64, (1, 1), (1, 2), 8, 1, 0, 12, 16, 2, 1)
COLOURS = {"red": (200, 40, 40), "green": (40, 180, 40), "blue": (50, 50, 220)}


def paint_squares(seed, num_views):
    """Grey views with one coloured square each."""
    rng = np.random.default_rng(seed)
    images = rng.integers(100, 140, (num_views, 64, 64, 3)).astype(np.uint8)
    kinds = rng.integers(3, size=num_views)
    for image, kind in zip(images, kinds, strict=True):
        row, col = rng.integers(0, 32, 2)
        image[row : row + 32, col : col + 32] = list(COLOURS.values())[kind]
    return images, [f"a {list(COLOURS)[kind]} square" for kind in kinds], kinds


def speechless_clip():
    model = ClipResNet(replace(TINY, vocab_size=5))
    return clip_of_resnet(model, word_tokenizer(["a"], 12), *torch.full((2, 3), 0.5))
