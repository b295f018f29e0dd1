"""Words and phrases that people write: split, cleaned, and refused where nobody could tell them apart."""

import csv
import re
import unicodedata
from collections.abc import Sequence

_ODD = {"Cc", "Cs", "Zl", "Zp"}  # control characters, halves of characters, ends of lines and paragraphs
_UNSEEN = (
    "\ufeff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # a byte order mark, turns of direction
)


def split_words(text: str) -> list[str]:
    """Split words at commas; a phrase with a comma stands in double quotes, as in CSV.

    Raises:
        ValueError: If a quote is not closed, or goes on after it is.

    Example:
        >>> split_words('car, "wall, low", street sign')
        ['car', 'wall, low', 'street sign']
    """
    try:
        tight = re.sub(r'"\s+(,|$)', r'"\1', text)  # CSV knows no blanks after a quote
        (found,) = csv.reader([tight], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError) as error:
        raise ValueError(
            f"cannot split {text!r} into words ({error}); put commas between them, and double quotes "
            "around a phrase that holds a comma"
        ) from None
    return [word.strip() for word in found]


def split_lines(text: str) -> list[str]:
    r"""Take a word or phrase from each line that is not blank; commas need no quotes there.

    Example:
        >>> split_lines('car\nwall, low\n"road, wide"')
        ['car', 'wall, low', 'road, wide']
    """
    lines = [line.strip() for line in text.split("\n")]
    return [split_words(line)[0] if line[0] == line[-1] == '"' != line else line for line in lines if line]


def clean_words(words: Sequence[str]) -> list[str]:
    """Take outer blanks off words; refuse what cannot be a list of words.

    Raises:
        ValueError: If there is none, one is blank, repeated, or holds a character that is no text.
    """
    cleaned = [word.strip() for word in words]
    if not cleaned or not all(cleaned) or len(set(cleaned)) < len(cleaned):
        raise ValueError(f"expected at least one word, all different and not empty, got {list(words)}")
    for word in cleaned:
        if not is_text(word):
            raise ValueError(f"{word!r} holds a control character or one that is not seen; write it anew")
    return cleaned


def is_text(word: str) -> bool:
    r"""Tell whether a word holds nothing but characters that are seen, or join others.

    Example:
        >>> is_text("Straße"), is_text("car\t2"), is_text("car\u202e")
        (True, False, False)
    """
    return not any(unicodedata.category(each) in _ODD or each in _UNSEEN for each in word)
