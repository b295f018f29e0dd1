"""What the network is given of a cloud's places: voxels of every level, and who meets whom; in NumPy.

The twin of :mod:`clip2scene.student.sparse` and :mod:`clip2scene.student.point_voxel`, which say more; keys,
orders and offsets are theirs. Inputs of the graph by their names, for a level L and a kernel of K voxels:

=============================================  ===========================================================
``voxel_of_point``                             row of each point's voxel of the finest level
``mean_L_order``, ``mean_L_last``              points, sorted by their voxel; the place of each voxel's last
``near_L_K_sources``, ``_targets``             pairs of neighbours, by kernel offset, without the centre
``near_L_K_counts``                            how many pairs each offset has
``down_L_sources``, ``_targets``, ``_counts``  voxels and their parents a level up, by octant
``around_L_rows``, ``around_L_weights``        the eight voxels around each point, and their shares
=============================================  ===========================================================
"""

import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int64

Named = dict[str, np.ndarray]

KNOWN = re.compile(
    r"voxel_of_point|mean_\d_(order|last)|(near_\d_\d|down_\d)_(sources|targets|counts)|"
    r"around_\d_(rows|weights)"
)
"""Names of inputs that can be made."""

_BITS = 18
_MASK, _BIAS = 2**_BITS - 1, 2 ** (_BITS - 1)
_FARTHEST = _BIAS - 8  # voxels; eight cells stay free at both ends, so that no neighbour leaves its axis
_HALF = _BIAS - 1
_HALVED = _HALF << 2 * _BITS | _HALF << _BITS | _HALF
_SHIFTS = (2 * _BITS, _BITS, 0)


