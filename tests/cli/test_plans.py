import json

import pytest

from clip2scene.cli import plans
from clip2scene.config import DataConfig
from clip2scene.experiments.plan.figures import Ask, Plan
from clip2scene.experiments.plan.labelling import LabelJob


def test_a_plan_takes_the_words_that_pretrain_takes():
    recipe = plans.work_of("toytown --steps 7 --teacher.refine none --data.sweeps 1")
    assert (recipe.name, recipe.steps, recipe.teacher.refine) == ("toytown", 7, "none")
    assert plans.work_of("label --clouds 9") == LabelJob(clouds=9)


def test_words_that_are_no_work_are_refused(capsys):
    with pytest.raises(ValueError, match="--plan is empty"):
        plans.work_of(" ")
    with pytest.raises(SystemExit):
        plans.work_of("no-such-recipe")
    assert "no-such-recipe" in capsys.readouterr().err


def test_the_data_are_described_once(tmp_path):
    with pytest.raises(ValueError, match="give --data options between its quotes"):
        plans.plan_of("own", DataConfig(layout="kitti-raw"), Ask(tmp_path))


@pytest.mark.parametrize("wrong", [{"budget": 0.0}, {"within": -1.0}])
def test_times_must_be_above_zero(tmp_path, wrong):
    with pytest.raises(ValueError, match="must be above 0"):
        plans.plan_of("own", DataConfig(), Ask(tmp_path, **wrong))


def test_doctor_prints_the_plan_writes_it_and_ends_with_1_for_a_fault(call, tmp_path, monkeypatch):
    asked = []

    def planned(recipe, ask):
        asked.append((recipe.steps, ask))
        plan = Plan("work")
        plan.unknown("hours", "seconds", "nobody looked")
        if ask.within is not None:
            plan.fault("time", "too little")
        return plan

    monkeypatch.setattr(plans, "plan_training", planned)
    words = ("doctor", "--data-root", tmp_path, "--plan", "own --steps 5", "--json", tmp_path / "plan.json")
    code, out, _ = call(*words, "--budget", "9")
    assert code == 0 and "not measured: nobody looked" in out
    assert asked == [(5, Ask(tmp_path, budget=9.0))]
    assert json.loads((tmp_path / "plan.json").read_text())["healthy"] is True
    assert call(*words, "--within", "2")[0] == 1
    assert json.loads((tmp_path / "plan.json").read_text())["healthy"] is False
