"""PCD files: ascii, binary and compressed."""

import re
import struct
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt32

from clip2scene.datasets.clouds.table import Columns, parse_lines, text_lines

_MAX_HEADER = 1 << 16
_MOST_NUMBERS = 4096  # of a point
_MOST_PACKED = 128  # bytes that come of one; LZF makes 88
_KINDS = {"F": "f", "I": "i", "U": "u"}


def read_pcd(path: Path) -> Columns:
    """Read a PCD file.

    Where the header leaves it out, a field has one number (``COUNT``), there are ``WIDTH`` x ``HEIGHT``
    points, and, in ascii files, ``SIZE`` and ``TYPE`` do not matter.

    Raises:
        ValueError: If the header is broken, or the points are not as it tells.
    """
    lines, header, form, body = read_parts(path)
    count = read_count(path, header)
    fields = read_fields(path, header, text=form == "ascii")
    if form == "ascii":
        return _read_text(path, body, count, [name for name, _ in fields], first=len(lines) + 2)
    if form == "binary_compressed":
        content = unpack(path, body, count, fields)
        columns, start = {}, 0
        for name, kind in fields:
            columns[name] = np.frombuffer(content, "<" + kind, count, start)
            start += columns[name].nbytes
        return columns
    dtype = np.dtype([(name, "<" + kind) for name, kind in fields])
    if len(body) < count * dtype.itemsize:
        raise ValueError(
            f"{path} is truncated: expected {count * dtype.itemsize} bytes of points, got {len(body)}; "
            "restore it"
        )
    records = np.frombuffer(body, dtype=dtype, count=count)
    return {name: records[name] for name, _ in fields}


def read_parts(path: Path) -> tuple[list[str], dict[str, list[str]], str, bytes]:
    """Give the lines before ``DATA``, their words by the first of each, the encoding, and the body.

    Raises:
        ValueError: If there is no header, or the encoding is unknown.
    """
    content = path.read_bytes()
    end = re.search(rb"^DATA[ \t]+(\S+)[ \t]*\r?\n", content[:_MAX_HEADER], re.MULTILINE)
    if end is None:
        raise ValueError(f"{path} is not a PCD file: it has no DATA line")
    header: dict[str, list[str]] = {}
    lines = content[: end.start()].decode("ascii", "replace").splitlines()
    for line in lines:
        words = line.split()
        if words and not words[0].startswith("#"):
            header[words[0]] = words[1:]
    form = end[1].decode("ascii", "replace").lower()
    if form not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(
            f"{path} has the unknown encoding {form!r}; expected ascii, binary or binary_compressed"
        )
    return lines, header, form, content[end.end() :]


def read_count(path: Path, header: dict[str, list[str]]) -> int:
    """Say how many points there are."""
    told = header.get("POINTS", [])
    if not told and "WIDTH" in header:
        told = [*header["WIDTH"], *header.get("HEIGHT", [])]
    if not 1 <= len(told) <= 2 or not all(re.fullmatch("[0-9]{1,15}", word) for word in told):
        raise ValueError(
            f"{path} has a broken PCD header: it does not tell the number of points, in POINTS or WIDTH and "
            "HEIGHT; restore it"
        )
    return int(told[0]) * int(told[-1]) if len(told) == 2 else int(told[0])


def read_fields(path: Path, header: dict[str, list[str]], *, text: bool) -> list[tuple[str, str]]:
    """Give names and types of the numbers of a point; those that nobody asks for get names with a dot."""
    names = header.get("FIELDS") or header.get("COLUMNS") or []
    lacking = [line for line in ("SIZE", "TYPE") if line not in header and not text]
    if not names or lacking:
        what = " and ".join(lacking) if names else "FIELDS"
        raise ValueError(f"{path} has a broken PCD header: it has no line {what}; restore it")
    sizes = header.get("SIZE", ["4"] * len(names))
    types = header.get("TYPE", ["F"] * len(names))
    counts = header.get("COUNT", ["1"] * len(names))
    if not len(names) == len(sizes) == len(types) == len(counts):
        raise ValueError(
            f"{path} has a broken PCD header: {len(names)} FIELDS, {len(sizes)} SIZE, {len(types)} TYPE and "
            f"{len(counts)} COUNT, expected as many of each; restore it"
        )
    repeats = [int(word) if re.fullmatch("[0-9]{1,4}", word) else -1 for word in counts]
    kinds = [_KINDS.get(kind, "?") + size for kind, size in zip(types, sizes, strict=True)]
    known = {"f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in "1248")}
    if min(repeats) < 0 or sum(repeats) > _MOST_NUMBERS or not set(kinds) <= known:
        raise ValueError(
            f"{path} has a broken PCD header: SIZE {' '.join(sizes)}, TYPE {' '.join(types)}, COUNT "
            f"{' '.join(counts)}; expected 1, 2, 4 or 8 bytes of F, I or U; restore it"
        )
    fields: list[tuple[str, str]] = []
    for number, (name, kind, count) in enumerate(zip(names, kinds, repeats, strict=True)):
        for part in range(count):
            plain = count == 1 and name != "_" and name not in dict(fields)
            fields.append((name if plain else f"_{number}.{part}", kind))
    return fields


def _read_text(path: Path, body: bytes, count: int, names: list[str], *, first: int) -> Columns:
    """Read points as lines."""
    lines = text_lines(body)
    places = [place for place, line in enumerate(lines) if line]
    if len(places) < count:
        raise ValueError(f"{path} is truncated: expected {count} points, got {len(places)}; restore it")
    mine = lines[: places[count - 1] + 1] if count else []
    return dict(zip(names, parse_lines(path, mine, len(names), first=first).T, strict=True))


def unpack(path: Path, body: bytes, count: int, fields: list[tuple[str, str]]) -> bytes:
    """Unpack the body of a compressed file: two sizes, then the values of the first field, the second, ..."""
    import lzf

    expected = count * np.dtype(fields).itemsize
    packed, plain = struct.unpack_from("<II", body.ljust(8, b"\0"))
    content = b""
    if plain == expected and 8 + packed <= len(body) and plain <= _MOST_PACKED * packed:
        try:
            content = lzf.decompress(body[8 : 8 + packed], plain) or b""
        except ValueError:
            content = b""
    if plain != expected or len(content) != plain:
        raise ValueError(
            f"{path} is truncated or broken: {len(body)} bytes do not unpack to the {expected} of {count} "
            "points; restore it"
        )
    return content


def pack_colours(colours: UInt8[np.ndarray, "points 3"]) -> UInt32[np.ndarray, " points"]:
    """Pack red, green and blue into one number, as PCL does in its field ``rgb``."""
    red, green, blue = colours.astype("<u4").T
    return red << 16 | green << 8 | blue
