"""Large clouds, tile by tile: memory for the densest tile and its margin, however large the cloud is.

The cloud is brought level, and intensities become quantiles, as one; then each tile is labelled with what
lies within a margin around it. Points are kept on disk, sorted by tile, in a folder that is removed at the
end. The network sees the voxels that it would see of the whole, so its answer is the same where the margin is
as wide as it sees. Superpoints are found in each tile and its margin, so those that reach farther are cut.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.datasets.clouds.labelled import PointLabels
from clip2scene.geometry.ground import Ground
from clip2scene.inference.predict import Quality
from clip2scene.inference.segmenter import Segmenter
from clip2scene.parallel import progress_bar
from clip2scene.student.inputs import InputOptions, prepare, with_height
from clip2scene.types import PointCloud

MARGIN_M = 10.0
"""How far around a tile points are looked at with it."""
MOST_POINTS = 1_000_000
"""Points of a tile and its margin, where the size of tiles is chosen by the cloud."""

MOST_KEPT = 1_000_000
"""Points of a large cloud that it is compared with the training clouds by, and drawn by, evenly chosen."""

_SIZES_M = (160.0, 80.0, 40.0, 20.0, 10.0, 5.0)
_PIECE = 1_000_000
_FOUND = np.dtype([("label", "<i4"), ("confidence", "<f4"), ("raw", "<i4")])

Pieces = Callable[[], Iterator[PointCloud]]
"""Goes through a cloud from the beginning, some points at a time."""


@dataclass(frozen=True)
class TileOptions:
    """How a cloud is cut.

    Attributes:
        size: Edge of a tile in metres; None chooses the largest with few enough points.
        margin: How far around it points are looked at with it, in metres.
        quality: At how many turns it is seen.
        abstain: Points whose best score is below this, 0..1, get no prompt.
        keep_raw: Whether labels before superpoint means are wanted too.
    """

    size: float | None = None
    margin: float = MARGIN_M
    quality: Quality = "medium"
    abstain: float = 0.0
    keep_raw: bool = False


def pieces_of(cloud: PointCloud) -> Pieces:
    """Go through a cloud in memory."""

    def pieces() -> Iterator[PointCloud]:
        parts = zip(cloud.positions.split(_PIECE), cloud.features.split(_PIECE), strict=True)
        return (PointCloud(*part) for part in parts)

    return pieces


class TiledLabels:
    """The labels of a cloud that was labelled tile by tile, to be taken in its order, once.

    Args:
        store: Where each point went.
        step: One point of so many has its label kept (:meth:`some`).
        raw: Whether labels before superpoint means were asked for.
    """

    def __init__(self, store: "_Store", step: int, *, raw: bool) -> None:
        self._store, self._step, self._at, self.raw = store, step, 0, raw or None
        self._some: list[np.ndarray] = []

    def __len__(self) -> int:
        return int(self._store.starts[-1])

    def part(self, start: int, stop: int) -> PointLabels:
        """Give the labels of the points from ``start``, where the last call ended, up to ``stop``."""
        assert start == self._at, "labels are taken in order"
        self._at = stop
        found = self._store.take_found(start, stop)
        self._some.append(found["label"][-start % self._step :: self._step])
        raw = found["raw"].astype(np.int64) if self.raw else None
        return PointLabels(found["label"].astype(np.int64), found["confidence"], raw)

    def some(self) -> Int[Tensor, " points"]:
        """Give the labels of the points of the sample that was named, once all are taken."""
        return torch.from_numpy(np.concatenate(self._some).astype(np.int64))


def label_tiles(
    segmenter: Segmenter,
    pieces: Pieces,
    sample: PointCloud,
    folder: Path,
    options: TileOptions = TileOptions(),  # noqa: B008 - frozen
    *,
    ground: Ground | None = None,
) -> TiledLabels:
    """Label a cloud tile by tile.

    Args:
        segmenter: Its prompts set.
        pieces: The cloud.
        sample: The cloud, or each n-th of its points: the ground and the quantiles of intensities are found
            in it.
        folder: Where points and labels are kept, 40 to 50 bytes a point.
        options: How the cloud is cut.
        ground: The plane of the ground, where it is known.

    Raises:
        ValueError: If a position or feature is not finite, or too far away.
    """
    inputs = segmenter.student.inputs
    shared = _Shared(inputs, sample, ground)
    size, tiles, counts = _plan(pieces, options)
    store = _Store(folder, tiles, counts)
    for piece in pieces():
        if not piece.positions.isfinite().all() or not piece.features.isfinite().all():
            raise ValueError("the cloud holds NaN or infinite numbers; drop those points")
        given = shared(piece)
        rows = torch.cat([given.positions, piece.positions, given.features], 1).float().numpy()
        store.add(_tile_of(piece.positions.numpy(), size), rows)
    for number in progress_bar(range(len(tiles)), desc="segment", unit="tile"):
        own = store.rows(number)
        around = _margin(store, number, tiles, size, options.margin)
        seen = torch.from_numpy(np.concatenate([own, around]))
        found = segmenter.segment_prepared(
            PointCloud(seen[:, :3], seen[:, 6:]),
            seen[:, 3:6],
            abstain=options.abstain,
            quality=options.quality,
            keep_raw=options.keep_raw,
        )
        result = np.zeros(len(own), _FOUND)
        result["label"] = found.labels[: len(own)].numpy()
        result["confidence"] = found.scores[: len(own)].amax(1).numpy()
        if found.raw_labels is not None:
            result["raw"] = found.raw_labels[: len(own)].numpy()
        store.put_found(number, result)
    return TiledLabels(store, -(-int(counts.sum()) // len(sample)), raw=options.keep_raw)


class _Shared:
    """Prepares pieces of a cloud as :func:`~clip2scene.student.inputs.prepare_cloud` would the whole."""

    def __init__(self, inputs: InputOptions, sample: PointCloud, ground: Ground | None) -> None:
        self.inputs = inputs
        self.levelling = inputs.find_levelling(sample.positions, ground)
        self.ordered = sample.features.T.contiguous().sort(1)[0] if inputs.intensity == "quantile" else None

    def __call__(self, piece: PointCloud) -> PointCloud:
        inputs = self.inputs
        if self.ordered is not None:
            piece, inputs = (
                replace(piece, features=self._ranks(piece.features)),
                replace(inputs, intensity="value"),
            )
        return with_height(prepare(piece, inputs, self.levelling), inputs)

    def _ranks(self, values: Float[Tensor, "points channels"]) -> Float[Tensor, "points channels"]:
        """Give the rank of each value among the sample's, -1 to 1, as ``quantiles`` does."""
        assert self.ordered is not None
        columns = values.T.contiguous()
        below, upto = (torch.searchsorted(self.ordered, columns, right=side) for side in (False, True))
        middles = (below + upto - 1).to(values.dtype) / 2
        ranks = (2 * middles / max(self.ordered.shape[1] - 1, 1) - 1).clamp(-1, 1)
        alone = self.ordered[:, :1] == self.ordered[:, -1:]
        return torch.where(alone, 0.0, ranks).T


