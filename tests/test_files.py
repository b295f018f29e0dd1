import json
import os
import stat

import pytest

from clip2scene.files import read_json, write_atomically, write_json


def test_a_file_appears_only_when_its_writing_ends_well(tmp_path):
    path = tmp_path / "deep" / "er" / "a.tar.gz"
    with write_atomically(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffixes == [".tar", ".gz"]
        temporary.write_bytes(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_an_interruption_leaves_the_old_file_and_nothing_else(tmp_path, fault):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(fault), write_atomically(path) as temporary:
        temporary.write_bytes(b"half of the n")
        raise fault
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_first_writing_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), write_atomically(tmp_path / "a.bin"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_written_file_can_be_read_by_those_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        with write_atomically(tmp_path / "a") as temporary:
            temporary.write_bytes(b"")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    finally:
        assert os.umask(before) == 0o027


def test_json_comes_back_as_it_was_written(tmp_path):
    content = {"name": "Köln", "numbers": [1, 0.1, None, True], "nested": {"a": {}}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text(encoding="utf-8").endswith("}\n")


def test_what_is_not_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert read_json(tmp_path / "a.json") == 1


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json is missing"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe\x00", json.dumps({"a": 1}).encode("utf-16")])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.json is not valid JSON"):
        read_json(tmp_path / "bad.json")
