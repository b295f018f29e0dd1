"""Cameras whose lenses bend straight lines: the models of OpenCV and ROS, and images made straight again.

Everything behind the loaders is written for pinhole cameras, and image-text models were trained on pictures
in which straight things are straight. So images are undistorted once, when they are read, rather than every
point's projection distorted. The pinhole camera that they are brought to is chosen so that each of its
pixels was recorded: none has to be masked, and points beyond the range of a model lie outside of the view.

Equations: https://docs.opencv.org/4.x/d9/d0c/group__calib3d.html and
https://docs.opencv.org/4.x/db/d58/group__calib3d__fisheye.html.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import inf, radians, sqrt, tan

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from numpy.polynomial import Polynomial
from torch import Tensor

COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8,), "equidistant": (4,)}
"""How many coefficients a model has: k1 k2 p1 p2 [k3], k1 k2 p1 p2 k3 k4 k5 k6, k1 k2 k3 k4."""

WIDEST = tan(radians(60))
"""Views end 60 degrees from the optical axis: a pinhole camera stretches its border without end."""

_MOST = 1e9
"""Of a coefficient; those of the narrowest lenses stay below thousands, and much larger ones overflow."""

_LEAST_SHARE = 1 / 3
"""Of the image's width and height that a view spans; coefficients that leave less are wrong."""


@dataclass(frozen=True)
class Distortion:
    """How a lens bends rays.

    Attributes:
        model: ``plumb_bob`` (Brown and Conrady), ``rational_polynomial``, or ``equidistant`` (Kannala and
            Brandt; OpenCV's fisheye).
        coefficients: In OpenCV's order.
    """

    model: str
    coefficients: tuple[float | int, ...]

    def __post_init__(self) -> None:
        if self.model not in COEFFICIENTS:
            raise ValueError(
                f"unknown distortion model {self.model!r}, expected one of {', '.join(COEFFICIENTS)}; "
                "undistort the images with the program that calibrated them"
            )
        counts = COEFFICIENTS[self.model]
        if len(self.coefficients) not in counts or not np.all(np.abs(self.coefficients) < _MOST):
            raise ValueError(
                f"distortion {self.model} has the coefficients {list(self.coefficients)}, expected "
                f"{' or '.join(map(str, counts))} finite numbers; check the calibration"
            )

    @cached_property
    def reach(self) -> float:
        """Distance from the axis, in a plane at depth 1, from which on its polynomial folds back."""
        if self.model == "equidistant":
            slope = Polynomial([1.0, *(c * (2 * n + 3) for n, c in enumerate(self.coefficients))])
            angle = sqrt(_first_root(slope))
            return tan(angle) if angle < np.pi / 2 else inf
        k1, k2, _, _, k3, k4, k5, k6 = (*self.coefficients, *(0.0,) * 4)[:8]
        above, below, square = (
            Polynomial([1, k1, k2, k3]),
            Polynomial([1, k4, k5, k6]),
            Polynomial([0, 1]),
        )
        slope = (above + 2 * square * above.deriv()) * below - 2 * square * above * below.deriv()
        return sqrt(min(_first_root(slope), _first_root(below)))

    def bend(self, rays: Float64[np.ndarray, "*rays 2"]) -> Float64[np.ndarray, "*rays 2"]:
        """Distort points of a plane at depth 1 in front of the camera: x right, y down.

        Beyond :attr:`reach`, the result means nothing.
        """
        square = (rays**2).sum(-1)
        if self.model == "equidistant":
            radius = np.sqrt(square)
            angle = np.arctan(radius)
            bent = angle * Polynomial([1.0, *self.coefficients])(angle**2)
            return rays * np.divide(bent, radius, out=np.ones_like(radius), where=radius > 0)[..., None]
        k1, k2, p1, p2, k3, k4, k5, k6 = (*self.coefficients, *(0.0,) * 4)[:8]
        radial = Polynomial([1, k1, k2, k3])(square) / Polynomial([1, k4, k5, k6])(square)
        x, y = rays[..., 0], rays[..., 1]
        return np.stack(
            [
                x * radial + 2 * p1 * x * y + p2 * (square + 2 * x * x),
                y * radial + 2 * p2 * x * y + p1 * (square + 2 * y * y),
            ],
            axis=-1,
        )


