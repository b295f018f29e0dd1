"""In what a cloud is unlike others, such as those that a student was trained on; the likely cause is named.

Tolerances are the spread over the others, half of it more on either side, and a margin (the constants below;
double where the others are few).
"""

from clip2scene.geometry.cloud_statistics import CloudSpread, CloudStatistics, describe_cloud
from clip2scene.geometry.misread import find_misread, in_map_frame
from clip2scene.geometry.remarks import (
    FAR_UNDER_M,
    NOTHING,
    Remark,
    Tolerance,
    beyond,
    half_within,
    long,
    margin,
    theirs,
    times_beyond,
)
from clip2scene.geometry.surroundings import share_behind
from clip2scene.types import PointCloud

HEIGHT_M = 0.07
"""How far the ground may lie beyond the others'; toytown's student loses 7 points of accuracy by 10 cm."""
TILT_DEG = 0.6
"""How far it may be tilted beyond theirs; the same student loses 4 to 6 points by half a degree."""
BEAMS_DEG = 8.0
"""How far beyond it the lowest beams may point."""
RANGE_FACTOR, INTENSITY_FACTOR, POINTS_FACTOR, MERGED_FACTOR = 2.0, 2.0, 4.0, 2.0
"""By what factor ranges, intensities and numbers of points may leave it; the last, those of many sweeps."""
MERGED = 0.12
"""Share of points behind others, as seen from the origin, from which on no single sweep is given."""


def find_unlike(others: CloudSpread, cloud: PointCloud, tolerance: Tolerance = NOTHING) -> list[Remark]:
    """Say in what a cloud is unlike others; it takes some milliseconds.

    Args:
        others: What the cloud should be like.
        cloud: Positions and features as a student gets them.
        tolerance: What is passed over.

    Returns:
        One remark on a geometry that is wrong altogether (unit, frame, axes, place), or those on ground,
        tilt, range and beams; then those on points and intensity. None where the cloud is like the others.
    """
    found = describe_cloud(cloud, indoors=others.indoors)
    wrong = find_misread(others, found, cloud, tolerance)
    if wrong is None:
        return _compare(others, found, tolerance, cloud)
    return [wrong, *_points(others, found, cloud), *_intensity(others, found, tolerance)]


def compare_statistics(
    others: CloudSpread, found: CloudStatistics, tolerance: Tolerance = NOTHING
) -> list[Remark]:
    """Say the same of a cloud of which there are statistics alone; unit and axes cannot be tried out then."""
    return _compare(others, found, tolerance)


def _compare(
    others: CloudSpread, found: CloudStatistics, tolerance: Tolerance, cloud: PointCloud | None = None
) -> list[Remark]:
    """Compare statistics, and the cloud where it is at hand."""
    frame = in_map_frame(others, found)
    geometry = [frame] if frame else [*_ground(others, found, tolerance), *_ranges(others, found)]
    return [*geometry, *_points(others, found, cloud), *_intensity(others, found, tolerance)]


def _ground(others: CloudSpread, found: CloudStatistics, tolerance: Tolerance) -> list[Remark]:
    """Notice a ground that is not where the others have it, or tilted."""
    if others.low("ground_share") < 0.1:
        return []
    if not found.has_ground:
        sentence = (
            "no ground was found around the sensor, though they have one: is something in front of it, is it "
            "in the air, or is z not up?"
        )
        return [Remark("ground", sentence, "check the axes and the origin")]
    remarks, what = [], "floor" if others.indoors else "ground"
    off = beyond(others, "ground_height", found.ground_height)
    if abs(off) > margin(others, HEIGHT_M) + tolerance.height_m:
        sentence = (
            f"the {what} lies at z = {found.ground_height:.2f} m, {theirs(others, 'ground_height', 'm')}: "
            "is the sensor mounted elsewhere?"
        )
        away = others.middle("ground_height") - found.ground_height
        remarks.append(Remark("ground", sentence, f"add {away:.2f} m to z", abs(off) > FAR_UNDER_M))
    turned = {
        "ahead": ("ground_pitch_deg", found.ground_pitch_deg),
        "to the left": ("ground_roll_deg", found.ground_roll_deg),
    }
    for where, (name, degrees) in turned.items():
        if abs(beyond(others, name, degrees)) > margin(others, TILT_DEG) + tolerance.tilt_deg:
            sentence = (
                f"the {what} rises by {degrees:.1f} degrees {where}, {theirs(others, name, 'degrees', 1)}: "
                "is the sensor tilted, or the street a slope?"
            )
            remarks.append(Remark("tilt", sentence, "turn it level"))
    return remarks


