import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tests.coloured_squares import COLOURS, TINY, paint_squares

from clip2scene.evaluation.small_clip import HeldOut, evaluate_clip, evaluate_dense
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.prompts import embed_prompts
from clip2scene.toytown.clip import pretrain_clip as module
from clip2scene.toytown.clip.pretrain_clip import contrastive_loss, learning_rate, pretrain_clip


def held_out():
    views, _, kinds = paint_squares(99, 12)
    images = np.full((3, 64, 96, 3), 120, np.uint8)
    labels = np.full((3, 64, 96), -1)
    for kind, colour in enumerate(COLOURS.values()):
        images[kind, 16:48, 24:72] = colour
        labels[kind, 16:48, 24:72] = kind
    names = tuple((name,) for name in COLOURS)
    return HeldOut(tuple(COLOURS), names, *map(torch.from_numpy, (views, kinds, images, labels)))


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "FIRST_VIEWS", 128)
    monkeypatch.setattr(module, "MOST_VIEWS", 128)
    monkeypatch.setattr(module, "REPORT_EVERY", 4)


def evaluate(clip):
    return evaluate_clip(clip, held_out())


def train(out, steps, seed=0):
    return pretrain_clip(
        out, paint_squares, evaluate, config=TINY, steps=steps, batch=16, seed=seed, workers=0
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


def test_image_level_captions_train_dense_prediction(quick, tmp_path, monkeypatch):
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


@pytest.mark.parametrize("has", [True, False])
def test_a_step_multiplies_in_bfloat16_only_where_the_processor_does(monkeypatch, has):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: has)
    training = module.start_training(Path("nowhere"), ["a red square"], TINY, batch=4, seed=0)
    views, _, _ = paint_squares(0, 4)
    kinds = []
    image_tower = training.clip.model.visual
    image_tower.register_forward_hook(lambda tower, inputs, out: kinds.append(out.dtype))
    generator = torch.Generator().manual_seed(0)
    module.train_step(
        training.clip, training.optimiser, torch.from_numpy(views), ["a red square"] * 4, generator
    )
    assert kinds == [torch.bfloat16 if has else torch.float32]
