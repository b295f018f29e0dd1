"""PCD: two or three fields behind a point's own, in the file's encoding."""

import struct
from pathlib import Path

import numpy as np

from clip2scene.datasets.clouds.labelled.codes import LabelCodes, PointLabels, name_before
from clip2scene.datasets.clouds.pcd import read_count, read_fields, read_parts, unpack
from clip2scene.datasets.clouds.table import split_lines
from clip2scene.io import write_atomically

_KIND = {"u4": ("4", "U"), "f4": ("4", "F")}


def write_pcd(cloud: Path, path: Path, labels: PointLabels, codes: LabelCodes) -> None:
    """Write a PCD file with fields ``label`` (U 4) and ``confidence`` (F 4) behind its own."""
    lines, header, form, body = read_parts(cloud)
    count, fields = read_count(cloud, header), read_fields(cloud, header, text=form == "ascii")
    added = fields_of(labels, codes)
    head = [_with_fields(line, added) for line in lines]
    start = "\n".join([*head, f"DATA {form}", ""]).encode("ascii", "replace")
    if form == "ascii":
        content = _text(body, count, added)
    elif form == "binary":
        size = np.dtype([(name, kind) for name, kind in fields]).itemsize
        content = beside(body[: count * size], size, added)
    else:
        plain = unpack(cloud, body, count, fields) + b"".join(each.tobytes() for each in added.values())
        content = _pack(plain)
    with write_atomically(path) as temporary:
        temporary.write_bytes(start + content)


def fields_of(labels: PointLabels, codes: LabelCodes) -> dict[str, np.ndarray]:
    """Give what is added to each point, by name: uint32, float32, little-endian."""
    added = {"label": codes.of(labels.labels).astype("<u4"), "confidence": labels.confidence.astype("<f4")}
    return added if labels.raw is None else {**added, "label_raw": codes.of(labels.raw).astype("<u4")}


def beside(records: bytes, size: int, added: dict[str, np.ndarray]) -> bytes:
    """Put fields behind records of ``size`` bytes each."""
    table = np.empty(
        len(next(iter(added.values()))),
        [("own", f"V{size}"), *((name, each.dtype) for name, each in added.items())],
    )
    table["own"] = np.frombuffer(records, f"V{size}")
    for name, each in added.items():
        table[name] = each
    return table.tobytes()


def text_columns(added: dict[str, np.ndarray]) -> list[list[str]]:
    """Write each field as words: whole numbers, or four digits behind the point."""
    return [
        [f"{value:.4f}" for value in each.tolist()]
        if each.dtype.kind == "f"
        else list(map(str, each.tolist()))
        for each in added.values()
    ]


def _with_fields(line: str, added: dict[str, np.ndarray]) -> str:
    """Add to a line of the header what it says of each field."""
    first, *words = line.split() or [""]
    kinds = [_KIND[each.dtype.str[1:]] for each in added.values()]
    if first in ("FIELDS", "COLUMNS"):
        own = [name_before(word, words) if word in added else word for word in words]
        return " ".join([first, *own, *added])
    more = {
        "SIZE": [size for size, _ in kinds],
        "TYPE": [kind for _, kind in kinds],
        "COUNT": ["1"] * len(kinds),
    }
    return " ".join([line.rstrip(), *more[first]]) if first in more else line


def _text(body: bytes, count: int, added: dict[str, np.ndarray]) -> bytes:
    """Put fields behind the lines of points."""
    rows = [line.rstrip() for line in split_lines(body) if line.strip()][:count]
    return "\n".join([*map(" ".join, zip(rows, *text_columns(added), strict=True)), ""]).encode(
        "utf-8", "surrogateescape"
    )


def _pack(content: bytes) -> bytes:
    """Compress as PCD does, with both sizes before."""
    import lzf

    packed = lzf.compress(content, len(content) + len(content) // 16 + 64)
    return struct.pack("<II", len(packed), len(content)) + packed