class Voxels:
    """The voxels of one cloud.

    Args:
        positions: At least one point, finite, in metres.
        voxel_size: Edge of the finest voxels, in metres.
        at_corners: Whether the point branch has one point a voxel, at its lower corner.

    Raises:
        ValueError: If a point lies too far from the origin.
    """

    def __init__(
        self, positions: Float32[np.ndarray, "points 3"], voxel_size: float, *, at_corners: bool = False
    ) -> None:
        in_voxels = positions / np.float32(voxel_size)
        if np.abs(in_voxels).max() > _FARTHEST:
            raise ValueError(
                f"a point lies {float(np.abs(positions).max()):.0f} m from the origin, expected at most "
                f"{_FARTHEST * voxel_size:.0f} m with voxels of {voxel_size} m; move the cloud to its sensor"
            )
        x, y, z = np.ascontiguousarray(np.floor(in_voxels).T).astype(np.int64) + _BIAS
        keys, self.voxel_of_point = np.unique((x << _BITS | y) << _BITS | z, return_inverse=True)
        self.levels = Levels(keys)
        self._measured = self._branch = _Places(self.levels, in_voxels, self.voxel_of_point, 0.5)
        if at_corners:
            corners = np.stack([(keys >> shift & _MASK) - _BIAS for shift in _SHIFTS], 1).astype(np.float32)
            self._branch = _Places(self.levels, corners, np.arange(len(keys)), 0.0)

    def inputs(self, names: Iterator[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Make inputs of the graph; the module's text has their names."""
        made: dict[str, Named] = {}
        for name in names:
            if name == "voxel_of_point":
                yield name, self.voxel_of_point
                continue
            what, last = name.rsplit("_", 1)
            if what not in made:
                kind, *numbers = what.split("_")
                made[what] = self._make(kind, *map(int, numbers))
            yield name, made[what][last]

    def _make(self, kind: str, level: int, size: int = 0) -> Named:
        if kind == "mean":  # at the finest level of what was measured, elsewhere of the point branch
            return (self._branch if level else self._measured).mean(level)
        if kind == "around":
            return self._branch.around(level)
        return self.levels.near(level, size) if kind == "near" else self.levels.down(level)


class Levels:
    """The occupied voxels at every resolution.

    Args:
        finest: Sorted keys of the finest level: x, y and z, each with a bias, in 18 bits.
    """

    def __init__(self, finest: Int64[np.ndarray, " voxels"]) -> None:
        self._keys = [finest]
        self._parents: list[np.ndarray] = []

    def keys(self, level: int) -> Int64[np.ndarray, " voxels"]:
        """Give the sorted keys of a level, whose cells are ``2**level`` finest voxels wide."""
        while len(self._keys) <= level:
            keys, parents = np.unique(self._keys[-1] >> 1 & _HALVED, return_inverse=True)
            self._keys.append(keys)
            self._parents.append(parents)
        return self._keys[level]

    def parents(self, level: int) -> Int64[np.ndarray, " voxels"]:
        """Give the row of each voxel's parent, one level up."""
        self.keys(level + 1)
        return self._parents[level]

    def down(self, level: int) -> Named:
        """Pair voxels with their parents, sorted by octant."""
        keys, parents = self.keys(level), self.parents(level)
        octant = (keys >> 2 * _BITS & 1) << 2 | (keys >> _BITS & 1) << 1 | keys & 1
        order = np.argsort(octant, kind="stable")
        return {"sources": order, "targets": parents[order], "counts": np.bincount(octant, minlength=8)}

    def near(self, level: int, size: int) -> Named:
        """Pair voxels with their neighbours in a cube of ``size`` voxels, the centre left out.

        Half of the offsets are searched; each other is the mirror image of one, with both ends swapped. One
        search finds the lowest neighbour in a column, the others follow it in the sorted list.
        """
        keys, radius = self.keys(level), size // 2
        padded = np.append(keys, np.iinfo(np.int64).max)
        halves: list[tuple[np.ndarray, np.ndarray]] = []
        for x in range(radius + 1):
            for y in range(-radius, radius + 1):
                if (x, y) < (0, 0):
                    continue
                own = (x, y) == (0, 0)  # of the voxel's own column, what is above it
                first = keys + (x << 2 * _BITS) + (y << _BITS) + (1 if own else -radius)
                row = np.arange(1, len(keys) + 1) if own else np.searchsorted(keys, first)
                for z in range(radius if own else size):
                    hit = padded[row] == first + z
                    halves.append((row[hit], np.flatnonzero(hit)))
                    row = row + hit
        pairs = [each[::-1] for each in halves[::-1]] + halves
        sources, targets = (np.concatenate([each[end] for each in pairs]) for end in (0, 1))
        counts = np.array([len(each[0]) for each in pairs])
        return {"sources": sources, "targets": targets, "counts": counts}


class _Places:
    """Points among voxels.

    Args:
        levels: The voxels.
        in_voxels: The points, in edges of the finest voxels.
        rows: Of the finest voxel of each.
        value_at: Where in a voxel its features are: its centre or its corner.
    """

    def __init__(self, levels: Levels, in_voxels: np.ndarray, rows: np.ndarray, value_at: float) -> None:
        self._levels, self._in_voxels, self._value_at = levels, in_voxels, np.float32(value_at)
        self._rows = [rows]

    def rows(self, level: int) -> Int64[np.ndarray, " points"]:
        """Give the row of each point's voxel."""
        while len(self._rows) <= level:
            self._rows.append(self._levels.parents(len(self._rows) - 1)[self._rows[-1]])
        return self._rows[level]

    def mean(self, level: int) -> Named:
        """Sort the points by voxel."""
        rows = self.rows(level)
        return {"order": np.argsort(rows, kind="stable"), "last": np.cumsum(np.bincount(rows)) - 1}

    def around(self, level: int) -> Named:
        """Find the eight voxels around each point, and their trilinear shares; empty ones have none."""
        keys, position = self._levels.keys(level), self._in_voxels / np.float32(2**level)
        fraction = position - np.floor(position) - self._value_at  # from the own voxel's centre, in its edges
        steps = np.where(fraction < 0, -1, 1) * np.array([1 << shift for shift in _SHIFTS])
        away = np.abs(fraction)
        corners = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), -1).reshape(8, 3)
        wanted = keys[self.rows(level)][:, None] + steps @ corners.T
        rows = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found = keys[rows] == wanted
        shares = np.where(corners.astype(bool), away[:, None], 1 - away[:, None]).prod(2) * found
        return {"rows": rows * found, "weights": shares / shares.sum(1, keepdims=True)}
