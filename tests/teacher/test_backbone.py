import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

import clip2scene
from clip2scene.teacher.backbone import backbone_of_clip, load_backbone
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.maskclip import MaskClip

SMALL_CLIP = Path(clip2scene.__file__).parent / "assets" / "toytown-clip"
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def tiny_models():
    """Random models of a few families: the model, the cells' size, tokens that have no place."""
    t = transformers
    torch.manual_seed(0)
    return {
        "vit": (t.ViTModel(t.ViTConfig(image_size=32, patch_size=8, intermediate_size=32, **SIZES)), 8, 1),
        "dinov2": (t.Dinov2Model(t.Dinov2Config(image_size=42, patch_size=14, mlp_ratio=2, **SIZES)), 14, 1),
        "registers": (
            t.Dinov2WithRegistersModel(
                t.Dinov2WithRegistersConfig(image_size=42, patch_size=14, mlp_ratio=2, **SIZES)
            ),
            14,
            5,
        ),
        "dinov3": (
            t.DINOv3ViTModel(
                t.DINOv3ViTConfig(
                    image_size=32, patch_size=8, intermediate_size=32, num_register_tokens=4, **SIZES
                )
            ),
            8,
            5,
        ),
        "swin": (
            t.SwinModel(
                t.SwinConfig(image_size=64, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
            ),
            8,
            0,
        ),
        "resnet": (
            t.ResNetModel(
                t.ResNetConfig(
                    embedding_size=8, hidden_sizes=[8, 16, 32], depths=[1, 1, 1], layer_type="basic"
                )
            ),
            16,
            None,
        ),
        "convnext": (
            t.ConvNextModel(t.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2)),
            8,
            None,
        ),
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    made = tiny_models()
    for name, (model, _, _) in made.items():
        save(model, root / name)
    return root, made


def save(model, folder):
    model.eval().save_pretrained(folder)
    colours = {"image_mean": MEAN, "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))


def picture(height, width, seed=0):
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def normalised(image):
    pixels = image.permute(2, 0, 1)[None].float() / 255
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.mark.parametrize("family", ["vit", "dinov2", "registers", "dinov3", "swin", "resnet", "convnext"])
def test_a_map_is_the_models_last_hidden_state(models, family):
    root, made = models
    model, stride, special = made[family]
    rows, cols = (5, 7) if family == "swin" else (3, 4)
    image = picture(rows * stride, cols * stride)
    backbone = load_backbone(root / family)
    (found,) = backbone.maps([image])
    assert (backbone.stride, found.shape) == (stride, (backbone.channels, rows, cols))
    more = {"interpolate_pos_encoding": True} if family in ("vit", "swin") else {}
    with torch.no_grad():
        state = model(pixel_values=normalised(image), **more).last_hidden_state[0]
    for row in range(rows):
        for col in range(cols):
            truth = state[:, row, col] if special is None else state[special + row * cols + col]
            torch.testing.assert_close(found[:, row, col], F.normalize(truth, dim=0))


@pytest.mark.parametrize("family", ["resnet", "convnext"])
def test_cells_depend_on_their_own_part_of_the_image(models, family):
    root, made = models
    _, stride, _ = made[family]
    backbone = load_backbone(root / family)
    image = picture(8 * stride, 10 * stride)
    changed = image.clone()
    changed[-stride:, -stride:] = 255 - changed[-stride:, -stride:]
    before, after = backbone.maps([image, changed])
    difference = (before - after).norm(dim=0)
    assert difference[-1, -1] == difference.max() > 1e-3
    assert difference[0, 0] < 1e-6


def test_positions_are_untouched_at_the_trained_size_and_interpolated_at_others(models):
    root, made = models
    backbone, (model, *_) = load_backbone(root / "vit"), made["vit"]
    image = picture(32, 32)
    with torch.no_grad():
        plain = model(pixel_values=normalised(image)).last_hidden_state[0, 1:]
    torch.testing.assert_close(backbone.maps([image])[0].flatten(1).T, F.normalize(plain, dim=-1))
    assert backbone.maps([picture(48, 72)])[0].shape == (16, 6, 9)


def test_images_may_differ_in_size_and_are_resized_to_whole_cells_or_to_the_working_size(models):
    root, _ = models
    images = [picture(30, 50), picture(3, 3), picture(64, 33)]
    own = load_backbone(root / "vit").maps(images)
    assert [each.shape[1:] for each in own] == [(4, 6), (1, 1), (8, 4)]
    fixed = load_backbone(root / "vit", working_size=(40, 60)).maps(images)
    assert [each.shape[1:] for each in fixed] == [(5, 8)] * 3
    for each in (*own, *fixed):
        torch.testing.assert_close(each.norm(dim=0), torch.ones(each.shape[1:]))
        assert not each.requires_grad
    assert load_backbone(root / "swin").maps(images[1:2])[0].shape[1:] == (4, 4)  # one window
    assert load_backbone(root / "vit").maps([]) == ()
    with pytest.raises(ValueError, match="working_size must be a positive"):
        load_backbone(root / "vit", working_size=(0, 60))


def test_a_classifier_is_read_without_its_head(models, tmp_path, capfd):
    root, made = models
    classifier = transformers.ViTForImageClassification(made["vit"][0].config)
    classifier.vit.load_state_dict(made["vit"][0].state_dict(), strict=False)  # it has no pooler
    save(classifier, tmp_path / "classifier")
    capfd.readouterr()
    image = picture(24, 40)
    mine, bare = (
        load_backbone(folder).maps([image])[0] for folder in (tmp_path / "classifier", root / "vit")
    )
    torch.testing.assert_close(mine, bare)
    assert capfd.readouterr() == ("", "")


def test_the_small_clip_gives_embeddings_in_the_space_of_its_texts():
    clip, images = load_clip(SMALL_CLIP), [picture(64, 96), picture(40, 40)]
    by_folder = load_backbone(SMALL_CLIP).maps(images)
    by_model = backbone_of_clip(clip).maps(images)
    for seen, mine, ours in zip(
        MaskClip(clip).embed_images(images).embeddings, by_folder, by_model, strict=True
    ):
        assert torch.equal(mine, ours)
        torch.testing.assert_close(mine, seen)
    (small,) = load_backbone(SMALL_CLIP, working_size=(32, 48)).maps(images[:1])
    assert small.shape == (128, 4, 6)


def test_the_small_clip_also_gives_its_last_features():
    clip, image = load_clip(SMALL_CLIP), picture(64, 96)
    backbone = backbone_of_clip(clip, space="features")
    with torch.no_grad():
        cells = clip.model.visual.cells(clip.normalise(image[None]))[0]
    assert backbone.channels == 512
    torch.testing.assert_close(backbone.maps([image])[0], F.normalize(cells, dim=0))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_image_text_models_of_transformers_give_both(tmp_path, kind):
    t, small = transformers, {**SIZES, "intermediate_size": 32}
    vision = {**small, "image_size": 32, "patch_size": 8}
    text = {**small, "vocab_size": 20, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 2}
    text |= {"pad_token_id": 1, "projection_size": 16}
    torch.manual_seed(0)
    if kind == "clip":
        model = t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    else:
        model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=vision))
    save(model, tmp_path)
    words = {f"w{number}": number for number in range(18)} | {"<unk>": 18, "</s>": 19}
    tokenizer = {"version": "1.0", "model": {"type": "WordLevel", "vocab": words, "unk_token": "<unk>"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps({**tokenizer, "added_tokens": []}))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>", "pad_token": "</s>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    image = picture(40, 56)
    (seen,) = MaskClip(load_clip(tmp_path)).embed_images([image]).embeddings
    (text_map,) = load_backbone(tmp_path).maps([image])
    torch.testing.assert_close(text_map, seen)
    (features,) = load_backbone(tmp_path, space="features").maps([image])
    with torch.no_grad():
        state = model.vision_model(pixel_values=normalised(image), interpolate_pos_encoding=True)
    first = 1 if kind == "clip" else 0
    truth = F.normalize(state.last_hidden_state[0, first:], dim=-1)
    torch.testing.assert_close(features.flatten(1).T, truth)


def broken(root, tmp_path, how):
    folder = tmp_path / "broken"
    shutil.copytree(root / "vit", folder)
    weights = folder / "model.safetensors"
    if how == "pickle":
        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()
    elif how == "damaged":
        weights.write_bytes(weights.read_bytes()[:200])
    elif how == "incomplete":
        tensors = load_file(weights)
        del tensors["layernorm.weight"]
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "misshapen":
        tensors = load_file(weights)
        tensors["layernorm.weight"] = torch.ones(3)
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "not finite":
        tensors = load_file(weights)
        tensors["layernorm.weight"][3] = float("nan")
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "a pipe":
        weights.unlink()
        os.mkfifo(weights)
    elif how == "no config":
        (folder / "config.json").unlink()
    elif how == "no colours":
        (folder / "preprocessor_config.json").unlink()
    elif how == "half the colours":
        (folder / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5]}')
    elif how == "text":
        (folder / "config.json").write_text('{"model_type": "bert"}')
    elif how == "no model":
        (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ("pickle", "no weights that are safe to read.*pytorch_model.bin"),
        ("damaged", "model.safetensors cannot be read"),
        ("not finite", r"not finite \(layernorm.weight\)"),
        ("a pipe", "is a pipe, a device or a socket"),
        ("incomplete", "lack, or have in another shape, layernorm.weight;"),
        ("misshapen", "another shape, layernorm.weight;"),
        ("no config", "config.json is missing"),
        ("no colours", "preprocessor_config.json is missing"),
        ("half the colours", "gives None as mean or standard deviation"),
        ("text", "BertModel, which takes no images"),
        ("no model", "no vision model that can be read"),
    ],
)
def test_a_folder_that_holds_no_safe_whole_vision_model_is_refused(models, tmp_path, how, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        load_backbone(broken(models[0], tmp_path, how))
    assert "\n" not in str(caught.value)


def test_a_hub_id_is_never_fetched():
    with pytest.raises(ValueError, match="facebook/dinov2-small is not a folder; download"):
        load_backbone("facebook/dinov2-small")


def test_colours_are_left_alone_where_the_model_wants_that(models, tmp_path):
    shutil.copytree(models[0] / "vit", tmp_path / "plain")
    (tmp_path / "plain" / "preprocessor_config.json").write_text('{"do_normalize": false}')
    backbone = load_backbone(tmp_path / "plain")
    assert backbone.mean.tolist() == [0, 0, 0] and backbone.std.tolist() == [1, 1, 1]


def test_a_backbone_computes_where_it_is_told_to(models, monkeypatch):
    moved = load_backbone(models[0] / "dinov2").to(torch.device("meta"))
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape))
    assert moved.device.type == "meta" and moved.maps([picture(42, 42)])[0].shape == (16, 3, 3)


def test_a_backbone_whose_features_are_not_finite_is_refused(models):
    backbone = load_backbone(models[0] / "convnext")
    backbone.model.embeddings.patch_embeddings.weight.data.fill_(1e38)
    backbone.model.embeddings.layernorm = torch.nn.Identity()
    with pytest.raises(ValueError, match="features that are not finite"):
        backbone.maps([picture(16, 16)])
