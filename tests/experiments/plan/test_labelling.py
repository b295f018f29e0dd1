import pytest

from clip2scene.config import DataConfig
from clip2scene.experiments.plan import labelling
from clip2scene.experiments.plan.estimate import Measurement
from clip2scene.experiments.plan.figures import Ask
from clip2scene.experiments.plan.labelling import LabelJob, plan_labelling

TOYTOWN = DataConfig(classes="toytown")


@pytest.fixture(autouse=True)
def started(monkeypatch):
    monkeypatch.setattr(labelling, "measure_start", lambda module: Measurement((3.0, 3.0)))


def figures(plan):
    return {each.name: each for each in plan.figures}


def test_a_million_clouds_are_extrapolated_from_a_few(tiny_run, tiny_toytown):
    job = LabelJob(run=str(tiny_run), clouds=1_000_000)
    found = figures(plan_labelling(job, TOYTOWN, Ask(tiny_toytown, budget=1.0, within=0.5)))
    each = found["labelling a cloud, this machine's cores"].value + found["reading a cloud"].value
    start = 3.0 + found["starting a worker: the student"].value
    assert found["in all, on this machine"].value == pytest.approx(start + 1e6 * each)
    assert found["in all, by 16 workers"].value == pytest.approx(start + 1e6 * each / 16)
    needed = found["workers for 0.5 hours"].value
    assert start + 1e6 * each / needed <= 1800 < start + 1e6 * each / (needed - 1)


@pytest.mark.parametrize(("run", "root"), [("nowhere", None), (None, "nowhere")])
def test_without_a_run_or_data_one_message_is_said_and_no_number(tiny_run, tiny_toytown, tmp_path, run, root):
    job = LabelJob(run=run or str(tiny_run))
    plan = plan_labelling(job, TOYTOWN, Ask(tiny_toytown if root is None else tmp_path / root, budget=0.5))
    (fault,) = [line for line in plan.lines if line.mark == "fault"]
    assert "nowhere" in fault.text
    found = figures(plan)
    assert found["in all, on this machine"].value is None and found["disk, free"].value > 0
    assert ("reading a cloud" in found) == (root is None)