def read_distortion(model: str, numbers: Iterable[float | int]) -> Distortion | None:
    """Make what a calibration says of distortion: None where it says that there is none.

    Zeros behind the coefficients of a model are left out: programs write as many as their widest model has.

    Raises:
        ValueError: If the model is unknown, or there are other coefficients than it has.
    """
    values = [float(number) for number in numbers]
    if model != "equidistant" and not any(values):
        return None
    most = max(COEFFICIENTS.get(model, (0,)))
    if not any(values[most:]):
        values = values[:most]
    return Distortion(model, tuple(values))


def _first_root(polynomial: Polynomial) -> float:
    """Find the least positive root; infinity where there is none."""
    roots = np.atleast_1d(polynomial.trim().roots())
    real = roots.real[(np.abs(roots.imag) < 1e-7 * (1 + np.abs(roots.real))) & (roots.real > 0)]
    return float(real.min(initial=inf))


@dataclass(frozen=True)
class RawCamera:
    """A camera's images as they were recorded.

    Attributes:
        intrinsics: fx, skew, cx, fy, cy in pixels of these images; whole numbers are pixel centres.
        width: In pixels.
        height: In pixels.
        distortion: What the lens does.
    """

    intrinsics: tuple[float | int, ...]
    width: int
    height: int
    distortion: Distortion

    @property
    def matrix(self) -> Float64[np.ndarray, "3 3"]:
        """The intrinsics as a matrix."""
        fx, skew, cx, fy, cy = self.intrinsics
        return np.array([[fx, skew, cx], [0, fy, cy], [0, 0, 1]])

    def pixels_of(self, rays: Float64[np.ndarray, "*rays 2"]) -> Float64[np.ndarray, "*rays 2"]:
        """Find where points of a plane at depth 1 appear, as (u, v)."""
        matrix = self.matrix
        return self.distortion.bend(rays) @ matrix[:2, :2].T + matrix[:2, 2]

    def records(self, rays: Float64[np.ndarray, "*rays 2"]) -> Bool[np.ndarray, "*rays"]:
        """Say which points of a plane at depth 1 the model reaches and the image holds."""
        pixels = self.pixels_of(rays)
        inside = ((pixels >= 0) & (pixels <= [self.width - 1, self.height - 1])).all(-1)
        step = 1e-6
        right, down = (
            self.distortion.bend(rays + step * way) - self.distortion.bend(rays - step * way)
            for way in np.eye(2)
        )
        upright = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0] > 0
        near = ((rays**2).sum(-1) < self.distortion.reach**2) & (np.abs(rays) <= WIDEST).all(-1)
        return inside & upright & near


@dataclass(frozen=True)
class StraightView:
    """The pinhole camera that a raw camera's images are brought to.

    Attributes:
        raw: The camera they come from.
        focal: In pixels, along both axes.
        centre: The principal point.
        width: In pixels.
        height: In pixels.
    """

    raw: RawCamera
    focal: float
    centre: tuple[float, float]
    width: int
    height: int

    @property
    def intrinsics(self) -> Float[Tensor, "3 3"]:
        """Its intrinsics, in float64."""
        (cx, cy), focal = self.centre, self.focal
        return torch.tensor([[focal, 0, cx], [0, focal, cy], [0, 0, 1]], dtype=torch.float64)

    @property
    def share(self) -> float:
        """How much of the area of the image as it was recorded is shown, 0 to 1."""
        ends = np.array([[0, 0], [self.width - 1, self.height - 1]]) - np.array(self.centre)
        u, v = self.raw.pixels_of(_border((ends / self.focal).reshape(-1))).T
        area = abs(np.sum(u * np.roll(v, -1) - v * np.roll(u, -1))) / 2
        return float(area / ((self.raw.width - 1) * (self.raw.height - 1)))

    def raw_pixels(self, pixels: Float64[np.ndarray, "*pixels 2"]) -> Float64[np.ndarray, "*pixels 2"]:
        """Find where pixels (u, v) of this view lie in the image as it was recorded."""
        return self.raw.pixels_of((pixels - np.array(self.centre)) / self.focal)

    def straighten(self, image: UInt8[Tensor, "raw_height raw_width 3"]) -> UInt8[Tensor, "height width 3"]:
        """Resample an image as it was recorded, bilinearly."""
        planes = image.permute(2, 0, 1)[None].float()
        found = F.grid_sample(planes, _grid(self), padding_mode="border", align_corners=False)
        return found[0].round().to(torch.uint8).permute(1, 2, 0).contiguous()


