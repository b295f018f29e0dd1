import json
import shutil
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tests.tiny_towers import tiny_resnet, tiny_transformer
from torch import nn

from clip2scene.classes.tables import TOYTOWN
from clip2scene.evaluation.small_clip import evaluate_clip, hold_out
from clip2scene.teacher.clip.load import Clip, clip_of_resnet, load_clip, save_clip
from clip2scene.teacher.clip.resnet import (
    ClipResNet,
    ResNetClipConfig,
)
from clip2scene.teacher.clip.tokenizer import WholeTokenizer, word_tokenizer
from clip2scene.teacher.prompts import TOYTOWN_TEMPLATES

WORDS = ["a", "red", "blue", "car", "tree", "photo", "of"]
TINY = ResNetClipConfig(
    embed_dim=8,
    image_size=32,
    layers=(1, 1),
    strides=(1, 2),
    width=4,
    image_heads=2,
    vocab_size=len(WORDS) + 4,
    context_length=12,
    text_width=8,
    text_heads=2,
    text_layers=1,
)


def tiny_clip():
    torch.manual_seed(0)
    tokenizer = word_tokenizer(WORDS, TINY.context_length)
    return clip_of_resnet(
        ClipResNet(TINY), tokenizer, torch.full((3,), 0.4), torch.full((3,), 0.2)
    ), tokenizer


@pytest.fixture
def tiny_folder(tmp_path):
    clip, tokenizer = tiny_clip()
    save_clip(clip, tokenizer, tmp_path / "model")
    return tmp_path / "model"


def pictures(views=2, height=32, width=32):
    return torch.randint(0, 256, (views, height, width, 3), generator=torch.Generator().manual_seed(1)).byte()


def test_a_saved_model_answers_as_before(tiny_folder):
    clip, _ = tiny_clip()
    loaded = load_clip(tiny_folder)
    texts = ["a red car", "a photo of a tree"]
    torch.testing.assert_close(loaded.encode_text(texts), clip.encode_text(texts), atol=2e-3, rtol=0)
    torch.testing.assert_close(
        loaded.encode_image(pictures()), clip.encode_image(pictures()), atol=5e-3, rtol=0
    )
    assert loaded.patch == 8
    torch.testing.assert_close(loaded.mean, torch.full((3,), 0.4))


