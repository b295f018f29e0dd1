"""PLY: properties behind a vertex's own, in the file's encoding; other elements stay as they are."""

import re
from pathlib import Path

import numpy as np

from clip2scene.datasets.clouds.labelled.codes import LabelCodes, PointLabels, name_before
from clip2scene.datasets.clouds.labelled.pcd import beside, fields_of, text_columns
from clip2scene.datasets.clouds.ply import MAX_HEADER, ORDERS, read_header, read_records
from clip2scene.datasets.clouds.table import split_lines
from clip2scene.io import write_atomically

_COLOURS = ("red", "green", "blue")
_TYPES = {"u1": "uchar", "u2": "ushort", "f4": "float"}


def can_label_ply(cloud: Path) -> bool:
    """Tell whether vertices have room for labels: in a binary file, where they have no lists."""
    form, _, vertex = read_header(cloud, _parts(cloud)[0][1:])
    return form == "ascii" or not vertex.has_lists


def write_labelled_ply(cloud: Path, path: Path, labels: PointLabels, codes: LabelCodes) -> None:
    """Write a PLY file with properties ``label`` (ushort) and ``confidence`` (float) behind its own.

    Vertices without colours get those of their labels.
    """
    lines, body = _parts(cloud)
    form, before, vertex = read_header(cloud, lines[1:])
    own = [name for name, _ in vertex.fields]
    added = fields_of(labels, codes)
    added = {name: each.astype("<u2") if each.dtype == "<u4" else each for name, each in added.items()}
    if not set(_COLOURS) & set(own):
        painted = codes.colours[labels.labels]
        added |= {name: painted[:, number] for number, name in enumerate(_COLOURS)}
    head = _with_properties(lines, own, added, codes)
    if form == "ascii":
        content = _text(body, sum(each.count for each in before), vertex.count, added)
    else:
        start = 0
        for element in before:
            _, start = read_records(cloud, body, start, element, ORDERS[form])
        _, end = read_records(cloud, body, start, vertex, ORDERS[form])
        size = (end - start) // max(vertex.count, 1)
        ordered = {name: each.astype(f"{ORDERS[form]}{each.dtype.str[1:]}") for name, each in added.items()}
        content = body[:start] + beside(body[start:end], size, ordered) + body[end:]
    with write_atomically(path) as temporary:
        temporary.write_bytes("\n".join([*head, "end_header", ""]).encode("latin-1") + content)


def _parts(cloud: Path) -> tuple[list[str], bytes]:
    """Give the lines before ``end_header``, and what comes after; the file was read before."""
    content = cloud.read_bytes()
    end = re.search(rb"^end_header\r?\n", content[:MAX_HEADER], re.MULTILINE)
    assert end is not None
    return content[: end.start()].decode("latin-1").splitlines(), content[end.end() :]


def _with_properties(
    lines: list[str], own: list[str], added: dict[str, np.ndarray], codes: LabelCodes
) -> list[str]:
    """Add properties to the vertices of a header, and say what the labels mean."""
    told = [f"label {number} is {name}" for number, name in zip(codes.ids, codes.names, strict=True)]
    told.append(f"label {codes.none} is none of these")
    comments = [" ".join(each.encode("ascii", "backslashreplace").decode().split()) for each in told]
    properties = [f"property {_TYPES[each.dtype.str[1:]]} {name}" for name, each in added.items()]
    head: list[str] = []
    within = False
    for line in lines:
        words = line.split()
        if words[:1] == ["element"]:
            head += properties if within else []
            within = words[1:2] == ["vertex"]
        elif within and words[:1] == ["property"] and words[-1] in added:
            line = " ".join([*words[:-1], name_before(words[-1], own)])
        head.append(line)
        if words[:1] == ["format"]:
            head += [f"comment {each}" for each in comments]
    return head + properties if within else head


def _text(body: bytes, skipped: int, count: int, added: dict[str, np.ndarray]) -> bytes:
    """Put values behind the lines of vertices, after those of earlier elements."""
    lines = split_lines(body)
    places = [place for place, line in enumerate(lines) if line.strip()][skipped : skipped + count]
    for place, *words in zip(places, *text_columns(added), strict=True):
        lines[place] = " ".join([lines[place].rstrip(), *words])
    return "\n".join(lines).encode("utf-8", "surrogateescape")
