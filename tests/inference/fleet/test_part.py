import threading
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from tests.inference.fleet.answers import labels_of, rows_of
from tests.inference.fleet.conftest import RUN, SWEEPS

from clip2scene.inference.fleet.label import Labeller, labels_name
from clip2scene.inference.fleet.manifest import Manifest, Unit
from clip2scene.inference.fleet.part import Task, Worker
from clip2scene.io.store import FolderStore


@pytest.fixture
def task(asked, tmp_path):
    """A job whose parts have four samples each."""
    labeller = Labeller(RUN, asked["data_root"], "val", asked["how"])
    manifest = Manifest.open(FolderStore(tmp_path / "out"), labeller.key(), SWEEPS, {})
    told = (RUN, asked["data_root"], "val", asked["how"], labeller.key(), str(tmp_path / "out"))
    return Task(*told, job=manifest.job, size=4, precision="highest")


def manifest_of(task, job=None):
    return Manifest(FolderStore(Path(task.out)), job or task.job, SWEEPS, task.size)


def test_parts_are_as_one_process_does_the_samples_one_by_one(task, whole, tmp_path):
    worker, told = Worker(task), []
    done = [worker.do(Unit(part, 0), lambda: told.append(1)) for part in range(3)]
    assert [(each.state, each.labelled, each.kept) for each in done] == [("done", 4, 0)] * 3
    assert len(told) == SWEEPS and labels_of(tmp_path / "out") == labels_of(whole)
    points = sum(row["points"] for row in rows_of(whole).values())
    assert sum(each.points for each in done) == points


def test_the_next_sample_is_read_meanwhile_and_never_more(task, monkeypatch):
    read, label, states, lock = Labeller.read, Labeller.label, [], threading.Lock()
    held = [0]

    def counted_read(self, number):
        with lock:
            held[0] += 1
            states.append(held[0])
        return read(self, number)

    def counted_label(self, sample):
        found = label(self, sample)
        with lock:
            held[0] -= 1
        return found

    monkeypatch.setattr(Labeller, "read", counted_read)
    monkeypatch.setattr(Labeller, "label", counted_label)
    Worker(task).do(Unit(0, 0))
    assert max(states) == 2 and held == [0]


def test_a_part_that_is_begun_again_keeps_what_is_labelled(task, whole, tmp_path):
    dead = manifest_of(task, "dead")
    assert dead.claim(Unit(1, 0)) == "new"
    token = Labeller(RUN, task.data_root, "val", task.how).tokens[5]
    dead.store.write(labels_name(token), labels_of(whole)[f"{token}.labels.npz"])
    worker = Worker(task)
    assert worker.do(Unit(1, 0)).state == "held"
    done = worker.do(Unit(1, 1))
    assert (done.state, done.labelled, done.kept) == ("done", 3, 1)
    rows = rows_of(tmp_path / "out")
    assert rows[token]["worker"] is None and rows[token]["points"] == rows_of(whole)[token]["points"]
    assert not dead.store.names("tries/")


def test_a_part_that_was_done_and_nobody_heard_of_it_is_only_told_of(task, tmp_path):
    done = Worker(task).do(Unit(1, 0))
    before = rows_of(tmp_path / "out")
    assert Worker(task).do(Unit(1, 0)) == done and rows_of(tmp_path / "out") == before


def test_a_damaged_file_of_labels_is_made_anew(task, whole, tmp_path):
    manifest = manifest_of(task)
    token = Labeller(RUN, task.data_root, "val", task.how).tokens[0]
    manifest.store.write(labels_name(token), b"damaged")
    assert Worker(task).do(Unit(0, 0)).labelled == 4
    assert labels_of(tmp_path / "out").items() <= labels_of(whole).items()


def test_a_sample_that_kills_its_processes_is_given_up_and_the_others_of_its_part_are_done(
    task, tmp_path, monkeypatch
):
    class Killed(BaseException):
        """What stands for the end of a process."""

    label = Labeller.label

    def kill(self, sample):
        if sample.token == "08-000002":
            raise Killed
        return label(self, sample)

    monkeypatch.setattr(Labeller, "label", kill)
    for _ in range(3):
        with pytest.raises(Killed):
            Worker(task).do(Unit(0, 0))
    done = Worker(task).do(Unit(0, 0))
    assert (done.state, done.labelled, done.kept, done.failed) == ("done", 1, 2, 1)
    assert "died" in rows_of(tmp_path / "out")["08-000002"]["error"]
    assert manifest_of(task).reasons().keys() == {"08-000002"}
    assert not manifest_of(task).store.names("tries/")


def test_a_worker_that_cannot_open_what_it_needs_says_where_and_why(task, tmp_path, monkeypatch):
    monkeypatch.setattr("clip2scene.inference.fleet.part._WAIT_S", 0.0)
    done = Worker(replace(task, run=tmp_path / "nowhere")).do(Unit(0, 0))
    assert done.state == "unfit" and "nowhere" in done.reason and done.reason.startswith("worker ")
    assert "others here than where the job" in Worker(replace(task, key="x")).do(Unit(0, 0)).reason
    assert not manifest_of(task).claims()
