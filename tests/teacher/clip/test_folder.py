"""Folders as Hugging Face's hub holds them: the published configs, shrunk, against transformers itself."""

import json
import os
import tempfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from clip2scene.teacher.clip.folder import find_folder, model_files, read_normalisation
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.clip.tokenizer import vocabulary_of, word_tokenizer

MERGES = [("c", "a"), ("ca", "r</w>"), ("r", "e"), ("re", "d</w>")]
NUM_TOKENS = 512 + len(MERGES) + 2

SMALL = {"hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 3, "num_hidden_layers": 2}
PUBLISHED = {  # the keys that the published configs have; sizes of the channels are ours
    "openai/clip-vit-base-patch32": ("clip", 224, 32),
    "openai/clip-vit-base-patch16": ("clip", 224, 16),
    "openai/clip-vit-large-patch14": ("clip", 224, 14),
    "openai/clip-vit-large-patch14-336": ("clip", 336, 14),
    "google/siglip-base-patch16-224": ("siglip", 224, 16),
    "google/siglip-so400m-patch14-384": ("siglip", 384, 14),
    "google/siglip2-base-patch16-256": ("siglip", 256, 16),
    "google/siglip2-base-patch32-256": ("siglip", 256, 32),
}


def write_clip_tokenizer(folder):
    numbers = vocabulary_of(MERGES)
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in MERGES)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    settings = {"tokenizer_class": "CLIPTokenizer", "pad_token": "<|endoftext|>", **ends}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_word_tokenizer(folder):
    import transformers

    words = word_tokenizer(["a", "red", "car"], 16)
    words.no_padding()
    words.no_truncation()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[END]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)


def published_config(name):
    kind, side, patch = PUBLISHED[name]
    vision = {**SMALL, "image_size": side, "patch_size": patch, "model_type": f"{kind}_vision_model"}
    text = {**SMALL, "model_type": f"{kind}_text_model"}
    if kind == "siglip":
        text |= {"vocab_size": 7, "max_position_embeddings": 16, "projection_size": 24}
        return {
            "architectures": ["SiglipModel"],
            "model_type": kind,
            "text_config": text,
            "vision_config": vision,
        }
    tokens = {
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }  # as published: wrong, and without effect
    text |= {"vocab_size": NUM_TOKENS, "max_position_embeddings": 16, "hidden_act": "quick_gelu", **tokens}
    vision |= {"hidden_act": "quick_gelu"}
    more = {"projection_dim": 16, "logit_scale_init_value": 2.6592, "model_type": kind}
    return {"architectures": ["CLIPModel"], **more, "text_config": text, "vision_config": vision}


def make_folder(folder, name, **saving):
    """Write a small random model as its big brother is published; return what transformers opens there."""
    import transformers

    torch.manual_seed(0)
    config = published_config(name)
    kind = config["model_type"]
    kind_of_model = getattr(transformers, config["architectures"][0])
    (folder / "config.json").write_text(json.dumps(config))
    model = kind_of_model(kind_of_model.config_class.from_pretrained(folder))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder, **saving)
    (folder / "config.json").write_text(json.dumps(config))
    write_clip_tokenizer(folder) if kind == "clip" else write_word_tokenizer(folder)
    return kind_of_model.from_pretrained(folder).eval()


def answers(model, pixels, tokens):
    with torch.no_grad():
        made = model.get_image_features(pixel_values=pixels), model.get_text_features(input_ids=tokens)
    return [F.normalize(getattr(each, "pooler_output", each), dim=1) for each in made]


def assert_same_answers(clip, model):
    side = clip.image_size
    pictures = torch.randint(0, 256, (2, side, side, 3), generator=torch.Generator().manual_seed(1)).byte()
    texts = ["a red car", "car"]
    image, text = answers(model, clip.normalise(pictures), clip.tokenize(texts))
    torch.testing.assert_close(clip.encode_image(pictures), image, atol=1e-5, rtol=0)
    torch.testing.assert_close(clip.encode_text(texts), text, atol=1e-5, rtol=0)
    assert (image[0] - image[1]).norm() > 1e-3
    assert (text[0] - text[1]).norm() > 1e-3


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_folder_with_the_published_config_answers_as_in_transformers(tmp_path, name):
    model = make_folder(tmp_path, name)
    clip = load_clip(tmp_path)
    kind, side, patch = PUBLISHED[name]
    assert (clip.family, clip.image_size, clip.patch) == ({"clip": "vit"}.get(kind, kind), side, patch)
    assert_same_answers(clip, model)


def test_clips_texts_become_the_tokens_of_the_librarys_own_tokenizer(tmp_path):
    import transformers

    make_folder(tmp_path, "openai/clip-vit-base-patch32")
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    texts = ["a RED car", "cars"]
    ours = load_clip(tmp_path).tokenize(texts)
    assert ours.tolist() == theirs(texts, padding=True)["input_ids"]


SMALLEST = "google/siglip2-base-patch32-256"


