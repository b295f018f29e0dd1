import numpy as np
import pytest
import torch
from benchmarks.calibration_check import misplace

from clip2scene.doctor.edge_score import AXES, STEPS, find_changes, score_image, turn_about
from clip2scene.doctor.lidar_edges import LidarEdges
from clip2scene.types import Camera

WIDTH, HEIGHT, FOCAL = 240, 160, 200.0
VELOCITY = (torch.tensor([0.0, 6.0, 0.0]), torch.zeros(3))  # sideways: to the camera's left
CAMERA_FROM_LIDAR = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def camera(focal=FOCAL, scale=1):
    intrinsics = torch.tensor(
        [[focal, 0, (WIDTH * scale - 1) / 2], [0, focal, (HEIGHT * scale - 1) / 2], [0, 0, 1]]
    )
    return Camera("front", intrinsics, CAMERA_FROM_LIDAR, WIDTH * scale, HEIGHT * scale)


def scene(seed, scale=1):
    """Boards at several depths: their image, and points half a step beyond their borders."""
    rng = np.random.default_rng(seed)
    image = np.full((HEIGHT * scale, WIDTH * scale, 3), 90.0) + rng.normal(
        0, 2, (HEIGHT * scale, WIDTH * scale, 3)
    )
    ends, reaches = [], []
    for row in range(2):
        for column in range(3):
            depth = rng.uniform(4, 25)
            left, top = 40 + 62 * column + rng.uniform(-8, 8), 30 + 60 * row + rng.uniform(-8, 8)
            right, bottom = left + rng.uniform(20, 34), top + rng.uniform(18, 30)
            edges = np.round(np.array([left, right, top, bottom]) * scale).astype(int)
            image[edges[2] : edges[3], edges[0] : edges[1]] = rng.uniform(0, 255, 3)
            first_u, last_u, first_v, last_v = edges - 0.5
            for place in np.linspace(0.1, 0.9, 9):
                u, v = first_u + place * (last_u - first_u), first_v + place * (last_v - first_v)
                pixels = [(first_u, v, -1, 0), (last_u, v, 1, 0), (u, first_v, 0, -1), (u, last_v, 0, 1)]
                for u, v, to_u, to_v in pixels:
                    x = (u - (WIDTH * scale - 1) / 2) / (FOCAL * scale) * depth
                    y = (v - (HEIGHT * scale - 1) / 2) / (FOCAL * scale) * depth
                    ends.append((depth, -x, -y))
                    reaches.append((0.0, -to_u * depth / FOCAL, -to_v * depth / FOCAL))
    pixels = torch.from_numpy(image.clip(0, 255).astype(np.uint8))
    return pixels, LidarEdges(torch.tensor(ends).float(), torch.tensor(reaches).float())


def findings(spoilt, frames=6):
    scores = []
    for seed in range(frames):
        image, silhouettes = scene(seed)
        scores.append(score_image(image, spoilt, torch.zeros(0, 3), silhouettes, VELOCITY))
    return {each.axis: each for each in find_changes(torch.stack(scores))}


def test_a_true_calibration_raises_no_alarm():
    found = findings(camera())
    assert not any(each.alarms for each in found.values())
    assert abs(found["yaw"].best) < 0.1 and abs(found["x"].best) < 0.015


@pytest.mark.parametrize(
    ("axis", "amount", "off"),
    [("yaw", 1.0, 0.1), ("pitch", -1.0, 0.1), ("roll", 1.0, 0.25), ("x", 0.1, 0.02), ("y", -0.1, 0.02)],
)
def test_a_fault_alarms_and_is_measured(axis, amount, off):
    found = findings(misplace(camera(), axis, amount))
    assert found[axis].alarms
    assert found[axis].best == pytest.approx(-amount, abs=off)
    assert found[axis].spread < off


def test_an_image_taken_later_than_told_alarms_in_time_when_the_vehicle_drives():
    spoilt = misplace(camera(), "time", 0.05, VELOCITY)
    found = findings(spoilt)
    assert found["time"].alarms
    assert found["time"].best == pytest.approx(-0.05, abs=0.006)


