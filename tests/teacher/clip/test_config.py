"""What a stranger's config may say: it is compared with the weights before anything is made of it."""

import json
import shutil

import pytest
import torch
from tests.teacher.clip.test_folder import make_folder
from tests.teacher.clip.test_load import tiny_clip

from clip2scene.teacher.clip.load import load_clip, save_clip

CLIP, SIGLIP = "openai/clip-vit-base-patch32", "google/siglip-base-patch16-224"
HUGE = 1 << 40


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    for name, published in (("clip", CLIP), ("siglip", SIGLIP)):
        (root / name).mkdir()
        make_folder(root / name, published)
    save_clip(*tiny_clip(), root / "resnet")
    return root


def changed(folders, name, tmp_path, **changes):
    """Copy a model with another config; ``a__b`` is ``b`` within ``a``."""
    folder = tmp_path / name
    shutil.copytree(folders / name, folder)
    config = json.loads((folder / "config.json").read_text())
    for place, value in changes.items():
        *sections, setting = place.split("__")
        target = config
        for section in sections:
            target = target[section]
        target[setting] = value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


RESNETS = [
    {"layers": [1, HUGE]}, {"layers": [1, 1, 1]}, {"layers": "11"}, {"layers": [1, "1"]}, {"layers": []},
    {"strides": [1, 1 << 30]}, {"strides": [0, 1]}, {"strides": [1]}, {"width": HUGE}, {"width": True},
    {"width": 4.0}, {"embed_dim": -1}, {"image_heads": 0}, {"image_heads": 3}, {"image_size": 1 << 19},
    {"text_layers": 1_000_000}, {"text_layers": 2}, {"text_heads": None}, {"vocab_size": 12},
    {"context_length": [12]},
]  # fmt: skip
TRANSFORMERS = [
    {"vision_config": None, "text_config": 3}, {"text_config__num_hidden_layers": 1_000_000},
    {"vision_config__num_hidden_layers": 1}, {"text_config__hidden_size": 48},
    {"text_config__hidden_size": HUGE},
    {"text_config__vocab_size": 1 << 19}, {"text_config__max_position_embeddings": 17},
    {"vision_config__image_size": 1 << 19}, {"vision_config__image_size": [224, 224]},
    {"vision_config__patch_size": 0}, {"vision_config__num_channels": 4},
    {"vision_config__num_attention_heads": 7}, {"vision_config__num_attention_heads": -3},
    {"text_config__hidden_act": ["gelu"]}, {"text_config__hidden_act": "none such"},
    {"text_config__layer_norm_eps": float("nan")}, {"text_config__layer_norm_eps": "1e-5"},
    {"vision_config__attention_dropout": 2}, {"text_config__pad_token_id": HUGE},
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "changes"),
    [("resnet", each) for each in RESNETS]
    + [(name, each) for name in ("clip", "siglip") for each in TRANSFORMERS]
    + [("clip", {"projection_dim": HUGE}), ("clip", {"projection_dim": 17}), ("clip", {"model_type": []})]
    + [("clip", {"text_config__eos_token_id": 5}), ("siglip", {"vision_config__vision_use_head": False})],
)
def test_a_config_that_disagrees_with_the_weights_or_cannot_be_ends_in_one_sentence(
    folders, tmp_path, name, changes
):
    with pytest.raises(ValueError, match="config|model") as caught:
        load_clip(changed(folders, name, tmp_path, **changes))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_what_a_config_says_beside_the_model_has_no_part(folders, tmp_path, name):
    more = {"num_labels": HUGE, "return_dict": False, "torchscript": True, "quantization_config": {"bits": 4}}
    more |= {
        "auto_map": {"AutoModel": "evil.Model"},
        "text_config__num_labels": HUGE,
        "tokenizer_class": "Evil",
    }
    wordy, plain = load_clip(changed(folders, name, tmp_path, **more)), load_clip(folders / name)
    assert torch.equal(wordy.encode_text(["a red car"]), plain.encode_text(["a red car"]))


def test_older_configs_keep_a_second_section_that_counts(folders, tmp_path):
    config = json.loads((folders / "clip" / "config.json").read_text())
    older = {
        "text_config__hidden_size": 5,
        "text_config_dict": {"hidden_size": config["text_config"]["hidden_size"]},
    }
    assert load_clip(changed(folders, "clip", tmp_path, **older)).family == "vit"
