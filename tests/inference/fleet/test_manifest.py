import json
import os
import subprocess
import sys
import threading

import pytest

from clip2scene.inference.fleet import manifest as module
from clip2scene.inference.fleet.manifest import Manifest, Others, Unit
from clip2scene.io.store import FolderStore


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "out")


def opened(store, samples=10, key="key"):
    return Manifest.open(store, key, samples, {"quality": "low"})


@pytest.mark.parametrize(
    ("samples", "parts", "last"), [(1, 1, 1), (10, 10, 1), (100, 34, 1), (100_000, 1563, 32)]
)
def test_parts_hold_every_sample_once(store, samples, parts, last):
    manifest = opened(store, samples)
    numbers = [number for part in range(manifest.num_parts) for number in manifest.numbers(part)]
    assert numbers == list(range(samples))
    assert (manifest.num_parts, len(manifest.numbers(parts - 1))) == (parts, last)


def test_a_part_is_claimed_by_one_of_many(store):
    jobs, found = [opened(store) for _ in range(8)], []
    threads = [threading.Thread(target=lambda job=job: found.append(job.claim(Unit(3, 0)))) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["held"] * 7 + ["new"]
    (owner,) = (job for job in jobs if job.claim(Unit(3, 0)) == "mine")
    assert owner.owner(Unit(3, 0)) == owner.job
    assert jobs[0].claim(Unit(3, 1)) == "again" and jobs[0].claims() == {3: 1}
    assert jobs[1].claim(Unit(3, 1)) == "held"


def test_a_done_part_names_what_failed_and_forgets_it_once_it_is_mended(store):
    manifest = opened(store)
    assert manifest.read_part(2) is None
    manifest.finish(2, b"rows", {"a": "broken", "b": "gone"}, again=False)
    assert manifest.done() == {2} and manifest.read_part(2) == b"rows"
    assert manifest.reasons() == {"a": "broken", "b": "gone"} and len(manifest.failed()[2]) == 2
    assert manifest.may_try(2)
    manifest.finish(2, b"better", {"b": "gone"}, again=True)
    assert manifest.reasons() == {"b": "gone"} and manifest.read_part(2) == b"better"
    assert not store.names("tries/")


def test_a_sample_whose_process_died_is_tried_twice_more(store):
    manifest = opened(store)
    assert [manifest.may_try(4) for _ in range(3)] == [True, True, False]
    assert manifest.may_try(5)


def test_a_job_at_work_is_seen_and_one_that_ended_or_was_killed_is_not(store, monkeypatch):
    manifest, others = opened(store), Others(store)
    assert not others.is_alive(manifest.job)
    with manifest.at_work():
        assert others.is_alive(manifest.job)
        name = f"jobs/{manifest.job}.json"
        about = json.loads(store.read(name))
        killed = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        mark = {"place": about["place"], "pid": killed.pid, "started": module._started(killed.pid)}
        store.write("jobs/other.json", json.dumps(mark).encode())
        assert others.is_alive("other")
        killed.kill()
        killed.wait()
        killed.stdin.close()
        assert not others.is_alive("other")
        reused = {**mark, "pid": os.getpid()}  # another process has its number now
        store.write("jobs/other.json", json.dumps(reused).encode())
        assert not others.is_alive("other")
    assert not store.exists(name) and not others.is_alive(manifest.job)


def test_a_job_of_another_machine_is_taken_for_dead_after_a_minute_without_a_sign(store, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    others = Others(store)

    def sign(number):
        told = {"place": "elsewhere", "pid": 1, "started": "1", "sign": number}
        store.write("jobs/far.json", json.dumps(told).encode())

    sign(0)
    assert others.is_alive("far")
    now[0] = 59.0
    assert others.is_alive("far")
    sign(1)
    now[0] = 110.0
    assert others.is_alive("far")
    now[0] = 169.0
    assert others.is_alive("far")
    now[0] = 171.0
    assert not others.is_alive("far")


def test_signs_of_life_are_given_again_and_again(store, monkeypatch):
    monkeypatch.setattr(module, "_SIGN_S", 0.01)
    manifest = opened(store)
    with manifest.at_work():
        signs = set()
        while len(signs) < 3:
            signs.add(json.loads(store.read(f"jobs/{manifest.job}.json"))["sign"])


def test_another_key_or_a_damaged_manifest_is_refused(store):
    opened(store)
    with pytest.raises(ValueError, match="other content under the same names"):
        opened(store, key="other")
    with pytest.raises(ValueError, match="holds labels of another run"):
        opened(store, samples=11)
    store.write("job.json", b"{")
    with pytest.raises(ValueError, match="job.json of .* is damaged; remove it"):
        opened(store)
    store.write("job.json", b"[]")
    with pytest.raises(ValueError, match="job.json of .* is damaged"):
        opened(store)


@pytest.mark.parametrize("part", [None, 0, "many", True])
def test_a_manifest_without_a_size_of_parts_is_refused(store, part):
    opened(store)
    content = json.loads(store.read("job.json"))
    store.write("job.json", json.dumps({**content, "part": part}).encode())
    with pytest.raises(ValueError, match="job.json of .* is damaged"):
        opened(store)


def test_a_manifest_whose_words_are_damaged_is_refused(store):
    opened(store)
    content = json.loads(store.read("job.json"))
    store.write("job.json", json.dumps({**content, "key": "other", "asked": []}).encode())
    with pytest.raises(ValueError, match="name another --out"):
        opened(store)


def test_files_of_other_programs_are_no_parts(store):
    manifest = opened(store)
    manifest.claim(Unit(3, 0))
    for folder in ("parts", "claims", "failed"):
        for name in (".DS_Store", "_SUCCESS", "00000001", "00000001.x.json"):
            store.write(f"{folder}/{name}", b"?")
    assert manifest.claims() == {3: 0} and not manifest.done() and not manifest.failed()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_a_damaged_claim_or_sign_of_life_is_one_of_a_dead_job(store, content):
    manifest = opened(store)
    store.write("claims/00000003.0000.json", content)
    assert manifest.claim(Unit(3, 0)) == "held" and manifest.owner(Unit(3, 0)) == ""
    store.write("jobs/other.json", content)
    assert not Others(store).is_alive("other") and not Others(store).is_alive("")
    for about in ({}, {"pid": "1"}, {"pid": 1, "sign": None}):
        store.write("jobs/other.json", json.dumps(about).encode())
        assert not Others(store).is_alive("other")
    assert manifest.claim(Unit(3, 1)) == "again"
