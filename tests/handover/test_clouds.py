import numpy as np
import pytest
from tests.handover.clouds import frames

from clip2scene.datasets.clouds.pcd import read_pcd
from clip2scene.handover import clouds


def test_both_forms_keep_every_bit_of_the_places_and_of_the_intensity(tmp_path):
    (frame,) = frames(1)
    clouds.write_pcd(tmp_path / "a.pcd", frame)
    clouds.write_records(tmp_path / "a.bin", frame)
    assert (clouds.read_pcd_positions(tmp_path / "a.pcd") == frame.positions).all()
    assert (clouds.read_record_positions(tmp_path / "a.bin") == frame.positions).all()
    assert (read_pcd(tmp_path / "a.pcd")["intensity"] == frame.intensity).all()


def test_points_with_colours_have_no_intensity(tmp_path):
    (frame,) = frames(1, rooms=True)
    clouds.write_records(tmp_path / "a.bin", frame)
    assert (np.fromfile(tmp_path / "a.bin", "<f4").reshape(-1, 4)[:, 3] == 0).all()
    clouds.write_pcd(tmp_path / "a.pcd", frame)
    assert set(read_pcd(tmp_path / "a.pcd")) == {"x", "y", "z", "rgb"}


def test_a_cloud_without_heights_is_refused(tmp_path):
    path = tmp_path / "a.pcd"
    path.write_text("FIELDS x y\nSIZE 4 4\nTYPE F F\nCOUNT 1 1\nPOINTS 1\nDATA ascii\n1 2\n")
    with pytest.raises(ValueError, match="a.pcd has no field .*z.*; expected x, y and z"):
        clouds.read_pcd_positions(path)


def test_records_have_no_gaps():
    table = clouds.as_records({"x": np.ones(2, ">f4"), "label": np.array([7, 8], "<u2")})
    assert table.tobytes() == np.float32(1).tobytes() + b"\7\0" + np.float32(1).tobytes() + b"\10\0"
