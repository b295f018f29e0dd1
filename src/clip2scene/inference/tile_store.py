"""The points of a large cloud on disk, to be read place by place, and what was found for them.

Points come once, some at a time. Each piece is sorted by bins, squares on a grid, and goes to the end of a
file as it is; what is kept in memory is where the run of each bin begins. So a place is read from a few runs,
a piece's order is undone with nothing but its own, and neither needs more memory for a larger cloud.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int, Int64

from clip2scene.geometry.level import CELL_M
from clip2scene.io import read_array, read_json, write_json

MOST_BIN_M = 15.0
"""Largest edge of a bin: 15 cells of the ground."""

FOUND = np.dtype([("label", "<i4"), ("confidence", "<f4"), ("raw", "<i4")])
"""What is found for a point."""

_STATE = "sorted.json"  # written once all points are
_ROWS = 1 << 32
_SUB = 16  # cells of the ground that a bin meets along an axis, at most


class _Runs:
    """Rows of numbers in a file, one run after another, each of one bin."""

    def __init__(self, path: Path, kind: np.dtype[Any], width: int) -> None:
        self.path, self.kind, self.width = path, kind, width
        self.bins = np.zeros((0, 2), np.int32)
        self.ends = np.zeros(0, np.int64)
        self._added: list[tuple[Int64[np.ndarray, " runs"], Int64[np.ndarray, " runs"]]] = []

    def add(
        self, bins: Int64[np.ndarray, " runs"], counts: Int64[np.ndarray, " runs"], rows: np.ndarray
    ) -> None:
        with self.path.open("ab") as file:
            file.write(rows.astype(self.kind, copy=False).tobytes())
        self._added.append((bins, counts))

    def finish(self) -> None:
        """Make ready for reading, once all is added, and keep where the runs are."""
        bins = np.concatenate([each[0] for each in self._added])
        self.bins = places_of(bins).astype(np.int32)
        self.ends = np.concatenate([each[1] for each in self._added]).cumsum()
        self._added = []
        np.save(self.path.with_suffix(".bins.npy"), self.bins)
        np.save(self.path.with_suffix(".ends.npy"), self.ends)

    def reopen(self) -> None:
        """Make ready for reading what was finished before."""
        self.bins = read_array(self.path.with_suffix(".bins.npy"))
        self.ends = read_array(self.path.with_suffix(".ends.npy"))

    def within(self, low: Int[np.ndarray, "2"], high: Int[np.ndarray, "2"]) -> list[tuple[int, int]]:
        """List where the bins from ``low`` up to, not with, ``high`` begin and end; neighbours are joined."""
        at = np.flatnonzero(((self.bins >= low) & (self.bins < high)).all(1))
        if not len(at):
            return []
        stops, starts = self.ends[at], np.where(at > 0, self.ends[at - 1], 0)
        first = np.flatnonzero(np.append(True, starts[1:] != stops[:-1]))
        return list(
            zip(starts[first].tolist(), stops[np.append(first[1:], len(at)) - 1].tolist(), strict=True)
        )

    def read(self, runs: list[tuple[int, int]]) -> np.ndarray:
        size = self.kind.itemsize * self.width
        parts = []
        with self.path.open("rb") as file:
            for start, stop in runs:
                file.seek(start * size)
                parts.append(file.read((stop - start) * size))
        return np.frombuffer(b"".join(parts), self.kind).reshape(-1, self.width)


@dataclass(frozen=True)
class Around:
    """The points of a tile, and those around it.

    Attributes:
        rows: x, y and z in metres, then features; those of the tile come first.
        runs: Where the tile's own lie in the store.
    """

    rows: Float32[np.ndarray, "points numbers"]
    runs: list[tuple[int, int]]

    @property
    def own(self) -> int:
        """How many points are the tile's."""
        return sum(stop - start for start, stop in self.runs)


