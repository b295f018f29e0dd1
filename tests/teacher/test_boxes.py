import json
import shutil

import pytest
import torch
import torch.nn.functional as F
import transformers
from tests.teacher.test_segmenter import picture

from clip2scene.teacher import boxes
from clip2scene.teacher.boxes import SENTENCE, load_box_segmenter
from clip2scene.teacher.clip.tokenizer import word_tokenizer
from clip2scene.teacher.segmenter import SegmenterTeacher, load_segmenter
from clip2scene.types import Camera, Pairs, PointCloud, Sample

WORDS = ("car", "tree", "road")
MEAN, STD = {"detector": [0.4, 0.5, 0.6], "masks": [0.5, 0.4, 0.3]}, [0.25, 0.2, 0.3]
SIDE = {"detector": 48, "masks": 64}


def write_colours(folder, which):
    settings = {"image_mean": MEAN[which], "image_std": STD}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def spread(model, std=0.3):
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=std)
        if "norm" in name and name.endswith("weight"):
            torch.nn.init.ones_(parameter)


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    torch.manual_seed(3)
    common = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = transformers.Owlv2Config(
        text_config={**common, "vocab_size": 10, "max_position_embeddings": 8},
        vision_config={**common, "image_size": SIDE["detector"], "patch_size": 8},
        projection_dim=16,
    )
    model = transformers.Owlv2ForObjectDetection(config)
    spread(model)
    folder = tmp_path_factory.mktemp("detector")
    model.eval().save_pretrained(folder)
    words = word_tokenizer(("a", "photo", "of", *WORDS), 8)
    words.no_padding()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[END]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return write_colours(folder, "detector")


def sam_config(kind=transformers.Sam2Config):
    hiera = {
        "hidden_size": 8, "num_attention_heads": 1, "image_size": [64, 64], "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 1, 1, 1],
        "window_size_per_stage": [4, 2, 2, 2], "global_attention_blocks": [3],
        "window_positional_embedding_background_size": [4, 4], "model_type": "sam2_hiera_det_model",
    }  # fmt: skip
    vision = {
        "backbone_config": hiera, "backbone_channel_list": [64, 32, 16, 8], "fpn_hidden_size": 16,
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "model_type": "sam2_vision_model",
    }  # fmt: skip
    prompts = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16}
    return kind(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    torch.manual_seed(4)
    model = transformers.Sam2Model(sam_config())
    spread(model)
    folder = tmp_path_factory.mktemp("masks")
    model.eval().save_pretrained(folder)
    return write_colours(folder, "masks")


def prepared(pixels, which):
    """Resize to the network's square, and normalise colour by colour."""
    square = F.interpolate(pixels, (SIDE[which], SIDE[which]), mode="bilinear", antialias=True)
    colours = [(square[:, number] - MEAN[which][number]) / STD[number] for number in range(3)]
    return torch.stack(colours, dim=1)


def found_by_the_library(folder, pixels, height, width):
    """Boxes of OWLv2's whole forward pass, as its processor makes them: score, word, corners in pixels."""
    model = transformers.Owlv2ForObjectDetection.from_pretrained(folder).eval()
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    tokens = tokenizer([SENTENCE.format(word) for word in WORDS], padding="max_length", max_length=8)
    longer = max(height, width)
    square = torch.zeros(1, 3, longer, longer)
    square[..., :height, :width] = pixels
    out = model(
        input_ids=torch.tensor(tokens["input_ids"]),
        attention_mask=torch.tensor(tokens["attention_mask"]),
        pixel_values=prepared(square, "detector"),
    )
    best = out.logits[0].max(1)
    x, y, w, h = out.pred_boxes[0].unbind(1)
    corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1) * longer
    corners = torch.stack(
        [corners[:, number].clamp(0, (width, height)[number % 2]) for number in range(4)], dim=1
    )
    kept = best.values.sigmoid() > boxes.LEAST_SCORE
    return best.values.sigmoid()[kept], best.indices[kept], corners[kept]


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(40, 64), (64, 40)])
def test_boxes_and_masks_are_those_of_the_librarys_models(detector, masks, exact_products, height, width):
    found = load_box_segmenter(detector, masks, WORDS)
    image = picture(height, width)
    pixels = image.permute(2, 0, 1)[None].float() / 255
    scores, words, corners = found_by_the_library(detector, pixels, height, width)
    assert len(scores) > 3 and len(words.unique()) > 1
    mine = found.find_boxes(pixels)
    order = scores.argsort(descending=True)
    torch.testing.assert_close(mine[0], scores[order])
    assert torch.equal(mine[1], words[order])
    shape = torch.tensor([width, height, width, height])
    torch.testing.assert_close(mine[2] * shape, corners[order], atol=1e-3, rtol=1e-4)
    model = transformers.Sam2Model.from_pretrained(masks).eval()
    boxes_of_64 = corners * SIDE["masks"] / shape
    drawn = model(
        pixel_values=prepared(pixels, "masks"), input_boxes=boxes_of_64[None], multimask_output=False
    ).pred_masks[0, :, 0]
    truth = torch.zeros(len(WORDS), 16, 16)
    for score, word, mask in zip(scores, words, drawn, strict=True):
        truth[word] = torch.maximum(truth[word], torch.where(mask >= 0, score * mask.sigmoid(), 0.0))
    result = found(image)
    torch.testing.assert_close(result, truth, atol=1e-4, rtol=1e-3)
    assert (found.names, found.shares) == (WORDS, False) and bool((result > 0.05).any())
    assert bool((result == 0).any()), "nothing is said where no mask is"


