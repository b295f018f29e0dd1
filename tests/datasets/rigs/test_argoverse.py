import sys

import pyarrow
import pytest
from pyarrow import feather
from tests.datasets.rigs.conftest import random_rig, write_argoverse

from clip2scene.datasets.rigs.argoverse import read_argoverse


def test_faults_are_told(tmp_path, monkeypatch):
    folder = write_argoverse(tmp_path / "calibration", random_rig([("", ())] * 2))
    assert read_argoverse(folder).notes == ("k1 k2 k3 are left out: images of Argoverse 2 are undistorted",)
    places = feather.read_table(folder / "egovehicle_SE3_sensor.feather")
    feather.write_feather(places.slice(1), folder / "egovehicle_SE3_sensor.feather")
    with pytest.raises(ValueError, match=r"has no row of cam0, which intrinsics\.feather has"):
        read_argoverse(folder)
    feather.write_feather(pyarrow.table({"sensor_name": ["a"]}), folder / "intrinsics.feather")
    with pytest.raises(
        ValueError,
        match="lacks the columns fx_px, fy_px, cx_px, cy_px, width_px, height_px, which Argoverse 2 has",
    ):
        read_argoverse(folder)
    (folder / "intrinsics.feather").write_bytes(b"ARROW1\0\0")
    with pytest.raises(ValueError, match="cannot be read as Feather"):
        read_argoverse(folder)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ValueError, match=r"needs the library pyarrow; install clip2scene\[feather\]"):
            read_argoverse(folder)
    (folder / "intrinsics.feather").unlink()
    with pytest.raises(ValueError, match="intrinsics.feather is missing"):
        read_argoverse(folder)
