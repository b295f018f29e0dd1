"""Large clouds, tile by tile: memory for the fullest tile and its margin, however large the cloud is.

Points are sorted by place on disk, once; then each tile is labelled with what lies within a margin around it.
Intensities become quantiles as one, and the ground is that of the whole (:mod:`clip2scene.geometry.terrain`),
so the network sees the voxels that it would see of the whole, and its answer is the same where the margin is
as wide as it sees. Superpoints are found in each tile and its margin, so those that reach farther are cut.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int64
from torch import Tensor

from clip2scene.datasets.clouds.labelled import PointLabels
from clip2scene.geometry.ground import Ground
from clip2scene.geometry.level import Levelling
from clip2scene.geometry.superpoints import find_map_superpoints
from clip2scene.geometry.terrain import Terrain
from clip2scene.inference.predict import Part, Quality
from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.tile_store import FOUND, Around, TileStore, numbers_of, places_of
from clip2scene.parallel import progress_bar
from clip2scene.student.inputs import prepare, with_height
from clip2scene.types import PointCloud

MARGIN_M = 10.0
"""How far around a tile points are looked at with it."""
MOST_POINTS = 2_000_000
"""Points of a tile and its margin, where the size of tiles is chosen by the cloud."""
MOST_VOXELS = 500_000
"""The same of occupied voxels, which take far more memory."""

MOST_KEPT = 1_000_000
"""Points of a large cloud that it is compared with the training clouds by, and drawn by, evenly chosen."""

_LEVELS = 6
_LEAST_M = 5.0  # edge of the smallest tiles that are chosen; the largest are 32 times as wide
_USUAL_BIN_M = 10.0
_PIECE = 1_000_000
_SURFACE = 2.7  # occupied voxels over a square of ground as wide as one, of a street with trees and houses

Pieces = Callable[[], Iterator[PointCloud]]
"""Goes through a cloud from the beginning, some points at a time."""


@dataclass(frozen=True)
class TileOptions:
    """How a cloud is cut.

    Attributes:
        size: Edge of a tile in metres; None chooses them by how many points lie where.
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

    @property
    def bin_size(self) -> float:
        """Edge of the bins that tiles are made of."""
        return _LEAST_M if self.size is None else self.size / np.ceil(self.size / _USUAL_BIN_M)


class Tile(NamedTuple):
    """A square of bins: column and row of its first, its edge in bins, and how many points it has."""

    low: Int64[np.ndarray, "2"]
    size: int
    own: int


def pieces_of(cloud: PointCloud) -> Pieces:
    """Go through a cloud in memory."""

    def pieces() -> Iterator[PointCloud]:
        parts = zip(cloud.positions.split(_PIECE), cloud.features.split(_PIECE), strict=True)
        return (PointCloud(*part) for part in parts)

    return pieces


class TiledLabels:
    """The labels of a cloud that was labelled tile by tile.

    Args:
        store: Where they lie.
        step: One point of so many has its label kept (:meth:`some`).
        raw: Whether labels before superpoint means were asked for.
    """

    def __init__(self, store: TileStore, step: int, *, raw: bool) -> None:
        self._store, self._step, self.raw = store, step, raw or None
        self._some: dict[int, Int[np.ndarray, " points"]] = {}

    def __len__(self) -> int:
        return len(self._store)

    def part(self, start: int, stop: int) -> PointLabels:
        """Give the labels of the points from ``start`` up to ``stop``."""
        found = self._store.found(start, stop)
        self._some[start] = found["label"][-start % self._step :: self._step].copy()  # no view of the whole
        raw = found["raw"].astype(np.int64) if self.raw else None
        return PointLabels(found["label"].astype(np.int64), found["confidence"], raw)

    def some(self) -> Int[Tensor, " points"]:
        """Give the labels of the points of the sample that was named, once all were given."""
        parts = [self._some[start] for start in sorted(self._some)]
        return torch.from_numpy(np.concatenate(parts).astype(np.int64))


