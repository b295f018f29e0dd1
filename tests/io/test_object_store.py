import errno
import pickle
import sys
import threading
import time
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from clip2scene.io import AbsentError, open_store
from clip2scene.io.object_store import ObjectStore

KNOWN = sys.modules["fsspec.registry"]._registry  # drivers by protocol, once they are imported


class Moody(MemoryFileSystem):
    """A store in memory that fails, stalls or denies when it is told to; it has folders."""

    protocol = "moody"
    store: dict = {}
    pseudo_dirs = [""]
    faults: list = []
    asked = 0
    released = threading.Event()
    fail_after = False

    def _meet(self, when_done=False):
        if when_done != Moody.fail_after:
            return
        Moody.asked += 1
        if Moody.faults:
            fault = Moody.faults.pop(0)
            if fault == "stall":
                Moody.released.wait(10)
            elif fault is not None:
                raise fault

    def cat_file(self, path, start=None, end=None, **options):
        self._meet()
        return super().cat_file(path, start=start, end=end, **options)

    def pipe_file(self, path, value, mode="overwrite", **options):
        self._meet()
        super().pipe_file(path, value, mode=mode, **options)
        self._meet(when_done=True)

    def info(self, path, **options):
        self._meet()
        return super().info(path, **options)

    def find(self, path, **options):
        self._meet()
        return super().find(path, **options)


@pytest.fixture(autouse=True)
def moody():
    fsspec.register_implementation("moody", Moody, clobber=True)
    Moody.faults, Moody.asked, Moody.fail_after = [], 0, False
    Moody.released.clear()
    yield Moody
    Moody.released.set()


def open_moody(**options):
    return ObjectStore(f"moody://me:hidden@{uuid4()}/cache", **({"limit_s": 5.0, "pause_s": 0.0} | options))


def test_what_fails_for_a_moment_is_tried_again(moody):
    store = open_moody()
    store.write("a", b"x")
    moody.faults, moody.asked = [ConnectionResetError("gone"), OSError(errno.EBUSY, "slow down"), None], 0
    assert store.read("a") == b"x" and moody.asked == 3


def test_pauses_between_attempts_grow_and_end(moody, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    moody.faults = [ConnectionResetError("me:hidden was cut off")] * 9
    with pytest.raises(
        ValueError, match=r"moody://[^@]*/cache/a cannot be used: .*\*\*\* was cut off, in 4 a"
    ) as said:
        open_moody(pause_s=0.5).read("a")
    assert pauses == [0.5, 1.0, 2.0] and "hidden" not in str(said.value)


def test_a_store_that_stalls_is_given_up_after_its_time(moody):
    moody.faults = ["stall"] * 9
    began = time.perf_counter()
    with pytest.raises(
        ValueError, match="no answer within 0.05 s, in 2 attempts; run the same command again"
    ):
        open_moody(limit_s=0.05, attempts=2).names()
    assert time.perf_counter() - began < 5


def test_a_store_that_denies_is_asked_once(moody):
    moody.faults = [PermissionError("hidden is no key")] * 9
    with pytest.raises(ValueError, match=r"access denied \(.*\*\*\* is no key\); check the credentials"):
        open_moody().read("a")
    assert moody.asked == 1


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "full"), NotImplementedError("cannot"), TypeError("no")]
)
def test_what_will_not_change_is_not_tried_again(moody, fault):
    moody.faults = [fault] * 9
    with pytest.raises(ValueError, match="cannot be used: .*in 1 attempt;"):
        open_moody().write("a", b"x")
    assert moody.asked == 1


def test_a_bucket_that_is_not_there_is_no_absent_content_but_a_fault_when_written(moody):
    store = open_moody()
    moody.faults = [FileNotFoundError("no such bucket")]
    with pytest.raises(ValueError, match="there is no such bucket or folder; make it first") as said:
        store.write("a", b"x")
    assert not isinstance(said.value, AbsentError)


def test_an_attempt_to_create_whose_answer_was_lost_is_known_as_ones_own(moody):
    store = open_moody()
    moody.fail_after, moody.faults = True, [ConnectionResetError("after it was written")]
    assert store.create("claim", b"mine, 7319")
    moody.faults = [ConnectionResetError("before anything was found out")]
    assert not store.create("claim", b"another's, 5512") and store.read("claim") == b"mine, 7319"


def test_where_a_put_is_not_atomic_another_name_is_written_and_renamed(moody):
    store, seen, pipe = open_moody(), [], Moody.pipe_file
    store.write("deep/a", b"old")

    def watch(self, path, value, **options):
        seen.append((path.rpartition("/")[2], store.names()))
        pipe(self, path, value, **options)
        seen.append(store.names())

    moody.pipe_file = watch
    try:
        store.write("deep/a", b"new")
    finally:
        moody.pipe_file = pipe
    assert seen[0][0].startswith(".partial-") and seen[1] == ["deep/a"]
    assert store.read("deep/a") == b"new" and store.names() == ["deep/a"]


def test_a_store_goes_to_other_processes_and_does_not_show_its_secrets():
    store = open_moody()
    assert "hidden" not in repr(store) and "hidden" not in store.address
    assert pickle.loads(pickle.dumps(store)) == store


def test_a_driver_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(KNOWN, "s3", raising=False)
    with pytest.raises(ValueError, match="s3://bucket needs a driver that is not installed: Install s3fs"):
        open_store("s3://key:hidden@bucket")


def test_a_bucket_is_looked_for_when_its_store_is_opened(monkeypatch):
    class Buckets(Moody):
        protocol = "s3"

        @classmethod
        def _strip_protocol(cls, path):
            return path.rpartition("://")[2].strip("/")

        def ls(self, path, **_):
            if path.strip("/") == "there":
                return []
            raise PermissionError if path.strip("/") == "mine" else FileNotFoundError

    monkeypatch.setitem(KNOWN, "s3", Buckets)
    open_store("s3://there/cache")
    open_store(
        "s3://mine/cache"
    )  # that its contents may not be listed need not mean that they may not be read
    with pytest.raises(ValueError, match="s3://not/cache: there is no such bucket; make it, or check"):
        open_store("s3://not/cache")
