from xml.etree import ElementTree

import numpy as np
import pytest
from tests.handover.clouds import CLASSES, comes_back, frames, without_pose, write

from clip2scene.classes.tables import SEMANTIC_KITTI
from clip2scene.datasets.kitti.labels import RAW_OF_CLASS
from clip2scene.handover import point_labeler


def test_labels_come_back_point_by_point(tmp_path):
    some = frames()
    write(point_labeler, tmp_path, some)
    read = comes_back(point_labeler, tmp_path, some)
    assert all((each.positions == frame.positions).all() for each, frame in zip(read, some, strict=True))
    records = np.fromfile(tmp_path / "scene-1" / "velodyne" / "000001.bin", "<f4").reshape(-1, 4)
    assert (records[:, 3] == some[1].intensity).all()


def test_files_hold_the_raw_ids_of_semantic_kitti_and_own_classes_get_others(tmp_path):
    assert (
        dict(zip(SEMANTIC_KITTI.classes, point_labeler.codes_of(SEMANTIC_KITTI).ids, strict=True))
        == RAW_OF_CLASS
    )
    some = frames(1)
    write(point_labeler, tmp_path, some)
    raw = np.fromfile(tmp_path / "scene-1" / "labels" / "000000.label", "<u4")
    assert raw[:5].tolist() == [0, 10, 40, 302, 0]  # a driveable surface is SemanticKITTI's road
    entries = {
        entry.findtext("name"): (int(entry.findtext("id")), entry.findtext("color"))
        for entry in ElementTree.parse(tmp_path / "labels.xml").getroot()
    }
    assert entries["unlabeled"] == (0, "115 115 115") and entries["car"] == (10, "255 158 0")
    assert entries[CLASSES.classes[2]][0] == 302


def test_instances_and_outliers_are_left_out(tmp_path):
    some = frames(1)
    write(point_labeler, tmp_path, some)
    path = tmp_path / "scene-1" / "labels" / "000000.label"
    raw = np.fromfile(path, "<u4")
    (raw | np.uint32(7 << 16)).tofile(path)
    comes_back(point_labeler, tmp_path, some)
    raw[0] = 1
    raw.tofile(path)
    comes_back(point_labeler, tmp_path, some)


def test_ids_of_the_tools_own_list_are_understood(tmp_path):
    write(point_labeler, tmp_path, frames(1))
    path = tmp_path / "scene-1" / "labels" / "000000.label"
    raw = np.fromfile(path, "<u4")
    raw[:3] = 252, 99, 302  # a moving car, another object, and a class of ours
    raw.tofile(path)
    (read,) = point_labeler.read_labels(tmp_path, ["cloud-00"])
    assert [read.names[number] for number in read.ids[:3].tolist()] == ["car", "ignore", CLASSES.classes[2]]


@pytest.mark.parametrize("placed", [True, False])
def test_the_lidars_way_is_a_line_a_cloud(tmp_path, placed):
    some = frames(3) if placed else [without_pose(each) for each in frames(3)]
    write(point_labeler, tmp_path, some)
    poses = np.loadtxt(tmp_path / "scene-1" / "poses.txt").reshape(-1, 3, 4)
    expected = np.stack([each.pose if placed else np.eye(4) for each in some])[:, :3]
    assert np.abs(poses - expected).max() < 1e-8
    calibration = dict(
        line.split(": ") for line in (tmp_path / "scene-1" / "calib.txt").read_text().splitlines()
    )
    assert set(calibration) == {"P0", "P1", "P2", "P3", "Tr"} and len(calibration["Tr"].split()) == 12


def test_a_list_of_samples_that_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    write(point_labeler, tmp_path, frames(1))
    monkeypatch.setattr(point_labeler, "MOST_BYTES", 2)
    with pytest.raises(ValueError, match="tokens.txt has .* MB, expected"):
        list(point_labeler.read_labels(tmp_path, ["cloud-00"]))
