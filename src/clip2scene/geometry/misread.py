"""Clouds that are wrong altogether: in another unit, frame or axes, or of another kind of place.

A cause is named where undoing it makes the cloud like the others: where all lengths divided by 100 put the
ground and the ranges to where they should be, the cloud is in centimetres.
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.geometry.cloud_statistics import CloudSpread, CloudStatistics, describe_cloud
from clip2scene.geometry.ground import Ground
from clip2scene.geometry.remarks import (
    FAR_UNDER_M,
    NOTHING,
    Remark,
    Tolerance,
    beyond,
    half_within,
    long,
    theirs,
    times_beyond,
    width,
)
from clip2scene.geometry.surroundings import ceiling_height, share_below
from clip2scene.types import PointCloud

CENTRE_M = 20.0
"""How far beyond it the middle of the points may lie."""
FAR_OFF_M = 200.0
"""So far beyond the spread, the middle of the points is in another frame."""
SCALED = 8.0
"""Ranges that are off by this factor are in another unit, if no known one."""
ROOM_M = 1.5
"""A room's ceiling lies at least so high above its floor."""
UPSIDE_DOWN = 0.8
"""Share of what is off the ground that lies below it, from which on the ground is overhead."""
STREET = 4.0
"""By what factor a street reaches farther than rooms."""
MOUNTS_M = 2.5
"""So far sensors are mounted apart, where a student is indifferent to it."""

_ALIKE_M = 0.5

_UNITS = {
    **{"cm": (0.01, "centimetres"), "mm": (0.001, "millimetres"), "km": (1000.0, "kilometres")},
    **{"ft": (0.3048, "feet"), "in": (0.0254, "inches")},
}

