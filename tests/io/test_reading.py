import os
import zipfile

import numpy as np
import pytest

from clip2scene.io import (
    hash_files,
    read_all_arrays,
    read_array,
    read_arrays,
    read_json,
    read_text,
    read_torch,
    regular_file,
    write_json,
)


def test_json_comes_back_as_it_was_written(tmp_path):
    content = {"name": "Köln", "numbers": [1, 0.1, None, True], "nested": {"a": {}}}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert (tmp_path / "a.json").read_text(encoding="utf-8").endswith("}\n")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json is missing"):
        read_json(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not valid JSON"),
        (b'{"a": 1', "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"9" * 10_000, "is not valid JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "is not valid JSON .key 'c' stands twice"),
        (b"\x80\x00", r"is no text .*, expected UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "is text in UTF-16, expected UTF-8; save it as that"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, said):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.json {said}"):
        read_json(tmp_path / "bad.json")


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path):
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.txt").write_bytes('{"ä": 1}\r\n'.encode(encoding))
        assert read_text(tmp_path / "a.txt") == '{"ä": 1}\n'
        assert read_json(tmp_path / "a.txt") == {"ä": 1}


@pytest.mark.parametrize("read", [read_text, read_json, read_array, lambda path: read_arrays(path, ("x",))])
def test_what_is_no_plain_file_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name, kind in {"pipe": "a pipe, a device", "link": "a pipe, a device", ".": "a folder"}.items():
        with pytest.raises(ValueError, match=f"is {kind}.*name a plain file"):
            read(tmp_path / name)
    for name in ("nowhere", "a\0b", "n" * 999):
        with pytest.raises(ValueError, match="is missing|cannot be opened"):
            read(tmp_path / name)


def test_all_arrays_of_an_archive_but_pickles_are_read(tmp_path):
    given = {"xyz": np.ones((2, 3)), "flags": np.array([True, False]), "names": np.array(["a", "b"])}
    np.savez(tmp_path / "a.npz", odd=np.array([{}], dtype=object), **given)
    found = read_all_arrays(tmp_path / "a.npz")
    assert found.keys() == {"xyz", "names", "flags"}
    assert all(np.array_equal(found[name], given[name]) for name in given)
    (tmp_path / "b.npz").write_bytes(b"PK no archive")
    with pytest.raises(ValueError, match="b.npz cannot be read"):
        read_all_arrays(tmp_path / "b.npz")


def test_many_arrays_that_each_are_small_are_refused_for_their_sum(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", **{f"part{number}": np.zeros(1000) for number in range(50)})
    size = (tmp_path / "a.npz").stat().st_size
    monkeypatch.setattr("clip2scene.io.reading._ALWAYS_UNPACKED", 10_000)
    monkeypatch.setattr("clip2scene.io.reading._MOST_RATIO", 300_000 // size)
    assert read_arrays(tmp_path / "a.npz", ("part7",))["part7"].shape == (1000,)
    with pytest.raises(ValueError, match=r"a.npz cannot be read \(its"):
        read_all_arrays(tmp_path / "a.npz")


def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as entry:
            entry.write(header("{'descr': '<f4', 'fortran_order': False, 'shape': (75000000,)}"))
            for _ in range(300):
                entry.write(bytes(1_000_000))
        archive.writestr(
            "y.npy", header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}") + bytes(8)
        )
    monkeypatch.setattr("clip2scene.io.reading._parse_entry", lambda *_: np.zeros(1))
    with pytest.raises(ValueError, match=r"bomb.npz cannot be read \(its 0.3 MB would unpack to 0.3 GB"):
        read_arrays(tmp_path / "bomb.npz", ("y",), perhaps=("x",))
    with pytest.raises(ValueError, match=r"bomb.npz cannot be read \(its 0.3 MB would unpack to 0.3 GB"):
        read_all_arrays(tmp_path / "bomb.npz")
    assert read_arrays(tmp_path / "bomb.npz", ("y",))["y"].tolist() == [0]  # the other part is not unpacked


def test_texts_of_an_archive_are_read_where_they_are_asked_for(tmp_path):
    np.savez(tmp_path / "a.npz", names=np.array(["car", "tree"]), x=np.zeros(2))
    assert read_arrays(tmp_path / "a.npz", ("x",), texts=("names",))["names"].tolist() == ["car", "tree"]
    with pytest.raises(ValueError, match="array names of .* should hold numbers"):
        read_arrays(tmp_path / "a.npz", ("names",))


def test_arrays_come_back_and_those_that_may_lack_are_left_out(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3, dtype=">i2"))
    assert read_array(tmp_path / "a.npy").tolist() == [0, 1, 2]
    np.savez_compressed(tmp_path / "a.npz", x=np.eye(2), y=np.arange(3), z=np.array(["text"]))
    arrays = read_arrays(tmp_path / "a.npz", ("x",), perhaps=("y", "nowhere"))
    assert {name: array.tolist() for name, array in arrays.items()} == {"x": [[1, 0], [0, 1]], "y": [0, 1, 2]}
    with pytest.raises(ValueError, match=r"a.npz lacks an array \(nowhere\); expected x, nowhere"):
        read_arrays(tmp_path / "a.npz", ("x", "nowhere"))


