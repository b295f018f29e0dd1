"""Clouds as text: lines of numbers, whose columns a line of names tells, or else the numbers themselves."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clip2scene.datasets.clouds.table import (
    Table,
    by_columns,
    find_axes,
    guess_columns,
    is_number,
    parse_lines,
    text_lines,
)

_DECIMAL_COMMA = re.compile(r"[-+]?\d+(,\d+)?")
SEEN = 20  # lines that separators are told by


def read_text(path: Path, columns: Sequence[str] | None) -> Table:
    """Read ``.txt``, ``.xyz``, ``.csv`` and ``.pts``: a point a line, parted by blanks , ; or tab.

    Lines before the points that begin with ``#`` or ``//`` are passed over, unless one names x, y and z; a
    plain line of words names the columns too. A lone number in the first line counts the
    points, and must be right. Leica's intensities in ``.pts``, -2048 to 2047, become 0 to 4095.

    Args:
        path: The file.
        columns: Names of the columns; without, those of the file, or what their numbers look like.

    Raises:
        ValueError: If there are no points, x, y or z is not named, or a line is not like the others.
    """
    lines = text_lines(path.read_bytes())
    head, first, told = read_head(lines)
    body = lines[first:]
    filled = [line for line in body if line]
    if told is not None and len(filled) != told:
        raise ValueError(
            f"{path} is truncated or has a wrong count: its first line tells {told} points, it holds "
            f"{len(filled)}; restore it"
        )
    separator, comma, notes = find_separator(filled[:SEEN])
    names = _split_names(head if separator is None else head.rstrip(f"{separator} "), separator)
    if columns is None and names:
        lacking = [axis for axis in "xyz" if axis not in find_axes(names)]
        if lacking:
            raise ValueError(
                f"{path} has no {' '.join(lacking)}, its columns are called {', '.join(names)[:300]}; if it "
                "is a cloud, name them by --columns"
            )
    if comma:
        body = [line.replace(",", ".") for line in body]
    if separator is not None:  # some writers end every line with it
        body = [line.removesuffix(separator).rstrip() for line in body]
        filled = [line for line in body if line]
    if not filled:
        raise ValueError(f"{path} holds no points; restore it")
    width = len(columns or names) or len(filled[0].split(separator))
    if width < 3:
        raise ValueError(f"{path}: its lines have {width} numbers, expected x, y and z at least; restore it")
    by = "--columns names" if columns else "its line of names tells" if names else "the first line has"
    array = parse_lines(path, body, width, first=first + 1, separator=separator, named_by=by)
    if columns is not None:
        return by_columns(path, array, columns)
    table = by_columns(
        path, array, names or guess_columns(array, intensity_first=path.suffix.lower() == ".pts"), said=True
    )
    return _from_leica(path, table, notes)


def read_ptx(path: Path) -> Table:
    """Read the scans of a PTX file and bring them to one frame, by the pose that each scan has.

    Points at 0 0 0 were never measured and are left out.

    Raises:
        ValueError: If it is truncated, or a line is not as the format has it.
    """
    lines = text_lines(path.read_bytes())
    while lines and not lines[-1]:
        lines.pop()
    scans, start, unmeasured = [], 0, 0
    while start < len(lines):
        head = lines[start : start + 10]
        counts = [int(line) for line in head[:2] if re.fullmatch("[0-9]{1,9}", line)]
        if len(head) < 10 or not all(head) or len(counts) < 2:
            raise ValueError(
                f"{path}, line {start + 1}: expected the 10 lines before a scan, which begin with its "
                "columns and rows; restore it"
            )
        parse_lines(path, head[2:6], 3, first=start + 3, named_by="PTX has there")
        pose = parse_lines(path, head[6:], 4, first=start + 7, named_by="PTX has there")
        count, first = counts[0] * counts[1], start + 10
        if count > len(lines) - first:
            raise ValueError(
                f"{path} is truncated: a scan tells {count} points, but {len(lines) - first} lines follow; "
                "restore it"
            )
        body = lines[first : first + count]
        width = len(body[0].split()) if body else 4
        if width not in (3, 4, 6, 7):
            raise ValueError(
                f"{path}, line {first + 1}: {width} numbers, expected 4 or 7 as PTX has; restore it"
            )
        scan = parse_lines(path, body, width, first=first + 1, named_by="the scan's first has")
        if len(scan) < count:
            raise ValueError(f"{path}: a scan has blank lines among its {count} points; restore it")
        kept = (scan[:, :3] != 0).any(axis=1)
        unmeasured += int((~kept).sum())
        scan = scan[kept]
        scan[:, :3] = scan[:, :3] @ pose[:3, :3] + pose[3, :3]
        scans.append(scan)
        start = first + count
    if len({scan.shape[1] for scan in scans}) != 1:
        raise ValueError(f"{path}: its scans have different numbers a point, or there are none; restore it")
    names = ("x", "y", "z", *(("intensity",) if scans[0].shape[1] in (4, 7) else ()))
    names += ("red", "green", "blue") if scans[0].shape[1] > 4 else ()
    notes = [f"{len(scans)} scans are brought to one frame by their poses"] if len(scans) > 1 else []
    if unmeasured:
        notes.append(f"{unmeasured} points at 0 0 0 were never measured and are left out")
    table = by_columns(path, np.concatenate(scans), names)
    return Table(table.columns, (*notes, *table.notes))


def read_head(lines: Sequence[str]) -> tuple[str, int, int | None]:
    """Give the line of names, the number of the first line of points, and how many the file tells."""
    names, told = "", None
    for number, line in enumerate(lines):
        if line.startswith(("#", "//")):
            named = line.lstrip("#/ ")
            names = named if len(find_axes(re.split(r"[\s,;]+", named))) == len("xyz") else names
        elif line:
            words = re.split(r"[\s,;]+", line.strip(",;"))
            if told is None and len(words) == 1 and re.fullmatch("[0-9]{1,15}", line):
                told = int(line)
            elif not any(map(is_number, words)):
                names = line
            else:
                return names, number, told
    return names, len(lines), told


def find_separator(lines: Sequence[str]) -> tuple[str | None, bool, list[str]]:
    """Say what stands between numbers (None is white space), and whether commas are decimal points."""
    for separator in (";", "\t"):
        if lines and all(separator in line for line in lines):
            comma = any("," in line for line in lines)
            return separator, comma, ["commas are read as decimal points"] if comma else []
    if lines and all("," in line for line in lines):
        words = [line.split() for line in lines]
        if all(len(each) >= 3 and all(map(_DECIMAL_COMMA.fullmatch, each)) for each in words):
            return None, True, ["commas are read as decimal points"]
        return ",", False, []
    return None, False, []


def _split_names(line: str, separator: str | None) -> list[str]:
    """Split a line of names as the points are split, else at blanks and commas."""
    words = [word.strip().strip("\"'") for word in line.split(separator)]
    words = words if len(words) > 1 else re.split(r"[\s,;]+", line)
    return [word or "_" for word in words] if line else []


def _from_leica(path: Path, table: Table, notes: Sequence[str]) -> Table:
    """Bring intensities of -2048 to 2047 in a ``.pts`` to 0 to 4095."""
    values = table.columns.get("intensity")
    told = [*notes, *table.notes]
    if path.suffix.lower() == ".pts" and values is not None and values.min() < 0:
        whole = bool((values == np.floor(values)).all())
        if whole and values.min() >= -2048 and values.max() <= 2047:
            table.columns["intensity"] = values + 2048
            told.append("its intensities are taken as Leica's, -2048 to 2047")
    return Table(table.columns, tuple(told))
