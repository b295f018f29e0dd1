import json

import pytest
from safetensors import safe_open

from clip2scene.io import open_store
from clip2scene.io.shards import ShardWriter, read_index

ENTRIES = {f"{n:02}/{n}.bin": bytes([n]) * (n * 10) for n in range(1, 6)}


def write(store, entries, most_bytes=1000):
    writer = ShardWriter(store, most_bytes)
    for name, content in entries.items():
        writer.add(name, content)
    shard = writer.flush()
    writer.close()
    return shard


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path)


def test_entries_come_back_by_their_names(store):
    write(store, dict(list(ENTRIES.items())[:2]))
    write(store, dict(list(ENTRIES.items())[2:]))
    index = read_index(store)
    assert len(index.shards) == 2
    assert {name: index.read(name) for name in ENTRIES} == ENTRIES
    assert all(name in index for name in ENTRIES)
    assert "none" not in index and index.read("none") is None


def test_a_shard_is_full_when_it_has_the_bytes_and_is_empty_after_it_was_written(store):
    writer = ShardWriter(store, 100)
    assert not writer.add("a", b"x" * 60) and not writer.add("a", b"x" * 60) and writer.add("b", b"y" * 60)
    first = writer.flush()
    assert writer.flush() is None and not writer.add("c", b"z")
    second = writer.flush()
    writer.close()
    assert store.names() == sorted([first, second])
    assert [read_index(store).read(name) for name in "abc"] == [b"x" * 60, b"y" * 60, b"z"]


def test_any_reader_of_safetensors_opens_a_shard(store, tmp_path):
    with safe_open(tmp_path / write(store, ENTRIES), framework="np") as opened:
        assert {name: opened.get_tensor(name).tobytes() for name in opened.keys()} == ENTRIES  # noqa: SIM118


def test_the_same_entries_are_the_same_shard(store):
    assert write(store, ENTRIES) == write(store, ENTRIES) and len(store.names()) == 1
    assert write(store, {**ENTRIES, "01/1.bin": b"other"}) != store.names()[0]


def test_a_damaged_entry_is_noticed_and_another_shard_that_has_it_whole_is_read(store, tmp_path):
    path = tmp_path / write(store, ENTRIES)
    whole = path.read_bytes()
    path.write_bytes(whole[:-60] + bytes([whole[-60] ^ 1]) + whole[-59:])
    index = read_index(store)
    damaged = [name for name in ENTRIES if index.read(name) is None]
    assert len(damaged) == 1 and damaged[0] in index
    write(store, {damaged[0]: ENTRIES[damaged[0]]})
    assert read_index(store).read(damaged[0]) == ENTRIES[damaged[0]]


def test_a_shard_that_is_cut_short_keeps_what_is_left_of_it(store, tmp_path):
    path = tmp_path / write(store, ENTRIES)
    path.write_bytes(path.read_bytes()[:-7])
    found = {name: read_index(store).read(name) for name in ENTRIES}
    assert found == {**ENTRIES, "05/5.bin": None}


def headed(header):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"data"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"1234",
        (1 << 62).to_bytes(8, "little") + b"{}",
        (9).to_bytes(8, "little") + b"{no json}",
        headed([]),
        headed({}),
        headed({"__metadata__": {"a": "0"}}),
        headed({"__metadata__": {"a": "0"}, "a": {"data_offsets": [3, 1]}}),
        headed({"__metadata__": {"a": "0"}, "a": {"data_offsets": [0, 1 << 50]}}),
        headed({"__metadata__": {"a": "0"}, "a": {"data_offsets": ["0", 4]}}),
        headed({"__metadata__": {"a": "fffffffff"}, "a": {"data_offsets": [0, 4]}}),
    ],
)
def test_a_file_that_is_no_shard_is_left_out(store, content):
    store.write("shards/strange.safetensors", content)
    write(store, ENTRIES)
    index = read_index(store)
    assert index.read("01/1.bin") == ENTRIES["01/1.bin"] and "a" not in index


def test_a_long_index_is_read_whole(store):
    many = {f"{n:040}": b"%d" % n for n in range(2000)}
    write(store, many)
    assert all(read_index(store).read(name) == content for name, content in list(many.items())[::500])