def test_embeddings_have_unit_length_and_do_not_depend_on_their_neighbours():
    clip, _ = tiny_clip()
    alone, together = clip.encode_text(["a car"]), clip.encode_text(["a car", "a photo of a red blue tree"])
    torch.testing.assert_close(together.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(alone[0], together[0])


def test_pictures_are_normalised_with_the_models_own_mean_and_deviation():
    clip, _ = tiny_clip()
    grey = torch.full((1, 4, 4, 3), 102, dtype=torch.uint8)
    torch.testing.assert_close(clip.normalise(grey), torch.zeros(1, 3, 4, 4), atol=1e-6, rtol=0)


def test_words_that_were_never_taught_are_listed():
    clip, _ = tiny_clip()
    assert clip.unknown_words("a red zeppelin of Glass") == ["zeppelin", "Glass"]
    assert clip.unknown_words("a RED car") == []


def test_long_texts_are_cut_but_still_end():
    clip, _ = tiny_clip()
    tokens = clip.tokenize(["car " * 50])
    assert tokens.shape == (1, 12)
    assert tokens[0, -1] == TINY.vocab_size - 1


def break_config(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def drop_weight(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["visual.attnpool.v_proj.weight"]
    save_file(weights, folder / "model.safetensors")


def bend_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["token_embedding.weight"] = torch.zeros(3, 8)
    save_file(weights, folder / "model.safetensors")


def spoil(name, content):
    return lambda folder: (folder / name).write_text(content)


FAULTS = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "expected config.json"),
    "config is no JSON": (spoil("config.json", "{"), "not valid JSON"),
    "another kind of model": (break_config, "'bert'; expected clip_resnet, clip, siglip or tipsv2"),
    "config lacks a field": (spoil("config.json", '{"model_type": "clip_resnet"}'), "lacks context_length"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
    "weights cut short": (cut_weights, "cannot be read"),
    "a weight is missing": (drop_weight, "visual.attnpool.v_proj.weight is missing"),
    "a weight has another shape": (bend_weight, r"shape \(3, 8\) instead of \(11, 8\)"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    "tokenizer is none": (spoil("tokenizer.json", "[]"), "is no tokenizer"),
    "normalisation is none": (spoil("preprocessor_config.json", '{"image_mean": [1]}'), "three numbers"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_folder_is_refused_with_one_clear_message(tiny_folder, fault):
    spoil_it, message = FAULTS[fault]
    spoil_it(tiny_folder)
    with pytest.raises(ValueError, match=message):
        load_clip(tiny_folder)


def test_a_name_that_is_neither_folder_nor_hub_id_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no folder .*nowhere; check the path"):
        load_clip(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="an empty folder"):
        load_clip(tmp_path / "empty")


def test_open_clips_layout_of_a_resnet_is_read(tmp_path):
    config = ResNetClipConfig(
        16,
        64,
        (1, 1, 1, 1),
        (1, 2, 2, 2),
        8,
        4,
        len(WORDS) + 4,
        12,
        text_width=8,
        text_heads=2,
        text_layers=1,
    )
    clip = clip_of_resnet(
        ClipResNet(config), word_tokenizer(WORDS, 12), torch.full((3,), 0.4), torch.full((3,), 0.2)
    )
    folder = tmp_path / "rn"
    save_clip(clip, word_tokenizer(WORDS, 12), folder)
    (folder / "config.json").unlink()
    shutil.move(folder / "model.safetensors", folder / "open_clip_model.safetensors")
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = {"context_length": 12, "vocab_size": len(WORDS) + 4, "width": 8, "heads": 2, "layers": 1}
    content = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    loaded = load_clip(folder)
    assert loaded.patch == 32
    torch.testing.assert_close(loaded.mean, torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(loaded.encode_text(["a car"]), clip.encode_text(["a car"]), atol=5e-3, rtol=0)
    vision["layers"] = 12
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="only ResNets are read"):
        load_clip(folder)


def hugging_face_folder(folder, kind):
    """Save a tiny random model of transformers with a tokenizer of whole words."""
    import transformers

    torch.manual_seed(0)
    text = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
    vision = {**text, "image_size": 32, "patch_size": 8}
    tokens = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 10}
    text |= {"vocab_size": 11, "max_position_embeddings": 10, **tokens}
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        model = transformers.CLIPModel(config)
    else:
        config = transformers.SiglipConfig(text_config=text, vision_config=vision)
        model = transformers.SiglipModel(config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    words = word_tokenizer(WORDS, 10)
    words.no_padding()
    words.no_truncation()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[END]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    normalisation = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(normalisation))
    return model.eval()


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_models_of_transformers_answer_as_in_transformers(tmp_path, kind):
    model = hugging_face_folder(tmp_path, kind)
    clip = load_clip(tmp_path)
    assert (clip.family, clip.patch, clip.image_size) == ({"clip": "vit", "siglip": "siglip"}[kind], 8, 32)
    pixels = (pictures().permute(0, 3, 1, 2) / 255 - 0.5) / torch.tensor([0.25, 0.5, 0.5]).view(3, 1, 1)
    with torch.no_grad():
        image = model.get_image_features(pixel_values=pixels)
        texts = ["a car", "a of blue"]
        ids = clip.tokenize(texts)
        text = model.get_text_features(input_ids=ids)
    expected = [F.normalize(getattr(each, "pooler_output", each), dim=1) for each in (image, text)]
    torch.testing.assert_close(clip.encode_image(pictures()), expected[0])
    torch.testing.assert_close(clip.encode_text(texts), expected[1])
    assert ids.shape == ((2, 5) if kind == "clip" else (2, 10))
    assert clip.unknown_words("a zeppelin") == ["[UNK]"]


def test_vit_weights_of_another_model_are_refused(tmp_path):
    hugging_face_folder(tmp_path, "clip")
    weights = load_file(tmp_path / "model.safetensors")
    weights["visual_projection.weight"] = torch.zeros(4, 16)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="visual_projection.weight has shape"):
        load_clip(tmp_path)


SHIPPED = files("clip2scene") / "assets" / "toytown-clip"


def test_the_shipped_model_is_small_and_knows_the_words_of_its_classes():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 16 * 1024**2
    clip = load_clip(SHIPPED)
    for template in TOYTOWN_TEMPLATES:
        for names in TOYTOWN.prompts:
            assert [word for name in names for word in clip.unknown_words(template.format(name))] == []


def test_the_shipped_model_tells_things_of_unseen_towns_apart():
    held_out = hold_out(num_towns=1, views_per_class=4)
    scores = evaluate_clip(load_clip(SHIPPED), held_out)
    assert scores["views accuracy"] > 0.8
    assert scores["dense accuracy"] > 0.6
    assert scores["dense miou"] > 0.3
    assert scores["dense miou"] > scores["whole miou"]
    assert scores["scales miou"] > scores["whole miou"]


@pytest.mark.parametrize("family", ["resnet", "vit", "siglip"])
def test_towers_compute_where_they_are_told_to_and_nothing_is_left_behind(monkeypatch, family):
    """Torch refuses to mix devices, and the meta device has no numbers: a GPU stands in for neither."""
    model = tiny_resnet() if family == "resnet" else tiny_transformer(family)
    words = WholeTokenizer(word_tokenizer(["a", "car"], 6))
    clip = Clip(family, model, words, torch.full((3,), 0.4), torch.full((3,), 0.2), 32, 8)
    assert clip.to(torch.device("cpu")).device.type == "cpu"
    moved = clip.to(torch.device("meta"))
    came_back = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: came_back.append(self.device.type) or self)
    assert moved.encode_image(pictures()).shape == (2, 8 if family != "siglip" else 16)
    assert len(moved.encode_text(["a", "car"])) == 2
    assert came_back == ["meta", "meta"]
