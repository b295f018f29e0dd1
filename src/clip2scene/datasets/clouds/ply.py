"""PLY files: read whatever elements they have, written with labels for every viewer."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.datasets.clouds.table import Columns, parse_lines, text_lines
from clip2scene.io import write_atomically

MAX_HEADER = 1 << 16
_COUNT = re.compile("[0-9]{1,15}")
_TYPES = {
    **{"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2"},
    **{"ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}
ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_NAMES = {"u1": "uchar", "u2": "ushort", "f4": "float", "f8": "double"}


@dataclass
class Element:
    """An element of the header: its count, and the types of each property, of a list two."""

    name: str
    count: int
    fields: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    @property
    def has_lists(self) -> bool:
        """Whether a property is a list."""
        return any(len(kinds) > 1 for _, kinds in self.fields)


def read_ply(path: Path) -> Columns:
    """Read the numbers that the vertices of a PLY file have; lists and other elements are passed over.

    Raises:
        ValueError: If its header is none, it has no vertices, is truncated, or a line is not as the header
            tells.
    """
    content = path.read_bytes()
    end = re.search(rb"^end_header\r?\n", content[:MAX_HEADER], re.MULTILINE)
    if not content.startswith(b"ply") or end is None:
        raise ValueError(f"{path} is not a PLY file: it has no header")
    header = content[: end.start()].decode("ascii", "replace").splitlines()
    form, before, vertex = read_header(path, header[1:])
    body = content[end.end() :]
    if form == "ascii":
        return _read_text(path, body, before, vertex, first=len(header) + 2)
    start = 0
    for element in before:
        _, start = read_records(path, body, start, element, ORDERS[form])
    return read_records(path, body, start, vertex, ORDERS[form])[0]


def read_header(path: Path, lines: Sequence[str]) -> tuple[str, list[Element], Element]:
    """Give the encoding, the elements before the vertices, and the vertices."""
    form = ""
    elements: list[Element] = []
    for line in lines:
        words = line.split()
        if words[:1] == ["format"]:
            form = words[1] if len(words) > 1 else ""
        elif words[:1] == ["element"]:
            if len(words) != 3 or not _COUNT.fullmatch(words[2]):
                raise ValueError(f"{path} has a broken header: {line!r} is no element; restore it")
            elements.append(Element(words[1], int(words[2])))
        elif words[:1] == ["property"]:
            is_list = words[1:2] == ["list"]
            kinds = tuple(words[2:-1]) if is_list else tuple(words[1:-1])
            if not elements or len(kinds) != 1 + is_list or not set(kinds) <= set(_TYPES):
                raise ValueError(f"{path} has a broken header: {line!r} is no property; restore it")
            elements[-1].fields.append((words[-1], tuple(_TYPES[kind] for kind in kinds)))
    if form not in ORDERS:
        raise ValueError(f"{path} has the unknown encoding {form!r}; expected one of {', '.join(ORDERS)}")
    names = [element.name for element in elements]
    if "vertex" not in names:
        raise ValueError(f"{path} has no vertices, only {', '.join(names) or 'nothing'}; restore it")
    place = names.index("vertex")
    vertex = elements[place]
    fields = [name for name, _ in vertex.fields]
    if not fields or len(set(fields)) < len(fields):
        raise ValueError(f"{path} has a broken header: {vertex.count} vertices with the fields {fields}")
    return form, elements[:place], vertex


def _read_text(path: Path, body: bytes, before: list[Element], vertex: Element, *, first: int) -> Columns:
    """Read the vertices of an ascii file: a line each, after a line for each element before them."""
    lines = text_lines(body)
    places = [place for place, line in enumerate(lines) if line]
    skipped = sum(element.count for element in before)
    if len(places) < skipped + vertex.count:
        raise ValueError(
            f"{path} is truncated: expected {vertex.count} vertices, got {max(len(places) - skipped, 0)}; "
            "restore it"
        )
    start = places[skipped] if vertex.count else 0
    mine = lines[start : places[skipped + vertex.count - 1] + 1] if vertex.count else []
    if vertex.has_lists:
        mine = [
            _without_lists(path, line, vertex, number) if line else ""
            for number, line in enumerate(mine, first + start)
        ]
    names = [name for name, kinds in vertex.fields if len(kinds) == 1]
    return dict(zip(names, parse_lines(path, mine, len(names), first=first + start).T, strict=True))


def _without_lists(path: Path, line: str, vertex: Element, number: int) -> str:
    """Take the lists out of a vertex's line."""
    words, kept = line.split(), []
    for name, kinds in vertex.fields:
        length = 1
        if len(kinds) > 1:
            if not words or not _COUNT.fullmatch(words[0]) or int(words[0]) >= len(words):
                raise ValueError(
                    f"{path}, line {number}: the vertex has no list {name!r} of the length it tells, as the "
                    "header announces; correct the header or the line"
                )
            length = 1 + int(words[0])
        else:
            kept += words[:1]
        words = words[length:]
    return " ".join([*kept, *words])


