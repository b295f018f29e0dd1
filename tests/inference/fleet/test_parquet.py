import io

import pytest

pytest.importorskip("pyarrow")

from pyarrow import parquet

from clip2scene.inference.fleet.label import Row
from clip2scene.inference.fleet.parquet import columns_of, read_rows, table_of

DONE = Row("a", "drive", 7, 10, (4, 5, 1), 0.75, 0.125, "00ff", 0.5, "here:1")
FAILED = Row("b", "drive", None, worker="here:1", error="the cloud is broken")


def test_rows_come_back_with_a_column_for_each_class():
    table = table_of([DONE, FAILED], ["car", "traffic sign"])
    done, failed = parquet.read_table(io.BytesIO(table)).to_pylist()
    assert done == {
        **{"token": "a", "scene": "drive", "timestamp_us": 7, "points": 10},
        **{"points_car": 4, "points_traffic_sign": 5, "points_none": 1},
        **{"mean_confidence": 0.75, "share_below_half": 0.125, "labels": "labels/a.labels.npz"},
        **{"sha256": "00ff", "seconds": 0.5, "worker": "here:1", "error": None},
    }
    assert {name for name, value in failed.items() if value is not None} == {
        *("token", "scene", "worker", "error")
    }
    assert read_rows(table) == [(10, "here:1", None), (None, "here:1", "the cloud is broken")]


def test_columns_of_classes_that_look_alike_differ():
    names = ["none", "car park", "car  park", "none 2"]
    assert len(set(columns_of(names))) == 5 and columns_of(names)[-1] == "points_none"


def test_all_parts_are_one_data_set_whether_their_samples_failed_or_not(tmp_path):
    from pyarrow import dataset

    for number, row in enumerate((DONE, FAILED)):
        (tmp_path / f"{number}.parquet").write_bytes(table_of([row], ["car", "bus"]))
    found = dataset.dataset(tmp_path)
    assert found.to_table(filter=dataset.field("points_car") > 3).column("token").to_pylist() == ["a"]


def test_damaged_rows_are_refused():
    table = table_of([DONE], ["car", "bus"])
    for damaged in (table[:-9], b"", table[len(table) // 2 :]):
        with pytest.raises(ValueError, match="the rows of a part cannot be read"):
            read_rows(damaged)
