"""Votes gathered per place: cubes of the world, summed over everything that a drive says of them.

Sums are whole numbers, so neither the order of votes nor how the world is cut into tiles changes them. Tiles
keep the memory bounded: those that were not touched for longest go to a temporary folder, and come back when
a vehicle comes back.
"""

import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from clip2scene.io import read_array

TILE_M = 32.0
"""Edge of a tile, in metres along x and y; a tile has all heights."""

MOST_BYTES = 256_000_000
"""Of the tiles in memory; a tile that is worked on is never written out, however large."""

_PARTS = 4096  # of a vote: finer differences between scores are rounded away
_REACH = 1 << 20  # places to each side of the origin: 21 bits an axis


class _Tile(NamedTuple):
    """Places in the order of their numbers, and the votes of each in parts; the latter part is not sorted in.

    Attributes:
        places: Number of each place, rising.
        votes: Of each class.
        later: What came since, in the same form.
    """

    places: Int[np.ndarray, " places"]
    votes: Int[np.ndarray, "places classes"]
    later: list[tuple[Int[np.ndarray, " more"], Int[np.ndarray, "more classes"]]]

    @property
    def size(self) -> int:
        """Count the bytes."""
        arrays = [self.places, self.votes, *(each for pair in self.later for each in pair)]
        return sum(each.nbytes for each in arrays)

    def waiting(self) -> int:
        """Count the places that are not sorted in."""
        return sum(len(places) for places, _ in self.later)

    def sorted(self) -> "_Tile":
        """Add up what was said of the same place."""
        if not self.later:
            return self
        places = np.concatenate([self.places, *(each for each, _ in self.later)])
        votes = np.concatenate([self.votes, *(each for _, each in self.later)])
        order = np.argsort(places, kind="stable")
        places = places[order]
        first = np.flatnonzero(np.diff(places, prepend=-1))
        return _Tile(places[first], np.add.reduceat(votes[order], first, axis=0), [])


class PlaceVotes:
    """The votes on each place of a drive.

    Attributes:
        size: Edge of a place, in metres.
        classes: Number of classes that are voted on.
        folder: Where tiles are put by; it goes when the votes are closed.
    """

    def __init__(
        self, size: float, classes: int, *, tile: float = TILE_M, most_bytes: int = MOST_BYTES
    ) -> None:
        """Begin without votes.

        Args:
            size: Edge of a place, in metres.
            classes: Number of classes.
            tile: Edge of a tile, in metres; changes no result.
            most_bytes: Of the tiles in memory; changes no result.
        """
        self.size, self.classes = size, classes
        self._per_tile = max(1, round(tile / size))
        self._most_bytes = most_bytes
        self._tiles: OrderedDict[int, _Tile] = OrderedDict()
        self._put_by: dict[int, Path] = {}
        self._temporary = tempfile.TemporaryDirectory(prefix="clip2scene-places-")
        self.folder = Path(self._temporary.name)

    def __enter__(self) -> "PlaceVotes":
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Delete what was put by."""
        self._temporary.cleanup()

    def add(self, positions: Float64[Tensor, "points 3"], scores: Float[Tensor, "points classes"]) -> None:
        """Let the points of one moment vote: each place gets one vote, shared among classes by their scores.

        A place that is near has many points and no more votes: they are not independent of each other.

        Args:
            positions: In the frame of the drive, in metres, near its origin.
            scores: Not negative, and not all zero at any point.

        Raises:
            ValueError: If a point lies out of reach of the grid.
        """
        if not len(positions):
            return
        tiles, places = self._number(positions)
        found, inverse = torch.unique(places, return_inverse=True)
        sums = scores.new_zeros(len(found), self.classes).index_add_(0, inverse, scores)
        votes = (sums / sums.sum(1, keepdim=True) * _PARTS).round().int().numpy()
        tile_of = torch.zeros_like(found).index_copy_(0, inverse, tiles).numpy()
        places_of = found.numpy()
        for number in np.unique(tile_of).tolist():
            mine = tile_of == number
            tile = self._fetch(number)
            tile.later.append((places_of[mine], votes[mine]))
            self._tiles[number] = tile.sorted() if tile.waiting() > len(tile.places) else tile
        self._make_room(set(np.unique(tile_of).tolist()))

    def at(self, positions: Float64[Tensor, "points 3"]) -> Float[Tensor, "points classes"]:
        """Give the votes on the place of each point; zeros where nobody voted."""
        votes = torch.zeros(len(positions), self.classes)
        if not len(positions):
            return votes
        tiles, places = self._number(positions)
        for number in tiles.unique().tolist():
            mine = (tiles == number).nonzero()[:, 0]
            tile = self._tiles[number] = self._fetch(number).sorted()
            if not len(tile.places):
                continue
            wanted = places[mine].numpy()
            at = np.searchsorted(tile.places, wanted).clip(max=len(tile.places) - 1)
            there = tile.places[at] == wanted
            votes[mine[torch.from_numpy(there)]] = torch.from_numpy(tile.votes[at[there]] / _PARTS).float()
        self._make_room(set(tiles.unique().tolist()))
        return votes

    def _number(
        self, positions: Float64[Tensor, "points 3"]
    ) -> tuple[Int[Tensor, " points"], Int[Tensor, " points"]]:
        """Number the tile and the place of each point."""
        steps = torch.floor(positions / self.size)
        if not (steps.abs() < _REACH).all():
            raise ValueError(
                f"a point lies more than {_REACH * self.size / 1000:.0f} km from where its drive begins, or "
                "nowhere; are the poses in metres?"
            )
        x, y, z = (steps.long() + _REACH).unbind(1)
        tiles = (x // self._per_tile << 21) | (y // self._per_tile)
        return tiles, (x << 42) | (y << 21) | z

    def _fetch(self, number: int) -> _Tile:
        """Give a tile, which is then the one touched last."""
        if number in self._put_by:
            arrays = [
                read_array(self._put_by[number].with_suffix(f".{name}.npy")) for name in _Tile._fields[:2]
            ]
            del self._put_by[number]
            self._tiles[number] = _Tile(arrays[0], arrays[1], [])
        elif number not in self._tiles:
            none = np.zeros(0, np.int64), np.zeros((0, self.classes), np.int32)
            self._tiles[number] = _Tile(*none, [])
        self._tiles.move_to_end(number)
        return self._tiles[number]

    def _make_room(self, used: set[int]) -> None:
        """Put tiles by that were not touched for longest, those in use excepted."""
        held = sum(tile.size for tile in self._tiles.values())
        for number in [each for each in self._tiles if each not in used]:
            if held <= self._most_bytes:
                return
            held -= self._tiles[number].size
            tile = self._tiles.pop(number).sorted()
            path = self._put_by[number] = self.folder / str(number)
            for name in _Tile._fields[:2]:
                np.save(path.with_suffix(f".{name}.npy"), getattr(tile, name))
