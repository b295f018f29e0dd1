"""Whose labels are whose: a tool's points beside those of a sample."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64
from scipy.spatial import KDTree

from clip2scene.handover.found import FoundLabels

TOLERANCE_M = 1e-3
"""Points this near to each other are one: tools round to tenths of a millimetre, or to float32."""


class Matched(NamedTuple):
    """The labels of a sample's points.

    Attributes:
        ids: The file's number of each point; of no meaning where the file has no such point.
        known: Whether the file has it.
        foreign: How many points of the file are none of the sample's.
        by_order: Whether they were matched by their order.
    """

    ids: Int64[np.ndarray, " points"]
    known: Bool[np.ndarray, " points"]
    foreign: int
    by_order: bool


def match_points(found: FoundLabels, positions: Float32[np.ndarray, "points 3"]) -> Matched:
    """Give each point of a sample its label.

    By order, where the file has as many points and these are where the sample's are, or has no coordinates.
    Else by coordinates, as tools reorder, crop and thin clouds: a point gets the label of the file's nearest
    point, if that is within :data:`TOLERANCE_M`.

    Raises:
        ValueError: If the file has no coordinates and another number of points, as many labels as points are
            not there, or none of its points is one of the sample's.
    """
    count, wanted = len(found.ids), len(positions)
    if found.positions is not None and len(found.positions) != count:
        raise ValueError(
            f"{found.file} has {count} labels, but its cloud has {len(found.positions)} points; take both "
            "from one export"
        )
    if count == wanted and (found.positions is None or _are_same(found.positions, positions)):
        return Matched(found.ids, np.ones(wanted, bool), 0, by_order=True)
    if found.positions is None:
        raise ValueError(
            f"{found.file} has {count} labels of {found.token}, whose cloud has {wanted} points, and does "
            "not say which points they are of; import labels of the whole cloud"
        )
    return _match_nearest(found, found.positions, positions)


def _are_same(some: Float[np.ndarray, "points 3"], others: Float[np.ndarray, "points 3"]) -> bool:
    return bool((np.abs(some - others) <= TOLERANCE_M).all())


def _match_nearest(
    found: FoundLabels, theirs: Float[np.ndarray, "their_points 3"], ours: Float32[np.ndarray, "points 3"]
) -> Matched:
    """Match points by where they are."""
    finite = np.isfinite(theirs).all(1)
    if not finite.any():
        raise ValueError(f"{found.file} has no point at a finite place; export it from the tool again")
    ids, theirs = found.ids[finite], theirs[finite].astype(np.float64)
    distances, nearest = KDTree(theirs).query(ours.astype(np.float64), distance_upper_bound=TOLERANCE_M)
    known = np.isfinite(distances)
    if not known.any():
        raise ValueError(
            f"none of the {len(theirs)} points of {found.file} is one of {found.token}, whose points lie "
            f"between {ours.min(0).tolist()} and {ours.max(0).tolist()}, the file's between "
            f"{theirs.min(0).tolist()} and {theirs.max(0).tolist()}; save them where they were, "
            "without a shift"
        )
    away = KDTree(ours.astype(np.float64)).query(theirs, distance_upper_bound=TOLERANCE_M)[0]
    foreign = int(np.isinf(away).sum()) + int((~finite).sum())
    return Matched(ids[np.where(known, nearest, 0)], known, foreign, by_order=False)
