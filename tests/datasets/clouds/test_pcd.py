import numpy as np
import pytest

from clip2scene.datasets.clouds.pcd import pack_colours, read_pcd


def test_what_a_header_leaves_out_has_its_usual_value(tmp_path):
    path = tmp_path / "a.pcd"
    path.write_text(
        "#by CloudCompare\nVERSION .7\nFIELDS x y z rgb\nWIDTH 1\nHEIGHT 2\nDATA ascii\n1 2 3 9\n4 5 6 8\n"
    )
    found = read_pcd(path)
    assert [column.tolist() for column in found.values()] == [[1, 4], [2, 5], [3, 6], [9, 8]]


@pytest.mark.parametrize("line", ["SIZE 4 4", "SIZE 4 4 3", "TYPE F F X", "COUNT 1 1 -1", "COUNT 1 1 9999"])
def test_lines_that_do_not_fit_each_other_are_told(tmp_path, line):
    lines = ["FIELDS x y z", "SIZE 4 4 4", "TYPE F F F", "COUNT 1 1 1", "POINTS 1"]
    lines = [line if each.split()[0] == line.split()[0] else each for each in lines]
    path = tmp_path / "a.pcd"
    path.write_bytes("\n".join([*lines, "DATA binary", ""]).encode() + np.zeros(3, "<f4").tobytes())
    with pytest.raises(ValueError, match="broken PCD header.*" + line.split()[0]):
        read_pcd(path)


def test_colours_are_packed_as_pcl_has_them():
    assert pack_colours(np.array([[255, 128, 1]], np.uint8)).tolist() == [0xFF8001]