def header(text):
    content = text.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no numbers",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), "),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (" + "(" * 90),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999999,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (-3,)}"),
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (3,)}") + bytes(11),
        header("{'descr': '<V0', 'fortran_order': False, 'shape': (999999999999,)}"),
        header("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}") + bytes(8),
        header("{'descr': '<U2', 'fortran_order': False, 'shape': (1,)}") + bytes(8),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + bytes(8),
        header("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}") + bytes(4),
    ],
)
def test_what_is_no_array_of_numbers_is_named(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(
        ValueError, match="a.npy (cannot be read as a NumPy array|should be an array of numbers)"
    ):
        read_array(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(ValueError, match="a.npz cannot be read|array x of .*a.npz should hold numbers"):
        read_arrays(tmp_path / "a.npz", ("x",))


def test_a_missing_array_file_is_named(tmp_path):
    for read in (read_array, lambda path: read_arrays(path, ("x",))):
        with pytest.raises(ValueError, match="nowhere is missing"):
            read(tmp_path / "nowhere")


def test_the_hash_of_files_sees_names_and_contents_but_not_where_the_folder_lies(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "sub").mkdir(parents=True)
        (tmp_path / name / "x.bin").write_bytes(b"12")
        (tmp_path / name / "sub" / "y.bin").write_bytes(b"3" * 3_000_000)
    first = hash_files(tmp_path / "one")
    assert hash_files(tmp_path / "two") == first
    assert hash_files(tmp_path / "one", [tmp_path / "one" / "x.bin"]) != first
    (tmp_path / "two" / "x.bin").write_bytes(b"13")
    assert hash_files(tmp_path / "two") != first
    (tmp_path / "one" / "x.bin").rename(tmp_path / "one" / "z.bin")
    assert hash_files(tmp_path / "one") != first
    with pytest.raises(ValueError, match="is missing"):
        hash_files(tmp_path, [tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no files"):
        hash_files(tmp_path / "empty")


def test_a_link_to_a_file_is_a_plain_file(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert regular_file(tmp_path / "link") == tmp_path / "link"


@pytest.mark.parametrize("made", ["pipe", "device", "folder", "nothing", "zero byte"])
def test_what_is_no_plain_file_is_refused_without_being_opened(tmp_path, made):
    path = tmp_path / made
    if made == "pipe":
        os.mkfifo(path)
    elif made == "device":
        path.symlink_to("/dev/zero")
    elif made == "folder":
        path.mkdir()
    elif made == "zero byte":
        path = tmp_path / "a\0b"
    with pytest.raises(ValueError, match="plain file|is missing|cannot be opened"):
        regular_file(path)
    with pytest.raises(ValueError, match="plain file|is missing|cannot be opened"):
        read_torch(path)
