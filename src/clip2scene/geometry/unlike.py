"""In what a cloud is unlike others, such as those that a student was trained on; the likely cause is named.

A cause is named where undoing it makes the cloud like the others: where all lengths divided by 100 put the
ground and the ranges to where they should be, the cloud is in centimetres. Tolerances are the spread over the
others, half of it more on either side, and a margin (the constants below; double where the others are few).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.geometry.cloud_statistics import CloudSpread, CloudStatistics, describe_cloud
from clip2scene.types import PointCloud

HEIGHT_M = 0.07
"""How far the ground may lie beyond the others'; toytown's student loses 7 points of accuracy by 10 cm."""
TILT_DEG = 0.6
"""How far it may be tilted beyond theirs; the same student loses 4 to 6 points by half a degree."""
BEAMS_DEG = 8.0
"""How far beyond it the lowest beams may point."""
CENTRE_M = 20.0
"""How far beyond it the middle of the points may lie."""
RANGE_FACTOR, INTENSITY_FACTOR, POINTS_FACTOR = 2.0, 2.0, 4.0
"""By what factor ranges, intensities and the number of points may leave it."""
FAR_OFF_M, FAR_UNDER_M = 200.0, 5.0
"""So far beyond the spread, the middle of the points and the ground are in another frame."""
SCALED = 8.0
"""Ranges that are off by this factor are in another unit, if no known one."""

_ALIKE_M = 0.5
_FEW = 8  # others, whose spread says little
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


@dataclass(frozen=True)
class Remark:
    """In what a cloud is unlike others.

    Attributes:
        kind: ``unit``, ``frame``, ``axes``, ``ground``, ``tilt``, ``range``, ``beams``, ``points`` or
            ``intensity``.
        sentence: What is unlike, by how much, and the likely cause; the others are "they".
        remedy: What to do about a cloud file, with options of ``clip2scene segment``.
        severe: Whether nothing right can come of the cloud as it is.
    """

    kind: str
    sentence: str
    remedy: str
    severe: bool = False


def find_unlike(others: CloudSpread, cloud: PointCloud) -> list[Remark]:
    """Say in what a cloud is unlike others; it takes some milliseconds.

    Args:
        others: What the cloud should be like.
        cloud: Positions and features as a student gets them.

    Returns:
        One remark on a geometry that is wrong altogether (unit, frame, axes), or those on ground, tilt, range
        and beams; then those on points and intensity. None where the cloud is like the others.
    """
    found = describe_cloud(cloud, indoors=others.indoors)
    wrong = None
    if not _alike(others, found):
        wrong = _unit(others, found, cloud) or _frame(others, found) or _axes(others, found, cloud)
    if wrong is None:
        return compare_statistics(others, found)
    return [wrong, *_points(others, found), *_intensity(others, found)]


def compare_statistics(others: CloudSpread, found: CloudStatistics) -> list[Remark]:
    """Say the same of a cloud of which there are statistics alone; unit and axes cannot be tried out then."""
    frame = _frame(others, found)
    geometry = [frame] if frame else [*_ground(others, found), *_ranges(others, found)]
    return [*geometry, *_points(others, found), *_intensity(others, found)]


def _alike(others: CloudSpread, found: CloudStatistics) -> bool:
    """Tell whether unit, frame and axes are those of the others, whatever the sensor's height."""
    off = abs(found.ground_height - others.middle("ground_height"))
    has_ground = found.ground_share >= 0.6 * others.low("ground_share")
    ranges = all(_factor(others, name, getattr(found, name)) < 1.5 for name in ("middle_range", "far_range"))
    centre = _beyond(others, "centre_distance", found.centre_distance) < CENTRE_M
    return has_ground and not off > max(_ALIKE_M, _width(others, "ground_height")) and ranges and centre


