import struct

import numpy as np
import pytest

from clip2scene.io import read_feather, reading

arrow = pytest.importorskip("pyarrow")
feather = pytest.importorskip("pyarrow.feather")


def table(count):
    words = arrow.array(["a"] * count)
    columns = {"x": np.zeros(count), "i": np.zeros(count, np.uint16), "word": words}
    return arrow.table(
        columns
        | {
            "coded": words.dictionary_encode(),
            "long": words.cast(arrow.large_string()),
            "day": arrow.array([0] * count, arrow.date32()),
        }
    )


@pytest.mark.parametrize("compression", ["zstd", "lz4", "uncompressed"])
def test_columns_come_back_and_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch, compression):
    path = tmp_path / "a.feather"
    feather.write_feather(table(200_000), path, compression=compression)
    found = read_feather(path)
    assert (
        list(found) == ["x", "i", "word", "coded", "long"]
        and found["word"][-1] == "a"
        and found["i"].dtype == np.uint16
    )
    assert len(found["x"]) == 200_000 and not found["x"].any()
    assert found["coded"][0] == found["long"][0] == "a"
    monkeypatch.setattr(reading, "_ALWAYS_UNPACKED", 3_000_000)
    monkeypatch.setattr(reading, "_MOST_RATIO", 1)
    if compression == "uncompressed":
        assert len(read_feather(path)["x"]) == 200_000, "it is as long as its file"
    else:
        with pytest.raises(ValueError, match="cannot be read as Feather .* would unpack to 0.0 GB"):
            read_feather(path)


@pytest.mark.parametrize("declared", [1 << 40, 1 << 62])
def test_a_declared_size_is_believed_by_nobody(tmp_path, declared):
    path = tmp_path / "a.feather"
    feather.write_feather(arrow.table({"x": np.zeros(50_000)}), path, compression="zstd")
    content = path.read_bytes()
    size = struct.pack("<q", 400_000)
    assert content.count(size + b"\x28\xb5\x2f\xfd") == 1
    path.write_bytes(
        content.replace(size + b"\x28\xb5\x2f\xfd", struct.pack("<q", declared) + b"\x28\xb5\x2f\xfd")
    )
    with pytest.raises(ValueError, match=r"would unpack to [\d.]+ GB, over 100 times"):
        read_feather(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.feather"
    path.write_bytes(b"FEA1" + bytes(40))
    with pytest.raises(ValueError, match="does not begin and end with ARROW1"):
        read_feather(path)
    path.unlink()
    with pytest.raises(ValueError, match="is missing"):
        read_feather(path)
