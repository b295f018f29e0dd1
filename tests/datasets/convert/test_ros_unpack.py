import bz2

import numpy as np
import pytest
from tests.ros_bags import write_bag, write_ros1_bag

from clip2scene.datasets.convert import ros_unpack
from clip2scene.datasets.convert.ros_to_log import convert_bag
from clip2scene.datasets.convert.ros_unpack import unpack

PACKED = {
    "messages": lambda path, drive: write_bag(path, drive, compress="MESSAGE"),
    "messages of sqlite3": lambda path, drive: write_bag(path, drive, compress="MESSAGE", storage="sqlite3"),
    "files": lambda path, drive: write_bag(path, drive, compress="FILE"),
    "chunks": lambda path, drive: write_bag(path, drive, compress="STORAGE"),
    "chunks of bzip2": lambda path, drive: write_ros1_bag(path.with_suffix(".bag"), drive, compression="BZ2"),
    "chunks of lz4": lambda path, drive: write_ros1_bag(path.with_suffix(".bag"), drive, compression="LZ4"),
}


@pytest.mark.parametrize("what", PACKED)
def test_what_is_compressed_is_unpacked_to_a_bound(drive, tmp_path, monkeypatch, what):
    bag = PACKED[what](tmp_path / "bag", drive)
    assert convert_bag(bag, tmp_path / "log").clouds == 3
    monkeypatch.setattr(ros_unpack, "MOST_UNPACKED", 4000)
    monkeypatch.setattr(ros_unpack, "MOST_RATIO", 1)
    with pytest.raises(ValueError, match=r"is refused: [\d.]+ MB of it would unpack to more than") as caught:
        convert_bag(bag, tmp_path / "other")
    assert "\n" not in str(caught.value) and not (tmp_path / "other").exists()


def test_streams_are_unpacked_whole_or_not_at_all(monkeypatch):
    content = np.random.default_rng(0).integers(0, 3, 5000, dtype=np.uint8).tobytes()
    packed = bz2.compress(content[:3000]) + bz2.compress(content[3000:])
    monkeypatch.setattr(ros_unpack, "MOST_UNPACKED", 5000)
    assert unpack(packed, bz2.BZ2Decompressor) == content and unpack(b"", bz2.BZ2Decompressor) == b""
    with pytest.raises(ValueError, match="ends too early"):
        unpack(packed[:-20], bz2.BZ2Decompressor)
    monkeypatch.setattr(ros_unpack, "MOST_UNPACKED", 4999)
    with pytest.raises(ValueError, match="would unpack to more than 0 MB"):
        unpack(packed, bz2.BZ2Decompressor)