def _unit(others: CloudSpread, found: CloudStatistics, cloud: PointCloud) -> Remark | None:
    """Name the unit in which the cloud would be like the others."""
    how = f"half of the points lie within {_long(found.middle_range)} m, {_of(others, 'middle_range', 'm')}"
    for option, (metres, name) in _UNITS.items():
        if _alike(others, describe_cloud(_moved(cloud, metres * torch.eye(3)), indoors=others.indoors)):
            return Remark(
                "unit",
                f"{how}: its lengths seem to be in {name}, not in metres",
                f"add --unit {option}",
                True,
            )
    factor = found.middle_range / others.middle("middle_range")
    around_origin = others.indoors or found.centre_distance < 0.7 * found.middle_range
    if not 1 / SCALED < factor < SCALED and around_origin:
        return Remark(
            "unit", f"{how}: its lengths seem not to be in metres", "name the --unit, or scale it", True
        )
    return None


def _frame(others: CloudSpread, found: CloudStatistics) -> Remark | None:
    """Notice a cloud that was not seen from its origin."""
    off = _beyond(others, "centre_distance", found.centre_distance)
    if not off > CENTRE_M:
        return None
    what = f"the middle of its points lies {_long(found.centre_distance)} m from the origin"
    sentence = f"{what}, {_of(others, 'centre_distance', 'm')}: it seems to be in the frame of a map"
    return Remark("frame", sentence, "move its origin to the sensor", off > FAR_OFF_M)


def _axes(others: CloudSpread, found: CloudStatistics, cloud: PointCloud) -> Remark | None:
    """Name the axes with which the cloud would be like the others."""
    tried = {
        axes: describe_cloud(_moved(cloud, torch.tensor(turn).float()), indoors=others.indoors)
        for axes, (_, turn) in _TURNS.items()
    }
    fit = [axes for axes, each in tried.items() if _alike(others, each)]
    if not fit:
        return None
    best = max(fit, key=lambda axes: tried[axes].ground_share)
    sentence = f"the ground lies where it would if {_TURNS[best][0]}; expected x forward, y left, z up"
    return Remark("axes", sentence, f"say where x, y and z point, such as --axes {best}", True)


def _ground(others: CloudSpread, found: CloudStatistics) -> list[Remark]:
    """Notice a ground that is not where the others have it, or tilted."""
    if others.low("ground_share") < 0.1:
        return []
    if not found.has_ground:
        sentence = "no ground was found around the sensor, though they have one"
        return [Remark("ground", sentence, "check the axes and the origin")]
    remarks, what = [], "floor" if others.indoors else "ground"
    off = _beyond(others, "ground_height", found.ground_height)
    if abs(off) > _margin(others, HEIGHT_M):
        sentence = (
            f"the {what} lies at z = {found.ground_height:.2f} m, {_of(others, 'ground_height', 'm')}: "
            "is the sensor mounted elsewhere?"
        )
        away = others.middle("ground_height") - found.ground_height
        remarks.append(Remark("ground", sentence, f"add {away:.2f} m to z", abs(off) > FAR_UNDER_M))
    turned = {
        "ahead": ("ground_pitch_deg", found.ground_pitch_deg),
        "to the left": ("ground_roll_deg", found.ground_roll_deg),
    }
    for where, (name, degrees) in turned.items():
        if abs(_beyond(others, name, degrees)) > _margin(others, TILT_DEG):
            sentence = (
                f"the {what} rises by {degrees:.1f} degrees {where}, {_of(others, name, 'degrees', 1)}: is "
                "the sensor tilted, or the street a slope?"
            )
            remarks.append(Remark("tilt", sentence, "turn it level"))
    return remarks


def _ranges(others: CloudSpread, found: CloudStatistics) -> list[Remark]:
    """Notice ranges, and lowest beams, that the others have not."""
    remarks = []
    names = ("near_range", "middle_range")
    factor = max(_factor(others, name, getattr(found, name)) for name in names)
    if factor > _margin(others, RANGE_FACTOR):
        sentence = (
            f"half of the points lie within {_long(found.middle_range)} m, {_of(others, 'middle_range', 'm')}"
        )
        nearest = f"5 % within {_long(found.near_range)} m, {_of(others, 'near_range', 'm')}"
        remarks.append(
            Remark("range", f"{sentence}; {nearest}", "check its unit, and whether it is one sweep")
        )
    if not others.indoors and abs(_beyond(others, "lowest_deg", found.lowest_deg)) > BEAMS_DEG:
        sentence = (
            f"its lowest points are seen at {found.lowest_deg:.0f} degrees, "
            f"{_of(others, 'lowest_deg', 'degrees', 0)}: is it another kind of lidar?"
        )
        remarks.append(Remark("beams", sentence, "expect worse labels"))
    return remarks