def was_sorted(folder: Path) -> bool:
    """Tell whether a folder holds all points of a cloud, so that tiles are gone on with."""
    return (folder / _STATE).exists()


class TileStore:
    """Points on disk by place, and what was found for them.

    Args:
        folder: Where the files lie.
        bin_size: Edge of a bin in metres, at most :data:`MOST_BIN_M`.
        width: Numbers of a point: x, y and z in metres, then features.

    Attributes:
        done: How many tiles have been answered.
    """

    def __init__(self, folder: Path, bin_size: float, width: int) -> None:
        assert 0 < bin_size <= MOST_BIN_M
        self.folder, self.bin_size = folder, bin_size
        self._points = _Runs(folder / "points", np.dtype("<f4"), width)
        self._lowest = _Runs(folder / "lowest", np.dtype("<f4"), 3)
        self.pieces, self.done = [0], 0

    def reopen(self, key: str) -> bool:
        """Go on with what lies in the folder, if all points were sorted there under the same key.

        Else the folder is emptied, and points are to be added.
        """
        state = self.folder / _STATE
        told = read_json(state) if state.exists() else {}
        if told.get("key") == key:
            self.pieces = told["pieces"]
            self._points.reopen()
            self._lowest.reopen()
            self.done = (self.folder / "done").stat().st_size
            return True
        for path in self.folder.iterdir():
            path.unlink()
        return False

    def __len__(self) -> int:
        return self.pieces[-1]

    def add(self, rows: Float32[np.ndarray, "points numbers"]) -> None:
        """Add points of the cloud, in its order; at least one."""
        numbers = numbers_of(self._bins_of(rows))
        column, row = np.floor(rows[:, :2] / CELL_M).astype(np.int64).T % _SUB
        order, starts = _sort_into_cells(numbers * _SUB**2 + column * _SUB + row)
        ordered, of_cell = rows[order], numbers[order[starts]]
        new = np.flatnonzero(np.append(True, of_cell[1:] != of_cell[:-1]))
        self._points.add(of_cell[new], np.diff(starts[new], append=len(rows)), ordered)
        lowest = ordered[_lowest_of_cells(ordered[:, 2], starts), :3]
        self._lowest.add(of_cell[new], np.diff(new, append=len(starts)), lowest)
        with (self.folder / "order").open("ab") as file:
            file.write(order.astype("<u4").tobytes())
        self.pieces.append(len(self) + len(rows))

    def finish(self, key: str) -> None:
        """Make ready for reading, once all points are added, and for :meth:`reopen`."""
        self._points.finish()
        self._lowest.finish()
        with (self.folder / "found").open("wb") as file:
            file.truncate(len(self) * FOUND.itemsize)
        (self.folder / "done").touch()
        write_json(self.folder / _STATE, {"key": key, "pieces": self.pieces})

    def bins(self) -> tuple[Int[np.ndarray, "bins 2"], Int64[np.ndarray, " bins"]]:
        """Give column and row of every bin with points, and how many it has."""
        bins, of_run = np.unique(self._points.bins, axis=0, return_inverse=True)
        counts = np.diff(self._points.ends, prepend=0)
        return bins, np.bincount(of_run.reshape(-1), weights=counts).astype(np.int64)

    def lowest_in(
        self, low: Float64[np.ndarray, "2"], high: Float64[np.ndarray, "2"]
    ) -> Float64[np.ndarray, "points 3"]:
        """Give lowest points of cells of the ground between two corners, as a ``Terrain`` needs them."""
        found = self._lowest.read(self._lowest.within(*self._bins_between(low, high)))
        return found[((found[:, :2] >= low) & (found[:, :2] < high)).all(1)].astype(np.float64)

    def around(self, low: Int[np.ndarray, "2"], size: int, margin: float) -> Around:
        """Read the points of a tile of ``size`` times ``size`` bins, and those within a margin, in metres."""
        corner, far = low * self.bin_size - margin, (low + size) * self.bin_size + margin
        rows = self._points.read(self._points.within(*self._bins_between(corner, far)))
        bins = self._bins_of(rows)
        own = ((bins >= low) & (bins < low + size)).all(1)
        near = ~own & ((rows[:, :2] >= corner) & (rows[:, :2] < far)).all(1)
        return Around(np.concatenate([rows[own], rows[near]]), self._points.within(low, low + size))

    def put_found(self, runs: list[tuple[int, int]], found: np.ndarray) -> None:
        """Write what was found for the points of a tile's runs, and count the tile."""
        at = 0
        with (self.folder / "found").open("r+b") as file:
            for start, stop in runs:
                file.seek(start * FOUND.itemsize)
                file.write(found[at : at + stop - start].tobytes())
                at += stop - start
        with (self.folder / "done").open("ab") as file:
            file.write(b".")
        self.done += 1

    def found(self, start: int, stop: int) -> np.ndarray:
        """Give what was found for points of the cloud, in its order."""
        parts = []
        for first, end in pairwise(self.pieces):
            if first < stop and end > start:
                parts.append(self._piece(first, end)[max(start - first, 0) : stop - first])
        return np.concatenate(parts) if parts else np.zeros(0, FOUND)

    def _piece(self, first: int, end: int) -> np.ndarray:
        """Give what was found for a piece, in its order."""
        found = np.empty(end - first, FOUND)
        found[self._part("order", np.dtype("<u4"), first, end)] = self._part("found", FOUND, first, end)
        return found

    def _part(self, name: str, kind: np.dtype[Any], first: int, end: int) -> np.ndarray:
        with (self.folder / name).open("rb") as file:
            file.seek(first * kind.itemsize)
            return np.frombuffer(file.read((end - first) * kind.itemsize), kind)

    def _bins_of(self, rows: Float32[np.ndarray, "points numbers"]) -> Int64[np.ndarray, "points 2"]:
        """Give column and row of each point's bin."""
        return np.floor(rows[:, :2] / np.float64(self.bin_size)).astype(np.int64)

    def _bins_between(
        self, low: Float64[np.ndarray, "2"], high: Float64[np.ndarray, "2"]
    ) -> tuple[Int64[np.ndarray, "2"], Int64[np.ndarray, "2"]]:
        """Give the bins that hold what lies between two corners: the first, and that after the last."""
        size = self.bin_size
        return np.floor(low / size).astype(np.int64), np.ceil(high / size).astype(np.int64)


