import json
import shutil

import pytest
from PIL import Image

from clip2scene import cli
from clip2scene.config import DataConfig
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.doctor import examine as doctor

TOYTOWN = DataConfig(classes="toytown")


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


def test_times_of_images_belong_to_the_cameras_that_took_them(damaged):
    """Also where the first camera's images are broken in the first sample, so that others are met first."""
    healthy = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    dataset = NuScenes(damaged, split="train", labels=False)
    (damaged / dataset._record(dataset.tokens[0], 1)["filename"]).write_bytes(b"no image")
    lines = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
    times = about(lines, "ok", "times")
    assert times == about(healthy, "ok", "times") and any("CAM_FRONT: images -36" in text for text in times)


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


def test_one_cause_is_one_fault_however_many_files_have_it(damaged):
    for path in damaged.glob("samples/CAM_*/*.jpg"):
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    lines = doctor.examine(TOYTOWN, damaged, costs=False)
    (fault,) = [line for line in lines if line.mark == "fault"]
    assert fault.about == "files" and fault.text.startswith(
        "2 of 2 of 2 samples looked at cannot be read whole"
    )
    assert "is PostScript by its content" in fault.text and fault.text.endswith("(and 11 more like it)")


def test_a_camera_that_sees_nothing_is_one_fault_too(damaged):
    table = damaged / "v1.0-trainval" / "calibrated_sensor.json"
    records = json.loads(table.read_text())
    for record in records:
        if record["camera_intrinsic"]:
            record["translation"] = [500.0, 0.0, 0.0]
    table.write_text(json.dumps(records))
    faults = [line for line in doctor.examine(TOYTOWN, damaged, costs=False) if line.mark == "fault"]
    assert {line.about for line in faults} == {"cameras"} and len(faults) >= 5


def test_cut_images_are_noted_and_resized_ones_a_fault(damaged):
    table = damaged / "v1.0-trainval" / "sample_data.json"
    whole = table.read_text()
    for size, mark in (((160, 40), "note"), ((128, 77), "fault")):
        records = json.loads(whole)
        for record in records:
            if record["width"]:
                record["width"], record["height"] = size
        table.write_text(json.dumps(records))
        for path in damaged.glob("samples/CAM_*/*.jpg"):
            with Image.open(path) as image:
                image.crop((0, 0, *size)).save(path)
        lines = doctor.examine(TOYTOWN, damaged, costs=False, calibration=False)
        told = " ".join(line.text for line in lines if line.mark == mark)
        assert ("images that were cut" in told) if mark == "note" else ("of about" in told)
        assert mark == "fault" or not [line for line in lines if line.mark == "fault"]
