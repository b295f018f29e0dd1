"""Whether a calibration fits what it calibrates: ends of things in the clouds against edges in the images.

For one image, :func:`score_image` tells how well the edges of a cloud lie on the image's edges when the
calibration is changed a little, in each of seven ways. Over many images, :func:`find_changes` tells by which
change they fit best, and whether that is more than chance.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation
from torch import Tensor

from clip2scene.doctor.lidar_edges import LidarEdges
from clip2scene.geometry.projection import drop_occluded, pixels_of, project_points
from clip2scene.types import Camera

AXES = ("pitch", "yaw", "roll", "x", "y", "z", "time")
"""Ways to change a calibration: turn about the camera's x (right), y (down) and z (forward), move along them,
or take the image later."""

UNITS = ("deg", "deg", "deg", "m", "m", "m", "s")

Velocity = tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]
"""Of the lidar: metres a second, and radians a second around its axes, in its own frame."""

_LADDERS = {
    "deg": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0),
    "m": (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5),
    "s": (0.003, 0.006, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15),
}
STEPS = torch.tensor([[-s for s in _LADDERS[u][::-1]] + [0.0, *_LADDERS[u]] for u in UNITS])
"""The changes tried, by axis."""

TOLERANCE = {"deg": 0.2, "m": 0.02, "s": 0.01}
"""Changes that nobody is warned of: beams are too far apart to tell them from none."""

ALARM_GAIN = 18.0
"""An alarm needs this much log likelihood, divided by the number of images, above that of every tolerable
change, per independent edge: with fewer images chance does more."""

ALARM_SPREADS = 1.5
"""An alarm also needs a change that lies beyond the tolerable by so many of its standard deviations, so that
no few images decide. Both were chosen on 420 towns that ``benchmarks/calibration_check.py`` does not have, so
that at most 5 % of cameras alarm without a fault."""

_MOST_FOCAL_PX = 400  # larger images are shrunk to what a lidar's beams can tell apart
_REACH_PX = 16
_OFFSETS = torch.arange(-_REACH_PX, _REACH_PX + 1.0)
_BLUR_PX = 0.8
_ROUNDING = 1e-5  # of a sum over images; curves that differ less are flat
_LEAST_LIKENESS = 2.0  # so many neighbouring ends count as one, or more if images say so
_FOUND_SHARE = 0.5  # of the ends that have an edge of their own in the image


@dataclass(frozen=True)
class Finding:
    """What the images of one camera say about one way to change its calibration.

    Attributes:
        axis: One of :data:`AXES`.
        best: The change under which clouds and images fit best, in degrees, metres or seconds.
        spread: Its standard deviation, from leaving out one image at a time.
        gain: Log likelihood above the best tolerable change, per independent edge.
        alarms: Whether the calibration must be wrong (:data:`ALARM_GAIN`, :data:`ALARM_SPREADS`).
    """

    axis: str
    best: float
    spread: float
    gain: float
    alarms: bool


def score_image(
    image: UInt8[Tensor, "height width 3"],
    camera: Camera,
    cloud: Float[Tensor, "points 3"],
    edges: LidarEdges,
    velocity: Velocity | None = None,
) -> Float[Tensor, "axes steps"]:
    """Score how well lidar edges lie on the edges of an image, for each change of the calibration.

    Along the way from a thing's last point outwards, the image's gradients are taken for the chances of where
    the thing ends in the image, next to a chance of one half that it ends unseen. The score is the log
    likelihood of the ends where the changed calibration puts them. So a change of brightness counts by how
    much it stands out near by, and edges painted on a wall are the same for all changes, on average.

    Args:
        image: What the camera saw.
        camera: Its calibration.
        cloud: The sweep, in its lidar's frame, to find out what the camera cannot see.
        edges: Its ends.
        velocity: Of the lidar. Without, the scores of a change in time are all alike.

    Returns:
        Sums over the visible ends; of the same ends for every change. Zeros without any.
    """
    visible = _visible(cloud, edges.positions, camera)
    motion = camera.camera_from_lidar
    ends = edges.positions[visible]
    in_camera = ends @ motion[:3, :3].T + motion[:3, 3]
    reaches = edges.reaches[visible] @ motion[:3, :3].T
    drift = torch.zeros_like(ends) if velocity is None else -_speeds(ends, velocity) @ motion[:3, :3].T
    small, intrinsics = _shrink(image, camera.intrinsics)
    pixels = pixels_of(in_camera, intrinsics, least_depth=0.1)
    ways = pixels_of(in_camera + reaches, intrinsics, least_depth=0.1) - pixels
    widths = ways.norm(dim=1).clamp(min=1e-3)
    ways = ways / widths[:, None]
    phases = torch.arange(len(ends)) * 0.618034 % 1 - 0.5  # so that no offset lies on a knot of all curves
    curves = _likelihoods(small, pixels + phases[:, None] * ways, ways, widths)
    moved = pixels_of(_changed(in_camera, drift), intrinsics, least_depth=0.1)
    offsets = ((moved - pixels) * ways).sum(-1) - phases
    offsets = offsets.clamp(-_REACH_PX, _REACH_PX - 1e-3) + _REACH_PX
    left = offsets.floor()
    share, left = offsets - left, left.long()
    rows = torch.arange(len(ends)).expand_as(left)
    return ((1 - share) * curves[rows, left] + share * curves[rows, left + 1]).sum(-1)


def fits_nowhere(scores: Float[Tensor, "images axes steps"]) -> bool:
    """Tell whether ends lie on edges no more than by chance, whatever is changed: then nothing can be said.

    The calibration is farther off than any change that is tried, or the view is full of leaves and the like.

    Args:
        scores: One camera's, from :func:`score_image`.
    """
    return float(scores.sum(0).max()) <= 0


def find_changes(scores: Float[Tensor, "images axes steps"]) -> list[Finding]:
    """Tell, for every axis, which change fits best and how surely.

    Args:
        scores: One camera's, from :func:`score_image`.

    Returns:
        One finding an axis, those that alarm first, the surest of them in front. An axis along which nothing
        changes, such as time where no speed is known, has none.
    """
    total = scores.sum(0)
    needed = ALARM_GAIN / len(scores)
    findings = []
    for number, (axis, unit) in enumerate(zip(AXES, UNITS, strict=True)):
        steps, curve = STEPS[number], total[number]
        if float(curve.max() - curve.min()) <= _ROUNDING * float(scores[:, number].abs().sum(0).max()):
            continue
        tolerable = steps.abs() <= TOLERANCE[unit] + 1e-9
        near = int(torch.where(tolerable, curve, -torch.inf).argmax())
        far = int(curve.argmax())
        gain = float(curve[far] - curve[near]) / _likeness(scores[:, number], steps)
        left_out = _peaks(steps, curve - scores[:, number])
        spread = float(left_out.std(unbiased=False)) * (len(left_out) - 1) ** 0.5
        best = float(_peaks(steps, curve[None]))
        alarms = gain > needed and abs(best) - TOLERANCE[unit] > ALARM_SPREADS * spread
        findings.append(Finding(axis, best, spread, gain, alarms))
    return sorted(findings, key=lambda finding: (not finding.alarms, -finding.gain))


def _speeds(ends: Float[Tensor, "ends 3"], velocity: Velocity) -> Float[Tensor, "ends 3"]:
    """Give the velocity of each end against the lidar's surroundings, in metres a second."""
    return velocity[0] + torch.linalg.cross(velocity[1].expand_as(ends), ends)


