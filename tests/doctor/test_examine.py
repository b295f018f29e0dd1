import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from clip2scene import cli
from clip2scene.config import DataConfig
from clip2scene.datasets.nuscenes.loader import CAMERAS, NuScenes
from clip2scene.doctor import examine as doctor
from clip2scene.doctor.calibration import check_calibration, verdict
from clip2scene.doctor.edge_score import STEPS, Finding, find_changes, turn_about
from clip2scene.doctor.overlays import draw_overlays
from clip2scene.doctor.report import Line, report_json, report_text
from clip2scene.doctor.samples import CameraView, Measured, measure_sample
from clip2scene.doctor.timing import check_times, find_places, find_velocities
from clip2scene.types import Timestamps

TOYTOWN = DataConfig(classes="toytown")
PAIRING = {"min_depth": 1.0, "occlusion_test": True}


class Silent:
    """Samples of a layout that never tells times."""

    tokens = tuple("abcdef")

    def timestamps(self, index):
        return None


class Recorded:
    """Moments alone: clouds every 500 ms from a vehicle at 8 m/s."""

    tokens = tuple("abcd")

    def __init__(self, **changes):
        self.changes = changes

    def timestamps(self, index):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = 4.0 * index
        timestamps = Timestamps(
            "drive", 500_000 * index, {"front": 500_000 * index - 30_000}, (500_000 * index - 50_000,), pose
        )
        return replace(timestamps, **{name: change(index) for name, change in self.changes.items()})


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
    dataset = NuScenes(damaged, split="train", labels=False)
    path = dataset.lidar_file(dataset.tokens[1])[1]
    path.write_bytes(path.read_bytes()[:-3])
    lines = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    faults = about(lines, "fault", "files")
    assert any("truncated" in fault and path.name in fault for fault in faults)
    assert "of 2 of 2 samples looked at cannot be read whole" in faults[0]


def test_a_camera_that_sees_nothing_is_named(damaged):
    table = damaged / "v1.0-trainval" / "calibrated_sensor.json"
    dataset = NuScenes(damaged, split="train", labels=False)
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


def test_a_damaged_table_of_labels_is_a_fault(damaged):
    table = damaged / "v1.0-trainval" / "lidarseg.json"
    table.write_bytes(table.read_bytes()[:-20])
    lines = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    (fault,) = [line for line in lines if line.mark == "fault"]
    assert fault.about == "labels" and "lidarseg.json" in fault.text and "cannot be read" in fault.text
    assert not about(lines, "note", "labels")


def test_without_a_healthy_sample_nothing_is_said_of_costs(damaged):
    for path in (damaged / "samples" / "CAM_BACK").glob("*.jpg"):
        path.write_bytes(b"no image")
    lines = doctor.examine(TOYTOWN, damaged, calibration=False)
    assert "2 of 2 of 2 samples" in about(lines, "fault", "files")[0]
    assert not [line for line in lines if line.about == "costs"]


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


class Driven:
    """Poses alone: 0.5 m a sample, from the sixth on none, and from the eighth on another drive turning."""

    tokens = tuple("abcdefghij")

    def timestamps(self, index):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = 0.5 * min(index, 5)
        if index >= 8:
            pose[:3, :3] = turn_about(2, 20.0 * (index - 8)).double()
        return Timestamps("two" if index >= 8 else "one", index, {}, (), None if index in (6, 7) else pose)


def test_places_are_those_where_the_vehicle_stood_two_metres_or_a_turn_apart():
    assert find_places(Driven(), range(10)) == [0, 0, 0, 0, 4, 4, 6, 7, 8, 9]
    assert find_places(Silent(), [3, 5]) == [3, 5]


def test_depth_says_whether_the_poses_of_a_room_are_right(tiny_rooms, tmp_path):
    rooms = DataConfig(layout="scannet", min_depth=0.3, frame_step=1)
    lines = doctor.examine(rooms, tiny_rooms, costs=False)
    assert not [line for line in lines if line.mark == "fault"]
    (fits,) = [line for line in lines if line.about == "calibration"]
    assert fits.mark == "ok" and dict(fits.numbers)["confirmed"] > 0.9 and "(12 frames)" in fits.text
    assert len(about(lines, "ok", "cameras")) == 1 and "in 12 images" in about(lines, "ok", "cameras")[0]
    broken = shutil.copytree(tiny_rooms, tmp_path / "rooms")
    for scene in (broken / "scans").iterdir():  # each pose is that of the frame before
        poses = [(scene / "pose" / f"{number}.txt").read_bytes() for number in range(6)]
        for number in range(6):
            (scene / "pose" / f"{number}.txt").write_bytes(poses[number - 1])
    (wrong,) = [line for line in doctor.examine(rooms, broken, costs=False) if line.about == "calibration"]
    assert wrong.mark == "fault" and "check poses" in wrong.text