@lru_cache(maxsize=16)
def _grid(view: StraightView) -> Float32[Tensor, "1 height width 2"]:
    """Say where each pixel comes from, in the way of ``grid_sample``; made once a camera."""
    rows, columns = np.mgrid[: view.height, : view.width].astype(np.float64)
    pixels = view.raw_pixels(np.stack([columns, rows], axis=-1))
    scaled = (2 * pixels + 1) / [view.raw.width, view.raw.height] - 1
    return torch.from_numpy(scaled.astype(np.float32))[None]


@lru_cache(maxsize=64)
def straight_view(raw: RawCamera) -> StraightView:
    """Choose the pinhole camera that shows the most of a raw camera's images, and nothing else.

    It looks along the same axis; its pixels are square and not smaller than those at the middle of the raw
    image, and there are not more of them.

    Raises:
        ValueError: If what can be shown spans less than a third of the image's width or height, along its
            middle: the coefficients are those of another lens, model or order then.
    """
    left, top, right, bottom = _largest_rectangle(raw)
    x, y = (left + right) / 2, (top + bottom) / 2
    ends = raw.pixels_of(np.array([[[left, y], [x, top]], [[right, y], [x, bottom]]]))
    across, down = np.diagonal(ends[1] - ends[0]) / [raw.width, raw.height]
    if not min(across, down) > _LEAST_SHARE:
        raise ValueError(
            f"distortion {raw.distortion.model} {list(raw.distortion.coefficients)} can be undone on "
            f"{100 * max(across, 0):.0f} % of the image's width and {100 * max(down, 0):.0f} % of its "
            "height, as its polynomial folds back or its rays leave the image; expected over "
            f"{100 * _LEAST_SHARE:.0f} % of both: check the coefficients, their order and the model"
        )
    fx, _, _, fy, _ = raw.intrinsics
    area = (right - left) * (bottom - top)
    focal = min(sqrt(fx * fy), sqrt((raw.width - 1) * (raw.height - 1) / area))
    width, height = (int(side * focal + 1e-9) + 1 for side in (right - left, bottom - top))
    centre = float(-left * focal), float(-top * focal)
    return StraightView(raw, focal, centre, width, height)


def _largest_rectangle(raw: RawCamera) -> Float64[np.ndarray, " 4"]:
    """Grow a rectangle at depth 1 from the middle of the image until no side can go on.

    All of it is recorded if its border is: within reach, a distortion is continuous and one to one.

    Returns:
        Left, top, right and bottom.
    """
    fine = np.linspace(-WIDEST, WIDEST, 401)
    rays = np.stack(np.meshgrid(fine, fine), axis=-1).reshape(-1, 2)
    rays = rays[raw.records(rays)]
    if not len(rays):
        return np.zeros(4)
    middle = np.array([raw.width - 1, raw.height - 1]) / 2
    seed = rays[((raw.pixels_of(rays) - middle) ** 2).sum(1).argmin()]
    sides = np.concatenate([seed, seed])
    extent = np.array([raw.width / raw.intrinsics[0], raw.height / raw.intrinsics[3]])
    outward = np.concatenate([-extent, extent])
    for level in range(4, 18):
        grows = True
        while grows:
            grows = False
            for side in range(4):
                larger = sides.copy()
                larger[side] += outward[side] / (1 << level)
                if raw.records(_border(larger)).all():
                    sides, grows = larger, True
    return sides


def _border(sides: Float64[np.ndarray, " 4"]) -> Float64[np.ndarray, "points 2"]:
    """List points of a rectangle's border, corners among them, once around."""
    left, top, right, bottom = sides
    along = np.linspace(0, 1, 129)
    across, down = left + along * (right - left), top + along * (bottom - top)
    return np.concatenate(
        [
            np.column_stack([across, np.full_like(across, top)]),
            np.column_stack([np.full_like(down, right), down]),
            np.column_stack([across[::-1], np.full_like(across, bottom)]),
            np.column_stack([np.full_like(down, left), down[::-1]]),
        ]
    )
