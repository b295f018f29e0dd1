import multiprocessing
import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

from tests.inference.fleet.answers import Killer, labels_of, rows_of
from tests.inference.fleet.conftest import SWEEPS

from clip2scene.inference.fleet import local
from clip2scene.inference.fleet.job import Crew, label_samples
from clip2scene.inference.fleet.label import LabelOptions
from clip2scene.inference.fleet.manifest import Unit
from clip2scene.inference.fleet.part import Task


def test_a_killed_process_costs_nothing_but_its_time(asked, whole, tmp_path):
    killer = Killer(tmp_path / "out")
    done = label_samples(**asked, out=str(tmp_path / "out"), crew=Crew(workers=2))
    assert killer.pid is not None and 0 < killer.parts < SWEEPS - 2
    assert done.samples == SWEEPS and not done.failed
    rows = rows_of(tmp_path / "out")
    assert len(rows) == SWEEPS and len({row["worker"] for row in rows.values()} - {None}) > 1
    assert labels_of(tmp_path / "out") == labels_of(whole)
    assert not multiprocessing.active_children()


def dies(pipe, task, device):
    pipe.recv()
    os._exit(3)


def test_processes_that_die_again_and_again_are_given_up(monkeypatch):
    monkeypatch.setattr(local, "_serve", dies)
    monkeypatch.setattr(local, "_MOST_DEATHS", 2)
    task = Task(Path("run"), Path("data"), "val", LabelOptions(), "key", "out", "job", 1, "highest")
    with pytest.raises(ValueError, match="2 processes died one after another, the last with code 3"):
        list(local.label_in_pool(task, [Unit(0, 0)], workers=1))


def test_every_process_has_a_gpu_in_turn(monkeypatch):
    monkeypatch.setattr(local.torch.cuda, "device_count", lambda: 2)
    assert [local._device("cuda", number) for number in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert local._device("cpu", 1) == "cpu" and local._device("cuda:1", 0) == "cuda:1"
