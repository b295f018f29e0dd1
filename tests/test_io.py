import fcntl
import os
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clip2scene import io
from clip2scene.io import (
    fingerprint,
    hash_files,
    load_checksummed,
    new_folder,
    read_array,
    read_arrays,
    read_json,
    read_text,
    read_torch,
    regular_file,
    save_checksummed,
    write_atomically,
    write_json,
)

TENSORS = {
    "b": torch.arange(6).reshape(2, 3).half(),
    "a": torch.tensor([[1.5, -2.0]]).T,  # not contiguous
    "empty": torch.zeros(0, 4),
    "small": torch.arange(5, dtype=torch.int8),
}


def same_as_written(found):
    return found.keys() == TENSORS.keys() and all(
        found[name].dtype == each.dtype and torch.equal(found[name], each) for name, each in TENSORS.items()
    )


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


def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(tmp_path, monkeypatch):
    old = time.time() - 3600
    names = ("dead.json", "living.json", "young.json")
    dead, living, young = (tmp_path / f".partial-{name}" for name in names)
    for path in (dead, living, young):
        path.write_text("half")
    os.utime(dead, (old, old))
    os.utime(living, (old, old))
    with living.open() as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        write_json(tmp_path / "a.json", 1)
        assert {path.name for path in tmp_path.iterdir()} == {"a.json", living.name, young.name}
    monkeypatch.setattr(io, "_cleared", set())
    with write_atomically(tmp_path / "b.json") as temporary:
        os.utime(temporary, (old, old))
        monkeypatch.setattr(io, "_cleared", set())
        write_json(tmp_path / "a.json", 2)  # another writer leaves ours alone
        temporary.write_text("3")
    assert {path.name for path in tmp_path.iterdir()} == {"a.json", "b.json", young.name}
    for days in (0, 2):
        folder = tmp_path / f".partial-new-{days}"
        (folder / "deep").mkdir(parents=True)
        os.utime(folder, (time.time() - days * 86400,) * 2)
    with new_folder(tmp_path / "new"):
        assert (tmp_path / ".partial-new-0").exists() and not (tmp_path / ".partial-new-2").exists()


def test_the_folder_is_flushed_after_the_new_name(tmp_path, monkeypatch):
    done, replace, fsync = [], os.replace, os.fsync
    monkeypatch.setattr(os, "replace", lambda *paths: done.append("replace") or replace(*paths))
    monkeypatch.setattr(
        os, "fsync", lambda file: done.append(stat.S_ISDIR(os.fstat(file).st_mode)) or fsync(file)
    )
    write_json(tmp_path / "a.json", 1)
    assert done == [False, "replace", True]


FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
import torch
from clip2scene.io import save_checksummed, write_atomically, write_json

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
def arrays(path):
    with write_atomically(path) as temporary:
        np.savez(temporary, a=np.zeros(9999))
for name, write in {
    "a.json": lambda path: write_json(path, [1] * 9999),
    "a.safetensors": lambda path: save_checksummed(path, {"a": torch.zeros(9999)}),
    "a.npz": arrays,
}.items():
    try:
        write(Path(sys.argv[1]) / name)
    except ValueError as error:
        print(error)