def test_without_velocity_nothing_is_said_about_time():
    image, silhouettes = scene(0)
    scores = score_image(image, camera(), torch.zeros(0, 3), silhouettes)
    assert len(scores[AXES.index("time")].unique()) == 1
    moving = score_image(image, camera(), torch.zeros(0, 3), silhouettes, VELOCITY)
    for images in (1, 6):
        assert {each.axis for each in find_changes(scores[None].expand(images, -1, -1))} == set(AXES) - {
            "time"
        }
        assert {each.axis for each in find_changes(moving[None].expand(images, -1, -1))} == set(AXES)


def test_scores_of_no_change_are_the_same_for_every_axis():
    image, silhouettes = scene(1)
    scores = score_image(image, camera(), torch.zeros(0, 3), silhouettes, VELOCITY)
    middle = scores[:, STEPS.shape[1] // 2]
    torch.testing.assert_close(middle, middle[:1].expand(7), rtol=1e-4, atol=1e-3)
    assert float(middle[0]) > 0


def test_blank_images_and_empty_clouds_tell_nothing():
    _, silhouettes = scene(0)
    blank = torch.full((HEIGHT, WIDTH, 3), 7, dtype=torch.uint8)
    scores = score_image(blank, camera(), torch.zeros(0, 3), silhouettes)
    assert float(scores.abs().max()) < 1e-2
    none = LidarEdges(torch.zeros(0, 3), torch.zeros(0, 3))
    assert not score_image(scene(0)[0], camera(), torch.zeros(0, 3), none).any()


def test_large_images_are_shrunk_without_a_shift():
    image, silhouettes = scene(3, scale=4)
    spoilt = camera(focal=4 * FOCAL, scale=4)
    found = {
        each.axis: each
        for each in find_changes(score_image(image, spoilt, torch.zeros(0, 3), silhouettes)[None])
    }
    assert abs(found["yaw"].best) < 0.1 and abs(found["pitch"].best) < 0.1


def table(axis, peaks, height):
    """Scores of images that say nothing but of one axis, each a parabola with a peak of its own.

    Their sum is a parabola about the mean of the peaks.
    """
    number = AXES.index(axis)
    scores = torch.zeros(len(peaks), *STEPS.shape)
    scores[:, number] = -height * (STEPS[number] - torch.tensor(peaks)[:, None]) ** 2
    return scores


def alarm(axis, peaks, height):
    (found,) = find_changes(table(axis, peaks, height))
    return found.alarms


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("height", "alarms"), [(1.4, False), (1.8, True)])
def test_images_that_agree_alarm_when_they_are_sure_enough(height, alarms, sign):
    """Six images fit best with 1 degree: the gain over 0.2 degrees is 0.64 heights each, halved as ends
    count in pairs, which must be 18 / 6 in all."""
    (found,) = find_changes(table("yaw", [sign] * 6, height))
    assert found.best == pytest.approx(sign) and found.spread < 1e-3
    assert found.gain == pytest.approx(6 * 0.64 * height / 2, rel=1e-3)
    assert found.alarms == alarms


@pytest.mark.parametrize(("apart", "alarms"), [(0.9, True), (1.3, False)])
def test_images_that_disagree_do_not_alarm_however_much_the_sum_gains(apart, alarms):
    """Thirty images fit best with 0.5 degrees on average, which is 0.3 beyond the tolerable; their standard
    deviation, over the root of 29, is the spread, 0.17 or 0.24."""
    (found,) = find_changes(table("yaw", [0.5 - apart, 0.5 + apart] * 15, 10.0))
    assert found.best == pytest.approx(0.5, abs=1e-3)
    assert found.spread == pytest.approx(apart / 29**0.5, rel=1e-3)
    assert found.gain > 18 / 30
    assert found.alarms == alarms


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("axis", "tolerable", "beyond"),
    [("pitch", 0.19, 0.3), ("roll", 0.19, 0.3), ("z", 0.019, 0.03), ("time", 0.0095, 0.02)],
)
def test_changes_that_are_tolerable_never_alarm_however_sure(axis, tolerable, beyond, sign):
    assert not alarm(axis, [sign * tolerable] * 30, 1e6)
    assert alarm(axis, [sign * beyond] * 30, 1e6)


@pytest.mark.parametrize("axis", range(3))
def test_turns_are_rotations_about_their_axis(axis):
    turn = turn_about(axis, 30.0)
    torch.testing.assert_close(turn @ turn.T, torch.eye(3))
    assert turn[axis, axis] == 1
    first, second = (axis + 1) % 3, (axis + 2) % 3
    assert turn[second, first] == pytest.approx(0.5)