def label_tiles(
    segmenter: Segmenter,
    pieces: Pieces,
    sample: PointCloud,
    folder: Path,
    options: TileOptions = TileOptions(),  # noqa: B008 - frozen
    *,
    ground: Ground | None = None,
    key: str = "",
) -> TiledLabels:
    """Label a cloud tile by tile.

    An interrupted call is gone on with where it ended, by the same call in the same folder.

    Args:
        segmenter: Its prompts set.
        pieces: The cloud.
        sample: The cloud, or each n-th of its points: the quantiles of intensities are found in it.
        folder: Where points and labels are kept, about 35 bytes a point; nothing else lies there.
        options: How the cloud is cut.
        ground: The plane of the ground, of a cloud that is no map, where it is known.
        key: Stands for all that the labels follow from: what lies in the folder under another is left out.

    Raises:
        ValueError: If a position or feature is not finite, or too far away.
    """
    store = TileStore(folder, options.bin_size, 3 + sample.features.shape[1])
    look = _Look(segmenter, sample, options)
    if not store.reopen(key):
        for piece in pieces():
            store.add(look.rows(piece))
        store.finish(key)
    levelling: Levelling | Terrain | None = None
    if look.inputs.needs_ground:
        known = None if ground is None else look.inputs.find_levelling(sample.positions, ground)
        levelling = known or Terrain(store.lowest_in)
    tiles = plan(store, options, float(segmenter.student.backbone.voxel_size))  # type: ignore[arg-type]
    before = sum(tile.own for tile in tiles[: store.done])
    with progress_bar(desc="segment", unit="point", total=len(store), initial=before, unit_scale=True) as bar:
        for tile in tiles[store.done :]:
            around = store.around(tile.low, tile.size, options.margin)
            store.put_found(around.runs, look.at(around, levelling))
            bar.update(tile.own)
    return TiledLabels(store, -(-len(store) // len(sample)), raw=options.keep_raw)


class _Look:
    """Looks at a cloud in parts, and labels one tile after another, as the whole would be."""

    def __init__(self, segmenter: Segmenter, sample: PointCloud, options: TileOptions) -> None:
        self.segmenter, self.options = segmenter, options
        self.inputs, self.ordered = segmenter.student.inputs, None
        if self.inputs.intensity == "quantile":
            self.ordered = sample.features.T.contiguous().sort(1)[0]
            self.inputs = replace(self.inputs, intensity="value")

    def rows(self, piece: PointCloud) -> Float32[np.ndarray, "points numbers"]:
        """Give what is kept of some points: positions, and intensities as the whole has them."""
        if not piece.positions.isfinite().all() or not piece.features.isfinite().all():
            raise ValueError("the cloud holds NaN or infinite numbers; drop those points")
        features = piece.features if self.ordered is None else self._ranks(piece.features)
        return torch.cat([piece.positions, features], 1).float().numpy()

    def at(self, around: Around, levelling: Levelling | Terrain | None) -> np.ndarray:
        """Give what is found for a tile's own points."""
        rows = torch.from_numpy(around.rows)
        prepared = prepare(PointCloud(rows[:, :3], rows[:, 3:]), self.inputs, levelling)
        voted = self.segmenter.student.superpoint_mean
        found = self.segmenter.segment_prepared(
            with_height(prepared, self.inputs),
            rows[:, :3],
            part=Part(around.own, find_map_superpoints(rows[:, :3]) if voted else None),
            abstain=self.options.abstain,
            quality=self.options.quality,
            keep_raw=self.options.keep_raw,
        )
        result = np.zeros(around.own, FOUND)
        result["label"] = found.labels.numpy()
        result["confidence"] = found.scores.amax(1).numpy()
        if found.raw_labels is not None:
            result["raw"] = found.raw_labels.numpy()
        return result

    def _ranks(self, values: Float[Tensor, "points channels"]) -> Float[Tensor, "points channels"]:
        """Give the rank of each value among the sample's, -1 to 1, as ``quantiles`` does."""
        assert self.ordered is not None
        columns = values.T.contiguous()
        below, upto = (torch.searchsorted(self.ordered, columns, right=side) for side in (False, True))
        middles = (below + upto - 1).to(values.dtype) / 2
        ranks = (2 * middles / max(self.ordered.shape[1] - 1, 1) - 1).clamp(-1, 1)
        alone = self.ordered[:, :1] == self.ordered[:, -1:]
        return torch.where(alone, 0.0, ranks).T


def plan(store: TileStore, options: TileOptions, voxel_m: float) -> list[Tile]:
    """Cut the places that have points into tiles, large where points are few.

    A tile that sees too many points, or too much ground for the voxels over it, is cut in four.

    Args:
        store: All points.
        options: The size of tiles, where it is told.
        voxel_m: Edge of the network's voxels, in metres.
    """
    bins, counts = store.bins()
    reach = int(np.ceil(options.margin / store.bin_size))
    told = options.size is not None
    sizes = (
        [round((options.size or 0) / store.bin_size)] if told else [2**k for k in reversed(range(_LEVELS))]
    )
    left, tiles = np.arange(len(bins)), list[Tile]()
    for size in sizes:
        if not len(left):
            break
        squares, of_bin = np.unique(numbers_of(bins[left] // size), return_inverse=True)
        fits = np.ones(len(squares), dtype=bool)
        if size != sizes[-1]:
            seen = _seen(bins, counts, size, reach, squares)
            voxels = _SURFACE * ((size + 2 * reach) * store.bin_size / voxel_m) ** 2
            fits = (seen <= MOST_POINTS) & (np.minimum(seen, voxels) <= MOST_VOXELS)
        own = np.bincount(of_bin, weights=counts[left]).astype(np.int64)
        corners = size * places_of(squares)
        tiles += [Tile(corners[at], size, int(own[at])) for at in np.flatnonzero(fits).tolist()]
        left = left[~fits[of_bin]]
    return tiles


def _seen(
    bins: Int[np.ndarray, "bins 2"],
    counts: Int64[np.ndarray, " bins"],
    size: int,
    reach: int,
    squares: Int64[np.ndarray, " squares"],
) -> Int64[np.ndarray, " squares"]:
    """Count the points in squares of bins and in all bins up to ``reach`` around them."""
    steps = [*range(-reach, reach, size), 0, reach]
    sees = np.sort(np.stack([numbers_of((bins + [x, y]) // size) for x in steps for y in steps], 1), axis=1)
    first = np.diff(sees, axis=1, prepend=sees[:, :1] - 1) != 0
    at, who = np.searchsorted(squares, sees), np.broadcast_to(counts[:, None], sees.shape)
    at = np.minimum(at, len(squares) - 1)
    there = first & (squares[at] == sees)
    return np.bincount(at[there], weights=who[there], minlength=len(squares)).astype(np.int64)
