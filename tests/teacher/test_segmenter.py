import json
import shutil

import pytest
import torch
import torch.nn.functional as F
import transformers
from tests.tiny_towers import save_tiny_segformer

from clip2scene.teacher.clip.tokenizer import word_tokenizer
from clip2scene.teacher.score_maps import merge_scores
from clip2scene.teacher.segmenter import (
    SegmenterTeacher,
    load_segmenter,
    read_class_names,
    read_size,
)
from clip2scene.types import Camera, Pairs, PointCloud, Sample

NAMES = ("road", "car", "sky", "tree")
COLOURS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.25, 0.2, 0.3]}
WORDS = ("car", "tree", "road")


def save(model, folder, size):
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        if "norm" in name.lower() and name.endswith("weight"):
            torch.nn.init.ones_(parameter)
    if hasattr(model, "class_predictor"):  # so that queries differ, and several classes are seen
        decoder = model.model.transformer_module
        for each in (decoder.queries_features, decoder.queries_embedder):
            torch.nn.init.normal_(each.weight, std=5.0)
        torch.nn.init.normal_(model.class_predictor.weight, std=1.0)
        torch.nn.init.zeros_(model.class_predictor.bias)
    elif model.config.model_type == "oneformer":
        module = model.model.transformer_module
        torch.nn.init.normal_(module.queries_embedder.weight, std=5.0)
        torch.nn.init.normal_(module.decoder.class_embed.weight, std=2.0)
        torch.nn.init.zeros_(module.decoder.class_embed.bias)
    model.eval().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({**COLOURS, "size": size}))
    return folder


@pytest.fixture(scope="module")
def segformer(tmp_path_factory):
    return save_tiny_segformer(tmp_path_factory.mktemp("segformer"), NAMES, (64, 96))


@pytest.fixture(scope="module")
def mask2former(tmp_path_factory):
    torch.manual_seed(1)
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, num_queries=5,
    )  # fmt: skip
    config.id2label = dict(enumerate(NAMES))
    model = transformers.Mask2FormerForUniversalSegmentation(config)
    return save(model, tmp_path_factory.mktemp("mask2former"), {"shortest_edge": 64, "longest_edge": 128})


@pytest.fixture(scope="module")
def clipseg(tmp_path_factory):
    torch.manual_seed(2)
    common = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3}
    config = transformers.CLIPSegConfig(
        text_config={**common, "vocab_size": 7, "max_position_embeddings": 6, "eos_token_id": 6},
        vision_config={**common, "image_size": 32, "patch_size": 8},
        projection_dim=8, extract_layers=[0, 1, 2], reduce_dim=8, decoder_num_attention_heads=2,
        decoder_intermediate_size=8,
    )  # fmt: skip
    model = transformers.CLIPSegForImageSegmentation(config)
    folder = save(model, tmp_path_factory.mktemp("clipseg"), {"height": 48, "width": 48})
    words = word_tokenizer(WORDS, 6)
    words.no_padding()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[END]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


def picture(height=48, width=80, seed=0):
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed)).byte()


def prepared(image, size):
    """What an image processor does, step by step: to 0..1, colour by colour, then resized."""
    channels = [
        (image[..., number].float() / 255 - COLOURS["image_mean"][number]) / COLOURS["image_std"][number]
        for number in range(3)
    ]
    return F.interpolate(torch.stack(channels)[None], size, mode="bilinear", antialias=True)


@torch.no_grad()
def test_segformer_gives_the_classes_of_the_librarys_own_answer(segformer, exact_products):
    found = load_segmenter(segformer, ())
    assert (found.names, found.shares) == (NAMES, True)
    model = transformers.SegformerForSemanticSegmentation.from_pretrained(segformer).eval()
    logits = model(prepared(picture(), (64, 96))).logits
    scores = found(picture())
    assert scores.shape == (4, 16, 24)
    torch.testing.assert_close(scores.sum(0), torch.ones(16, 24))
    # post_process_semantic_segmentation, at the grid's own size
    assert torch.equal(scores.argmax(0), F.interpolate(logits, (16, 24), mode="bilinear")[0].argmax(0))
    assert len(scores.argmax(0).unique()) > 1


@torch.no_grad()
def test_mask2former_gives_the_classes_of_semantic_inference(mask2former, exact_products):
    found = load_segmenter(mask2former, ())
    assert found.working_size(48, 80) == (64, 96) and found.names == NAMES
    assert found.working_size(10, 80) == (32, 128)
    model = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(mask2former).eval()
    out = model(pixel_values=prepared(picture(), (64, 96)))
    masks, classes = out.masks_queries_logits[0].sigmoid(), out.class_queries_logits[0].softmax(-1)
    truth = torch.zeros(4, *masks.shape[1:])
    for query in range(5):
        for number in range(4):
            truth[number] += classes[query, number] * masks[query]
    scores = found(picture())
    assert torch.equal(scores.argmax(0), truth.argmax(0)) and float(scores.sum(0).max()) <= 1 + 1e-6
    assert len(scores.argmax(0).unique()) > 1
    torch.testing.assert_close(scores / scores.sum(0), truth / truth.sum(0))


@torch.no_grad()
def test_clipseg_gives_the_scores_of_one_pass_a_text(clipseg, exact_products):
    found = load_segmenter(clipseg, WORDS)
    assert (found.names, found.shares, found.size) == (WORDS, False, (48, 48))
    model = transformers.CLIPSegForImageSegmentation.from_pretrained(clipseg).eval()
    scores = found(picture())
    for number, token in enumerate((3, 5, 4)):  # in the vocabulary, words stand in order of the alphabet
        ids = torch.tensor([[2, token, 6]])
        logits = model(input_ids=ids, pixel_values=prepared(picture(), (48, 48))).logits
        torch.testing.assert_close(scores[number], logits.reshape(48, 48).sigmoid(), atol=1e-5, rtol=1e-4)
    assert float((scores[0] - scores[1]).abs().max()) > 0.01


