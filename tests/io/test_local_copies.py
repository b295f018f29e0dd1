import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clip2scene.io import AbsentError, local_copies
from clip2scene.io.local_copies import LocalCopies
from clip2scene.io.store import FolderStore


@dataclass(frozen=True)
class Far(FolderStore):
    """A store that counts what is read from it."""

    reads: list = field(default_factory=list)

    def read(self, name, most=1 << 30):
        self.reads.append(name)
        return super().read(name, most)

    def read_range(self, name, start, length):
        self.reads.append((name, start, length))
        return super().read_range(name, start, length)


@pytest.fixture
def far(tmp_path):
    far = Far(tmp_path / "far")
    for number in range(10):
        far.write(f"a/{number}", b"%d" % number * 1000)
    return far


@pytest.fixture(autouse=True)
def nothing_counted():
    local_copies._added.clear()


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_content_is_fetched_once_and_parts_of_it_apart(far, tmp_path):
    for _ in range(3):
        copies = LocalCopies(far, tmp_path / "near", 100_000)
        assert copies.read("a/1") == b"1" * 1000 and copies.read_range("a/1", 10, 5) == b"1" * 5
        assert copies.exists("a/1") and copies.size("a/1") == 1000
    assert far.reads == ["a/1", ("a/1", 10, 5)]


def test_a_damaged_copy_is_fetched_again(far, tmp_path):
    copies = LocalCopies(far, tmp_path / "near", 100_000)
    copies.read("a/1")
    (kept,) = (path for path in (tmp_path / "near").rglob("*") if path.is_file())
    for damaged in (kept.read_bytes()[:-1], b"", b"\0" * 1004):
        kept.write_bytes(damaged)
        assert copies.read("a/1") == b"1" * 1000
    assert len(far.reads) == 4


def test_the_least_recently_used_copies_make_room(far, tmp_path):
    copies = LocalCopies(far, tmp_path / "near", 5_100)
    for number in (0, 1, 2, 3, 0, 4, 0, 5, 0, 6):
        copies.read(f"a/{number}")
        assert total(tmp_path / "near") <= 5_100
    far.reads.clear()
    assert copies.read("a/0") == b"0" * 1000 and far.reads == []
    copies.read("a/1")
    assert far.reads == ["a/1"]


def test_what_is_larger_than_all_copies_together_is_not_kept(far, tmp_path):
    copies = LocalCopies(far, tmp_path / "near", 500)
    assert copies.read("a/1") == b"1" * 1000 and total(tmp_path) == 10_000


def test_what_is_absent_or_too_large_is_so_with_copies_too(far, tmp_path):
    copies = LocalCopies(far, tmp_path / "near", 100_000)
    with pytest.raises(AbsentError):
        copies.read("none")
    copies.read("a/1")
    with pytest.raises(ValueError, match="more than the 10 bytes"):
        copies.read("a/1", most=10)


def test_a_content_that_is_written_or_removed_is_not_read_from_its_copy(far, tmp_path):
    copies = LocalCopies(far, tmp_path / "near", 100_000)
    copies.read("a/1")
    copies.write("a/1", b"new")
    assert copies.read("a/1") == b"new"
    copies.remove("a/1")
    assert not copies.exists("a/1") and copies.names("a/") == [f"a/{n}" for n in range(10) if n != 1]
    assert copies.create("a/1", b"x") and not copies.create("a/1", b"y")


def test_a_folder_that_cannot_be_written_only_costs_its_copies(far, tmp_path):
    (tmp_path / "near").write_text("a file in its place")
    assert LocalCopies(far, tmp_path / "near", 100_000).read("a/1") == b"1" * 1000


def test_many_who_read_at_once_get_what_is_there_and_keep_to_the_bound(far, tmp_path):
    wrong = []

    def go(offset):
        copies = LocalCopies(far, tmp_path / "near", 3_100)
        for step in range(30):
            number = (offset + step) % 10
            if copies.read(f"a/{number}") != b"%d" % number * 1000:
                wrong.append(number)

    threads = [threading.Thread(target=go, args=(offset,)) for offset in (0, 3, 6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong and total(tmp_path / "near") <= 3_100 + 3 * 1_004
