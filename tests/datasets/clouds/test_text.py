import numpy as np
import pytest

from clip2scene.datasets.clouds import CloudOptions, read_cloud, read_cloud_file

XYZ = [[1.5, 2, 3], [4, 5, 6], [7, 8, 10]]


def save(folder, name, text):
    (folder / name).write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return folder / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.xyz", "1.5 2 3\n4 5 6\n\n7 8 10\n"),
        ("a.txt", "# made by hand\n1.5\t2\t3\r\n4\t5\t6\r\n7\t8\t10\r\n"),
        ("a.csv", "\ufeffX,Y,Z\n1.5,2,3\n4, 5, 6\n7,8,10\n"),
        ("b.csv", 'z;"y";x\n3;2;1,5\n6;5;4\n10;8;7\n'),
        ("c.csv", "//X Y Z Intensity\n1.5,2,3,0.5,\n4,5,6,0.5,\n7,8,10,0.5,\n"),
        ("d.csv", "time,Points:0,Points:1,Points:2\n0,1.5,2,3\n0,4,5,6\n0,7,8,10\n"),
        ("a.pts", "3\n1.5 2 3\n4 5 6\n7 8 10\n"),
        ("b.txt", "1,5 2,0 3,0\n4,0 5,0 6,0\n7,0 8,0 10,0\n"),
    ],
)
def test_lines_of_numbers_are_read_however_they_are_parted(tmp_path, name, text):
    found = read_cloud_file(save(tmp_path, name, text))
    np.testing.assert_array_equal(found.positions, XYZ)


def test_columns_without_names_are_guessed_and_said(tmp_path):
    rows = ["1.5 2 3 -1035 97 59 38", "4 5 6 -900 255 19 11", "7 8 10 2000 0 0 1"]
    found = read_cloud_file(save(tmp_path, "a.pts", "\n".join(rows)))
    np.testing.assert_allclose(found.cloud.features[:, 0], np.array([1013, 1148, 4048]) / 4095, atol=1e-6)
    assert any("x y z intensity red green blue" in note for note in found.notes)
    assert any("Leica" in note for note in found.notes)
    colours = read_cloud_file(
        save(tmp_path, "a.xyz", "1.5 2 3 0 9 2\n4 5 6 8 7 9"), CloudOptions(colours=True)
    )
    np.testing.assert_allclose(colours.cloud.features * 255, [[0, 9, 2], [8, 7, 9]], atol=1e-4)


def test_columns_can_be_named(tmp_path):
    path = save(tmp_path, "a.txt", "0 3 2 1.5 51\n0 6 5 4 102\n0 10 8 7 255\n")
    cloud = read_cloud(path, columns=("_", "z", "y", "x", "intensity"))
    np.testing.assert_array_equal(cloud.positions, XYZ)
    np.testing.assert_allclose(cloud.features[:, 0], [0.2, 0.4, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a.xyz", "1 2 3\n4 5 6 9\n7 8 9\n", "line 2 has 4 numbers, expected the 3 that the first line has"),
        ("a.xyz", "\n1 2 3\n\n4 5\n7 8 9\n", "line 4 has 2 numbers"),
        ("a.xyz", "1 2 3\n4 5", "truncated: line 2, its last, has 2 of 3"),
        ("a.pts", "2\n1 2 3\n4 5 6:\n", "line 3: '6:' is no number"),
        ("a.pts", "3\n1 2 3\n4 5 6\n", "its first line tells 3 points, it holds 2"),
        (
            "a.csv",
            "reading,gT00,gT01,gT02\ncar.csv,1,0,0\n",
            "no x y z, its columns are called reading, gT00",
        ),
        ("a.txt", "# nothing\n\n", "holds no points"),
        ("a.txt", "1 2\n3 4\n", "have 2 numbers, expected x, y and z"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "no x y z|holds no points|is no number"),
        ("a.ptx", "2\n1\n0 0 0\n", "expected the 10 lines before a scan"),
        ("a.ptx", "1\n1\n" + 6 * "0 0 0\n" + "\n1 2 3\n", "expected the 10 lines before a scan"),
    ],
)
def test_text_that_is_no_cloud_is_refused_by_its_line(tmp_path, name, text, fault):
    with pytest.raises(ValueError, match=fault) as caught:
        read_cloud(save(tmp_path, name, text))
    assert name in str(caught.value)


PTX = "{0}\n1\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n0 1 0 0\n-1 0 0 0\n0 0 1 0\n5 6 7 1\n"


def test_scans_of_a_ptx_are_brought_to_one_frame_and_what_was_not_measured_is_left_out(tmp_path):
    text = PTX.format(2) + "1 0 0 0.5\n0 0 0 0.5\n" + PTX.format(1) + "0 2 0 0.25\n"
    found = read_cloud_file(save(tmp_path, "a.ptx", text))
    np.testing.assert_array_equal(found.positions, [[5, 7, 7], [3, 6, 7]])
    np.testing.assert_array_equal(found.cloud.features[:, 0], [0.5, 0.25])
    assert any("2 scans" in note for note in found.notes) and any(
        "1 points at 0 0 0" in note for note in found.notes
    )
    with pytest.raises(ValueError, match="a scan tells 2 points, but 1 lines follow"):
        read_cloud(save(tmp_path, "b.ptx", PTX.format(2) + "1 0 0 0.5\n"))