def test_words_that_are_the_same_to_clipseg_are_refused(clipseg):
    with pytest.raises(ValueError, match="'car' and 'Car' are the same to the image-text model"):
        load_segmenter(clipseg, ("tree", "car", "Car"))


def test_images_are_resized_as_asked(segformer):
    assert load_segmenter(segformer, (), working_size=(100, 200)).size == (96, 192)
    assert load_segmenter(segformer, (), working_size=(100, 200))(picture()).shape == (4, 24, 48)


def test_a_teacher_gives_the_sum_of_shares_and_nothing_where_another_class_is_best(segformer):
    segmenter = load_segmenter(segformer, ())
    image = picture(64, 96)
    sample = Sample(
        "a",
        PointCloud(torch.zeros(1, 3), torch.zeros(1, 1)),
        (Camera("front", torch.eye(3), torch.eye(4), 96, 64),),
        lambda view: image,
    )
    class_of_source = torch.tensor([0, 1, -1, 0])  # two ours, the third none, the fourth the first again
    maps = SegmenterTeacher(segmenter, class_of_source, torch.eye(2))(sample)
    shares = segmenter(image)
    merged = torch.stack([shares[0] + shares[3], shares[1], shares[2]])
    torch.testing.assert_close(maps.scores[0], merged)
    logits = maps.logit_map(0, torch.eye(2))
    assert torch.equal(logits.any(0), merged[:2].amax(0) > merged[2])
    at = Pairs(torch.tensor([0]), torch.tensor([0]), torch.tensor([[1.5, 1.5]]), torch.ones(1))
    torch.testing.assert_close(maps.logits_at(at, torch.eye(2))[0], logits[:, 0, 0])


def test_shares_add_up_and_scores_do_not():
    scores = torch.tensor([0.2, 0.2, 0.5, 0.1]).view(4, 1, 1)
    classes = torch.tensor([0, 0, 1, -1])
    assert merge_scores(scores, classes, 2).flatten().tolist() == pytest.approx([0.2, 0.5, 0.1])
    assert merge_scores(scores, classes, 2, shares=True).flatten().tolist() == pytest.approx([0.4, 0.5, 0.1])


ABSURD = {
    "another kind": {"model_type": "vit"},
    "no kind": {"model_type": None},
    "channels beyond all measure": {"decoder_hidden_size": 1 << 40},
    "more channels": {"decoder_hidden_size": 16},
    "a million stages": {"num_encoder_blocks": 1_000_000},
    "one class more": {"id2label": {str(number): f"class {number}" for number in range(5)}},
    "classes with a gap": {"id2label": {"0": "road", "2": "car", "3": "sky", "4": "tree"}},
    "no classes": {"id2label": None},
    "classes that are no texts": {"id2label": {"0": 1, "1": 2, "2": 3, "3": 4}},
}


@pytest.mark.parametrize("change", ABSURD)
def test_a_config_is_not_believed_before_the_weights(segformer, tmp_path, change):
    folder = tmp_path / "absurd"
    shutil.copytree(segformer, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | ABSURD[change]))
    with pytest.raises(ValueError, match="absurd") as caught:
        load_segmenter(folder, ())
    assert "\n" not in str(caught.value)


def test_a_config_cannot_have_another_model_fetched(mask2former, tmp_path, monkeypatch):
    folder = tmp_path / "far"
    shutil.copytree(mask2former, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"backbone": "somebody/else", "use_pretrained_backbone": True, "use_timm_backbone": True}
    (folder / "config.json").write_text(json.dumps(config))
    image = picture()
    assert torch.equal(load_segmenter(folder, ())(image), load_segmenter(mask2former, ())(image))
    (folder / "config.json").write_text(json.dumps(config | {"backbone_config": {"model_type": "none such"}}))
    with pytest.raises(ValueError, match="far.*names no type of model that is known, but 'none such'"):
        load_segmenter(folder, ())


@pytest.mark.parametrize("size", [{"height": 0, "width": 5}, {"shortest_edge": 1e9}, "large", [512], True])
def test_a_size_must_be_one(tmp_path, size):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    with pytest.raises(
        ValueError, match="preprocessor_config.json gives .* as size; expected height and width"
    ):
        read_size(tmp_path)


def test_sizes_are_read_in_all_their_forms(tmp_path):
    forms = {"512": ((512, 512), 0, 0), '{"height": 3, "width": 4}': ((3, 4), 0, 0)}
    forms |= {'{"shortest_edge": 300, "longest_edge": 400}': (None, 300, 400), "null": (None, 800, 1600)}
    forms |= {'{"shortest_edge": 640, "longest_edge": null}': (None, 640, 1333)}
    for text, expected in forms.items():
        (tmp_path / "preprocessor_config.json").write_text(f'{{"size": {text}}}')
        assert read_size(tmp_path) == expected


def test_names_stand_in_the_order_of_their_numbers(tmp_path):
    content = {"id2label": {"1": "car ", "0": "road"}}
    assert read_class_names(content, tmp_path) == ("road", "car")


def test_damaged_weights_are_refused(segformer, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(segformer, folder)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="damaged"):
        load_segmenter(folder, ())