def test_weights_in_shards_are_read_whole_and_missing_shards_are_counted(tmp_path):
    model = make_folder(tmp_path, SMALLEST, max_shard_size="60KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    assert_same_answers(load_clip(tmp_path), model)
    shards[1].unlink()
    with pytest.raises(ValueError, match=f"holds {len(shards) - 1} of the {len(shards)} files"):
        load_clip(tmp_path)


def test_half_precision_weights_are_computed_with_in_single_precision(tmp_path):
    model = make_folder(tmp_path, SMALLEST)
    weights = {name: value.half() for name, value in load_file(tmp_path / "model.safetensors").items()}
    save_file(weights, tmp_path / "model.safetensors")
    clip = load_clip(tmp_path)
    assert {value.dtype for value in clip.model.parameters()} == {torch.float32}
    model.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    assert_same_answers(clip, model)


PROOF = Path(tempfile.gettempdir()) / f"clip2scene-ran-code-{os.getpid()}"


class Attack:
    def __reduce__(self):
        return os.system, (f"touch {PROOF}",)


def test_a_bin_of_plain_tensors_is_read_and_one_with_a_program_in_it_is_refused(tmp_path):
    model = make_folder(tmp_path, SMALLEST)
    weights = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    torch.save(weights, tmp_path / "pytorch_model.bin")
    assert_same_answers(load_clip(tmp_path), model)
    torch.save({**weights, "logit_scale": Attack()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pytorch_model.bin (cannot be read|holds something else)"):
        load_clip(tmp_path)
    torch.save([1, 2], tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="pytorch_model.bin (cannot be read|holds something else)"):
        load_clip(tmp_path)
    assert not PROOF.exists()


def test_a_siglip_2_of_free_image_sizes_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    with pytest.raises(ValueError, match="NaFlex kind.*take a SigLIP 2 of a fixed image size"):
        load_clip(tmp_path)


def test_a_config_that_cannot_be_is_refused(tmp_path):
    make_folder(tmp_path, SMALLEST)
    config = published_config(SMALLEST)
    config["vision_config"]["num_attention_heads"] = 7
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="is no complete siglip model"):
        load_clip(tmp_path)


def test_where_a_folder_does_not_say_colours_are_those_of_its_family(tmp_path):
    grey = torch.full((3,), 0.5)
    (tmp_path / "siglip").mkdir()
    make_folder(tmp_path / "siglip", SMALLEST)
    clip = load_clip(tmp_path / "siglip")
    assert torch.equal(clip.mean, grey)
    assert torch.equal(clip.std, grey)
    mean, std = read_normalisation(tmp_path)
    assert (mean[0], std[0]) == (pytest.approx(0.4815, abs=1e-4), pytest.approx(0.2686, abs=1e-4))
    content = {"image_processor": {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}}
    (tmp_path / "processor_config.json").write_text(json.dumps(content))
    assert read_normalisation(tmp_path)[0].tolist() == pytest.approx([0.1, 0.2, 0.3])


NO_COLOURS = [
    "[]",
    '{"image_mean": [1, 2]}',
    '{"image_std": [0.5, 0, 0.5]}',
    '{"image_std": [0.5, true, 0.5]}',
]
NO_COLOURS += ['{"image_mean": [1e999, 0, 0]}', '{"image_mean": "grey"}']


@pytest.mark.parametrize("content", NO_COLOURS)
def test_colours_that_cannot_be_are_refused(tmp_path, content):
    (tmp_path / "preprocessor_config.json").write_text(content)
    with pytest.raises(ValueError, match="three numbers|settings by name"):
        read_normalisation(tmp_path)


def test_only_what_is_written_as_a_hub_id_goes_to_the_network(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda name, **_: asked.append(name) or str(tmp_path)
    )
    assert find_folder("hf:openai/clip-vit-base-patch16") == tmp_path
    assert model_files("hf:somebody/model.pt") == (tmp_path, None)
    assert asked == ["openai/clip-vit-base-patch16", "somebody/model.pt"]
    with pytest.raises(
        ValueError, match="no folder modles/clip.*is written with hf: before it: hf:modles/clip"
    ):
        find_folder("modles/clip")
    with pytest.raises(ValueError, match="no folder /nowhere/at/all; check the path$"):
        find_folder("/nowhere/at/all")
    with pytest.raises(ValueError, match="hf:clip could not be had.*not of the form owner/name"):
        find_folder("hf:clip")
    assert len(asked) == 2


def test_the_files_of_an_archive_are_itself_and_its_tokenizer(tmp_path):
    for name in ("one.pt", "two.pt", "vocab.json", "notes.txt"):
        (tmp_path / name).touch()
    assert model_files(tmp_path / "one.pt") == (tmp_path, [tmp_path / "one.pt", tmp_path / "vocab.json"])
    assert model_files(tmp_path) == (tmp_path, None)
    with pytest.raises(ValueError, match="is a file; name the model's folder"):
        model_files(tmp_path / "notes.txt")