def _visible(cloud: Float[Tensor, "points 3"], ends: Float[Tensor, "ends 3"], camera: Camera) -> Tensor:
    """Number the ends that the camera sees, well inside its image."""
    border = float(_REACH_PX * _shrink_factor(camera.intrinsics))
    both = torch.cat([cloud, ends])
    pairs = drop_occluded(project_points(both, [camera], border=border), [camera])
    return pairs.points[pairs.points >= len(cloud)] - len(cloud)


def _shrink_factor(intrinsics: Float[Tensor, "3 3"]) -> int:
    return max(1, int(np.ceil(float(intrinsics[0, 0]) / _MOST_FOCAL_PX)))


def _shrink(
    image: UInt8[Tensor, "height width 3"], intrinsics: Float[Tensor, "3 3"]
) -> tuple[Float[Tensor, "3 rows columns"], Float[Tensor, "3 3"]]:
    """Average an image over blocks of pixels, and give the intrinsics of the result."""
    factor = _shrink_factor(intrinsics)
    small = (
        F.avg_pool2d(image.permute(2, 0, 1).float(), factor) if factor > 1 else image.permute(2, 0, 1).float()
    )
    scale = torch.tensor(
        [[1 / factor, 0, 0.5 / factor - 0.5], [0, 1 / factor, 0.5 / factor - 0.5], [0, 0, 1]]
    )
    return small, scale @ intrinsics


