import json
import shutil

import pytest
import torch
import transformers

from clip2scene.teacher.backbone import load_backbone

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=32, patch_size=8, intermediate_size=32, **SIZES)
    transformers.ViTModel(config).save_pretrained(folder)
    colours = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.3]}
    (folder / "preprocessor_config.json").write_text(json.dumps(colours))
    return folder


def picture(height, width):
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(0)).byte()


ABSURD = {
    "more channels": {"hidden_size": 32},
    "a huge vocabulary of positions": {"image_size": 1 << 19},
    "channels beyond all measure": {"intermediate_size": 1 << 40},
    "a million blocks": {"num_hidden_layers": 1_000_000},
    "one block more": {"num_hidden_layers": 3},
    "huge cells": {"patch_size": 1 << 18},
    "no cells": {"patch_size": 0},
    "cells of half a pixel": {"patch_size": 7.5},
    "no heads": {"num_attention_heads": 0},
    "heads that do not divide": {"num_attention_heads": 5},
    "a word for a number": {"hidden_size": "16"},
    "a list for a number": {"num_hidden_layers": [2]},
    "an activation of a list": {"hidden_act": ["gelu"]},
    "no activation": {"hidden_act": "none such"},
    "not finite": {"layer_norm_eps": float("nan")},
    "another type": {"model_type": "gpt2"},
    "a type that is a list": {"model_type": ["vit"]},
}


@pytest.mark.parametrize("change", ABSURD)
def test_a_config_is_not_believed_before_the_weights(vit, tmp_path, change):
    folder = tmp_path / "absurd"
    shutil.copytree(vit, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | ABSURD[change]))
    with pytest.raises(ValueError, match="absurd") as caught:
        load_backbone(folder)
    assert "\n" not in str(caught.value)


def test_what_a_config_says_of_labels_and_of_the_librarys_own_ways_has_no_part(vit, tmp_path):
    folder = tmp_path / "wordy"
    shutil.copytree(vit, folder)
    config = json.loads((folder / "config.json").read_text())
    more = {"num_labels": 1 << 40, "return_dict": False, "chunk_size_feed_forward": 3, "window_size": 1 << 30}
    (folder / "config.json").write_text(json.dumps(config | more))
    image = picture(24, 40)
    wordy, plain = (load_backbone(each).maps([image])[0] for each in (folder, vit))
    assert torch.equal(wordy, plain)