def _tile_of(positions: Float[np.ndarray, "points 3"], size: float) -> Int[np.ndarray, " points"]:
    """Give the tile of each point as one number: its column and its row."""
    column, row = np.floor(positions[:, :2].astype(np.float64) / size).astype(np.int64).T
    return column * _ROWS + row


_ROWS = 1 << 32


def _split(tiles: Int[np.ndarray, " tiles"]) -> Int[np.ndarray, "tiles 2"]:
    """Give column and row of tiles."""
    row = (tiles + _ROWS // 2) % _ROWS - _ROWS // 2
    return np.stack([(tiles - row) // _ROWS, row], 1)


def _plan(
    pieces: Pieces, options: TileOptions
) -> tuple[float, Int[np.ndarray, " tiles"], Int[np.ndarray, " tiles"]]:
    """Choose the size of tiles, list them, and count their points."""
    cell = options.size or _SIZES_M[-1]
    counted: dict[int, int] = {}
    for piece in pieces():
        cells, counts = np.unique(_tile_of(piece.positions.numpy(), cell), return_counts=True)
        for key, count in zip(cells.tolist(), counts.tolist(), strict=True):
            counted[key] = counted.get(key, 0) + count
    cells, counts = np.array(list(counted)), np.array(list(counted.values()))
    for size in (options.size,) if options.size else _SIZES_M:
        places = _split(cells) // round(size / cell)
        tiles, of_tile = np.unique(places[:, 0] * _ROWS + places[:, 1], return_inverse=True)
        points = np.bincount(of_tile.reshape(-1), weights=counts).astype(np.int64)
        if points.max() * (1 + 2 * options.margin / size) ** 2 <= MOST_POINTS:
            break
    return size, tiles, points


def _margin(
    store: "_Store", number: int, tiles: Int[np.ndarray, " tiles"], size: float, margin: float
) -> Float[np.ndarray, "points numbers"]:
    """Read the points around a tile."""
    places = _split(tiles)
    reach = int(np.ceil(margin / size))
    near = np.flatnonzero(
        (np.abs(places - places[number]) <= reach).all(1) & (np.arange(len(tiles)) != number)
    )
    low, high = places[number] * size - margin, (places[number] + 1) * size + margin
    around = [store.rows(0)[:0]]
    for other in near.tolist():
        rows = store.rows(other)
        around.append(rows[((rows[:, 3:5] >= low) & (rows[:, 3:5] < high)).all(1)])
    return np.concatenate(around)


class _Store:
    """Points and labels on disk, sorted by tile; and the tile of each point, in the order of the cloud."""

    def __init__(
        self, folder: Path, tiles: Int[np.ndarray, " tiles"], counts: Int[np.ndarray, " tiles"]
    ) -> None:
        self.folder, self.tiles = folder, tiles
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.written, self.taken = np.zeros_like(counts), np.zeros_like(counts)
        self.width = 0
        for name in ("points", "found", "tiles"):
            (folder / name).touch()

    def add(self, tiles: Int[np.ndarray, " points"], rows: Float[np.ndarray, "points numbers"]) -> None:
        """Add points of the cloud, in its order."""
        self.width = rows.shape[1]
        numbers = np.searchsorted(self.tiles, tiles).astype("<i4")
        with (self.folder / "tiles").open("ab") as file:
            file.write(numbers.tobytes())
        order = np.argsort(numbers, kind="stable")
        ordered = rows[order].astype("<f4", copy=False)
        with (self.folder / "points").open("r+b") as file:
            for number, start, stop in _runs(numbers[order]):
                file.seek((int(self.starts[number]) + int(self.written[number])) * 4 * self.width)
                file.write(ordered[start:stop].tobytes())
                self.written[number] += stop - start

    def rows(self, number: int) -> Float[np.ndarray, "points numbers"]:
        """Read the points of a tile."""
        start, stop = self.starts[number : number + 2].tolist()
        found = self._read("points", np.dtype("<f4"), start * self.width, (stop - start) * self.width)
        return found.reshape(-1, self.width)

    def put_found(self, number: int, found: np.ndarray) -> None:
        """Write what was found for the points of a tile."""
        with (self.folder / "found").open("r+b") as file:
            file.seek(int(self.starts[number]) * _FOUND.itemsize)
            file.write(found.tobytes())

    def take_found(self, start: int, stop: int) -> np.ndarray:
        """Read what was found for points of the cloud, in its order; those before were taken already."""
        numbers = self._read("tiles", np.dtype("<i4"), start, stop - start)
        order = np.argsort(numbers, kind="stable")
        found = np.empty(len(numbers), _FOUND)
        for number, low, high in _runs(numbers[order]):
            first = int(self.starts[number] + self.taken[number])
            found[order[low:high]] = self._read("found", _FOUND, first, high - low)
            self.taken[number] += high - low
        return found

    def _read(self, name: str, kind: np.dtype[Any], start: int, count: int) -> np.ndarray:
        with (self.folder / name).open("rb") as file:
            file.seek(start * kind.itemsize)
            return np.frombuffer(file.read(count * kind.itemsize), kind)


def _runs(ordered: Int[np.ndarray, " points"]) -> Iterator[tuple[int, int, int]]:
    """Give each number of an ordered list, and where it begins and ends."""
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    for start, stop in zip(starts.tolist(), [*starts[1:].tolist(), len(ordered)], strict=True):
        yield int(ordered[start]), start, stop
