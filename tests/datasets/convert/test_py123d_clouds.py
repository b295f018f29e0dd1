import builtins
import sys
from types import ModuleType

import numpy as np
import pytest
from tests.logs_123d import Table, as_arrow, as_laz, lidar, pa, small_log, sweep

from clip2scene.datasets.convert.py123d_clouds import by_library, inside, read_cloud
from clip2scene.datasets.convert.py123d_log import LogName, StoredLidar, read_lidars

NUSCENES = LogName("nuscenes", "nuscenes_train", "one")
LIDARS = {"2": StoredLidar("top", tuple(lidar()["lidar_to_imu_se3"]))}


@pytest.mark.parametrize(("store", "apart_m"), [(as_arrow, 0), (as_laz, 0.0051)])
def test_stored_clouds_come_back_to_their_grid(store, apart_m):
    positions, intensity = sweep(0)
    cloud = read_cloud(store(positions, intensity), "row 0")
    assert np.abs(cloud.positions - positions).max() <= apart_m
    assert (cloud.intensity == intensity).all() and cloud.counts


def test_intensities_may_be_shares_and_may_be_missing():
    positions, intensity = sweep(0)
    cloud = read_cloud(as_arrow(positions, (intensity / 255 - 0.1).astype(np.float32)), "row 0")
    assert not cloud.counts and cloud.intensity.min() == 0
    assert np.allclose(cloud.intensity, (intensity / 255 - 0.1).clip(0))
    batch = pa.RecordBatch.from_pydict({name: positions[:, place].copy() for place, name in enumerate("xyz")})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    cloud = read_cloud(sink.getvalue().to_pybytes(), "row 0")
    assert not cloud.counts and not cloud.intensity.any() and (cloud.positions == positions).all()
    with pa.ipc.new_stream(sink := pa.BufferOutputStream(), batch.schema.remove(2)) as writer:
        writer.write_batch(batch.drop_columns(["z"]))
    with pytest.raises(ValueError, match=r"row 0 has the columns x, y, it lacks \['z'\]"):
        read_cloud(sink.getvalue().to_pybytes(), "row 0")


@pytest.mark.parametrize("content", [b"DRACO and more", b"", b"\x89PNG", b"pickled"])
def test_other_stores_are_refused(content):
    with pytest.raises(ValueError, match=r"row 0 is stored as .*, expected LAZ or Arrow; .*lidar_codec: laz"):
        read_cloud(content, "row 0")


def test_damaged_clouds_are_told_by_their_row():
    laz = as_laz(*sweep(0))
    with pytest.raises(ValueError, match=r"^row 0 cannot be read as LAS \(.*\); restore it$"):
        read_cloud(laz[: len(laz) // 2], "row 0")
    arrow = as_arrow(*sweep(0))
    with pytest.raises(ValueError, match=r"^row 0 cannot be read as Arrow"):
        read_cloud(arrow[: len(arrow) // 2], "row 0")


@pytest.mark.parametrize("name", ["/etc/hostname", "../secret.bin", "sub/../../secret.bin"])
def test_names_lead_nowhere_but_into_the_data_set(name, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"secret")
    with pytest.raises(ValueError, match="leads out of"):
        inside(tmp_path / "root", name, "row 0")
    with pytest.raises(ValueError, match=r"row 0: .*here.bin is missing; check the path and --sensor-root"):
        inside(tmp_path / "root", "here.bin", "row 0")
    (tmp_path / "root" / "here.bin").write_bytes(b"")
    assert inside(tmp_path / "root", "here.bin", "row 0") == tmp_path / "root" / "here.bin"


def test_files_of_other_data_sets_and_folders_that_are_not_told_are_refused(tmp_path):
    path = tmp_path / "lidar.lidar_merged.arrow"
    with pytest.raises(ValueError, match=r"names files of 'pandaset', which are read of .* only; convert"):
        by_library(LogName("pandaset", "a", "b"), LIDARS, tmp_path, path)
    with pytest.raises(ValueError, match="names files of nuscenes; say by --sensor-root where"):
        by_library(NUSCENES, LIDARS, None, path)


def test_without_py123d_it_is_said_where_to_run_this(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name.startswith("py123d"):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        ValueError, match=r"needs the library py123d; run this where it is installed, or conv"
    ):
        by_library(NUSCENES, LIDARS, tmp_path, tmp_path / "lidar.lidar_merged.arrow")


@pytest.fixture
def library(monkeypatch):
    """Stands for py123d, which knows lidars 0 to 9: what it loads, and the lidars that it was told of."""
    loaded = {"positions": np.ones((5, 3), np.float32), "told": None}

    def load(relative, dataset, *, sensor_root, lidar_metadatas):
        loaded["told"] = lidar_metadatas
        return loaded["positions"], {"intensity": np.zeros(len(loaded["positions"]), np.uint8)}

    class Pose:
        from_list = staticmethod(tuple)

    modules = {
        "py123d.common.io.lidar.path_lidar_io": {"load_point_cloud_data_from_path": load},
        "py123d.datatypes.sensors.lidar": {
            "LidarID": lambda number: range(10)[number],
            "LidarMetadata": lambda *parts: parts,
        },
        "py123d.geometry": {"PoseSE3": Pose},
    }
    for name, members in modules.items():
        parts = name.split(".")
        for depth in range(1, len(parts)):
            package = ".".join(parts[:depth])
            monkeypatch.setitem(sys.modules, package, ModuleType(package))
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return loaded


def test_a_lidar_that_is_not_merged_is_read_in_the_data_set_by_its_id(library, tmp_path):
    cloud = small_log().tables["lidar.lidar_merged"]
    alone = Table(cloud.columns, cloud.types, lidar("back", lidar_id=5))
    source = small_log().changed(lidar__lidar_back=alone).write(tmp_path / "one")
    lidars = read_lidars(source, "lidar.lidar_back")
    (tmp_path / "0.bin").write_bytes(b"")
    read = by_library(NUSCENES, lidars, tmp_path, source / "lidar.lidar_back.arrow")
    assert (read("0.bin", "row 0").positions == 1).all()
    assert library["told"] == {5: ("back", 5, tuple(lidar()["lidar_to_imu_se3"]))}


@pytest.mark.parametrize("number", ["", "None", "top", "99"])
def test_lidars_that_py123d_does_not_know_are_refused(number, library, tmp_path):
    path = tmp_path / "lidar.lidar_merged.arrow"
    with pytest.raises(ValueError, match=r"lidar_merged.arrow names lidars that py123d does not know \("):
        by_library(NUSCENES, {number: LIDARS["2"]}, tmp_path, path)


@pytest.mark.parametrize("shape", [(5, 4), (5, 2), (5,)])
def test_points_of_other_than_three_numbers_are_told_by_their_file(shape, library, tmp_path):
    (tmp_path / "0.bin").write_bytes(b"")
    library["positions"] = np.ones(shape, np.float32)
    read = by_library(NUSCENES, LIDARS, tmp_path, tmp_path / "lidar.lidar_merged.arrow")
    with pytest.raises(ValueError, match=r"^row 0, .*0.bin is read by py123d as points of the shape \(5,"):
        read("0.bin", "row 0")


def test_two_columns_of_one_name_are_refused():
    batch = pa.RecordBatch.from_arrays([pa.array([1.0])] * 4, ["x", "y", "z", "x"])
    with pa.ipc.new_stream(sink := pa.BufferOutputStream(), batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(ValueError, match=r"^row 0 cannot be read as Arrow \(it has more than one column 'x'"):
        read_cloud(sink.getvalue().to_pybytes(), "row 0")
