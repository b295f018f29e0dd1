import json
import shutil

import pytest
import torch
import torch.nn.functional as F
import transformers
from tests.teacher.test_segmenter import COLOURS, NAMES, picture, prepared, save

from clip2scene.teacher.clip.tokenizer import word_tokenizer
from clip2scene.teacher.segmenter import load_segmenter

TASK_LENGTH = 9


@pytest.fixture(scope="module")
def oneformer(tmp_path_factory):
    torch.manual_seed(1)
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.OneFormerConfig(
        backbone_config=swin, num_queries=5, conv_dim=32, mask_dim=32, hidden_dim=32, is_training=True,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=3,
        num_attention_heads=2, query_dec_layers=1, task_seq_len=TASK_LENGTH, text_encoder_width=64,
        text_encoder_context_length=TASK_LENGTH, text_encoder_num_layers=1, text_encoder_vocab_size=8,
        text_encoder_n_ctx=1,
    )  # fmt: skip
    config.id2label = dict(enumerate(NAMES))
    model = transformers.OneFormerForUniversalSegmentation(config)
    folder = save(model, tmp_path_factory.mktemp("oneformer"), {"shortest_edge": 64, "longest_edge": 128})
    words = word_tokenizer(("the", "task", "is", "semantic"), TASK_LENGTH)
    words.no_padding()
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "eos_token": "[END]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


def save_eomt(kind, folder):
    torch.manual_seed(2)
    sizes = {
        "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 64,
        "num_blocks": 2, "patch_size": 16, "num_queries": 5, "num_register_tokens": 1,
        "num_upscale_blocks": 1,
    }  # fmt: skip
    config = getattr(transformers, f"{kind}Config")(**sizes)
    config.id2label = dict(enumerate(NAMES))
    model = getattr(transformers, f"{kind}ForUniversalSegmentation")(config)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        if "norm" in name and name.endswith("weight"):
            torch.nn.init.ones_(parameter)
    torch.nn.init.normal_(model.query.weight, std=5.0)
    torch.nn.init.normal_(model.class_predictor.weight, std=2.0)
    torch.nn.init.zeros_(model.class_predictor.bias)
    model.attn_mask_probs.zero_()  # masks in attention are gone when training is over
    model.eval().save_pretrained(folder)
    settings = {**COLOURS, "size": {"shortest_edge": 64, "longest_edge": None}, "do_split_image": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module", params=["Eomt", "EomtDinov3"])
def eomt(request, tmp_path_factory):
    return save_eomt(request.param, tmp_path_factory.mktemp(request.param))


def weigh_slowly(out):
    """Sum the masks of all queries, each weighted by its class probabilities."""
    masks, classes = out.masks_queries_logits[0].sigmoid(), out.class_queries_logits[0].softmax(-1)
    total = torch.zeros(len(NAMES), *masks.shape[1:])
    for query in range(len(masks)):
        for number in range(len(NAMES)):
            total[number] += classes[query, number] * masks[query]
    return total


@torch.no_grad()
def test_oneformer_is_told_its_task_in_the_tokens_of_its_folder(oneformer, exact_products):
    found = load_segmenter(oneformer, ())
    assert found.names == NAMES and found.shares
    (task,) = found.score.task.int().tolist()
    assert len(set(task[1:5])) == 4 and task[5] == 7 and task[6:] == [0, 0, 0], "four words, an end, nothing"
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(oneformer)
    ids = tokenizer("the task is semantic")["input_ids"]
    assert task[: len(ids)] == ids
    folder = {"pretrained_model_name_or_path": oneformer, "is_training": False}  # else it drops out at random
    model = transformers.OneFormerForUniversalSegmentation.from_pretrained(**folder).eval()
    out = model(prepared(picture(), (64, 96)), task_inputs=torch.tensor([task]).float())
    truth, scores = weigh_slowly(out), found(picture())
    assert torch.equal(scores.argmax(0), truth.argmax(0))
    torch.testing.assert_close(scores / scores.sum(0), truth / truth.sum(0))
    other = model(prepared(picture(), (64, 96)), task_inputs=torch.zeros(1, TASK_LENGTH))
    assert not torch.allclose(weigh_slowly(other), truth, atol=1e-3), "the task matters"


def test_oneformer_without_a_tokenizer_is_refused(oneformer, tmp_path):
    folder = shutil.copytree(oneformer, tmp_path / "mute")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="mute holds no tokenizer: vocab.json and merges.txt, or tokenizer"):
        load_segmenter(folder, ())


@torch.no_grad()
@pytest.mark.parametrize(
    ("height", "width", "starts"), [(50, 50, [0]), (60, 120, [0, 64]), (48, 66, [0, 32]), (120, 60, [0, 64])]
)
def test_eomt_averages_squares_along_the_longer_side(eomt, exact_products, height, width, starts):
    found = load_segmenter(eomt, (), working_size=(32, 32))
    assert found.names == NAMES and found.shares
    size = found.working_size(height, width)
    assert min(size) == 64 and max(size) == starts[-1] + 64
    pixels = prepared(picture(height, width), size)
    kind = json.loads((eomt / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, kind).from_pretrained(eomt).eval()
    cells, per_cell = [side // 8 for side in size], 8  # 4 patches a side, doubled
    total, times = torch.zeros(len(NAMES), *cells), torch.zeros(cells)
    for start in starts:
        part = slice(start, start + 64)
        square = pixels[:, :, part] if height > width else pixels[..., part]
        scores, first = weigh_slowly(model(pixel_values=square)), start // per_cell
        where = (
            (slice(first, first + 8), slice(None))
            if height > width
            else (slice(None), slice(first, first + 8))
        )
        total[(slice(None), *where)] += scores
        times[where] += 1
    truth, scores = total / times, found(picture(height, width))
    assert scores.shape == truth.shape and float(scores.sum(0).max()) <= 1 + 1e-6
    torch.testing.assert_close(scores / scores.sum(0), truth / truth.sum(0))
    assert len(scores.argmax(0).unique()) > 1


@torch.no_grad()
def test_eomt_gives_the_classes_that_its_published_merging_gives(eomt, exact_products):
    found, (height, width) = load_segmenter(eomt, ()), (60, 90)
    size = found.working_size(height, width)
    kind = json.loads((eomt / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, kind).from_pretrained(eomt).eval()
    pixels = prepared(picture(height, width), size)
    total, times = torch.zeros(len(NAMES), *size), torch.zeros(size)
    for start in (0, size[1] - 64):
        out = model(pixel_values=pixels[..., start : start + 64])
        masks = F.interpolate(out.masks_queries_logits, size=(64, 64), mode="bilinear")[0].sigmoid()
        classes = out.class_queries_logits[0].softmax(-1)[:, :-1]
        total[..., start : start + 64] += torch.einsum("qc,qhw->chw", classes, masks)
        times[:, start : start + 64] += 1
    truth = (total / times).argmax(0)
    mine = F.interpolate(found(picture(height, width))[None], size=size, mode="bilinear")[0].argmax(0)
    assert (mine == truth).float().mean() > 0.9


def test_a_square_must_be_one(eomt, tmp_path):
    folder = shutil.copytree(eomt, tmp_path / "oblong")
    config = json.loads((folder / "config.json").read_text())
    for side in ([64, 96], 100):
        (folder / "config.json").write_text(json.dumps(config | {"image_size": side}))
        with pytest.raises(ValueError, match="oblong"):
            load_segmenter(folder, ())
