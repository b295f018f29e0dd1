import gzip
import itertools
import json
import pickle

import pytest
import torch
import transformers
from tests import openai_clip
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from clip2scene.runs.create import create_or_resume
from clip2scene.runs.run import open_run
from clip2scene.teacher.clip.folder import OPENAI_VOCABULARY
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.clip.tokenizer import (
    WholeTokenizer,
    clip_tokenizer,
    open_folder_tokenizer,
    read_clip_tokenizer,
    read_openai_merges,
    spell_for_siglip,
    vocabulary_of,
    word_tokenizer,
)

SIGLIP = transformers.SiglipConfig()
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
    reader = open_folder_tokenizer(tmp_path, SIGLIP, length=6, num_tokens=400)
    rows = reader.tokenize(["A Car.", "the  STREET's"])
    assert rows.tolist() == [[3, 4, 1, 1, 1, 1], [5, 6, 7, 1, 1, 1]]
    assert reader.tokenize(["car " * 9]).tolist() == [[4, 4, 4, 4, 4, 1]]


def test_a_siglips_texts_end_even_if_the_tokenizer_does_not_end_them(tmp_path):
    write_siglip(tmp_path, end=False)
    reader = open_folder_tokenizer(tmp_path, SIGLIP, length=5, num_tokens=400)
    assert reader.tokenize(["a car"]).tolist() == [[3, 4, 1, 1, 1]]


def test_what_a_siglip_has_no_token_for_is_named(tmp_path):
    write_siglip(tmp_path)
    reader = open_folder_tokenizer(tmp_path, SIGLIP, length=6, num_tokens=400)
    assert reader.unknown_words("a car!?") == []
    assert reader.unknown_words("a 東 car") == ["東"]


@pytest.mark.parametrize("bos", [False, True])
def test_a_siglip_2s_texts_become_the_tokens_of_the_librarys_own_class(tmp_path, bos):
    (tmp_path / "theirs").mkdir()
    write_siglip2(tmp_path / "theirs", "Siglip2Tokenizer")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs", padding_side="right")
    if type(theirs).__name__ != "Siglip2Tokenizer":
        pytest.skip("this version of transformers has no tokenizer of SigLIP 2's own")
    write_siglip2(tmp_path, bos=bos)
    reader = open_folder_tokenizer(tmp_path, SIGLIP, length=12, num_tokens=400)
    expected = theirs(TEXTS, padding="max_length", truncation=True, max_length=12)["input_ids"]
    assert reader.tokenize(TEXTS).tolist() == expected
    assert (reader.tokenize(["a car"]) == reader.tokenize(["A CAR"])).all()


def test_a_text_of_a_siglip_2_ends_once_on_the_left_of_its_padding(tmp_path):
    write_siglip2(tmp_path)
    reader = open_folder_tokenizer(tmp_path, SIGLIP, length=8, num_tokens=400)
    rows = reader.tokenize(["A car"])
    assert rows.shape == (1, 8)
    assert (rows == 1).sum() == 1
    assert rows[0, -4:].tolist() == [0, 0, 0, 0]
    assert reader.unknown_words("東京") == []


def test_spelling_follows_the_end_token():
    assert spell_for_siglip("It's a T-junction;  really", "</s>") == "its a tjunction really"
    assert spell_for_siglip("It's  A", "<eos>") == "it's  a"
    assert spell_for_siglip("It's  A", "[END]") == "It's  A"


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
    with pytest.raises(ValueError, match="holds no tokenizer.* copy tokenizer.json"):
        open_folder_tokenizer(tmp_path, SIGLIP, length=6, num_tokens=400)


@pytest.mark.parametrize("left", [[], ["vocab.json"], ["merges.txt", "tokenizer_config.json"]])
def test_a_model_without_a_tokenizer_says_which_files_are_missing(tmp_path, left):
    for name in left:
        (tmp_path / name).write_text("{}")
    config = transformers.CLIPConfig()
    with pytest.raises(ValueError, match="vocab.json and merges.txt, or tokenizer.json, are missing"):
        open_folder_tokenizer(tmp_path, config, length=77, num_tokens=100)


def test_tokens_are_whole_numbers(tmp_path):
    write_siglip(tmp_path)
    assert (
        open_folder_tokenizer(tmp_path, SIGLIP, length=6, num_tokens=400).tokenize(TEXTS).dtype == torch.int64
    )


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    write_siglip2(tmp_path)
    with pytest.raises(ValueError, match="tokens, its model 64; take both from one model"):
        open_folder_tokenizer(tmp_path, SIGLIP, length=12, num_tokens=64)


