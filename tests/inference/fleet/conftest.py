"""A drive of many small sweeps, and the golden run to label them with."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from clip2scene.inference.fleet import local
from clip2scene.inference.fleet.job import label_samples
from clip2scene.inference.fleet.label import LabelOptions
from clip2scene.inference.fleet.part import Worker

RUN = Path(__file__).parents[2] / "golden" / "run"
SWEEPS = 12


@pytest.fixture(scope="session")
def drive(tiny_kitti, tmp_path_factory):
    """Root of a drive in SemanticKITTI's layout: 12 sweeps without labels or images.

    Shared by all tests: read it, copy it, never write to it.
    """
    root = tmp_path_factory.mktemp("data") / "fleet"
    own, folder = tiny_kitti / "sequences" / "08", root / "sequences" / "08"
    (folder / "velodyne").mkdir(parents=True)
    shutil.copy(own / "calib.txt", folder)
    clouds = sorted((own / "velodyne").glob("*.bin"))
    for number in range(SWEEPS):
        points = np.fromfile(clouds[number % len(clouds)], "<f4").reshape(-1, 4)
        points[number:].tofile(folder / "velodyne" / f"{number:06d}.bin")
    (folder / "times.txt").write_text("".join(f"{number / 10:e}\n" for number in range(SWEEPS)))
    pose = (own / "poses.txt").read_text().splitlines()[0]
    (folder / "poses.txt").write_text(f"{pose}\n" * SWEEPS)
    return root


@pytest.fixture(scope="session")
def asked(drive):
    """What a job is asked for, but for where to; as arguments of ``label_samples``."""
    return {"run": RUN, "data_root": drive, "unlike": "accept", "how": LabelOptions(quality="low")}


def one_by_one(task, units, *, workers, device):
    """The engine of most tests: this process."""
    worker = Worker(task, device)
    for unit in units:
        yield worker.do(unit)


@pytest.fixture
def in_this_process(monkeypatch):
    """Let jobs work without further processes."""
    monkeypatch.setattr(local, "label_in_pool", one_by_one)


@pytest.fixture(scope="session")
def whole(asked, tmp_path_factory):
    """What a job leaves that nothing happened to."""
    out = tmp_path_factory.mktemp("fleet") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "label_in_pool", one_by_one)
        label_samples(**asked, out=str(out))
    return out
