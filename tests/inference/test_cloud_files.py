import re
from pathlib import Path

import pytest

from clip2scene.inference.cloud_files import find_clouds, refuse_overwriting


@pytest.fixture
def drive(tmp_path):
    for name in ("00/velodyne/000000.bin", "00/velodyne/000001.bin", "01/velodyne/000000.bin"):
        path = tmp_path / "drive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "drive" / "00" / "times.txt").write_text("0.1")
    (tmp_path / "drive" / "calib.json").write_text("{}")
    return tmp_path / "drive"


def found(*given, out="out", said=None):
    said = [] if said is None else said
    return [(cloud.path, cloud.stem.as_posix()) for cloud in find_clouds(given, Path(out), said.append)]


def test_a_folder_stands_for_the_clouds_below_it_and_their_folders_are_kept(drive):
    said = []
    assert found(drive, said=said) == [
        (drive / "00/velodyne/000000.bin", "00/velodyne/000000"),
        (drive / "00/velodyne/000001.bin", "00/velodyne/000001"),
        (drive / "01/velodyne/000000.bin", "01/velodyne/000000"),
    ]
    assert len(said) == 1 and "times.txt passed over" in said[0]


def test_a_pattern_stands_for_what_it_fits(drive):
    assert [stem for _, stem in found(drive / "*" / "velodyne" / "*0.bin")] == [
        "00/velodyne/000000",
        "01/velodyne/000000",
    ]
    assert [stem for _, stem in found(drive / "00" / "velodyne" / "*.bin")] == ["000000", "000001"]
    assert len(found(drive / "**" / "*.bin")) == 3


def test_a_file_with_marks_of_a_pattern_in_its_name_is_that_file(tmp_path):
    path = tmp_path / "sweep[1].bin"
    path.write_bytes(b"x")
    assert found(path) == [(path, "sweep[1]")]


def test_a_file_named_twice_is_labelled_once_and_nuscenes_double_suffix_goes(drive, tmp_path):
    path = tmp_path / "a.pcd.bin"
    path.write_bytes(b"x")
    assert found(path, path) == [(path, "a")]


def test_what_was_written_before_is_no_input(drive):
    out = drive / "labelled"
    out.mkdir()
    (out / "000000.ply").write_bytes(b"x")
    assert len(found(drive, out=out)) == 3


def test_text_is_taken_where_a_folder_holds_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3")
    assert found(tmp_path) == [(tmp_path / "a.txt", "a")]


def test_nothing_and_the_same_name_twice_are_refused(drive, tmp_path):
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", drive / "*.pcd"):
        with pytest.raises(ValueError, match=f"{re.escape(str(nothing))} leads to no cloud, expected files"):
            found(nothing)
    with pytest.raises(ValueError, match="different names, got none"):
        found()
    with pytest.raises(ValueError, match="different names, got 000000 more than once"):
        found(drive / "00/velodyne/000000.bin", drive / "01/velodyne/000000.bin")


def test_a_result_is_not_written_over_a_cloud(drive):
    clouds = find_clouds([drive], Path("out"), print)
    refuse_overwriting(clouds, [drive / "00/velodyne/000000.label"])
    with pytest.raises(ValueError, match="would be written over .*000001.bin; name another folder by --out"):
        refuse_overwriting(clouds, [drive / "00" / "velodyne" / ".." / "velodyne" / "000001.bin"])
