"""How each family of image-text models tokenises texts, from whichever files its tokenizer lies in.

OpenAI's weight files hold no vocabulary. It was published apart, as ``bpe_simple_vocab_16e6.txt.gz``, and all
of OpenAI's models share it; Hugging Face's folders hold the same as ``vocab.json`` and ``merges.txt``, or
whole as ``tokenizer.json``.
"""

import gzip
import re
import string
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor

from clip2scene.io import read_json, regular_file
from clip2scene.teacher.clip.folder import OPENAI_VOCABULARY, listing

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SIGLIP_TOKENS = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
_START, _END = "<|startoftext|>", "<|endoftext|>"
_MERGES = 49152 - 256 - 2  # what of OpenAI's list its models use; the rest of the list is longer
_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json")
_MAX_BYTES = 1 << 26  # the list unpacks to 3 MB

Merge = tuple[str, str]


@dataclass(frozen=True)
class WholeTokenizer:
    """A tokenizer that pads texts and adds their ends by itself.

    Attributes:
        tokenizer: As :func:`read_tokenizer` opens it.
    """

    tokenizer: Tokenizer

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "texts tokens"]:
        """Turn texts into token ids, padded to the longest."""
        return torch.tensor([each.ids for each in self.tokenizer.encode_batch(list(texts))], dtype=torch.long)

    def unknown_words(self, text: str) -> list[str]:
        """List the words of a text that have no token."""
        encoded = self.tokenizer.encode(text)
        spans = zip(encoded.tokens, encoded.offsets, strict=True)
        return [text[start:end] for token, (start, end) in spans if token == "[UNK]"]


@dataclass(frozen=True)
class FolderTokenizer:
    """A tokenizer of transformers.

    Attributes:
        tokenizer: As transformers opens it.
        kind: Type of the model.
        length: Longest text, in tokens; longer ones are cut.
    """

    tokenizer: Any
    kind: Literal["clip", "siglip", "tipsv2"]
    length: int

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "texts tokens"]:
        """Turn texts into token ids, padded to the longest, or to full length but for a CLIP."""
        tokenizer, length = self.tokenizer, self.length
        if self.kind != "siglip" or tokenizer.eos_token_id is None:
            padding = "longest" if self.kind == "clip" else "max_length"
            made = tokenizer(
                [self._spell(text) for text in texts], padding=padding, truncation=True, max_length=length
            )
            return torch.tensor(made["input_ids"])
        # SigLIP was trained on texts that end once and are padded on the right to full length, and pools at
        # the last place; tokenizers in circulation differ in what they add by themselves.
        rows = torch.full((len(texts), length), tokenizer.pad_token_id or 0)
        for row, text in zip(rows, texts, strict=True):
            pieces = tokenizer(self._spell(text), add_special_tokens=False, padding=False)["input_ids"]
            ids = torch.tensor([*pieces[: length - 1], tokenizer.eos_token_id])
            row[: len(ids)] = ids
        return rows

    def unknown_words(self, text: str) -> list[str]:
        """List the pieces of a text that have no token."""
        spelt = self._spell(text)
        ids = self.tokenizer(spelt, add_special_tokens=False)["input_ids"]
        pieces = zip(self.tokenizer.tokenize(spelt), ids, strict=True)
        return [piece for piece, each in pieces if each == self.tokenizer.unk_token_id]

    def _spell(self, text: str) -> str:
        if self.kind == "tipsv2":
            return text.lower()  # as it was trained
        return spell_for_siglip(text, self.tokenizer.eos_token) if self.kind == "siglip" else text


TextReader = WholeTokenizer | FolderTokenizer


def open_folder_tokenizer(
    folder: Path,
    config: Any,  # noqa: ANN401 - one of the library's
    *,
    length: int,
    num_tokens: int,
) -> FolderTokenizer:
    """Open the tokenizer in a folder of transformers.

    Args:
        folder: Holds the tokenizer's files.
        config: The model's, as transformers has it; whatever else ``config.json`` says is not asked.
        length: Longest text, in tokens; longer ones are cut.
        num_tokens: Rows of the model's token table.

    Raises:
        ValueError: If there is none that can be read, or it is of another model.
    """
    lacks = not any((folder / name).exists() for name in ("tokenizer.json", "spiece.model"))
    if lacks and not all((folder / name).exists() for name in ("vocab.json", "merges.txt")):
        raise ValueError(
            f"{folder} holds no tokenizer: vocab.json and merges.txt, or tokenizer.json, are missing among "
            f"{listing(folder)}; copy tokenizer.json and tokenizer_config.json of the model there"
        )
    try:
        tokenizer = _open(folder, config)
    except Exception as error:  # the library raises many kinds, and all mean that the files are bad
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{folder} holds no tokenizer that can be read ({reason}); copy tokenizer.json and "
            "tokenizer_config.json of the model there"
        ) from None
    if tokenizer.vocab_size > num_tokens:
        raise ValueError(
            f"the tokenizer in {folder} has {tokenizer.vocab_size} tokens, its model {num_tokens}; "
            "take both from one model"
        )
    return FolderTokenizer(tokenizer, config.model_type, length)


