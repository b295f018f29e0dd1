import numpy as np
import pytest

from clip2scene.datasets.clouds.labelled.arrays import (
    has_records,
    write_feather,
    write_label_file,
    write_records,
)
from clip2scene.datasets.clouds.labelled.codes import kitti_codes, plain_codes

NAMES = ("car", "zebra", "tree")


def test_a_label_file_is_what_semantic_kitti_reads(labels, colours, tmp_path):
    path = tmp_path / "a.label"
    write_label_file(path, labels, kitti_codes(NAMES, colours), 7)
    assert np.fromfile(path, "<u4").tolist() == [10, 0, 70, 301, 301, 10, 0]


def test_records_keep_their_fields(labels, colours, tmp_path):
    records = np.zeros(7, [("x", "f8"), ("y", ">f4"), ("z", "f4"), ("label", "i8"), ("normal", "f4", 3)])
    for name in records.dtype.names:
        records[name] = np.random.default_rng(0).normal(size=records[name].shape) * 1e6
    np.save(tmp_path / "a.npy", records)
    assert has_records(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.zeros((7, 4)))
    assert not has_records(tmp_path / "b.npy")
    codes = plain_codes(NAMES, colours)
    write_records(tmp_path / "a.npy", tmp_path / "out.npy", labels, codes)
    after = np.load(tmp_path / "out.npy")
    for name in records.dtype.names:
        found = after["label_before" if name == "label" else name]
        assert found.dtype == records[name].dtype and np.array_equal(found, records[name])
    assert after["label"].tolist() == codes.of(labels.labels).tolist()
    np.testing.assert_array_equal(after["confidence"], labels.confidence)


def test_a_feather_table_keeps_its_columns_and_what_it_says_of_itself(labels, colours, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import feather

    columns = {"x": np.arange(7.0), "label": np.arange(7), "who": [f"number {n}" for n in range(7)]}
    table = pyarrow.table(columns).replace_schema_metadata({"crs": "EPSG:25832"})
    feather.write_feather(table, str(tmp_path / "a.feather"))
    codes = plain_codes(NAMES, colours)
    write_feather(tmp_path / "a.feather", tmp_path / "out.feather", labels, codes)
    after = feather.read_table(tmp_path / "out.feather")
    assert after.select(["x", "label_before", "who"]).rename_columns(list(columns)).equals(table)
    assert after.schema.metadata[b"crs"] == b"EPSG:25832"
    assert after["label"].to_pylist() == codes.of(labels.labels).tolist()
    np.testing.assert_array_equal(after["confidence"], labels.confidence)
