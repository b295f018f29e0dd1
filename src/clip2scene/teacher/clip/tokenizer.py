"""How each family of image-text models reads texts: into token ids, spelt as the model was trained."""

import re
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from clip2scene.io import read_json

Reading = tuple[Callable[[Sequence[str]], Tensor], Callable[[str], list[str]]]
"""Turns texts into token ids, and lists the parts of a text that have no token."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SIGLIP_TOKENS = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}


def reading_of(tokenizer: Tokenizer) -> Reading:
    """Read texts with a tokenizer that pads them and adds their ends."""

    def tokenize(texts: Sequence[str]) -> Tensor:
        return torch.tensor([each.ids for each in tokenizer.encode_batch(list(texts))], dtype=torch.long)

    def unknown_words(text: str) -> list[str]:
        encoded = tokenizer.encode(text)
        spans = zip(encoded.tokens, encoded.offsets, strict=True)
        return [text[start:end] for token, (start, end) in spans if token == "[UNK]"]

    return tokenize, unknown_words


def reading_of_folder(folder: Path, kind: Literal["clip", "siglip"], length: int, num_tokens: int) -> Reading:
    """Read texts with the tokenizer in a folder of transformers.

    Args:
        folder: Holds the tokenizer's files.
        kind: Type of the model.
        length: Longest text, in tokens; longer ones are cut.
        num_tokens: Rows of the model's token table.

    Raises:
        ValueError: If there is none that can be read, or it is of another model.
    """
    try:
        tokenizer = _open(folder)
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
    spell = siglip_spelling(tokenizer.eos_token) if kind == "siglip" else str

    def tokenize(texts: Sequence[str]) -> Tensor:
        if kind == "clip" or tokenizer.eos_token_id is None:
            padding = "longest" if kind == "clip" else "max_length"
            made = tokenizer(list(texts), padding=padding, truncation=True, max_length=length)
            return torch.tensor(made["input_ids"])
        # SigLIP was trained on texts that end once and are padded on the right to full length, and reads its
        # answer at the last place; tokenizers in circulation differ in what they add by themselves.
        rows = torch.full((len(texts), length), tokenizer.pad_token_id or 0)
        for row, text in zip(rows, texts, strict=True):
            pieces = tokenizer(spell(text), add_special_tokens=False, padding=False)["input_ids"]
            ids = torch.tensor([*pieces[: length - 1], tokenizer.eos_token_id])
            row[: len(ids)] = ids
        return rows

    def unknown_words(text: str) -> list[str]:
        ids = tokenizer(spell(text), add_special_tokens=False)["input_ids"]
        pieces = zip(tokenizer.tokenize(spell(text)), ids, strict=True)
        return [piece for piece, each in pieces if each == tokenizer.unk_token_id]

    return tokenize, unknown_words


def _open(folder: Path) -> Any:  # noqa: ANN401 - one of the library's many tokenizer classes
    import transformers  # late: slow to import

    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.exists() else {}
    if settings.get("tokenizer_class") == "SiglipTokenizer" and (folder / "tokenizer.json").exists():
        # That class needs sentencepiece, which the same vocabulary in tokenizer.json does not.
        named = {name: settings.get(name) for name in _SIGLIP_TOKENS}
        tokens = {name: value for name, value in named.items() if isinstance(value, str)}
        return transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "tokenizer.json"), **{**_SIGLIP_TOKENS, **tokens}
        )
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def siglip_spelling(end: str | None) -> Callable[[str], str]:
    """Say how texts are spelt for a SigLIP, which its end token tells.

    The first SigLIP ("</s>") was trained on lower case without punctuation, SigLIP 2 ("<eos>") on lower case.

    Example:
        >>> siglip_spelling("</s>")(" A car,  left-hand. "), siglip_spelling("<eos>")("A car.")
        ('a car lefthand', 'a car.')
    """
    if end == "</s>":
        return lambda text: re.sub(r"\s+", " ", text.translate(_PUNCTUATION).lower()).strip()
    return str.lower if end == "<eos>" else str
