import sys

import numpy as np
import pytest
import torch
from tests.datasets.test_clouds import XYZ, write

from clip2scene.datasets.clouds import read_cloud


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
def test_las_is_read_in_the_sensors_frame_alone(tmp_path, suffix):
    positions = XYZ.astype(np.float64)
    write_las(tmp_path / f"a{suffix}", positions, [0.0, 0, 0])
    cloud = read_cloud(tmp_path / f"a{suffix}", intensity_max=65535.0)
    np.testing.assert_allclose(cloud.positions.numpy(), XYZ, atol=6e-4)
    assert torch.allclose(cloud.features[:, 0], torch.arange(len(XYZ)) * 100 / 65535)
    whole = (tmp_path / f"a{suffix}").read_bytes()
    for size in range(0, len(whole), 40):
        write(tmp_path / f"cut{suffix}", whole[:size])
        with pytest.raises(ValueError, match=r"is empty|cannot be read as LAS|holds no points"):
            read_cloud(tmp_path / f"cut{suffix}")
    write_las(tmp_path / f"map{suffix}", positions + [5e5, 5e6, 0], [5e5, 5e6, 0])
    with pytest.raises(ValueError, match="beyond 100 km, so they are a map's"):
        read_cloud(tmp_path / f"map{suffix}")
