import sys

import numpy as np
import pytest
import torch

from clip2scene.datasets.clouds import read_cloud, read_cloud_file

RNG = np.random.default_rng(0)


def records(width, points=2000):
    """Points of a sweep: neighbours lie near each other."""
    turns = np.linspace(0, 40, points)
    table = np.zeros((points, width), "<f4")
    table[:, :3] = np.column_stack([20 * np.cos(turns), 20 * np.sin(turns), turns / 8])
    table[:, 3:] = RNG.random((points, width - 3)) if width < 6 else RNG.random((points, width - 3)) * 1000
    return table


@pytest.mark.parametrize("width", [5, 6, 8])
def test_records_of_another_width_are_told_and_read_as_named(tmp_path, width):
    table = records(width)
    table[:, 3] = RNG.random(len(table))
    table.tofile(tmp_path / "a.bin")
    with pytest.raises(ValueError, match=f"look like {width} numbers a point.*--columns"):
        read_cloud(tmp_path / "a.bin")
    named = ("x", "y", "z", "intensity", *"_" * (width - 4))
    cloud = read_cloud(tmp_path / "a.bin", columns=named)
    np.testing.assert_array_equal(cloud.positions, table[:, :3])
    np.testing.assert_array_equal(cloud.features[:, 0], table[:, 3])
    with pytest.raises(
        ValueError, match="no whole number of records of the 7 float32 numbers that --columns"
    ):
        read_cloud(tmp_path / "a.bin", columns=("x", "y", "z", "intensity", "a", "b", "c"))


def test_four_numbers_a_point_are_read_in_any_order(tmp_path):
    for table in (records(4), RNG.permutation(records(4))):
        table.tofile(tmp_path / "a.bin")
        np.testing.assert_array_equal(read_cloud(tmp_path / "a.bin").positions, table[:, :3])


def test_records_with_named_numbers_are_read(tmp_path):
    table = np.zeros((2, 3), [("X", "f8"), ("Y", "f8"), ("Z", "f4"), ("Intensity", "u2"), ("when", "S4")])
    table["X"], table["Intensity"] = np.arange(6).reshape(2, 3), 510
    np.save(tmp_path / "a.npy", table)
    found = read_cloud_file(tmp_path / "a.npy")
    assert found.positions[:, 0].tolist() == [0, 1, 2, 3, 4, 5] and found.positions.dtype == torch.float64
    np.save(tmp_path / "b.npy", np.zeros(3, [("Foo", "u2"), ("Intensity", "u2")]))
    with pytest.raises(ValueError, match="no x y z, only Foo, Intensity"):
        read_cloud(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.zeros((4, 5000)))
    with pytest.raises(ValueError, match="transpose"):
        read_cloud(tmp_path / "c.npy")


def test_intensities_of_an_npz_have_their_many_names(tmp_path):
    np.savez(tmp_path / "a.npz", xyz=np.ones((3, 3)), Remission=np.full(3, 0.5))
    assert read_cloud(tmp_path / "a.npz").features.unique().tolist() == [0.5]


def test_feather_needs_its_library(tmp_path, monkeypatch):
    (tmp_path / "a.feather").write_bytes(b"ARROW1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"needs the library pyarrow; install clip2scene\[feather\]"):
        read_cloud(tmp_path / "a.feather")


def test_columns_of_a_feather_table_are_read(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import feather

    columns = {
        "X": [1.5, 2.0],
        "Y": [3.0, 4.0],
        "Z": [5.0, 6.0],
        "Intensity": [0.25, 0.5],
        "name": ["a", "b"],
    }
    feather.write_feather(arrow.table(columns), tmp_path / "a.feather", compression="lz4")
    found = read_cloud_file(tmp_path / "a.feather")
    np.testing.assert_array_equal(found.positions, [[1.5, 3, 5], [2, 4, 6]])
    points = arrow.array([[1.5, 3, 5], [2, 4, 6]], arrow.list_(arrow.float64(), 3))
    feather.write_feather(arrow.table({"xyz": points, "Intensity": [0.25, 0.5]}), tmp_path / "b.feather")
    np.testing.assert_array_equal(read_cloud_file(tmp_path / "b.feather").positions, found.positions)
    content = (tmp_path / "a.feather").read_bytes()
    for size in range(6, len(content), 97):
        (tmp_path / "cut.feather").write_bytes(content[:size])
        with pytest.raises(ValueError, match="cannot be read as Feather"):
            read_cloud(tmp_path / "cut.feather")
