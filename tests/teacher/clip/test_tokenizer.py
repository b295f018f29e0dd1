import json

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from clip2scene.teacher.clip.tokenizer import reading_of_folder, siglip_spelling

TEXTS = ["A Car.", "a car", "the  STREET's car!", "café", "car " * 9]


def write_siglip(folder, end=True):
    """Write a tokenizer as the first SigLIP's folders hold it: pieces that are likeliest together."""
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    vocabulary += [("▁a", -2.0), ("▁car", -2.0), ("▁the", -2.5), ("▁street", -3.0), ("s", -4.0)]
    vocabulary += [(letter, -8.0) for letter in "▁abcdefghijklmnopqrtuvwxyz.!'"]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    if end:
        special = [("</s>", 1)]
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=special)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "SiglipTokenizer", "do_lower_case": True, "model_max_length": 64}
    added = {"eos_token": {"content": "</s>", "__type": "AddedToken"}, "pad_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **added}))


def write_siglip2(folder, kind="GemmaTokenizer", bos=False):
    """Write a tokenizer as SigLIP 2's folders hold it: Gemma's, merges over bytes."""
    letters = "▁abcdefghijklmnopqrstuvwxyzACEST.!'"
    tokens = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        *letters,
        *(f"<0x{byte:02X}>" for byte in range(256)),
    ]
    tokens += ["ca", "car", "▁car"]
    numbers = {token: number for number, token in enumerate(tokens)}
    merges = [("c", "a"), ("ca", "r"), ("▁", "car")]
    tokenizer = Tokenizer(models.BPE(numbers, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    special = [("<eos>", 1), ("<bos>", 2)]
    single = "<bos> $A <eos>" if bos else "$A <eos>"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=special)
    tokenizer.enable_padding(length=12, pad_id=0, pad_token="<pad>")
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": kind, "add_bos_token": bos, "add_eos_token": True, "padding_side": "left"}
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **names}))


def test_a_siglips_texts_are_lower_case_without_punctuation_end_once_and_are_padded(tmp_path):
    write_siglip(tmp_path)
    tokenize, _ = reading_of_folder(tmp_path, "siglip", 6, 400)
    rows = tokenize(["A Car.", "the  STREET's"])
    assert rows.tolist() == [[3, 4, 1, 1, 1, 1], [5, 6, 7, 1, 1, 1]]
    assert tokenize(["car " * 9]).tolist() == [[4, 4, 4, 4, 4, 1]]


def test_a_siglips_texts_end_even_if_the_tokenizer_does_not_end_them(tmp_path):
    write_siglip(tmp_path, end=False)
    tokenize, _ = reading_of_folder(tmp_path, "siglip", 5, 400)
    assert tokenize(["a car"]).tolist() == [[3, 4, 1, 1, 1]]


def test_what_a_siglip_has_no_token_for_is_named(tmp_path):
    write_siglip(tmp_path)
    _, unknown_words = reading_of_folder(tmp_path, "siglip", 6, 400)
    assert unknown_words("a car!?") == []
    assert unknown_words("a 東 car") == ["東"]


@pytest.mark.parametrize("bos", [False, True])
def test_a_siglip_2s_texts_become_the_tokens_of_the_librarys_own_class(tmp_path, bos):
    import transformers

    (tmp_path / "theirs").mkdir()
    write_siglip2(tmp_path / "theirs", "Siglip2Tokenizer")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs", padding_side="right")
    if type(theirs).__name__ != "Siglip2Tokenizer":
        pytest.skip("this version of transformers has no tokenizer of SigLIP 2's own")
    write_siglip2(tmp_path, bos=bos)
    tokenize, _ = reading_of_folder(tmp_path, "siglip", 12, 400)
    expected = theirs(TEXTS, padding="max_length", truncation=True, max_length=12)["input_ids"]
    assert tokenize(TEXTS).tolist() == expected
    assert (tokenize(["a car"]) == tokenize(["A CAR"])).all()


def test_a_text_of_a_siglip_2_ends_once_on_the_left_of_its_padding(tmp_path):
    write_siglip2(tmp_path)
    tokenize, unknown_words = reading_of_folder(tmp_path, "siglip", 8, 400)
    rows = tokenize(["A car"])
    assert rows.shape == (1, 8)
    assert (rows == 1).sum() == 1
    assert rows[0, -4:].tolist() == [0, 0, 0, 0]
    assert unknown_words("東京") == []


def test_spelling_follows_the_end_token():
    assert siglip_spelling("</s>")("It's a T-junction;  really") == "its a tjunction really"
    assert siglip_spelling("<eos>")("It's  A") == "it's  a"
    assert siglip_spelling("[END]")("It's  A") == "It's  A"


def spoil(name, content):
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize(
    "fault",
    [
        lambda folder: (folder / "tokenizer.json").unlink(),
        spoil("tokenizer.json", "[]"),
        spoil("tokenizer_config.json", "{"),
        spoil("tokenizer_config.json", "[]"),
    ],
)
def test_a_folder_without_a_readable_tokenizer_is_refused(tmp_path, fault):
    write_siglip(tmp_path)
    fault(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(ValueError, match="holds no tokenizer that can be read .* copy tokenizer.json"):
        reading_of_folder(tmp_path, "siglip", 6, 400)


def test_tokens_are_whole_numbers(tmp_path):
    write_siglip(tmp_path)
    assert reading_of_folder(tmp_path, "siglip", 6, 400)[0](TEXTS).dtype == torch.int64


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    write_siglip2(tmp_path)
    with pytest.raises(ValueError, match="tokens, its model 64; take both from one model"):
        reading_of_folder(tmp_path, "siglip", 12, 64)
