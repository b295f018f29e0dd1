import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clip2scene.io import new_folder, read_json, write_atomically, write_json, writing


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
    monkeypatch.setattr(writing, "_cleared", set())
    with write_atomically(tmp_path / "b.json") as temporary:
        os.utime(temporary, (old, old))
        monkeypatch.setattr(writing, "_cleared", set())
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


def test_what_is_not_json_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", object())
    assert read_json(tmp_path / "a.json") == 1


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
