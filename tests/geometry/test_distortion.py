"""Lenses, against OpenCV: the pixels of undistorted images are those where the lens put the points."""

from math import inf, sqrt, tan

import cv2
import numpy as np
import pytest
import torch

from clip2scene.geometry.distortion import Distortion, RawCamera, read_distortion, straight_view
from clip2scene.geometry.projection import project_points
from clip2scene.types import Camera

CAMERAS = {
    "barrel": RawCamera(
        (984.2, 0, 690.0, 980.8, 233.2), 1392, 512, Distortion("plumb_bob", (-0.37, 0.2, 1e-3, 6e-4, -0.07))
    ),
    "four coefficients": RawCamera(
        (458.7, 0, 367.2, 457.3, 248.4), 752, 480, Distortion("plumb_bob", (-0.28, 0.07, 2e-4, 2e-5))
    ),
    "pincushion": RawCamera(
        (458.0, 0, 367.0, 457.0, 248.0), 752, 480, Distortion("plumb_bob", (0.2, 0.05, 0, 0, 0))
    ),
    "cut at the top": RawCamera(
        (458.0, 0, 367.0, 457.0, -30.0), 752, 280, Distortion("plumb_bob", (-0.28, 0.07, 2e-4, 2e-5))
    ),
    "rational": RawCamera(
        (614.0, 0, 637.0, 614.0, 366.0),
        1280,
        720,
        Distortion("rational_polynomial", (0.45, -2.3, 6e-4, -3e-4, 1.3, 0.33, -2.14, 1.24)),
    ),
    "fisheye": RawCamera(
        (191.0, 0, 254.9, 190.9, 256.9), 512, 512, Distortion("equidistant", (-0.013, -0.0057, 0.0047, -1e-3))
    ),
    "fisheye that sees behind itself": RawCamera(
        (300.0, 0, 639.5, 300.0, 359.5), 1280, 720, Distortion("equidistant", (0, 0, 0, 0))
    ),
}


def opencv_pixels(raw, points):
    """Where OpenCV puts points of the camera's frame in the image as it was recorded."""
    nothing, coefficients = np.zeros(3), np.array(raw.distortion.coefficients, dtype=np.float64)
    if raw.distortion.model == "equidistant":
        found = cv2.fisheye.projectPoints(points[:, None], nothing, nothing, raw.matrix, coefficients)[0]
    else:
        found = cv2.projectPoints(points, nothing, nothing, raw.matrix, coefficients)[0]
    return found.reshape(-1, 2)


def pinhole(raw):
    view = straight_view(raw)
    return view, Camera("c", view.intrinsics, torch.eye(4), view.width, view.height)


@pytest.mark.parametrize("name", CAMERAS)
def test_pairs_lie_where_opencv_projects_their_points(name):
    raw = CAMERAS[name]
    view, camera = pinhole(raw)
    rng = np.random.default_rng(0)
    points = rng.uniform([-80, -40, -10], [80, 40, 60], (20_000, 3)).astype(np.float32)
    pairs = project_points(torch.from_numpy(points), [camera], border=0.0)
    assert len(pairs) > 1000
    raw_pixels = view.raw_pixels(pairs.pixels.double().numpy())
    truth = opencv_pixels(raw, points[pairs.points.numpy()].astype(np.float64))
    assert np.abs(raw_pixels - truth).max() < 2e-3


@pytest.mark.parametrize("name", CAMERAS)
def test_every_pixel_of_the_view_was_recorded_and_no_side_could_go_on(name):
    raw = CAMERAS[name]
    view, _ = pinhole(raw)
    rows, columns = np.mgrid[: view.height, : view.width].astype(np.float64)
    pixels = view.raw_pixels(np.stack([columns, rows], -1))
    last = np.array([raw.width - 1, raw.height - 1])
    assert (pixels >= -0.01).all() and (pixels <= last + 0.01).all()
    assert view.width * view.height < 1.01 * raw.width * raw.height
    assert view.focal <= max(raw.intrinsics[0], raw.intrinsics[3])
    middle = [(view.width - 1) / 2, (view.height - 1) / 2]
    for axis, side in ((0, -2), (0, view.width + 1), (1, -2), (1, view.height + 1)):
        others = np.linspace(0, (view.height, view.width)[axis] - 1, 200)
        beyond = np.tile(np.array(middle), (200, 1))
        beyond[:, axis], beyond[:, 1 - axis] = side, others
        rays = (beyond - np.array(view.centre)) / view.focal
        assert not raw.records(rays).all(), "a larger view would have been as good"


@pytest.mark.parametrize("name", CAMERAS)
def test_the_share_that_is_kept_is_that_of_the_pixels(name):
    raw = CAMERAS[name]
    view, _ = pinhole(raw)
    rows, columns = np.mgrid[:400, :400] / 399 * np.array([raw.height - 1, raw.width - 1]).reshape(2, 1, 1)
    pixels = np.stack([columns, rows], -1).reshape(-1, 1, 2)
    lens = np.array(raw.distortion.coefficients, dtype=np.float64)
    if raw.distortion.model == "equidistant":
        rays = cv2.fisheye.undistortPoints(pixels, raw.matrix, lens)[:, 0]
    else:
        rays = cv2.undistortPoints(pixels, raw.matrix, lens)[:, 0]
    at = rays * view.focal + view.centre
    kept = ((at >= 0) & (at <= [view.width - 1, view.height - 1])).all(1).mean()
    assert view.share == pytest.approx(kept, abs=0.01)


def test_a_fisheye_is_refused_by_what_its_middle_spans_not_its_corners():
    lens = Distortion("equidistant", (0, 0, 0, 0))
    view = straight_view(RawCamera((550.0, 0, 1619.5, 550.0, 1619.5), 3240, 3240, lens))
    corner = view.raw_pixels(np.zeros(2))
    assert 1 - 2 * corner[0] / 3240 < 1 / 3 < 2 * np.radians(60) * 550 / 3240