def test_a_teacher_says_nothing_outside_of_all_masks(detector, masks, monkeypatch):
    image = picture(48, 64)
    camera = Camera("front", torch.eye(3), torch.eye(4), 64, 48)
    sample = Sample("a", PointCloud(torch.zeros(1, 3), torch.zeros(1, 1)), (camera,), lambda view: image)
    teacher = SegmenterTeacher(
        load_segmenter(detector, WORDS, masks=str(masks)), torch.arange(3), torch.eye(3)
    )
    maps = teacher(sample)
    logits = maps.logit_map(0, torch.eye(3))
    assert torch.equal(logits.any(0), maps.scores[0].amax(0) > 0)
    assert 0 < int(logits.any(0).sum()) < logits[0].numel()
    monkeypatch.setattr(boxes, "LEAST_SCORE", 1.0)  # no box at all
    nothing = teacher(sample)
    assert nothing.scores[0].shape == (4, 16, 16) and not nothing.scores[0].any()
    pairs = Pairs(torch.tensor([0]), torch.tensor([0]), torch.tensor([[1.5, 1.5]]), torch.ones(1))
    assert not nothing.logits_at(pairs, torch.eye(3)).any()


def test_the_surest_boxes_are_taken(detector, masks, monkeypatch):
    found = load_box_segmenter(detector, masks, WORDS)
    pixels = picture(48, 48).permute(2, 0, 1)[None].float() / 255
    every = found.find_boxes(pixels)
    monkeypatch.setattr(boxes, "MOST_BOXES", 2)
    assert all(
        torch.equal(some, each[:2]) for some, each in zip(found.find_boxes(pixels), every, strict=True)
    )


def test_a_sam_2_for_video_draws_on_images(masks, tmp_path):
    torch.manual_seed(4)
    config = sam_config(transformers.Sam2VideoConfig)
    transformers.Sam2VideoModel(config).eval().save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["model_type"] == "sam2_video"
    folder = shutil.copytree(masks, tmp_path / "video")
    parts = {name: value for name, value in content.items() if name.endswith("_config")}
    (folder / "config.json").write_text(json.dumps({"model_type": "sam2_video", **parts}))
    made = boxes._config(folder, "sam2")
    assert made["prompt_encoder_config"]["model_type"] == "sam2_prompt_encoder"
    assert boxes.load_vision_model(folder, made, "Sam2Model").backbone_feature_sizes[-1] == [4, 4]


def test_models_that_do_not_fit_are_refused(detector, masks, tmp_path):
    with pytest.raises(ValueError, match="'owlv2', and no model is named for its masks; boxes of an OWLv2"):
        load_segmenter(detector, WORDS)
    with pytest.raises(ValueError, match="describes a model of type 'owlv2', expected sam2; name the folder"):
        load_segmenter(detector, WORDS, masks=str(detector))
    with pytest.raises(ValueError, match=f"'sam2', and {masks} is named for its masks"):
        load_segmenter(masks, WORDS, masks=str(masks))
    with pytest.raises(ValueError, match="'car' and 'Car' are the same to the image-text model"):
        load_box_segmenter(detector, masks, ("car", "Car"))
    folder = shutil.copytree(masks, tmp_path / "bent")
    config = json.loads((folder / "config.json").read_text())
    config["prompt_encoder_config"]["image_size"] = 128
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="bent/config.json gives 128 as image_size, and backbone_feature_si"):
        load_box_segmenter(detector, folder, WORDS)


@pytest.mark.parametrize("which", ["OWLv2", "SAM 2"])
def test_weights_that_give_no_numbers_are_told_of(detector, masks, which):
    found = load_box_segmenter(detector, masks, WORDS)
    part = found.detector.class_head.logit_shift if which == "OWLv2" else found.masks.mask_decoder
    for parameter in part.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=f"{which} gives numbers of an image that are not finite"):
        found(picture(48, 48))
