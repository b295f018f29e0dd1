import json
import shutil
from dataclasses import replace

import pytest
import torch

from clip2scene import cli, doctor
from clip2scene.config import DataConfig
from clip2scene.datasets.nuscenes import NuScenes
from clip2scene.doctor_report import Line, report_json, report_text
from clip2scene.doctor_samples import measure_sample
from clip2scene.doctor_times import check_times, find_velocities
from clip2scene.types import Moments

TOYTOWN = DataConfig(classes="toytown")
SETTINGS = {"min_depth": 1.0, "occlusion_test": True, "viewpoint": (0.0, 0.0, 0.0)}


class Recorded:
    """Moments alone: clouds every 500 ms from a vehicle at 8 m/s."""

    tokens = tuple("abcd")

    def __init__(self, **changes):
        self.changes = changes

    def moments(self, index):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = 4.0 * index
        moments = Moments(
            "drive", 500_000 * index, (500_000 * index - 30_000,), (500_000 * index - 50_000,), pose
        )
        return replace(moments, **{name: change(index) for name, change in self.changes.items()})


@pytest.fixture
def damaged(tiny_toytown, tmp_path):
    """A copy of toytown that a test may break."""
    return shutil.copytree(tiny_toytown, tmp_path / "toytown")


def about(lines, mark, topic):
    return [line.text for line in lines if line.mark == mark and line.about == topic]


def test_a_healthy_toytown_has_no_fault(tiny_toytown):
    lines = doctor.examine(TOYTOWN, tiny_toytown, costs=False)
    assert not [line for line in lines if line.mark == "fault"]
    assert (
        "2 of 2 samples" in about(lines, "ok", "files")[0] and "12 images" in about(lines, "ok", "files")[0]
    )
    assert len(about(lines, "ok", "cameras")) == 6
    assert any("CAM_FRONT: images -36 ms" in text for text in about(lines, "ok", "times"))
    assert "too few" in about(lines, "note", "calibration")[0]  # two samples
    assert "driveable surface" in about(lines, "ok", "labels")[0]


def test_damaged_files_are_counted_and_named_and_the_rest_is_looked_at(damaged):
    next((damaged / "samples" / "CAM_BACK").glob("*.jpg")).write_bytes(b"no image")
    dataset = NuScenes(damaged, split="train", with_labels=False)
    path = dataset.lidar_file(dataset.tokens[1])[1]
    path.write_bytes(path.read_bytes()[:-3])
    lines = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    faults = about(lines, "fault", "files")
    assert any("truncated" in fault and path.name in fault for fault in faults)
    assert "of 2 of 2 samples looked at cannot be read whole" in faults[0]


def test_a_camera_that_sees_nothing_is_named(damaged):
    table = damaged / "v1.0-trainval" / "calibrated_sensor.json"
    dataset = NuScenes(damaged, split="train", with_labels=False)
    blind = dataset._record(dataset.tokens[0], 1)["calibration"]["token"]
    records = json.loads(table.read_text())
    for record in records:
        if record["token"] == blind:
            record["translation"] = [500.0, 0.0, 0.0]
    table.write_text(json.dumps(records))
    lines = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    assert about(lines, "fault", "cameras") == [
        "CAM_FRONT: sees no point in any of 2 images: its calibration cannot be right"
    ]


def test_a_data_set_that_cannot_be_opened_is_one_fault(tmp_path):
    lines = doctor.examine(TOYTOWN, tmp_path)
    assert [line.mark for line in lines] == ["fault"] and "cannot be opened" in lines[0].text


def test_data_without_labels_are_no_fault(damaged):
    (damaged / "v1.0-trainval" / "lidarseg.json").unlink()
    lines = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    assert not [line for line in lines if line.mark == "fault"]
    assert "none to judge by" in about(lines, "note", "labels")[0]


def test_raw_ids_of_no_class_are_named(damaged):
    dataset = NuScenes(damaged, split="train")
    for token in dataset.tokens:
        name = dataset._label_files[dataset.lidar_file(token)[0]]
        path = damaged / name
        path.write_bytes(bytes([29] * 10) + path.read_bytes()[10:])
    lines = doctor.examine(DataConfig(), damaged, costs=False, calibration=False)
    assert any("29" in text.split("raw ids")[-1] for text in about(lines, "note", "labels"))