def _ranges(others: CloudSpread, found: CloudStatistics) -> list[Remark]:
    """Notice ranges, and lowest beams, that the others have not."""
    remarks = []
    names = ("near_range", "middle_range")
    factor = max(times_beyond(others, name, getattr(found, name)) for name in names)
    if factor > margin(others, RANGE_FACTOR):
        nearest = f"5 % within {long(found.near_range)} m, {theirs(others, 'near_range', 'm')}"
        sentence = f"{half_within(others, found)}; {nearest}"
        remarks.append(Remark("range", sentence, "check its unit, and whether it is one sweep"))
    if not others.indoors and abs(beyond(others, "lowest_deg", found.lowest_deg)) > BEAMS_DEG:
        sentence = (
            f"its lowest points are seen at {found.lowest_deg:.0f} degrees, "
            f"{theirs(others, 'lowest_deg', 'degrees', 0)}: is it another kind of lidar?"
        )
        remarks.append(Remark("beams", sentence, "expect worse labels"))
    return remarks


def _points(others: CloudSpread, found: CloudStatistics, cloud: PointCloud | None) -> list[Remark]:
    """Notice clouds that are far denser or sparser than the others, and those of many sweeps."""
    factor = times_beyond(others, "num_points", float(found.num_points))
    sentence = f"it has {found.num_points:.0f} points, {theirs(others, 'num_points', '', 0)}"
    denser = found.num_points > others.high("num_points")
    if cloud is not None and not others.indoors and denser and factor > MERGED_FACTOR:
        behind = share_behind(cloud.positions)
        if behind > MERGED:
            sentence += (
                f", {100 * behind:.0f} % of them far behind others as seen from the origin: are they of many "
                "sweeps, or is the origin not the sensor?"
            )
            return [Remark("points", sentence, "give it sweep by sweep, the origin at the sensor")]
    if factor <= POINTS_FACTOR:
        return []
    cause = ": is it one sweep?" if cloud is None or others.indoors or not denser else ": is the lidar finer?"
    return [Remark("points", sentence + cause, "give it sweep by sweep, as they are")]


def _intensity(others: CloudSpread, found: CloudStatistics, tolerance: Tolerance) -> list[Remark]:
    """Notice intensities that are missing, in another unit, or of another kind."""
    what = "colours" if others.indoors else "intensities"
    some = others.low("zero_intensity") < 0.9
    if not found.has_intensity:
        sentence = f"it has no {what} (all are 0), and they have"
        said = some and not tolerance.no_intensity
        return [Remark("intensity", sentence, "name the field with --intensity FIELD")] if said else []
    if not some:
        sentence = f"it has {what}, and they have none"
        return [Remark("intensity", sentence, "leave them out with --intensity none")]
    names = ("dim_intensity", "bright_intensity")
    factor = max(times_beyond(others, name, getattr(found, name)) for name in names)
    if factor > margin(others, INTENSITY_FACTOR) * tolerance.intensity_factor:
        times = found.bright_intensity / others.middle("bright_intensity")
        more = f"{times:.3g} times as high" if times > 1 else f"{1 / times:.3g} times lower"
        sentence = (
            f"its {what} are about {more} (half below {found.dim_intensity:.2g} and 90 % below "
            f"{found.bright_intensity:.2g}; theirs {others.middle('dim_intensity'):.2g} and "
            f"{others.middle('bright_intensity'):.2g}): are they in another unit, or of another sensor?"
        )
        return [Remark("intensity", sentence, "say with --intensity-max which value becomes 1")]
    if found.zero_intensity > others.high("zero_intensity") + 0.4 and not tolerance.no_intensity:
        sentence = (
            f"{100 * found.zero_intensity:.0f} % of its {what} are 0, {theirs(others, 'zero_intensity', '')}"
        )
        return [Remark("intensity", sentence, "check the field that --intensity names")]
    return []
