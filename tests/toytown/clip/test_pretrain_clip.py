import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.clip.resnet import ResNetClipConfig
from clip2scene.teacher.prompts import embed_prompts
from clip2scene.toytown.clip import pretrain_clip as module
from clip2scene.toytown.clip.pretrain_clip import (
    HeldOut,
    contrastive_loss,
    evaluate_dense,
    evaluate_views,
    learning_rate,
    pretrain_clip,
)
from clip2scene.toytown.clip.view_pool import ViewPool, disguise
from clip2scene.types import Prompts

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


def held_out():
    views, _, kinds = paint_squares(99, 12)
    images = np.full((3, 64, 96, 3), 120, np.uint8)
    labels = np.full((3, 64, 96), -1)
    for kind, colour in enumerate(COLOURS.values()):
        images[kind, 16:48, 24:72] = colour
        labels[kind, 16:48, 24:72] = kind
    names = tuple((name,) for name in COLOURS)
    return HeldOut(tuple(COLOURS), names, *map(torch.from_numpy, (views, kinds, images, labels)))


def speechless_clip():
    model = module.ClipResNet(replace(TINY, vocab_size=5))
    return module.clip_of_resnet(model, module.word_tokenizer(["a"], 12), *torch.full((2, 3), 0.5))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_VIEWS", 128)
    monkeypatch.setattr(module, "MOST_VIEWS", 128)
    monkeypatch.setattr(module, "REPORT_EVERY", 4)


def train(out, steps, seed=0):
    return pretrain_clip(
        out, paint_squares, held_out(), config=TINY, steps=steps, batch=16, seed=seed, workers=0
    )


def test_the_loss_asks_each_image_for_its_text_and_each_text_for_its_image():
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    same = torch.eye(4, dtype=torch.bool)
    same[0, 2] = same[2, 0] = True
    scale = 7.0
    truth = 0.0
    for own in range(4):
        for anchors, others in ((images, texts), (texts, images)):
            cosines = [float(F.cosine_similarity(anchors[own], other, dim=0)) for other in others]
            rivals = [other for other in range(4) if other == own or not same[own, other]]
            truth -= math.log(
                math.exp(scale * cosines[own]) / sum(math.exp(scale * cosines[each]) for each in rivals)
            )
    got = contrastive_loss(images, texts, torch.tensor(math.log(scale)), same)
    assert float(got) == pytest.approx(truth / 8, rel=1e-5)


def test_the_temperature_never_falls_below_one_hundredth():
    generator = torch.Generator().manual_seed(0)
    images, texts = torch.randn(4, 3, generator=generator), torch.randn(4, 3, generator=generator)
    same = torch.eye(4, dtype=torch.bool)
    colder = [contrastive_loss(images, texts, torch.tensor(value), same) for value in (math.log(100), 9.0)]
    torch.testing.assert_close(colder[0], colder[1])


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    rates = [learning_rate(step, 2000, 1.0) for step in range(2000)]
    assert rates[0] == pytest.approx(1 / 200)
    assert rates[199] == rates[1000] == rates[1399] == 1.0
    assert np.all(np.diff(rates[1401:]) < 0)
    assert rates[-1] < 0.01


def test_a_disguise_shows_part_of_the_view_and_may_mirror_it():
    images = torch.zeros(64, 64, 64, 3, dtype=torch.uint8)
    images[:, :, 32:] = 255  # bright on the right
    clip = speechless_clip()
    shown = disguise(images, clip, torch.Generator().manual_seed(0), 48)
    assert shown.shape == (64, 3, 48, 48)
    right = shown[..., 40:].mean((1, 2, 3)) > shown[..., :8].mean((1, 2, 3))
    assert 16 < int(right.sum()) < 48
    again = disguise(images, clip, torch.Generator().manual_seed(0), 48)
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


def test_whole_captions_teach_where_things_are(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY", 1000)
    scores = train(tmp_path / "model", steps=60)
    assert scores["views accuracy"] > 0.9
    assert scores["dense miou"] > 0.9
    clip = load_clip(tmp_path / "model")
    kept = held_out()
    prompts = embed_prompts(clip, kept.classes, kept.names, ["a {} square"])
    assert evaluate_dense(clip, kept.images, kept.labels, prompts)["miou"] > 0.9


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "learning_rate", lambda step, steps, peak: peak)
    train(tmp_path / "whole", steps=8)
    train(tmp_path / "parts", steps=4)
    train(tmp_path / "parts", steps=8)
    train(tmp_path / "other", steps=8, seed=1)
    whole, parts, other = (
        load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts", "other")
    )
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value)
    assert not torch.equal(other["visual.conv1.weight"], whole["visual.conv1.weight"])


def test_progress_of_another_run_is_refused(quick, tmp_path):
    train(tmp_path / "model", steps=1)
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        train(tmp_path / "model", steps=2, seed=1)


def test_dense_answers_are_judged_per_pixel_over_the_classes_present(monkeypatch):
    class ReadsNamesOffTheRedChannel:
        def __init__(self, clip, scales, window):
            self.settings = scales, window

        def embed_images(self, images):
            self.image = images[0]
            return self

        def label_map(self, view, text):
            return self.image[..., 0].long()

    monkeypatch.setattr(module, "MaskClip", ReadsNamesOffTheRedChannel)
    prompts = Prompts(("a", "b", "c"), ("a", "also a", "b", "c"), torch.tensor([0, 0, 1, 2]), torch.eye(4))
    images = torch.zeros(1, 1, 4, 3, dtype=torch.uint8)
    images[0, 0, :, 0] = torch.tensor([0, 1, 0, 3])
    labels = torch.tensor([[[0, 0, 1, -1]]])
    scores = evaluate_dense(speechless_clip(), images, labels, prompts)
    expected = {"a": 2 / 3, "b": 0.0, "miou": 1 / 3, "accuracy": 2 / 3}
    assert scores == pytest.approx(expected)


def test_views_are_judged_among_the_classes_that_views_are_of(monkeypatch):
    prompts = Prompts(("ground", "a", "b"), ("ground", "a", "b"), torch.arange(3), torch.eye(3))
    rows = torch.tensor([[0.9, 0.4, 0.1], [0.9, 0.3, 0.2], [0.1, 0.2, 0.9]])
    monkeypatch.setattr(module.Clip, "encode_image", lambda clip, views: rows)
    views = torch.zeros(3, 4, 4, 3, dtype=torch.uint8)
    scores = evaluate_views(speechless_clip(), views, torch.tensor([1, 2, 2]), prompts)
    assert scores == pytest.approx({"a": 1.0, "b": 0.5, "accuracy": 2 / 3})