def _points(others: CloudSpread, found: CloudStatistics) -> list[Remark]:
    """Notice clouds that are far denser or sparser than the others."""
    if _factor(others, "num_points", float(found.num_points)) <= POINTS_FACTOR:
        return []
    sentence = f"it has {found.num_points:.0f} points, {_of(others, 'num_points', '', 0)}: is it one sweep?"
    return [Remark("points", sentence, "give it sweep by sweep, as they are")]


def _intensity(others: CloudSpread, found: CloudStatistics) -> list[Remark]:
    """Notice intensities that are missing, in another unit, or of another kind."""
    what = "colours" if others.indoors else "intensities"
    some = others.low("zero_intensity") < 0.9
    if not found.has_intensity:
        sentence = f"it has no {what} (all are 0), and they have"
        return [Remark("intensity", sentence, "name the field with --intensity FIELD")] if some else []
    if not some:
        sentence = f"it has {what}, and they have none"
        return [Remark("intensity", sentence, "leave them out with --intensity none")]
    names = ("dim_intensity", "bright_intensity")
    factor = max(_factor(others, name, getattr(found, name)) for name in names)
    if factor > _margin(others, INTENSITY_FACTOR):
        times = found.bright_intensity / others.middle("bright_intensity")
        more = f"{times:.3g} times as high" if times > 1 else f"{1 / times:.3g} times lower"
        sentence = (
            f"its {what} are about {more} (half below {found.dim_intensity:.2g} and 90 % below "
            f"{found.bright_intensity:.2g}; theirs {others.middle('dim_intensity'):.2g} and "
            f"{others.middle('bright_intensity'):.2g}): are they in another unit, or of another sensor?"
        )
        return [Remark("intensity", sentence, "say with --intensity-max which value becomes 1")]
    if found.zero_intensity > others.high("zero_intensity") + 0.4:
        sentence = (
            f"{100 * found.zero_intensity:.0f} % of its {what} are 0, {_of(others, 'zero_intensity', '')}"
        )
        return [Remark("intensity", sentence, "check the field that --intensity names")]
    return []


def _moved(cloud: PointCloud, motion: Float[Tensor, "3 3"]) -> PointCloud:
    """Turn or scale a cloud."""
    return replace(cloud, positions=(cloud.positions.double() @ motion.double().T).float())


def _beyond(others: CloudSpread, name: str, value: float) -> float:
    """Say how far a statistic lies outside the others' wider spread; NaN where either is none."""
    more = 0.5 * _width(others, name)
    return max(value - others.high(name) - more, 0.0) + min(value - others.low(name) + more, 0.0)


def _width(others: CloudSpread, name: str) -> float:
    """Say how wide the others are spread."""
    return others.high(name) - others.low(name)


def _margin(others: CloudSpread, usual: float) -> float:
    """Give a margin, twice as wide where the others are too few to know their spread."""
    return usual if others.clouds >= _FEW else 2 * usual


def _factor(others: CloudSpread, name: str, value: float) -> float:
    """Say by what factor a statistic leaves the others' spread; 1 within."""
    low, high = others.low(name), others.high(name)
    return max(value / max(high, 1e-9), low / max(value, 1e-9), 1.0)


def _of(others: CloudSpread, name: str, unit: str, digits: int = 2) -> str:
    """Say what the others have."""
    low, high = f"{others.low(name):.{digits}f}", f"{others.high(name):.{digits}f}"
    return f"theirs {low if low == high else f'{low} to {high}'} {unit}".rstrip()


def _long(metres: float) -> str:
    """Write a length with as many digits as count."""
    return f"{metres:.2f}" if metres < 10 else f"{metres:.0f}"