def test_a_reader_of_texts_can_be_sent_to_another_process(tmp_path):
    write_siglip(tmp_path)
    readers = [
        open_folder_tokenizer(tmp_path, SIGLIP, length=6, num_tokens=400),
        WholeTokenizer(word_tokenizer(["a", "car"], 8)),
        WholeTokenizer(clip_tokenizer(vocabulary_of(MERGES), MERGES, 77)),
    ]
    for reader in readers:
        copy = pickle.loads(pickle.dumps(reader))
        assert torch.equal(copy.tokenize(TEXTS), reader.tokenize(TEXTS))
        assert copy.unknown_words("a zeppelin") == reader.unknown_words("a zeppelin")


# Frequent first, as in OpenAI's list; "</w>" ends a word.
MERGES = """i n|t h|a n|r e|th e</w>|a r</w>|c ar</w>|s t|st re|e e|stre e|stree t</w>|t re|tre e|tree s</w>
an d</w>|1 2|p h|o t|ph ot|phot o</w>|' s</w>|! !</w>|c a|ca f|caf Ã|cafÃ ©</w>""".replace("\n", "|")
MERGES = [tuple(line.split()) for line in MERGES.split("|") if len(line.split()) == 2]
CLIP_TEXTS = [
    "a photo of the car",
    "  The   STREET's  trees,and\tcars!! ",
    "café naïve 12 trees2 don't",
    "東京 🚗 ok",
    "",
    "it's a <|endoftext|> trick",
]
NUM_TOKENS = 512 + len(MERGES) + 2


def write_openai(folder, merges=MERGES):
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges), ""]
    with gzip.open(folder / OPENAI_VOCABULARY, "wt", encoding="utf-8") as stream:
        stream.write("\n".join(lines))


def write_hugging_face(folder):
    (folder / "vocab.json").write_text(json.dumps(vocabulary_of(MERGES)), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in MERGES)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_whole(folder):
    clip_tokenizer(vocabulary_of(MERGES), MERGES, 77).save(str(folder / "tokenizer.json"))


def merge_slowly(word):
    """Merge a word's bytes: of all neighbours, always those that stand first in the list."""
    letters = {number: letter for letter, number in itertools.islice(vocabulary_of([]).items(), 256)}
    order = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order += [byte for byte in range(256) if byte not in order]
    pieces = [letters[order.index(byte)] for byte in word.encode()]
    pieces[-1] += "</w>"
    while True:
        pairs = [pair for pair in itertools.pairwise(pieces) if pair in MERGES]
        if not pairs:
            return pieces
        best = min(pairs, key=MERGES.index)
        merged, at = [], 0
        while at < len(pieces):
            if tuple(pieces[at : at + 2]) == best:
                merged.append("".join(best))
                at += 2
            else:
                merged.append(pieces[at])
                at += 1
        pieces = merged


def test_words_are_merged_as_the_plain_rule_says():
    tokenizer = clip_tokenizer(vocabulary_of(MERGES), MERGES, 77)
    words = ["a", "photo", "the", "street", "trees", "treesand", "café", "naïve", "東京", "ininth"]
    for word in words:
        assert tokenizer.encode(word).tokens == ["<|startoftext|>", *merge_slowly(word), "<|endoftext|>"]
    assert tokenizer.encode("The  street").tokens[1:-1] == ["the</w>", "street</w>"]


@pytest.mark.parametrize("write", [write_openai, write_hugging_face, write_whole])
def test_texts_become_the_tokens_that_transformers_makes_of_them(tmp_path, write):
    (tmp_path / "theirs").mkdir()
    write_hugging_face(tmp_path / "theirs")
    theirs = transformers.CLIPTokenizer.from_pretrained(tmp_path / "theirs")
    write(tmp_path)
    ours = read_clip_tokenizer(tmp_path, num_tokens=NUM_TOKENS, context_length=77)
    for text in CLIP_TEXTS:
        assert ours.encode(text).ids == theirs(text)["input_ids"]


def test_the_tokens_are_numbered_as_openai_does():
    numbers = vocabulary_of(MERGES)
    assert len(numbers) == NUM_TOKENS
    assert [numbers[token] for token in ("!", "a", "!</w>", "a</w>")] == [0, 64, 256, 320]
    assert (numbers["in"], numbers["<|startoftext|>"], numbers["<|endoftext|>"]) == (
        512,
        NUM_TOKENS - 2,
        NUM_TOKENS - 1,
    )


