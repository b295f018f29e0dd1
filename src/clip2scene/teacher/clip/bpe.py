"""CLIP's tokenizer: words in pieces, after a list of merges.

OpenAI's weight files hold no vocabulary. It was published apart, as ``bpe_simple_vocab_16e6.txt.gz``, and all
of OpenAI's models share it; Hugging Face's folders hold the same as ``vocab.json`` and ``merges.txt``, or
whole as ``tokenizer.json``.
"""

import gzip
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from clip2scene.io import read_json
from clip2scene.teacher.clip.folder import OPENAI_VOCABULARY, read_tokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
_MERGES = 49152 - 256 - 2  # what of OpenAI's list its models use; the rest of the list is longer
_MAX_BYTES = 1 << 26  # the list unpacks to 3 MB
_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"

Merge = tuple[str, str]


def read_clip_tokenizer(folder: Path, *, num_tokens: int, context_length: int) -> Tokenizer:
    """Read CLIP's tokenizer from whichever of its files a folder holds.

    Args:
        folder: Where the weights lie.
        num_tokens: Rows of the model's token table; the tokenizer must have as many tokens.
        context_length: Longest text, in tokens; longer ones are cut, and still end.

    Raises:
        ValueError: If there is none, or it is damaged or of another model.
    """
    if (folder / "tokenizer.json").exists():
        tokenizer = read_tokenizer(folder, context_length)
    elif (folder / "vocab.json").exists() and (folder / "merges.txt").exists():
        vocabulary = read_json(folder / "vocab.json")
        if not isinstance(vocabulary, dict) or not all(type(each) is int for each in vocabulary.values()):
            raise ValueError(f"{folder / 'vocab.json'} must number the tokens; take the file from the model")
        merges = _parse_merges((folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:])
        tokenizer = clip_tokenizer(vocabulary, merges, context_length)
    elif (folder / OPENAI_VOCABULARY).exists():
        merges = read_openai_merges(folder / OPENAI_VOCABULARY)
        tokenizer = clip_tokenizer(vocabulary_of(merges), merges, context_length)
    else:
        raise ValueError(
            f"{folder} holds no tokenizer, and OpenAI's .pt files have none inside; put "
            f"{OPENAI_VOCABULARY} of OpenAI's CLIP beside the weights, or tokenizer.json (or vocab.json and "
            "merges.txt) of the same model from Hugging Face"
        )
    if tokenizer.get_vocab_size() != num_tokens:
        raise ValueError(
            f"the tokenizer in {folder} has {tokenizer.get_vocab_size()} tokens, the model {num_tokens}; "
            "take both from one model"
        )
    return tokenizer


def read_openai_merges(path: Path) -> list[Merge]:
    """Read the merges that OpenAI's models use out of ``bpe_simple_vocab_16e6.txt.gz``.

    Raises:
        ValueError: If the file is damaged or no such list.
    """
    try:
        with gzip.open(path) as stream:
            lines = stream.read(_MAX_BYTES).decode("utf-8").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); fetch it anew") from None
    return _parse_merges(lines[1 : 1 + _MERGES])  # the first line names the list's version


def _parse_merges(lines: Sequence[str]) -> list[Merge]:
    pairs = [line.split() for line in lines if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError("the list of merges must hold two pieces on every line; fetch it anew")
    return [(first, second) for first, second in pairs]


def vocabulary_of(merges: Sequence[Merge]) -> dict[str, int]:
    """Number the tokens as OpenAI does: bytes, bytes that end a word, merges, the start and the end.

    Bytes are written as printable characters; those that print by themselves come first.
    """
    printing = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    letters = [chr(byte) for byte in printing] + [chr(256 + at) for at in range(256 - len(printing))]
    tokens = [*letters, *(letter + _WORD_END for letter in letters)]
    tokens += [first + second for first, second in merges]
    return {token: number for number, token in enumerate([*tokens, _START, _END])}


def clip_tokenizer(vocabulary: Mapping[str, int], merges: Sequence[Merge], context_length: int) -> Tokenizer:
    """Put CLIP's tokenizer together: lower case, split at words, digits and signs, bytes merged into pieces.

    Raises:
        ValueError: If a merge makes a token that the vocabulary lacks, or it has no start or end.
    """
    if _START not in vocabulary or _END not in vocabulary:
        raise ValueError(f"the vocabulary lacks {_START} or {_END}; take the one of a CLIP model")
    try:
        model = models.BPE(
            dict(vocabulary), list(merges), unk_token=_END, end_of_word_suffix=_WORD_END, fuse_unk=False
        )
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"vocabulary and merges do not fit each other ({error}); take both anew") from None
    tokenizer = Tokenizer(model)
    tokenizer.add_special_tokens([_START, _END])
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    ends = [(_START, vocabulary[_START]), (_END, vocabulary[_END])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A {_END}", special_tokens=ends
    )
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=0)  # nothing after the end is looked at
    return tokenizer
