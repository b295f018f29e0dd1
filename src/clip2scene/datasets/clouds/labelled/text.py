"""Clouds as text: two or three columns behind a line's own; the other lines stay as they are."""

import re
from pathlib import Path

from clip2scene.datasets.clouds.labelled.codes import LabelCodes, PointLabels, name_before
from clip2scene.datasets.clouds.labelled.pcd import fields_of, text_columns
from clip2scene.datasets.clouds.table import split_lines, text_lines
from clip2scene.datasets.clouds.text import SEEN, find_separator, read_head
from clip2scene.io import write_atomically


def write_text(cloud: Path, path: Path, labels: PointLabels, codes: LabelCodes) -> None:
    """Write the lines of a cloud with its labels and scores behind; a line of names gets theirs."""
    content = cloud.read_bytes()
    lines, plain = split_lines(content), text_lines(content)
    names, first, _ = read_head(plain)
    separator, comma, _ = find_separator([line for line in plain[first:] if line][:SEEN])
    added = fields_of(labels, codes)
    if names:
        place = next(number for number, line in enumerate(plain[:first]) if line.endswith(names))
        lines[place] = _with_names(lines[place].rstrip(), list(added), separator)
    columns = text_columns(added)
    if comma:
        columns = [[word.replace(".", ",") for word in column] for column in columns]
    between = " " if separator is None else separator
    places = [place for place in range(first, len(lines)) if plain[place]]
    for place, *words in zip(places, *columns, strict=True):
        line = lines[place].rstrip()
        ends = separator is not None and line.endswith(separator)
        lines[place] = between.join([line.removesuffix(separator or "\n"), *words]) + (
            between if ends else ""
        )
    with write_atomically(path) as temporary:
        temporary.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))


def _with_names(line: str, added: list[str], separator: str | None) -> str:
    """Add names to a line of names, parted as it is."""
    words = re.split(r"[\s,;]+", line)
    for name in added:
        line = re.sub(rf"(?<![^\s,;\"']){name}(?![^\s,;\"'])", name_before(name, words), line)
    found = [mark for mark in (separator, ",", ";", "\t") if mark is not None and mark in line]
    between = found[0] if found else " "
    return between.join([line.removesuffix(between), *added])