def read_records(path: Path, body: bytes, start: int, element: Element, order: str) -> tuple[Columns, int]:
    """Read one element of a binary file from a byte on; give its plain columns, and where the next begins."""
    if not element.fields:
        return {}, start
    lengths = _list_lengths(body, start, element, order)
    entries: list[tuple[Any, ...]] = []
    for number, ((_, kinds), length) in enumerate(zip(element.fields, lengths, strict=True)):
        entries.append((f"{number}", order + kinds[0]))
        if len(kinds) > 1:
            entries.append((f"{number}*", order + kinds[1], (length,)))
    dtype = np.dtype(entries)
    size = element.count * dtype.itemsize
    if len(body) - start >= size:
        records = np.frombuffer(body, dtype=dtype, count=element.count, offset=start)
        first = {number: records[f"{number}"] for number in range(len(lengths))}
        if all(
            (first[number] == length).all()
            for number, length in enumerate(lengths)
            if len(element.fields[number][1]) > 1
        ):
            plain = enumerate(element.fields)
            return {name: first[number] for number, (name, kinds) in plain if len(kinds) == 1}, start + size
    elif not element.has_lists:
        raise ValueError(
            f"{path} is truncated: expected {size} bytes of {element.name}, got {len(body) - start}; "
            "restore it"
        )
    return _walk_records(path, body, start, element, order)


def _list_lengths(body: bytes, start: int, element: Element, order: str) -> list[int]:
    """Give the lengths of the lists of the first record; most files have all alike."""
    lengths = []
    for _, kinds in element.fields:
        length, size = 1, np.dtype(kinds[0]).itemsize
        if len(kinds) > 1:
            told = np.frombuffer(body[start : start + size].ljust(size, b"\0"), order + kinds[0])[0]
            size_of_each = np.dtype(kinds[1]).itemsize
            length = int(told) if 0 <= told <= (len(body) - start) / size_of_each else 0
            size += length * size_of_each
        lengths.append(length)
        start += size
    return lengths


def _walk_records(path: Path, body: bytes, start: int, element: Element, order: str) -> tuple[Columns, int]:
    """Read records with lists of different lengths, one by one."""
    steps = [[np.dtype(order + kind) for kind in kinds] for _, kinds in element.fields]
    found: list[list[float]] = [[] for _ in steps]
    if element.count > len(body):
        raise ValueError(f"{path} is truncated: {element.count} of {element.name} do not fit; restore it")
    for _ in range(element.count):
        for (kind, *items), values in zip(steps, found, strict=True):
            value = np.frombuffer(body[start : start + kind.itemsize].ljust(kind.itemsize, b"\0"), kind)[0]
            start += kind.itemsize
            if items:
                start += max(int(value), 0) * items[0].itemsize if np.isfinite(value) else len(body) + 1
            else:
                values.append(value)
            if start > len(body):
                raise ValueError(
                    f"{path} is truncated: its {element.count} of {element.name} go on beyond its end; "
                    "restore it"
                )
    plain = zip(element.fields, found, strict=True)
    return {name: np.array(values) for (name, kinds), values in plain if len(kinds) == 1}, start


def write_ply(
    path: Path,
    positions: Float[Tensor, "points 3"],
    colours: UInt8[Tensor, "points 3"] | None = None,
    *,
    labels: Int[Tensor, " points"] | None = None,
    comments: Sequence[str] = (),
) -> None:
    """Write a cloud as binary PLY, which every viewer opens.

    Args:
        path: The file to write; it appears only when it is complete.
        positions: Written as ``float``; those in float64 as ``double``.
        colours: Red, green and blue of each point.
        labels: A number of each point, 0 to 65535, written as ``label``.
        comments: Lines for the header; what is not ASCII is written as an escape.
    """
    plain = positions.detach().cpu().numpy()
    kind = "f8" if plain.dtype == np.float64 else "f4"
    columns = {axis: (kind, plain[:, number]) for number, axis in enumerate("xyz")}
    if colours is not None:
        names = ("red", "green", "blue")
        columns |= {name: ("u1", colours[:, number].cpu().numpy()) for number, name in enumerate(names)}
    if labels is not None:
        columns["label"] = ("u2", labels.cpu().numpy())
    table = np.empty(len(plain), [(name, f"<{kind}") for name, (kind, _) in columns.items()])
    for name, (_, values) in columns.items():
        table[name] = values
    told = [" ".join(each.encode("ascii", "backslashreplace").decode().split()) for each in comments]
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {each}" for each in told)]
    header += [f"element vertex {len(plain)}"]
    header += [f"property {_NAMES[kind]} {name}" for name, (kind, _) in columns.items()]
    with write_atomically(Path(path)) as temporary:
        temporary.write_bytes("\n".join([*header, "end_header", ""]).encode() + table.tobytes())
