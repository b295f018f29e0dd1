import json
import re
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file
from tests.tiny_towers import tiny_transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.clip.tips import load_tips_model, rename_tips, tips_settings
from clip2scene.teacher.maskclip import MaskClip

pytestmark = pytest.mark.usefixtures("exact_products")

FLAT = {"model_type": "tipsv2", "vision_fn": "vit_base", "text_num_heads": 2, "max_len": 64}
"""A config as Google wrote it."""


def tiny_tips(*, gated=False):
    """A tiny TIPSv2 of one head, as Google's widths have it."""
    torch.manual_seed(0)
    common = {"hidden_size": 16, "num_attention_heads": 1, "num_hidden_layers": 2}
    config = transformers.Tipsv2Config(
        text_config={**common, "intermediate_size": 32, "vocab_size": 11},
        vision_config={**common, "mlp_ratio": 3, "image_size": 32, "patch_size": 8, "use_swiglu_ffn": gated},
    )
    model = transformers.Tipsv2Model(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def googles(state):
    """Give a model's weights the names and the stacking of Google's files, part by part."""
    simple = {
        "text_model.embeddings.token_embedding.weight": "text_encoder.token_embedding.weight",
        "text_model.final_layer_norm.": "text_encoder.ln_final.",
        "text_model.encoder.layers.": "text_encoder.transformer.resblocks.",
        "vision_model.embeddings.cls_token": "vision_encoder.cls_token",
        "vision_model.embeddings.mask_token": "vision_encoder.mask_token",
        "vision_model.embeddings.register_tokens": "vision_encoder.register_tokens",
        "vision_model.embeddings.position_embeddings": "vision_encoder.pos_embed",
        "vision_model.embeddings.patch_embeddings.projection.": "vision_encoder.patch_embed.proj.",
        "vision_model.layernorm.": "vision_encoder.norm.",
        "vision_model.encoder.layer.": "vision_encoder.blocks.",
    }
    inner = {
        ".layer_norm1.": ".ln_1.",
        ".layer_norm2.": ".ln_2.",
        ".self_attn.": ".attn.",
        ".attention.o_proj.": ".attn.proj.",
        ".layer_scale1.lambda1": ".ls1.gamma",
        ".layer_scale2.lambda1": ".ls2.gamma",
        ".mlp.down_proj.": ".mlp.w3.",
    }
    found = {}
    for name, value in state.items():
        text = name.startswith("text_model")
        for ours, theirs in simple.items():
            name = theirs + name.removeprefix(ours) if name.startswith(ours) else name
        for ours, theirs in {
            **inner,
            **({".mlp.fc1.": ".mlp.c_fc.", ".mlp.fc2.": ".mlp.c_proj."} if text else {}),
        }.items():
            name = name.replace(ours, theirs)
        found[name] = value
    stacks = {
        r"(text_encoder.*attn)\.q_proj\.(\w+)": (r"\1.in_proj_\2", ("q_proj", "k_proj", "v_proj")),
        r"(vision_encoder.*)\.attention\.q_proj\.(\w+)": (r"\1.attn.qkv.\2", ("q_proj", "k_proj", "v_proj")),
        r"(vision_encoder.*)\.gate_proj\.(\w+)": (r"\1.w12.\2", ("gate_proj", "up_proj")),
    }
    for pattern, (theirs, parts) in stacks.items():
        for name in [each for each in found if re.fullmatch(pattern, each)]:
            found[re.sub(pattern, theirs, name)] = torch.cat(
                [found.pop(name.replace(parts[0], part)) for part in parts]
            )
    del found["temperature"]  # published files have none
    return found


def save(folder, tensors, config):
    folder.mkdir(exist_ok=True)
    save_file({name: each.contiguous() for name, each in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    words = ["<pad>", "<unk>", "a", "car", "tree", "on", "the", "road", "red", "big", "old"]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Sequence([]), pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("gated", [False, True])
def test_googles_names_and_stacks_become_those_of_transformers(gated):
    state = tiny_tips(gated=gated).state_dict()
    theirs = googles(state)
    assert not any(name in state for name in theirs)
    found = rename_tips(theirs)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state if name != "temperature")
    kept = rename_tips(state)
    assert kept.keys() == state.keys() and all(torch.equal(kept[name], state[name]) for name in state)


@pytest.mark.parametrize("layout", ["google", "transformers"])
@torch.no_grad()
def test_a_folder_gives_the_embeddings_of_the_model(tmp_path, layout):
    model = tiny_tips()
    if layout == "google":
        folder = save(tmp_path, googles(model.state_dict()), {**FLAT, "text_num_heads": 1})
    else:
        model.save_pretrained(tmp_path)
        held = load_file(tmp_path / "model.safetensors")
        folder = save(tmp_path, held, json.loads((tmp_path / "config.json").read_text()))
    clip = load_clip(folder)
    assert (clip.family, clip.patch, clip.image_size) == ("tips", 8, 32)
    ids = torch.tensor([[2, 8, 3], [2, 4, 5]])
    truth = model.get_text_features(input_ids=ids).pooler_output
    got = clip.encode_text(["A RED car", "a tree on"])
    torch.testing.assert_close(got, F.normalize(truth, dim=1))
    image = torch.randint(0, 256, (1, 32, 32, 3), generator=torch.Generator().manual_seed(0)).byte()
    truth = model.get_image_features(pixel_values=image.permute(0, 3, 1, 2) / 255).pooler_output
    torch.testing.assert_close(clip.encode_image(image), F.normalize(truth, dim=1))
    (dense,) = MaskClip(clip, window=16).embed_images([image[0]]).embeddings
    assert dense.shape == (16, 4, 4)
    assert clip.space == load_clip(folder).space and clip.unknown_words("a Zebra car") == ["<unk>"]


@pytest.mark.parametrize(
    ("width", "heads", "mlp", "gated"),
    [(768, 12, 3072, False), (1152, 16, 4304, False), (1536, 24, 6144, True)],
)
def test_the_sizes_of_the_published_models_are_read_off_their_shapes(width, heads, mlp, gated):
    shared = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": 1}
    vision = {**shared, "mlp_ratio": (mlp + 0.5) / width, "use_swiglu_ffn": gated}
    text = {**shared, "intermediate_size": mlp}
    with torch.device("meta"):
        model = transformers.Tipsv2Model(transformers.Tipsv2Config(text_config=text, vision_config=vision))
        shapes = {name: tuple(each.shape) for name, each in model.state_dict().items()}
        settings = tips_settings(shapes, {})
        again = transformers.Tipsv2Model(transformers.Tipsv2Config(**settings))
    assert {name: tuple(each.shape) for name, each in again.state_dict().items()} == shapes
    assert (
        settings["vision_config"]["num_attention_heads"]
        == settings["text_config"]["num_attention_heads"]
        == heads
    )
    assert settings["vision_config"]["image_size"] == 448


def test_heads_that_a_config_counts_are_believed_where_they_divide_the_channels():
    model = tiny_transformer("tips")
    shapes = {name: tuple(each.shape) for name, each in model.state_dict().items()}
    for said, heads in ((4, 4), (3, 1), ("4", 1), (-2, 1)):
        config = {
            "vision_config": {"num_attention_heads": said},
            "text_config": {"num_attention_heads": said},
        }
        settings = tips_settings(shapes, config)
        assert settings["vision_config"]["num_attention_heads"] == heads
        assert settings["text_config"]["num_attention_heads"] == heads


def test_what_is_no_tips_is_refused_in_a_sentence(tmp_path, monkeypatch):
    state = googles(tiny_tips().state_dict())
    for lost, fault in (
        ("vision_encoder.pos_embed", "position_embeddings"),
        ("vision_encoder.norm.bias", "is missing"),
    ):
        kept = {name: each for name, each in state.items() if name != lost}
        with pytest.raises(ValueError, match=fault) as caught:
            load_clip(save(tmp_path / "lost", kept, FLAT))
        assert "\n" not in str(caught.value)
    folder = save(tmp_path / "whole", state, FLAT)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="holds no tokenizer"):
        load_clip(folder)
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(__version__="5.0"))
    with pytest.raises(ValueError, match="which transformers .* does not have; install 5.23 or newer"):
        load_tips_model(folder, FLAT)
