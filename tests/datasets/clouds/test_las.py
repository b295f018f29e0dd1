import sys

import numpy as np
import pytest
import torch
from tests.datasets.clouds.test_read import XYZ, write

from clip2scene.datasets.clouds import read_cloud, read_cloud_file


def test_las_without_its_library_is_said_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "laspy", None)
    write(tmp_path / "a.las", b"LASF")
    with pytest.raises(ValueError, match=r"needs the library laspy; install clip2scene\[las\]"):
        read_cloud(tmp_path / "a.las")


def write_las(path, positions, offsets):
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=3, version="1.2")
    header.scales, header.offsets = np.full(3, 1e-3), np.array(offsets)
    content = laspy.LasData(header)
    content.x, content.y, content.z = positions.T
    content.intensity = np.arange(len(positions), dtype=np.uint16) * 100
    content.write(path)


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_las_is_read_and_refused_where_it_is_cut(tmp_path, suffix):
    write_las(tmp_path / f"a{suffix}", XYZ.astype(np.float64), [0.0, 0, 0])
    cloud = read_cloud(tmp_path / f"a{suffix}", intensity_max=65535.0)
    np.testing.assert_allclose(cloud.positions.numpy(), XYZ, atol=6e-4)
    assert torch.allclose(cloud.features[:, 0], torch.arange(len(XYZ)) * 100 / 65535)
    whole = (tmp_path / f"a{suffix}").read_bytes()
    for size in range(0, len(whole), 40):
        write(tmp_path / f"cut{suffix}", whole[:size])
        with pytest.raises(ValueError, match=r"is empty|cannot be read as LAS|holds no points"):
            read_cloud(tmp_path / f"cut{suffix}")


def test_a_table_of_more_chunks_than_points_is_refused_before_room_is_made(tmp_path):
    write_las(tmp_path / "a.laz", XYZ.astype(np.float64), [0.0, 0, 0])
    content = bytearray((tmp_path / "a.laz").read_bytes())
    start = int.from_bytes(content[96:100], "little")
    table = int.from_bytes(content[start : start + 8], "little")
    content[table + 4 : table + 8] = b"\xff\xff\xff\x7f"
    write(tmp_path / "a.laz", bytes(content))
    with pytest.raises(ValueError, match="2147483647 chunks of 3 points"):
        read_cloud(tmp_path / "a.laz")
    content[start : start + 8] = (1 << 40).to_bytes(8, "little")
    write(tmp_path / "a.laz", bytes(content))
    with pytest.raises(ValueError, match="its table of chunks is not in the file"):
        read_cloud(tmp_path / "a.laz")


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_las_in_a_maps_frame_is_moved_and_keeps_its_precision(tmp_path, suffix):
    positions = XYZ + np.array([5e5, 5e6, 300.0])
    write_las(tmp_path / f"map{suffix}", positions, [5e5, 5e6, 0])
    found = read_cloud_file(tmp_path / f"map{suffix}")
    np.testing.assert_allclose(found.positions, positions, atol=6e-4)
    back = found.cloud.positions.double().numpy() + found.origin
    np.testing.assert_allclose(back, positions, atol=1e-3)
    assert found.cloud.positions.abs().max() < 30 and "a map's" in found.notes[0]


def test_a_box_that_no_point_lies_in_is_said_of_plain_files_and_refused_of_compressed_ones(tmp_path):
    for suffix in (".las", ".laz"):
        write_las(tmp_path / f"a{suffix}", XYZ.astype(np.float64), [0.0, 0, 0])
        content = bytearray((tmp_path / f"a{suffix}").read_bytes())
        content[179:227] = np.array([8.0, 7, 8, 7, 8, 7]).tobytes()  # max and min of x, y and z
        write(tmp_path / f"a{suffix}", bytes(content))
    found = read_cloud_file(tmp_path / "a.las")
    np.testing.assert_allclose(found.positions, XYZ, atol=6e-4)
    assert "outside of the box" in found.notes[0]
    with pytest.raises(ValueError, match="outside of the box"):
        read_cloud(tmp_path / "a.laz")