def test_costs_are_measured_on_real_answers(tiny_toytown):
    lines = doctor.examine(TOYTOWN, tiny_toytown, calibration=False)
    costs = about(lines, "ok", "costs")
    assert "MB a sample" in costs[0] and "for 2 samples" in costs[0] and "hours" in costs[1]


def test_a_spoilt_calibration_is_a_fault_and_says_by_how_much():
    findings = [doctor.Finding("yaw", 1.0, 0.1, 30.0, True), doctor.Finding("x", 0.0, 0.0, 0.0, False)]
    line = doctor._verdict("CAM_FRONT", findings, 20)
    assert line.mark == "fault" and "+1.00 +- 0.10 degrees in yaw" in line.text and "20 images" in line.text
    assert doctor._verdict("CAM_FRONT", findings, 19).mark == "note"


def test_a_sample_is_scored_for_each_camera(tiny_toytown):
    dataset = NuScenes(tiny_toytown, split="train")
    velocity = find_velocities(dataset, [0])[0]
    measured = measure_sample(dataset, 0, settings=SETTINGS, velocity=velocity)
    assert not measured.faults and len(measured.looks) == 6
    assert measured.labels.total() == measured.num_points == len(dataset[0].cloud)
    assert sum(float(look.scores.sum(0).max()) > 0 for look in measured.looks) >= 4
    assert 0.01 < measured.looks[0].seen < 0.5


def test_velocity_comes_from_the_poses_of_neighbours():
    found = find_velocities(Recorded(), [0, 3])
    for number in (0, 3):
        torch.testing.assert_close(found[number][0], torch.tensor([8.0, 0, 0]))
        assert not found[number][1].any()
    other_drives = Recorded(drive=str)
    assert find_velocities(other_drives, [1]) == {1: None}
    assert find_velocities(object(), [1]) == {1: None}


def test_even_times_are_fine():
    lines = check_times(Recorded(), [0, 1, 2], ["front"])
    assert [line.mark for line in lines] == ["ok"] * 3
    assert "500 ms" in lines[0].text and "-30 ms" in lines[1].text and "50 ms apart" in lines[2].text


def test_clouds_that_run_backwards_are_a_fault():
    lines = check_times(Recorded(cloud_us=lambda index: [0, 500, 400, 900][index]), [0, 1, 2], ["front"])
    assert lines[0].mark == "fault" and "the first is c" in lines[0].text


def test_uneven_and_far_images_are_noted():
    uneven = Recorded(image_us=lambda index: (500_000 * index + 70_000 * (index % 2),))
    assert "uneven" in check_times(uneven, [0, 1], ["front"])[1].text
    far = Recorded(image_us=lambda index: (500_000 * index + 300_000,))
    assert "beyond 100 ms" in check_times(far, [0, 1], ["front"])[1].text


def test_layouts_without_moments_say_so():
    assert check_times(object(), [0], ["front"])[0].mark == "note"


def test_reports_count_their_marks():
    lines = [Line("ok", "files", "fine"), Line("fault", "labels", "broken", (("share", 0.5),))]
    assert report_text(lines).endswith("1 ok, 0 note, 1 fault")
    found = report_json(lines)
    assert found["healthy"] is False and found["findings"][1]["numbers"] == {"share": 0.5}


def test_the_command_ends_with_1_for_a_fault_and_writes_json(tiny_toytown, tmp_path, monkeypatch, capsys):
    def call(root):
        words = ["doctor", "--data-root", root, "--data.classes", "toytown", "--no-calibration", "--no-costs"]
        monkeypatch.setattr("sys.argv", ["clip2scene", *map(str, words), "--json", str(tmp_path / "r.json")])
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code
        return 0

    assert call(tiny_toytown) == 0
    assert json.loads((tmp_path / "r.json").read_text())["healthy"] is True
    assert "0 fault" in capsys.readouterr().out
    assert call(tmp_path / "nowhere") == 1
    assert json.loads((tmp_path / "r.json").read_text())["healthy"] is False
