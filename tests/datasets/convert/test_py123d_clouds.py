import builtins

import numpy as np
import pytest
from tests.logs_123d import as_arrow, as_laz, lidar, sweep

from clip2scene.datasets.convert.py123d_clouds import by_library, inside, read_cloud
from clip2scene.datasets.convert.py123d_log import LogName, StoredLidar

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
    import pyarrow as pa

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
    with pytest.raises(ValueError, match="is of one lidar and names files of nuscenes; .* the merged one by"):
        by_library(NUSCENES, {"": next(iter(LIDARS.values()))}, tmp_path, path)


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