def numbers_of(places: Int[np.ndarray, "places 2"]) -> Int64[np.ndarray, " places"]:
    """Give column and row of places on a grid as one number, in whose order columns follow each other."""
    return places[:, 0].astype(np.int64) * _ROWS + places[:, 1]


def places_of(numbers: Int64[np.ndarray, " places"]) -> Int64[np.ndarray, "places 2"]:
    """Give column and row again of what :func:`numbers_of` gave."""
    row = (numbers + _ROWS // 2) % _ROWS - _ROWS // 2
    return np.stack([(numbers - row) // _ROWS, row], 1)


def _sort_into_cells(
    cells: Int[np.ndarray, " points"],
) -> tuple[Int[np.ndarray, " points"], Int[np.ndarray, " cells"]]:
    """Sort points by the number of their cell; give their order, and where each cell begins in it."""
    order = np.argsort(cells)
    return order, np.flatnonzero(np.diff(cells[order], prepend=cells[order[:1]] - 1))


def _lowest_of_cells(
    heights: Float[np.ndarray, " points"], starts: Int[np.ndarray, " cells"]
) -> Int[np.ndarray, " cells"]:
    """Give the place of the lowest point of each cell, of points in the order of their cells."""
    lowest = np.minimum.reduceat(heights, starts)
    cell_of_point = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(heights)))
    at = np.flatnonzero(heights == lowest[cell_of_point])
    return at[np.flatnonzero(np.diff(cell_of_point[at], prepend=-1))]
