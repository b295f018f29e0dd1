import struct

import numpy as np
import pytest

from clip2scene.datasets.convert.arrow_batches import open_arrow_bytes, open_arrow_file
from clip2scene.io import reading

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.ipc")


def table(rows=100):
    return pa.table({"number": np.arange(rows), "text": [b"x" * (row % 7) for row in range(rows)]})


def as_bytes(content, compression=None):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(
        sink, content.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as to:
        to.write_table(content, 30)
    return sink.getvalue().to_pybytes()


def as_file(path, content, compression=None):
    with pa.ipc.new_file(
        str(path), content.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as to:
        to.write_table(content, 30)
    return path


def rows_of(batches):
    return pa.Table.from_batches(list(batches))


@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_rows_of_files_and_of_bytes_come_back(compression, tmp_path):
    with open_arrow_file(as_file(tmp_path / "a.arrow", table(), compression)) as batches:
        assert batches.names == ("number", "text")
        assert rows_of(batches) == table()
    assert rows_of(open_arrow_bytes(as_bytes(table(), compression), "it")) == table()


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_buffers_that_ask_for_more_than_measured_data_unpack_to_are_refused(compression, monkeypatch):
    monkeypatch.setattr(reading, "_ALWAYS_UNPACKED", 1 << 20)
    rows = 1_000_000
    zeros = pa.RecordBatch.from_arrays([pa.array(np.zeros(rows, np.int64))], ["zeros"])
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, zeros.schema, options=options) as writer:
        writer.write_batch(zeros)
    content = sink.getvalue().to_pybytes()
    assert len(content) < 8 * rows / 100
    with pytest.raises(ValueError, match=r"it cannot be read as Arrow \(its .* would unpack to 0.0 GB"):
        list(open_arrow_bytes(content, "it"))


def test_a_size_that_is_a_lie_is_refused_before_room_is_made():
    content = as_bytes(pa.table({"a": np.zeros(1000, np.int64)}), "zstd")
    zstd = b"(\xb5/\xfd"
    assert struct.pack("<q", 30 * 8) + zstd in content
    lie = content.replace(struct.pack("<q", 30 * 8) + zstd, struct.pack("<q", 1 << 40) + zstd, 1)
    with pytest.raises(ValueError, match="would unpack to 1099.5 GB"):
        list(open_arrow_bytes(lie, "it"))


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "may be cut short"), (b"ARROW1\0\0ARROW1", ""), (b"no", "cut")],
)
def test_what_is_no_arrow_file_is_said_to_be_none(content, why, tmp_path):
    (tmp_path / "a.arrow").write_bytes(content)
    with pytest.raises(ValueError, match=f"a.arrow cannot be read as Arrow .*{why}.*; restore it"):
        with open_arrow_file(tmp_path / "a.arrow") as batches:
            list(batches)


def test_a_file_that_is_not_there_or_cut_short_is_told(tmp_path):
    with pytest.raises(ValueError, match="a.arrow is missing"), open_arrow_file(tmp_path / "a.arrow"):
        pass
    whole = as_file(tmp_path / "a.arrow", table()).read_bytes()
    (tmp_path / "a.arrow").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match="cut short"), open_arrow_file(tmp_path / "a.arrow"):
        pass


@pytest.mark.parametrize("compression", [None, "zstd"])
def test_damaged_bytes_give_rows_or_one_sentence(compression):
    whole = bytearray(as_bytes(table(), compression))
    rng = np.random.default_rng(0)
    said = 0
    for _ in range(300):
        damaged = whole.copy()
        for place in rng.integers(len(whole), size=3):
            damaged[place] = rng.integers(256)
        try:
            list(open_arrow_bytes(bytes(damaged), "it"))
        except ValueError as error:
            said += 1
            assert str(error).startswith("it cannot be read as Arrow") and "\n" not in str(error)
    assert said > 10


def test_errors_of_the_reader_pass_as_they_are(tmp_path):
    with pytest.raises(KeyError), open_arrow_file(as_file(tmp_path / "a.arrow", table())) as batches:
        assert list(batches)
        raise KeyError("mine")


def test_words_by_number_are_refused():
    words = pa.table({"a": pa.array(["x", "y"]).dictionary_encode()})
    with pytest.raises(ValueError, match="holds a dictionary"):
        list(open_arrow_bytes(as_bytes(words), "it"))
