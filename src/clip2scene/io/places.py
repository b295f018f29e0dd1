"""Places of this machine, taken out of what is sent to others: a path keeps its last part alone."""

import re
from pathlib import Path

_ENDS = r"""\s/\\'"`,;:()<>"""
_FOLDERS = rf"(?:~|\.\.|[A-Za-z]:)?[/\\](?:[^{_ENDS}]+[/\\])*"
_PLACE = re.compile(rf"(?<![\w.~:/\\]){_FOLDERS}(\.*[^{_ENDS}.][^{_ENDS}]*)[/\\]?")


def without_place(value: object) -> str:
    """Write a setting as text; of a path, the last part alone.

    Example:
        >>> without_place("/home/me/town"), without_place(0.5), without_place("hf:google/siglip")
        ('town', '0.5', 'hf:google/siglip')
    """
    if isinstance(value, (list, tuple)):
        return ", ".join(map(without_place, value)) or "none"
    text = str(value)
    is_place = isinstance(value, str) and (text[:1] in "/~." or text[1:3] in (":\\", ":/")) and len(text) > 1
    return text.replace("\\", "/").rstrip("/").rpartition("/")[2] if is_place else text


def without_places(text: str, *known: Path) -> str:
    """Take the folders out of every path in a text.

    Args:
        text: Such as a message.
        known: Folders that may be named in it; only of these are names with spaces found.

    Example:
        >>> without_places("/home/me/town/a.bin: 3 m/s, see https://x.org/a/b")
        'a.bin: 3 m/s, see https://x.org/a/b'
    """
    for folder in known:
        for place in (folder.resolve(), folder):
            if len(place.parts) > 1:
                text = text.replace(str(place), folder.resolve().name)
    return _PLACE.sub(r"\1", text)