def test_only_as_many_merges_are_used_as_openais_models_have_tokens_for(tmp_path):
    long = [(f"a{number}", "b") for number in range(50_000)]
    write_openai(tmp_path, long)
    merges = read_openai_merges(tmp_path / OPENAI_VOCABULARY)
    assert merges == long[: 49408 - 512 - 2]


def test_long_texts_are_cut_and_still_end(tmp_path):
    write_openai(tmp_path)
    tokenizer = read_clip_tokenizer(tmp_path, num_tokens=NUM_TOKENS, context_length=8)
    ids = tokenizer.encode("the car " * 20).ids
    assert len(ids) == 8
    assert ids[-1] == NUM_TOKENS - 1
    short, long = tokenizer.encode_batch(["car", "the car and trees"])
    assert len(short.ids) == len(long.ids)
    assert short.ids[3:] == [0, 0, 0]


def test_a_tokenizer_that_is_missing_damaged_or_of_another_model_is_refused(tmp_path):
    def read():
        return read_clip_tokenizer(tmp_path, num_tokens=NUM_TOKENS, context_length=77)

    with pytest.raises(
        ValueError, match="put bpe_simple_vocab_16e6.txt.gz of OpenAI's CLIP beside the weights"
    ):
        read()
    write_openai(tmp_path, MERGES[:-1])
    with pytest.raises(ValueError, match=f"has {NUM_TOKENS - 1} tokens, the model {NUM_TOKENS}"):
        read()
    write_openai(tmp_path, [("a", "b", "c")])
    with pytest.raises(ValueError, match="two pieces on every line"):
        read()
    (tmp_path / OPENAI_VOCABULARY).write_bytes(b"\x1f\x8bnoise")
    with pytest.raises(ValueError, match="cannot be read"):
        read()
    write_hugging_face(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(ValueError, match="lacks <|startoftext|>"):
        read()
    (tmp_path / "vocab.json").write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1}))
    with pytest.raises(ValueError, match="do not fit each other"):
        read()
    (tmp_path / "vocab.json").write_text("[]")
    with pytest.raises(ValueError, match="must number the tokens"):
        read()
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ValueError, match="is no tokenizer"):
        read()


@pytest.mark.parametrize(
    ("family", "patch", "sizes"),
    [
        ("resnet", 32, dict(image=64, vision=(1, 1, 1, 1), width=16)),
        ("vit", 8, dict(image=32, vision=1, width=64, patch=8)),
    ],
)
def test_an_archive_with_a_vocabulary_beside_it_is_a_teacher(tmp_path, family, patch, sizes):
    truth = openai_clip.make(embed=32, text=64, tokens=NUM_TOKENS, context=16, layers=1, **sizes)
    path = openai_clip.save_archive(truth, tmp_path / "model.pt")
    write_openai(tmp_path)
    clip = load_clip(path)
    assert (clip.family, clip.patch, clip.image_size) == (family, patch, sizes["image"])
    texts = ["a photo of the car", "a café", "trees"]
    tokens = torch.zeros(3, 16, dtype=torch.long)
    for row, text in enumerate(texts):
        ids = clip.tokenize([text])[0]
        tokens[row, : len(ids)] = ids
    images = torch.randint(0, 256, (2, sizes["image"], sizes["image"], 3)).byte()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        expected = (
            truth.encode_text(tokens),
            truth.encode_image((images.permute(0, 3, 1, 2) / 255 - mean) / std),
        )
    for ours, theirs in zip((clip.encode_text(texts), clip.encode_image(images)), expected, strict=True):
        torch.testing.assert_close(ours, torch.nn.functional.normalize(theirs, dim=1), atol=1e-5, rtol=1e-5)
    assert clip.unknown_words("zeppelin 東京") == []


def test_a_run_knows_its_archive_again_whatever_lies_beside_it(tmp_path, tiny_toytown, tiny_recipe):
    sizes = dict(image=32, vision=1, width=64, patch=8)
    truth = openai_clip.make(embed=32, text=64, tokens=NUM_TOKENS, context=16, layers=1, **sizes)
    path = openai_clip.save_archive(truth, tmp_path / "model.pt")
    write_openai(tmp_path)
    run = tmp_path / "run"
    create_or_resume(tiny_recipe, data_root=tiny_toytown, out=run, teacher_weights=str(path))
    (tmp_path / "other.pt").write_bytes(b"another model")
    words = open_run(run).text_space().encode_text(["a car"])
    torch.testing.assert_close(words, load_clip(path).encode_text(["a car"]))
    write_openai(tmp_path, [("a", "b"), *MERGES[1:]])
    with pytest.raises(ValueError, match="is not the one that .* was trained on"):
        open_run(run).text_space()