def _open(folder: Path, config: Any) -> Any:  # noqa: ANN401 - both are of the library's many classes
    import transformers  # late: slow to import

    for name in _FILES:  # the library would wait for a pipe
        if (folder / name).exists():
            regular_file(folder / name)
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.exists() else {}
    if config.model_type == "tipsv2":
        return transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), unk_token="<unk>", pad_token="<pad>"
        )
    if settings.get("tokenizer_class") == "SiglipTokenizer" and (folder / "tokenizer.json").exists():
        # That class needs sentencepiece, which the same vocabulary in tokenizer.json does not.
        named = {name: settings.get(name) for name in _SIGLIP_TOKENS}
        tokens = {name: value for name, value in named.items() if isinstance(value, str)}
        return transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), **{**_SIGLIP_TOKENS, **tokens}
        )
    return transformers.AutoTokenizer.from_pretrained(
        folder, config=config, local_files_only=True, trust_remote_code=False
    )


def spell_for_siglip(text: str, end: str | None) -> str:
    """Spell a text as a SigLIP was trained, which its end token tells.

    The first SigLIP ("</s>") was trained on lower case without punctuation, SigLIP 2 ("<eos>") on lower case.

    Example:
        >>> spell_for_siglip(" A car,  left-hand. ", "</s>"), spell_for_siglip("A car.", "<eos>")
        ('a car lefthand', 'a car.')
    """
    if end == "</s>":
        return re.sub(r"\s+", " ", text.translate(_PUNCTUATION).lower()).strip()
    return text.lower() if end == "<eos>" else text


def word_tokenizer(words: Sequence[str], context_length: int) -> Tokenizer:
    """Make a tokenizer of whole lower-case words; the end token has the highest id, as in CLIP.

    Args:
        words: The vocabulary.
        context_length: Longest text, in tokens; longer ones are cut.
    """
    vocabulary = ["[PAD]", "[UNK]", "[START]", *sorted(set(words)), "[END]"]
    ids = {word: number for number, word in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[START]", ids["[START]"]), ("[END]", ids["[END]"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="[START] $A [END]", special_tokens=ends)
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
    return tokenizer


def read_tokenizer(folder: Path, context_length: int) -> Tokenizer:
    """Read ``tokenizer.json`` and have it pad texts, and cut them to at most ``context_length`` tokens.

    Raises:
        ValueError: If the file is missing or is no tokenizer.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise ValueError(f"{path} is missing; copy the model's tokenizer there")
    try:
        tokenizer = Tokenizer.from_str(regular_file(path).read_text(encoding="utf-8"))
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"{path} is no tokenizer ({error}); fetch it anew") from None
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=0)
    return tokenizer


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
        merges = _parse_merges(
            regular_file(folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
        )
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
        with gzip.open(regular_file(path)) as stream:
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
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += [first + second for first, second in merges]
    return {token: number for number, token in enumerate([*tokens, _START, _END])}


def clip_tokenizer(vocabulary: Mapping[str, int], merges: Sequence[Merge], context_length: int) -> Tokenizer:
    """Make CLIP's tokenizer: lower case, words, digits and signs, bytes merged into pieces (BPE).

    Args:
        vocabulary: Token ids.
        merges: Pairs of pieces that become one, the first in the list first.
        context_length: Longest text, in tokens; longer ones are cut.

    Raises:
        ValueError: If a merge makes a token that the vocabulary lacks, or it has no start or end.
    """
    import transformers  # late: slow to import

    if _START not in vocabulary or _END not in vocabulary:
        raise ValueError(f"the vocabulary lacks {_START} or {_END}; take the one of a CLIP model")
    try:
        own = transformers.CLIPTokenizer(vocab=dict(vocabulary), merges=list(merges))  # type: ignore[arg-type]
    except Exception as error:  # the library raises nothing more special
        raise ValueError(f"vocabulary and merges do not fit each other ({error}); take both anew") from None
    tokenizer = own.backend_tokenizer
    tokenizer.enable_truncation(context_length)
    tokenizer.enable_padding(pad_id=0)  # nothing after the end is attended to
    return tokenizer