def test_pictures_show_one_sample_as_each_camera_sees_it(tiny_toytown, tmp_path):
    dataset = NuScenes(tiny_toytown, labels=False)
    drawn = draw_overlays(dataset, PAIRING, folder=tmp_path / "pictures")
    token = dataset.tokens[1]
    assert [path.name for path in drawn] == [f"{token}-{name}.png" for name in CAMERAS]
    for path in drawn:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        bright = (pixels[..., 0] > 200) & (pixels[..., 2] < 150)  # near points, pale and red
        assert pixels.shape[1] == 1600 and bright.mean() > 0.01


def test_a_sample_is_scored_for_each_camera(tiny_toytown):
    dataset = NuScenes(tiny_toytown, split="train")
    velocity = find_velocities(dataset, [0])[0]
    measured = measure_sample(dataset, 0, pairing=PAIRING, velocity=velocity)
    assert not measured.faults and len(measured.views) == 6
    assert measured.labels.total() == measured.num_points == len(dataset[0].cloud)
    assert sum(float(look.scores.sum(0).max()) > 0 for look in measured.views) >= 4
    assert 0.01 < measured.views[0].visible < 0.5


def test_velocity_comes_from_the_poses_of_neighbours():
    found = find_velocities(Recorded(), [0, 3])
    for number in (0, 3):
        torch.testing.assert_close(found[number][0], torch.tensor([8.0, 0, 0]))
        assert not found[number][1].any()
    other_drives = Recorded(drive=str)
    assert find_velocities(other_drives, [1]) == {1: None}
    assert find_velocities(Silent(), [1]) == {1: None}


def test_even_times_are_fine():
    lines = check_times(Recorded(), [0, 1, 2])
    assert [line.mark for line in lines] == ["ok"] * 3
    assert "500 ms" in lines[0].text and "-30 ms" in lines[1].text and "50 ms apart" in lines[2].text


def test_clouds_that_run_backwards_are_a_fault():
    lines = check_times(Recorded(cloud_us=lambda index: [0, 500, 400, 900][index]), [0, 1, 2])
    assert lines[0].mark == "fault" and "the first is c" in lines[0].text


def test_uneven_and_far_images_are_noted():
    uneven = Recorded(image_us=lambda index: {"front": 500_000 * index + 70_000 * (index % 2)})
    assert "uneven" in check_times(uneven, [0, 1])[1].text
    far = Recorded(image_us=lambda index: {"front": 500_000 * index + 300_000})
    assert "beyond 100 ms" in check_times(far, [0, 1])[1].text


def test_times_of_images_belong_to_the_cameras_that_took_them(damaged):
    """Also where the first camera's images are broken in the first sample, so that others are met first."""
    healthy = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    dataset = NuScenes(damaged, split="train", labels=False)
    (damaged / dataset._record(dataset.tokens[0], 1)["filename"]).write_bytes(b"no image")
    lines = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    times = about(lines, "ok", "times")
    assert times == about(healthy, "ok", "times") and any("CAM_FRONT: images -36" in text for text in times)


def test_a_camera_that_misses_images_keeps_its_own_times():
    def taken(index):
        late = {"left": 500_000 * index + 40_000}
        return late if index == 1 else {"front": 500_000 * index - 30_000, **late}

    lines = check_times(Recorded(image_us=taken), [0, 1, 2])
    told = [line.text for line in lines if "images" in line.text]
    assert told[0].startswith("front: images -30 ms") and told[1].startswith("left: images +40 ms")


def test_layouts_without_moments_say_so():
    assert check_times(Silent(), [0])[0].mark == "note"


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


def test_where_no_speed_is_known_a_report_says_nothing_about_time():
    scores = torch.rand(6, 7, 21, generator=torch.Generator().manual_seed(0))
    scores[:, -1] = scores[:, -1, :1]  # a change in time changes nothing
    line = verdict("CAM_FRONT", find_changes(scores), 6, "6 images")
    assert "time" not in line.text
    assert dict(line.numbers).keys() == {"pitch", "yaw", "roll", "x", "y", "z"}
