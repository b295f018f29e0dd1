import pytest
import torch

from clip2scene.doctor.calibration import check_calibration, verdict
from clip2scene.doctor.edge_score import STEPS, Finding, find_changes
from clip2scene.doctor.samples import CameraView, Measured


def test_a_spoilt_calibration_is_a_fault_and_says_by_how_much():
    findings = [Finding("yaw", 1.0, 0.1, 30.0, True), Finding("x", 0.0, 0.0, 0.0, False)]
    line = verdict("CAM_FRONT", findings, 20, "20 images")
    assert line.mark == "fault" and "+1.00 +- 0.10 degrees in yaw" in line.text and "20 images" in line.text
    assert verdict("CAM_FRONT", findings, 19, "").mark == "note"


def peaked(axis, step):
    """Scores of an image that fits best with one change."""
    scores = torch.zeros(STEPS.shape)
    scores[axis] = -40 * (STEPS[axis] - STEPS[axis, step]).abs() + 100
    return scores


def test_images_from_one_place_count_as_one():
    """Forty images of a vehicle that stands say no more than one; of one that drives, they are sure."""
    rng = torch.Generator().manual_seed(0)
    noise = [torch.randn(STEPS.shape, generator=rng) for _ in range(40)]
    measured = [
        Measured(str(number), (), views=(CameraView("front", 0.1, peaked(1, 15) + noise[number]),))
        for number in range(40)
    ]
    (driving,) = check_calibration(measured, range(40))
    assert driving.mark == "fault" and "by 40 images it should be changed by" in driving.text
    (standing,) = check_calibration(measured, [0] * 40)
    assert standing.mark == "note" and "40 images from 1 place " in standing.text
    (slow,) = check_calibration(measured, [number // 5 for number in range(40)])
    assert slow.mark == "note" and "by 40 images from 8 places" in slow.text


@pytest.mark.parametrize(("places", "mark"), [(40, "fault"), (8, "note")])
def test_a_camera_that_fits_nowhere_is_a_fault_once_enough_places_were_seen(places, mark):
    scores = -torch.ones(STEPS.shape)  # whatever is changed, edges are met less than by chance
    measured = [
        Measured(str(number), (), views=(CameraView("front", 0.5, scores),)) for number in range(places)
    ]
    (line,) = check_calibration(measured, range(places))
    assert line.mark == mark and "no more than by chance" in line.text


def test_where_no_speed_is_known_a_report_says_nothing_about_time():
    scores = torch.rand(6, 7, 21, generator=torch.Generator().manual_seed(0))
    scores[:, -1] = scores[:, -1, :1]  # a change in time changes nothing
    line = verdict("CAM_FRONT", find_changes(scores), 6, "6 images")
    assert "time" not in line.text
    assert dict(line.numbers).keys() == {"pitch", "yaw", "roll", "x", "y", "z"}
