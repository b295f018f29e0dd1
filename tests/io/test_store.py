import errno
import os
import subprocess
import sys
import threading
from uuid import uuid4

import pytest

from clip2scene.io import AbsentError, open_store, write_atomically, writing
from clip2scene.io.store import FolderStore


@pytest.fixture(params=["folder", "file://", "memory://"])
def store(request, tmp_path):
    places = {
        "folder": tmp_path / "s",
        "file://": f"file://{tmp_path}/a%20b",
        "memory://": f"memory://{uuid4()}",
    }
    return open_store(places[request.param])


def test_what_is_written_is_read_back_whole_or_in_part(store):
    assert not store.exists("a/b.bin") and store.names() == []
    store.write("a/b.bin", b"0123456789")
    assert store.exists("a/b.bin") and not store.exists("a") and store.size("a/b.bin") == 10
    assert store.read("a/b.bin") == b"0123456789"
    assert store.read_range("a/b.bin", 3, 4) == b"3456"
    assert store.read_range("a/b.bin", 8, 4) == b"89" and store.read_range("a/b.bin", 12, 4) == b""
    store.write("a/b.bin", b"new")
    assert store.read("a/b.bin") == b"new"
    store.write("empty", b"")
    assert store.read("empty") == b"" and store.size("empty") == 0


def test_a_local_file_is_written_without_being_read_into_memory(store, tmp_path):
    (tmp_path / "big").write_bytes(b"big")
    store.write_file("deep/er/big", tmp_path / "big")
    assert store.read("deep/er/big") == b"big" and (tmp_path / "big").exists()


def test_names_are_sorted_and_begin_as_asked(store):
    for name in ("b", "a/2", "a/1", "ab/3", "a/c/4"):
        store.write(name, b"x")
    assert store.names() == ["a/1", "a/2", "a/c/4", "ab/3", "b"]
    assert store.names("a") == ["a/1", "a/2", "a/c/4", "ab/3"]
    assert store.names("a/") == ["a/1", "a/2", "a/c/4"] and store.names("a/c/4") == ["a/c/4"]
    assert store.names("none/") == [] and store.names("a/2/") == []


def test_nothing_is_read_under_a_name_that_is_absent_and_removing_it_is_no_fault(store):
    for ask in (store.read, store.size, lambda name: store.read_range(name, 0, 1)):
        with pytest.raises(AbsentError, match="none is missing; check the"):
            ask("none")
    store.remove("none")
    store.write("a/b", b"x")
    store.remove("a/b")
    assert not store.exists("a/b") and store.names() == []


def test_more_than_was_asked_for_is_not_read(store):
    store.write("a", b"12345")
    assert store.read("a", most=5) == b"12345"
    with pytest.raises(ValueError, match="a has more than the 4 bytes that are expected at most"):
        store.read("a", most=4)


def test_of_many_who_create_a_name_one_succeeds(tmp_path):
    store, won, start = open_store(tmp_path / "s"), [], threading.Barrier(8)

    def go(number):
        start.wait()
        for name in range(5):
            if store.create(f"claims/{name}", str(number).encode()):
                won.append((f"claims/{name}", str(number).encode()))

    threads = [threading.Thread(target=go, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(name for name, _ in won) == [f"claims/{name}" for name in range(5)]
    assert all(store.read(name) == content for name, content in won)
    assert not list(tmp_path.rglob(".partial-*"))


def test_what_exists_is_not_created_again(store):
    assert store.create("a/b", b"first") and not store.create("a/b", b"second")
    assert store.read("a/b") == b"first"


def test_a_disk_without_links_and_a_server_that_lost_its_answer_still_create_once(tmp_path, monkeypatch):
    store, link = FolderStore(tmp_path), os.link

    def no_links(*_):
        raise OSError(errno.EPERM, "no links here")

    def lost(source, target):
        link(source, target)
        raise FileExistsError

    monkeypatch.setattr(writing.os, "link", no_links)
    assert store.create("a", b"first") and not store.create("a", b"second") and store.read("a") == b"first"
    monkeypatch.setattr(writing.os, "link", lost)
    assert store.create("b", b"first") and store.read("b") == b"first"
    monkeypatch.setattr(writing.os, "link", link)
    with pytest.raises(FileExistsError), write_atomically(tmp_path / "b", fresh=True) as temporary:
        temporary.write_bytes(b"second")


def test_a_process_killed_in_the_middle_of_writing_leaves_no_name(tmp_path):
    code = (
        "import os, sys; from clip2scene.io import writing; from clip2scene.io.store import FolderStore\n"
        "writing.os.replace = lambda *_: os._exit(9)\n"
        "FolderStore(__import__('pathlib').Path(sys.argv[1])).write('a/b', b'whole')"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == 9
    store = FolderStore(tmp_path)
    assert store.names() == [] and not store.exists("a/b")
    assert len(list(tmp_path.rglob(".partial-*"))) == 1  # removed by a later writer, see test_writing
    store.write("a/b", b"whole")
    assert store.names() == ["a/b"]


def test_a_folder_that_another_removes_meanwhile_is_made_again(tmp_path, monkeypatch):
    store, made = FolderStore(tmp_path), writing.tempfile.mkstemp
    faults = [FileNotFoundError(), FileNotFoundError()]

    def mkstemp(**options):
        if faults:
            raise faults.pop()
        return made(**options)

    monkeypatch.setattr(writing.tempfile, "mkstemp", mkstemp)
    store.write("a/b", b"x")
    assert store.read("a/b") == b"x"
    store.remove("a/b")
    assert tmp_path.is_dir() and not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "access denied; change the rights of the folder"),
        (errno.ENOSPC, "the disk is full.*free some space"),
        (errno.ESTALE, r"cannot be used \(.*check the disk"),
    ],
)
def test_what_the_disk_refuses_is_one_sentence(tmp_path, monkeypatch, number, said):
    store = open_store(tmp_path)
    store.write("a", b"old")

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(writing.os, "replace", refuse)
    with pytest.raises(ValueError, match=said):
        store.write("a", b"new")
    assert store.read("a") == b"old" and store.names() == ["a"]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a")
    with pytest.raises(ValueError, match="is no plain file"):
        open_store(tmp_path).read("a")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a//b", ""])
def test_a_name_never_leads_out_of_the_store(store, name):
    for ask in (store.read, store.exists, store.remove, lambda name: store.write(name, b"x")):
        with pytest.raises(ValueError, match="is no name within a store"):
            ask(name)


def test_an_address_without_a_driver_says_which_package_is_missing():
    with pytest.raises(
        ValueError, match="nothing is known of the protocol nowhere://; expected a folder, s3://"
    ):
        open_store("nowhere://me:hidden@place")
    with pytest.raises(ValueError, match="addresses in chains are not taken"):
        open_store("simplecache::memory://a")
