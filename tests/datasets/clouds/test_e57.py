import subprocess
import sys

import numpy as np
import pytest

from clip2scene.datasets.clouds import CloudOptions, e57, read_cloud, read_cloud_file

XYZ = np.array([[1.5, 2, 3], [4, 5, 6], [7, 8, 10]])


@pytest.fixture
def written(tmp_path):
    pye57 = pytest.importorskip("pye57")
    columns = {f"cartesian{axis}": XYZ[:, place] for place, axis in enumerate("XYZ")}
    columns["intensity"] = np.array([0.25, 0.5, 1])
    columns |= {f"color{name}": np.array([255, 0, 51], np.uint8) for name in ("Red", "Green", "Blue")}
    with pye57.E57(str(tmp_path / "a.e57"), mode="w") as file:
        file.write_scan_raw(columns)
        half_turn = np.array([0.0, 0, 0, 1])  # w x y z, around z
        file.write_scan_raw(
            {**columns, "cartesianInvalidState": np.array([0, 1, 0], np.uint8)},
            rotation=half_turn,
            translation=np.array([10.0, 0, 0]),
        )
    return tmp_path / "a.e57"


def test_scans_are_brought_to_one_frame_without_their_invalid_points(written):
    found = read_cloud_file(written)
    turned = XYZ[[0, 2]] * [-1, -1, 1] + [10, 0, 0]
    np.testing.assert_allclose(found.positions, np.vstack([XYZ, turned]), atol=1e-9)
    np.testing.assert_allclose(found.cloud.features[:, 0], [0.25, 0.5, 1, 0.25, 1])
    assert "2 scans" in found.notes[0] and "1 points" in found.notes[1]
    colours = read_cloud_file(written, CloudOptions(colours=True)).cloud.features
    np.testing.assert_allclose(colours[:3, 0], [1, 0, 0.2], atol=1e-6)


def test_scans_of_ranges_and_angles_become_positions(tmp_path):
    arrays = {
        "0.sphericalRange": np.array([2.0, 4]),
        "0.sphericalAzimuth": np.array([np.pi / 2, 0]),
        "0.sphericalElevation": np.array([0, np.pi / 6]),
        "0.pose": np.eye(4),
    }
    columns, _ = e57._scan(tmp_path, 0, arrays)
    found = np.stack([columns[axis] for axis in "xyz"], axis=1)
    np.testing.assert_allclose(found, [[0, 2, 0], [4 * 0.75**0.5, 0, 2]], atol=1e-9)
    with pytest.raises(ValueError, match="scan 0 has no positions, only pose"):
        e57._scan(tmp_path, 0, {"0.pose": np.eye(4)})


def test_damaged_files_are_refused_and_end_no_process_but_their_own(written):
    content = written.read_bytes()
    for size in (1, 40, 500, len(content) - 600):
        written.write_bytes(content[:size])
        with pytest.raises(ValueError, match=r"a\.e57 cannot be read as E57"):
            read_cloud(written)


def test_a_reader_that_crashes_or_never_ends_is_told(tmp_path, monkeypatch):
    pytest.importorskip("pye57")
    (tmp_path / "a.e57").write_bytes(b"ASTM-E57")
    (tmp_path / "crash.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(e57, "_CHILD", tmp_path / "crash.py")
    with pytest.raises(ValueError, match="its reader crashed"):
        read_cloud(tmp_path / "a.e57")
    (tmp_path / "crash.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(e57, "_LONGEST_S", 0.2)
    with pytest.raises(ValueError, match=r"takes more than 0\.2 s"):
        read_cloud(tmp_path / "a.e57")


LONG = """
import runpy, sys

runpy.run_path(sys.argv[1])["limit"](1 << 32)
with open(sys.argv[2], "wb") as stream:
    stream.truncate(1 << 32)
    try:
        stream.truncate((1 << 32) + 1)
    except OSError as error:
        print(error.strerror)
"""


def test_what_the_reader_writes_is_limited_as_its_memory_is(tmp_path):
    command = [sys.executable, "-c", LONG, str(e57._CHILD), str(tmp_path / "long")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "File too large\n"


def test_e57_needs_its_library(tmp_path, monkeypatch):
    (tmp_path / "a.e57").write_bytes(b"ASTM-E57")
    monkeypatch.setattr(e57, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the library pye57; install clip2scene\[e57\]"):
        read_cloud(tmp_path / "a.e57")