def _changed(
    in_camera: Float[Tensor, "ends 3"], drift: Float[Tensor, "ends 3"]
) -> Float[Tensor, "axes steps ends 3"]:
    """Put the ends where each changed calibration has them in the camera's frame."""
    changed = []
    for number, steps in enumerate(STEPS):
        if number < 3:
            turns = torch.stack([turn_about(number, float(step)) for step in steps])
            changed.append(in_camera @ turns.transpose(1, 2))
        else:
            way = drift if number == 6 else torch.eye(3)[number - 3]
            changed.append(in_camera + steps[:, None, None] * way)
    return torch.stack(changed)


def turn_about(axis: int, degrees: float) -> Float[Tensor, "3 3"]:
    """Make the rotation about the x (0), y (1) or z axis (2)."""
    turn = Rotation.from_euler("xyz"[axis], degrees, degrees=True)
    return torch.from_numpy(turn.as_matrix()).float()


def _likelihoods(
    image: Float[Tensor, "3 rows columns"],
    pixels: Float[Tensor, "ends 2"],
    ways: Float[Tensor, "ends 2"],
    widths: Float[Tensor, " ends"],
) -> Float[Tensor, "ends offsets"]:
    """Give the log likelihood of each end at each offset along its way, in pixels; 0 is what chance gives."""
    array = image.numpy()
    orders = ((0, 0, 1), (0, 1, 0))  # across, down; never between colours
    gradients = np.stack(
        [
            np.linalg.norm(gaussian_filter(array, (0, _BLUR_PX, _BLUR_PX), order=order), axis=0)
            for order in orders
        ]
    )
    rows, columns = array.shape[1:]
    places = pixels[:, None] + _OFFSETS[:, None] * ways[:, None]
    grid = (places + 0.5) / torch.tensor([columns, rows]) * 2 - 1
    sampled = F.grid_sample(
        torch.from_numpy(gradients)[None], grid[None], align_corners=False, padding_mode="border"
    )[0]
    strength = ((sampled * ways.T[:, :, None]) ** 2).sum(0).sqrt() + 0.1
    chances = strength / strength.sum(1, keepdim=True)
    blur = (_BLUR_PX**2 + widths.clamp(max=_REACH_PX / 2) ** 2 / 3).sqrt()
    kernels = torch.exp(-0.5 * ((_OFFSETS[:, None] - _OFFSETS) / blur[:, None, None]) ** 2)
    kernels = kernels / kernels.sum(2, keepdim=True)
    likely = (kernels @ chances[:, :, None])[..., 0] * len(_OFFSETS)
    return torch.log(1 - _FOUND_SHARE + _FOUND_SHARE * likely)


def _peaks(steps: Float[Tensor, " steps"], curves: Float[Tensor, "curves steps"]) -> Float[Tensor, " curves"]:
    """Find where each curve is highest, by the parabola through its highest point and the two beside it."""
    top = curves.argmax(1).clamp(1, len(steps) - 2)
    x = steps[top[:, None] + torch.tensor([-1, 0, 1])].double().T
    y = curves.double().gather(1, top[:, None] + torch.tensor([-1, 0, 1])).T
    rise, fall = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
    bend = (fall - rise) / (x[2] - x[0])
    place = (x[0] + x[1]) / 2 - rise / (2 * bend.clamp(max=-1e-12))
    highest = steps[curves.argmax(1)].double()
    return torch.where(bend < 0, torch.minimum(torch.maximum(place, x[0]), x[2]), highest).float()


def _likeness(scores: Float[Tensor, "images steps"], steps: Float[Tensor, " steps"]) -> float:
    """Estimate how many edges count as one, from how far images disagree about the best change.

    With independent edges, the slope of an image's score at the common best change varies as much as the
    scores bend there; if neighbouring edges say the same, it varies that much more (the sandwich estimate).
    """
    top = int(scores.sum(0).argmax())
    top = min(max(top, 3), len(steps) - 4)
    before, after = scores[:, top - 3], scores[:, top + 3]
    varies = (((after - before) / 2) ** 2).sum() - ((after - before) / 2).mean() ** 2 * len(scores)
    bends = (scores[:, top] - (before + after) / 2).sum() * 2
    if len(scores) < 2 or bends <= 0:
        return _LEAST_LIKENESS
    return max(_LEAST_LIKENESS, float(varies / bends))