"""


def test_a_full_disk_is_one_sentence_and_leaves_what_was_there(tmp_path):
    for name in ("a.json", "a.safetensors", "a.npz"):
        (tmp_path / name).write_text("old")
    ended = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    lines = ended.stdout.splitlines()
    assert len(lines) == 3
    for name, line in zip(("a.json", "a.safetensors", "a.npz"), lines, strict=True):
        assert line.startswith(f"{tmp_path / name} cannot be written: the disk is full")
        assert (tmp_path / name).read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 3


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


def test_tensors_are_not_waited_for_in_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"cannot be read .*is a pipe.*delete it and run again"):
        load_checksummed(tmp_path / "a.safetensors")


def test_an_archive_that_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as entry:
            entry.write(header("{'descr': '<f4', 'fortran_order': False, 'shape': (75000000,)}"))
            for _ in range(300):
                entry.write(bytes(1_000_000))
        archive.writestr(
            "y.npy", header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}") + bytes(8)
        )
    monkeypatch.setattr("clip2scene.io._parse_entry", lambda *_: np.zeros(1))
    with pytest.raises(ValueError, match=r"bomb.npz cannot be read \(its 0.3 MB would unpack to 0.3 GB"):
        read_arrays(tmp_path / "bomb.npz", ("y",), perhaps=("x",))
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


def test_a_folder_appears_only_when_its_making_ends_well(tmp_path):
    for out in (tmp_path / "deep" / "new", tmp_path / "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(RuntimeError), new_folder(out) as folder:
            (folder / "a").write_text("half")
            raise RuntimeError
        assert not out.exists() or not list(out.iterdir())
        with new_folder(out) as folder:
            (folder / "a").write_text("whole")
            assert not (out / "a").exists()
        assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []
        assert (out / "a").read_text() == "whole"
        with pytest.raises(ValueError, match="already exists"), new_folder(out):
            pass


@pytest.mark.parametrize("there", [True, False])
def test_a_link_to_an_empty_or_absent_folder_stays_a_link(tmp_path, there):
    if there:
        (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    with new_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("whole")
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "a").read_text() == "whole"


def test_what_cannot_be_replaced_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in (Path("."), tmp_path):
        with pytest.raises(ValueError, match="is the current folder or a disk"), new_folder(out):
            pytest.fail("the work began")
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr("pathlib.Path.is_mount", lambda path: path.name == "disk")
    with pytest.raises(ValueError, match="disk cannot be replaced"), new_folder(tmp_path / "disk"):
        pytest.fail("the work began")
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]


def test_tensors_come_back(tmp_path):
    save_checksummed(tmp_path / "a.safetensors", TENSORS)
    assert same_as_written(load_checksummed(tmp_path / "a.safetensors"))


def test_whatever_bit_changes_nothing_wrong_is_read(tmp_path):
    """A change in the checksum's own name, or in a space, leaves the tensors what they were."""
    path = tmp_path / "a.safetensors"
    save_checksummed(path, TENSORS)
    whole, harmless = path.read_bytes(), 0
    for number in range(8 * len(whole)):
        bits = bytearray(whole)
        bits[number // 8] ^= 1 << number % 8
        path.write_bytes(bits)
        try:
            found = load_checksummed(path)
        except ValueError as error:
            assert "a.safetensors" in str(error) and "delete it and run again" in str(error)
            continue
        assert same_as_written(found)
        harmless += 1
    assert harmless < 8 * 16


def test_names_that_are_swapped_are_found_out(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checksummed(path, {"a": torch.zeros(3), "b": torch.ones(3)})
    text = path.read_bytes()
    path.write_bytes(text.replace(b'"a"', b'"c"').replace(b'"b"', b'"a"').replace(b'"c"', b'"b"'))
    with pytest.raises(ValueError, match="is damaged: it is not what was written"):
        load_checksummed(path)


def test_files_of_earlier_versions_are_read_unchecked(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "old.safetensors")
    assert load_checksummed(tmp_path / "old.safetensors")["a"].tolist() == [1, 1]


def test_a_missing_file_of_tensors_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no\.safetensors cannot be read"):
        load_checksummed(tmp_path / "no.safetensors")


def test_the_fingerprint_sees_names_types_shapes_and_bits_but_not_order():
    tensors = {"a": torch.zeros(2, 2), "b": torch.ones(3)}
    first = fingerprint(tensors)
    assert fingerprint(dict(reversed(tensors.items()))) == first
    changed = [
        {"c": tensors["a"], "b": tensors["b"]},
        {**tensors, "a": torch.zeros(4)},
        {**tensors, "a": torch.zeros(2, 2, dtype=torch.int32)},
        {**tensors, "a": -torch.zeros(2, 2)},
    ]
    assert len({first, *map(fingerprint, changed)}) == 5


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


def rewritten_zip(path, out, *, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path) as given, zipfile.ZipFile(out, "w", compression) as made:
        for name in given.namelist():
            made.writestr(name, given.read(name))


def test_tensors_come_back_as_they_were_saved(tmp_path):
    content = {"state_dict": {"a": torch.arange(6.0).reshape(2, 3), "tied": torch.ones(3)}, "epoch": 3}
    content["state_dict"]["tied too"] = content["state_dict"]["tied"]
    torch.save(content, tmp_path / "a.pt")
    found = read_torch(tmp_path / "a.pt")
    assert found["epoch"] == 3 and torch.equal(found["state_dict"]["a"], content["state_dict"]["a"])
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(read_torch(tmp_path / "old.pt")["state_dict"]["tied too"], torch.ones(3))


def test_a_file_that_unpacks_to_more_than_it_is_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "a.pt")
    rewritten_zip(tmp_path / "a.pt", tmp_path / "small.pt")
    assert (tmp_path / "small.pt").stat().st_size < 20_000
    with pytest.raises(ValueError, match="compressed"):
        read_torch(tmp_path / "small.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(1 << 40),
        torch.zeros(3, device="meta"),
        torch.eye(3).to_sparse(),
        torch.zeros(2) * 1j,
    ],
    ids=["repeated", "meta", "sparse", "complex"],
)
def test_tensors_that_are_not_what_they_seem_are_refused(tmp_path, tensor):
    torch.save({"deep": [{"a": tensor}]}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match="stand for|of the kind"):
        read_torch(tmp_path / "a.pt")
