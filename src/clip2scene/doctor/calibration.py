"""Whether clouds and images fit together: what ``doctor`` says of it, camera by camera."""

from collections.abc import Sequence

import torch

from clip2scene.doctor.edge_score import AXES, UNITS, Finding, find_changes, fits_nowhere
from clip2scene.doctor.report import Line
from clip2scene.doctor.samples import MOVING_CAMERA, Measured, names_of_cameras
from clip2scene.doctor.timing import SAME_PLACE_DEG, SAME_PLACE_M

FEWEST_FRAMES = 5
"""Fewest places that a camera's calibration is checked by."""

SURE_FRAMES = 20
"""With fewer images a misfit is a note: chance alone brings one now and then."""

LEAST_CONFIRMED = 0.5
"""Of the points that a depth camera could see, more than this share must lie where it measured something."""

_SHOWN = {"deg": (1, 2, "degrees"), "m": (100, 1, "cm"), "s": (1000, 0, "ms")}  # factor, decimals


def check_calibration(measured: Sequence[Measured], places: Sequence[int]) -> list[Line]:
    """Check the calibration of each camera by its images.

    Images taken at one place show the same things, with the same errors; they count as one. Of a camera that
    sees no point nothing is said: that alone is a fault.

    Args:
        measured: What was found in the samples.
        places: A number for the place of each (:func:`clip2scene.doctor.timing.find_places`).

    Returns:
        Lines for the report.
    """
    seeing = {view.camera for each in measured for view in each.views if view.visible}
    if any(view.depth is not None for each in measured for view in each.views):
        return [_check_depth(measured)] if seeing else []
    lines = []
    for name in filter(seeing.__contains__, names_of_cameras(measured)):
        by_place: dict[int, list[torch.Tensor]] = {}
        for each, place in zip(measured, places, strict=True):
            for view in each.views:
                if view.camera == name and view.scores is not None:
                    by_place.setdefault(place, []).append(view.scores)
        images = sum(map(len, by_place.values()))
        source = f"{images} images"
        if len(by_place) < images:
            places_told = f"{len(by_place)} place{'s' * (len(by_place) > 1)}"
            source += f" from {places_told} ({SAME_PLACE_M:g} m or {SAME_PLACE_DEG:g} degrees apart)"
        if len(by_place) < FEWEST_FRAMES:
            text = f"{name}: {source} are too few to judge by, at least {FEWEST_FRAMES} are needed"
            lines.append(Line("note", "calibration", text))
            continue
        table = torch.stack([torch.stack(scores).mean(0) for scores in by_place.values()])
        if fits_nowhere(table):
            text = f"{name}: ends of things in the clouds lie on edges of the images no more than by chance, "
            text += (
                f"by {source}: camera_from_lidar, its axes or the choice of the camera are far off, or the "
            )
            text += "view is full of leaves and the like: look at where points fall in an image (--pictures)"
            lines.append(Line("fault" if len(table) >= SURE_FRAMES else "note", "calibration", text))
            continue
        lines.append(verdict(name, find_changes(table), len(table), source))
    return lines


def _check_depth(measured: Sequence[Measured]) -> Line:
    """Say whether the depth that was measured fits the clouds, over all frames."""
    counts = [view.depth for each in measured for view in each.views if view.depth is not None]
    confirmed, contradicted = (sum(column) for column in zip(*counts, strict=True))
    share = confirmed / max(confirmed + contradicted, 1)
    text = f"{MOVING_CAMERA}: of the points that its depth images could see, {100 * share:.0f} % lie within "
    text += f"5 cm of what was measured, the others before it ({len(counts)} frames)"
    numbers = (("confirmed", share),)
    if share < LEAST_CONFIRMED:
        text += "; check poses, intrinsics, and the unit of the depth images"
        return Line("fault", "calibration", text, numbers)
    return Line("ok", "calibration", f"{text}; how colour fits depth is not checked", numbers)


def verdict(name: str, findings: Sequence[Finding], places: int, source: str) -> Line:
    """Put the findings on one camera in a sentence.

    Args:
        name: Of the camera.
        findings: The surest first.
        places: How many places they come from.
        source: What they come from, in words.
    """
    said = {each.axis: _amount(each) for each in findings}
    numbers = tuple((each.axis, each.best) for each in findings)
    if findings[0].alarms:
        kind = "taken later" if findings[0].axis == "time" else "changed"
        text = f"{name}: does not fit: by {source} it should be {kind} by {said[findings[0].axis]} in "
        text += f"{findings[0].axis} (gain {findings[0].gain:.0f})"
        others = [each.axis for each in findings[1:] if each.alarms][:2]
        text += f"; or {', or '.join(f'{said[axis]} in {axis}' for axis in others)}" if others else ""
        if places < SURE_FRAMES:
            return Line("note", "calibration", f"{text}; so few can mislead, look at more", numbers)
        return Line("fault", "calibration", f"{text}; calibrate anew, or check the timestamps", numbers)
    known = {each.axis for each in findings if each.best or each.spread}  # not time, where poses are unknown
    text = ", ".join(f"{axis} {said[axis]}" for axis in AXES if axis in known)
    return Line("ok", "calibration", f"{name}: fits, by {source}; best {text}", numbers)


def _amount(finding: Finding) -> str:
    factor, digits, unit = _SHOWN[UNITS[AXES.index(finding.axis)]]
    return f"{factor * finding.best:+.{digits}f} +- {factor * finding.spread:.{digits}f} {unit}"
