import pytest
import torch
from tests import openai_clip

from clip2scene.teacher.clip.openai import (
    load_openai_model,
    make_vit,
    rename_vit,
    resnet_config,
    vit_settings,
)
from clip2scene.teacher.clip.resnet import ClipResNet


def answers(model, images, tokens):
    with torch.no_grad():
        if isinstance(model, ClipResNet | openai_clip.OpenAIClip):
            return model.encode_image(images), model.encode_text(tokens)
        outputs = model.get_image_features(pixel_values=images), model.get_text_features(input_ids=tokens)
        return tuple(getattr(each, "pooler_output", each) for each in outputs)


def questions(model):
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, *[int(model.input_resolution)] * 2, generator=generator)
    tokens = torch.randint(1, 590, (3, 12), generator=generator)
    for row, end in enumerate((11, 4, 7)):
        tokens[row, end], tokens[row, end + 1 :] = 599, 0
    return images, tokens


def assert_same_answers(model, truth):
    for ours, theirs in zip(
        answers(model, *questions(truth)), answers(truth, *questions(truth)), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", openai_clip.TINY)
def test_an_archive_of_openais_answers_as_its_model_did(archives, kind):
    path, truth = archives[kind]
    assert_same_answers(load_openai_model(path), truth)


@pytest.mark.parametrize("kind", openai_clip.TINY)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_plain_state_dict_is_read_too(archives, tmp_path, kind, wrapped):
    state = openai_clip.state_dict(archives[kind][1])
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "plain.pt")
    assert_same_answers(load_openai_model(tmp_path / "plain.pt"), archives[kind][1])


PARAMETERS = {  # as published
    "RN50": 102_007_137,
    "RN101": 119_688_033,
    "RN50x4": 178_300_601,
    "ViT-B/32": 151_277_313,
    "ViT-B/16": 149_620_737,
    "ViT-L/14": 427_616_513,
    "ViT-L/14@336px": 427_944_193,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_published_models_names_and_shapes_all_find_their_place(name):
    with torch.device("meta"):
        sizes = (openai_clip.RESNETS | openai_clip.VITS)[name]
        theirs = openai_clip.OpenAIClip(**sizes)
        assert sum(each.numel() for each in theirs.parameters()) == PARAMETERS[name]
        weights = dict(theirs.state_dict())
        for size in ("input_resolution", "context_length", "vocab_size"):
            del weights[size]
        shapes = {name: tuple(value.shape) for name, value in weights.items()}
        if name in openai_clip.RESNETS:
            model = ClipResNet(resnet_config(shapes))
            side = model.config.image_size
        else:
            model = make_vit(vit_settings(shapes))
            weights = rename_vit(weights)
            side = model.config.vision_config.image_size
    assert side == sizes["image"]
    ours = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in weights.items()} == ours


def without(state, name):
    del state[name]


def bent(state, name):
    state[name] = state[name][:-1]


STATES = {
    "a weight is missing": (without, "visual.conv1.weight", "visual.conv1.weight"),
    "another is missing": (without, "ln_final.bias", "ln_final.bias is missing|layer_norm.bias is missing"),
    "no text tower": (without, "text_projection", "text_projection"),
    "a weight has another shape": (bent, "ln_final.bias", r"has shape \(63,\) instead of \(64,\)"),
    "an attention is missing": (
        without,
        "transformer.resblocks.1.attn.in_proj_weight",
        r"in_proj_weight is missing|q_proj.weight is missing",
    ),
    "an attention has another shape": (bent, "transformer.resblocks.1.attn.in_proj_weight", r"instead of \("),
}


@pytest.mark.parametrize("kind", openai_clip.TINY)
@pytest.mark.parametrize("fault", STATES)
def test_weights_that_are_no_whole_model_are_refused_by_name(archives, tmp_path, kind, fault):
    spoil, name, message = STATES[fault]
    state = openai_clip.state_dict(archives[kind][1])
    spoil(state, name)
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=message):
        load_openai_model(tmp_path / "bad.pt")


def test_a_file_of_something_else_is_refused(tmp_path):
    torch.save({"a": torch.zeros(2)}, tmp_path / "else.pt")
    with pytest.raises(ValueError, match="holds no CLIP of OpenAI's"):
        load_openai_model(tmp_path / "else.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="holds no state dict"):
        load_openai_model(tmp_path / "list.pt")


def test_dropped_counters_and_kept_masks_do_not_matter(archives, tmp_path):
    truth = archives["resnet"][1]
    state = {name: value for name, value in openai_clip.state_dict(truth).items() if "tracked" not in name}
    state["transformer.resblocks.0.attn_mask"] = torch.zeros(12, 12)
    torch.save(state, tmp_path / "old.pt")
    assert_same_answers(load_openai_model(tmp_path / "old.pt"), truth)