_TURNS: dict[str, tuple[str, list[list[float]]]] = {
    "FUR": ("y points up", [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "RDF": ("y points down, as in a camera's frame", [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "FRD": ("z points down", [[1, 0, 0], [0, -1, 0], [0, 0, -1]]),
    "UFL": ("x points up", [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    "DFR": ("x points down", [[0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
}
"""Frames whose z is not up: what is said of them, and what turns them forward, left, up."""


def find_misread(
    others: CloudSpread, found: CloudStatistics, cloud: PointCloud, tolerance: Tolerance
) -> Remark | None:
    """Say what is wrong with a cloud altogether; None where unit, frame, axes and place are the others'.

    Args:
        others: What the cloud should be like.
        found: Its statistics.
        cloud: Positions and features as a student gets them.
        tolerance: What is passed over.
    """
    overhead = _upside_down(others, found, cloud)
    if overhead is not None or _alike(others, found, tolerance):
        return overhead
    return (
        _room(others, found, cloud)
        or _unit(others, found, cloud, tolerance)
        or _street(others, found, cloud)
        or _no_unit(others, found)
        or _from_the_air(others, found, cloud, tolerance)
        or in_map_frame(others, found)
        or _axes(others, found, cloud, tolerance)
    )


def _alike(others: CloudSpread, found: CloudStatistics, tolerance: Tolerance) -> bool:
    """Tell whether unit, frame and axes are those of the others, whatever the sensor's height."""
    off = abs(found.ground_height - others.middle("ground_height"))
    most = max(_ALIKE_M, width(others, "ground_height")) + min(tolerance.height_m, MOUNTS_M)
    has_ground = found.ground_share >= 0.6 * others.low("ground_share")
    ranges = all(
        times_beyond(others, name, getattr(found, name)) < 1.5 for name in ("middle_range", "far_range")
    )
    centre = beyond(others, "centre_distance", found.centre_distance) < CENTRE_M
    return has_ground and not off > most and ranges and centre


def _upside_down(others: CloudSpread, found: CloudStatistics, cloud: PointCloud) -> Remark | None:
    """Notice a street whose ground is overhead, at whatever height."""
    if others.indoors or not found.has_ground:
        return None
    ahead, left = (math.tan(math.radians(each)) for each in (found.ground_pitch_deg, found.ground_roll_deg))
    ground = Ground(found.ground_height, ahead, left, found.ground_share)
    if share_below(cloud.positions, ground) < UPSIDE_DOWN:
        return None
    sentence = (
        "what should be the ground is overhead, and nearly everything else below it, as if z pointed down; "
        "expected x forward, y left, z up"
    )
    return Remark("axes", sentence, "say where x, y and z point, such as --axes FRD", True)


def _room(others: CloudSpread, found: CloudStatistics, cloud: PointCloud) -> Remark | None:
    """Notice a room among streets: small, with a ceiling."""
    if others.indoors or not found.far_range < 0.5 * others.low("far_range"):
        return None
    height = ceiling_height(cloud.positions)
    if not height > ROOM_M:
        return None
    sentence = (
        f"there is a ceiling {height:.1f} m above the floor, and 95 % of the points lie within "
        f"{long(found.far_range)} m, {theirs(others, 'far_range', 'm', 0)}: it seems to be a room, and they "
        "are streets"
    )
    return Remark("place", sentence, "take a student of rooms", True)


def _street(others: CloudSpread, found: CloudStatistics, cloud: PointCloud) -> Remark | None:
    """Notice a street among rooms: large, without a ceiling."""
    if not others.indoors or not found.far_range > STREET * others.high("far_range"):
        return None
    if ceiling_height(cloud.positions) > ROOM_M:
        return None
    sentence = (
        f"95 % of the points lie within {long(found.far_range)} m of its middle, "
        f"{theirs(others, 'far_range', 'm')}, under no ceiling: it seems to be a street, and they are rooms"
    )
    return Remark("place", sentence, "take a student of streets", True)


def _from_the_air(
    others: CloudSpread, found: CloudStatistics, cloud: PointCloud, tolerance: Tolerance
) -> Remark | None:
    """Notice a cloud that lies far below its origin, and not beside it."""
    beside, below = cloud.positions.double().median(0).values.split([2, 1])
    if others.indoors or not -below.item() - others.high("centre_distance") > FAR_UNDER_M:
        return None
    if beside.norm() > -below:
        return None
    sentence = (
        f"the middle of its points lies {long(-below.item())} m below the origin: was it recorded from the "
        "air or from a mast, or is z measured from elsewhere? Theirs was not"
    )
    remedy = "expect wrong labels"
    if found.has_ground:
        away = others.middle("ground_height") - found.ground_height
        remedy = f"add {away:.2f} m to z, if that is measured from elsewhere"
    return Remark("ground", sentence, remedy, math.isfinite(tolerance.height_m))


def _unit(
    others: CloudSpread, found: CloudStatistics, cloud: PointCloud, tolerance: Tolerance
) -> Remark | None:
    """Name the unit in which the cloud would be like the others."""
    how = half_within(others, found)
    for option, (metres, name) in _UNITS.items():
        scaled = describe_cloud(_moved(cloud, metres * torch.eye(3)), indoors=others.indoors)
        unlikely = 1 / SCALED < metres < SCALED  # feet: a lidar of longer range is as likely
        if _alike(others, scaled, NOTHING if unlikely else tolerance):
            return Remark(
                "unit",
                f"{how}: its lengths seem to be in {name}, not in metres",
                f"add --unit {option}",
                True,
            )
    return None


def _no_unit(others: CloudSpread, found: CloudStatistics) -> Remark | None:
    """Notice lengths that are in no unit that is known here."""
    times = found.middle_range / others.middle("middle_range")
    around_origin = others.indoors or found.centre_distance < 0.7 * found.middle_range
    if not 1 / SCALED < times < SCALED and around_origin:
        return Remark(
            "unit",
            f"{half_within(others, found)}: its lengths seem not to be in metres",
            "name the --unit, or scale it",
            True,
        )
    return None


def in_map_frame(others: CloudSpread, found: CloudStatistics) -> Remark | None:
    """Notice a cloud that was not seen from its origin."""
    off = beyond(others, "centre_distance", found.centre_distance)
    if not off > CENTRE_M:
        return None
    what = f"the middle of its points lies {long(found.centre_distance)} m from the origin"
    sentence = f"{what}, {theirs(others, 'centre_distance', 'm')}: it seems to be in the frame of a map"
    return Remark("frame", sentence, "move its origin to the sensor", off > FAR_OFF_M)


def _axes(
    others: CloudSpread, found: CloudStatistics, cloud: PointCloud, tolerance: Tolerance
) -> Remark | None:
    """Name the axes with which the cloud would be like the others."""
    tried = {
        axes: describe_cloud(_moved(cloud, torch.tensor(turn).float()), indoors=others.indoors)
        for axes, (_, turn) in _TURNS.items()
    }
    fit = [axes for axes, each in tried.items() if _alike(others, each, tolerance)]
    if not fit:
        return None
    best = max(fit, key=lambda axes: tried[axes].ground_share)
    sentence = f"the ground lies where it would if {_TURNS[best][0]}; expected x forward, y left, z up"
    return Remark("axes", sentence, f"say where x, y and z point, such as --axes {best}", True)


def _moved(cloud: PointCloud, motion: Float[Tensor, "3 3"]) -> PointCloud:
    """Turn or scale a cloud."""
    return replace(cloud, positions=(cloud.positions.double() @ motion.double().T).float())