@pytest.mark.parametrize("name", ["barrel", "rational", "fisheye"])
def test_what_is_drawn_where_opencv_projects_a_point_appears_at_its_pair(name):
    raw = CAMERAS[name]
    view, camera = pinhole(raw)
    for ray in ([0.0, 0.0], [0.3, -0.1], [-0.35, 0.12]):
        point = np.array([[*ray, 1.0]]) * 7
        at = opencv_pixels(raw, point)[0]
        rows, columns = np.mgrid[: raw.height, : raw.width]
        blob = np.exp(-((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / (2 * 2.0**2))
        image = torch.from_numpy((255 * blob).round().astype(np.uint8))[..., None].expand(-1, -1, 3)
        seen = view.straighten(image)[..., 0].double().numpy()
        assert seen.shape == (view.height, view.width)
        rows, columns = np.mgrid[: view.height, : view.width]
        found = np.array([(seen * columns).sum(), (seen * rows).sum()]) / seen.sum()
        pixel = project_points(torch.tensor(point), [camera]).pixels[0].numpy()
        assert np.abs(found - pixel).max() < 0.1


def test_images_are_those_of_opencv():
    raw = CAMERAS["barrel"]
    view, _ = pinhole(raw)
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 255, (raw.height, raw.width, 3)).astype(np.uint8), (0, 0), 2)
    maps = cv2.initUndistortRectifyMap(
        raw.matrix,
        np.array(raw.distortion.coefficients, dtype=np.float64),
        np.eye(3),
        view.intrinsics.numpy(),
        (view.width, view.height),
        cv2.CV_32FC1,
    )
    theirs = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ours = view.straighten(torch.from_numpy(image)).numpy()
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1  # OpenCV's pixels have 1/32 steps


def test_a_point_beyond_the_fold_of_the_polynomial_is_not_paired():
    lens = Distortion("plumb_bob", (-0.4, 0, 0, 0, 0))
    assert lens.reach == pytest.approx(1 / sqrt(1.2))
    raw = RawCamera((500.0, 0, 319.5, 500.0, 239.5), 640, 480, lens)
    _, camera = pinhole(raw)
    point = np.array([[1.4, 0.0, 1.0]]) * 5
    assert abs(opencv_pixels(raw, point)[0, 0] - 320) < 320, "OpenCV projects it into the image"
    assert not len(project_points(torch.tensor(point), [camera]))
    assert len(project_points(torch.tensor([[2.0, 0.0, 5.0]]), [camera])) == 1


def test_how_far_a_model_reaches():
    assert Distortion("plumb_bob", (0.1, 0.1, 0, 0, 0)).reach == inf
    pole = Distortion("rational_polynomial", (0, 0, 0, 0, 0, -0.25, 0, 0))
    assert pole.reach == pytest.approx(2), "where it divides by zero"
    assert Distortion("equidistant", (0, 0, 0, 0)).reach == inf
    assert Distortion("equidistant", (-1 / 3, 0, 0, 0)).reach == pytest.approx(tan(1))
    lens = Distortion("plumb_bob", (0.4, -0.3, 0, 0, 0.02))
    radii = np.linspace(0, 3, 300_001)
    bent = lens.bend(np.column_stack([radii, np.zeros_like(radii)]))[:, 0]
    assert lens.reach == pytest.approx(radii[np.argmax(np.diff(bent) <= 0)], abs=1e-4)


def test_what_calibrations_say_of_distortion():
    assert read_distortion("plumb_bob", [0.0] * 5) is None
    assert read_distortion("", []) is None
    assert read_distortion("none", [0.0]) is None
    assert read_distortion("equidistant", [0.0] * 4) == Distortion("equidistant", (0.0,) * 4)
    fourteen = [0.1, 0, 0, 0, 0, 0.2, 0, 0.3, *[0.0] * 6]
    assert read_distortion("rational_polynomial", fourteen).coefficients == tuple(fourteen[:8])
    assert read_distortion("plumb_bob", [0.1, *[0.0] * 7]).coefficients == (0.1, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("model", "numbers", "words"),
    [
        ("fov", [0.9], r"unknown distortion model 'fov', expected one of plumb_bob, rational_polynomial"),
        ("plumb_bob", [0.1, 0.1], r"plumb_bob has the coefficients \[0.1, 0.1\], expected 4 or 5 finite"),
        ("rational_polynomial", [0.1] * 5, "expected 8 finite numbers"),
        ("equidistant", [], "expected 4 finite numbers"),
        ("equidistant", [0.1, 0, 0, 0, 0.1], "expected 4 finite numbers"),
        ("plumb_bob", [0.1, 0, float("nan"), 0, 0], "finite numbers; check the calibration"),
        ("plumb_bob", [1e300, 0, 0, 0, 0], "finite numbers; check the calibration"),
        ("rational_polynomial", [*[0.1] * 8, 0.01, 0, 0, 0], "expected 8 finite numbers"),
    ],
)
def test_other_distortions_are_refused_in_one_sentence(model, numbers, words):
    with pytest.raises(ValueError, match=words):
        read_distortion(model, numbers)


@pytest.mark.parametrize("coefficients", [(-30.0, 0, 0, 0), (0, 0, 5.0, 0), (-9e8, 9e8, 9e8, -9e8)])
def test_coefficients_that_leave_no_image_are_refused(coefficients):
    raw = RawCamera((500.0, 0, 319.5, 500.0, 239.5), 640, 480, Distortion("plumb_bob", coefficients))
    with pytest.raises(ValueError, match=r"can be undone on \d+ % of the image's width.* their order and"):
        straight_view(raw)
