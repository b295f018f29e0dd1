import json
import math
from dataclasses import replace

import numpy as np
import pytest

from clip2scene.experiments.run_report import facts as module
from clip2scene.experiments.run_report.facts import read_facts


def test_a_whole_run_is_read(make_run):
    facts = read_facts(make_run())
    assert facts.name == "run" and facts.state == "finished" and facts.step == 300
    assert facts.group == "No labels, 2D or 3D" and not facts.faults
    assert set(facts.curves) >= {"loss", "scr", "seconds"} and len(facts.steps) == 300
    assert facts.evaluation.percent("student") == pytest.approx(15.513, abs=1e-3)
    assert facts.cost == () and facts.findings is None  # of an earlier version


def test_steps_that_were_taken_twice_are_counted_and_shown_once(make_run):
    folder = make_run()
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join([*lines[:50], *lines[40:]]))
    facts = read_facts(folder)
    assert facts.repeated == 10 and facts.steps.tolist() == list(range(1, 301))


def test_a_run_on_its_way_is_unfinished(make_run):
    folder = make_run(without=("checkpoint.safetensors", "metrics.json"))
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(lines[:7]) + '{"step": 8, "lo')
    facts = read_facts(folder)
    assert facts.state == "unfinished" and facts.step == 7 and facts.evaluation is None
    (folder / "log.jsonl").unlink()
    assert read_facts(folder).state == "unfinished" and read_facts(folder).step == 0


def test_the_student_in_the_package_is_a_copy_without_a_log():
    facts = read_facts(module.Path("builtin"))
    assert facts.name == "builtin" and facts.state == "copy" and facts.packed["results"]


def test_a_fine_tuned_run_says_how_many_labels_it_used(make_run):
    facts = read_facts(make_run(kind="finetuned"))
    assert facts.group == "Student trained on 3D labels"
    assert facts.labelled.samples >= 1 and facts.labelled.points >= 1 and not facts.labelled.by_hand


def test_a_teacher_that_saw_2d_labels_stands_apart(make_run):
    facts = read_facts(make_run())
    taught = replace(facts.recipe.teacher, trained_on_2d_labels=True)
    other = replace(facts, recipe=replace(facts.recipe, teacher=taught))
    assert other.group == "No 3D labels, teacher trained with 2D labels" != facts.group


@pytest.mark.parametrize("name", ["metrics.json", "cost.json", "about.json", "labels.json", "doctor.json"])
def test_a_damaged_part_is_named_and_the_rest_is_read(make_run, name):
    folder = make_run()
    (folder / name).write_text('{"a": ')
    facts = read_facts(folder)
    assert list(facts.faults) == [name] and facts.step == 300


@pytest.mark.parametrize(
    "confusion", [[[1, 2]], "many", [["a"] * 12] * 12, [[-1] * 12] * 12, [[math.inf] * 12] * 12, None]
)
def test_a_matrix_that_is_none_is_left_out(make_run, confusion):
    folder = make_run()
    content = json.loads((folder / "metrics.json").read_text())
    content["columns"]["student"]["confusion"] = confusion
    (folder / "metrics.json").write_text(json.dumps(content))
    found = read_facts(folder).evaluation
    assert found.confusion("student") is None and found.confusion("teacher") is not None


def test_a_matrix_has_points_without_an_answer_in_its_last_column(make_run):
    found = read_facts(make_run()).evaluation
    counts = found.confusion("teacher")
    assert counts.shape == (12, 13) and counts[:, -1].sum() > 0
    assert counts.sum() == found.columns["teacher"]["num_points"]


def test_a_log_without_end_is_cut_and_that_is_said(make_run, monkeypatch):
    from clip2scene.runs import log

    monkeypatch.setattr(log, "BLOCK", 2000)
    monkeypatch.setattr(module, "MOST_LOG_BYTES", 5000)
    facts = read_facts(make_run())
    assert 0 < facts.step < 300 and "longer than" in facts.faults["log.jsonl"]


def test_numbers_that_a_line_lacks_are_not_made_up(make_run):
    folder = make_run()
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"step": 301, "loss": 1.0, "stcr": 0.25}\n')
    curves = read_facts(folder).curves
    assert np.isnan(curves["stcr"][:-1]).all() and curves["stcr"][-1] == 0.25
    assert np.isnan(curves["scr"][-1])


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"is not a run: it has no recipe\.json"):
        read_facts(tmp_path)
    with pytest.raises(ValueError, match="is no folder; name a run"):
        read_facts(tmp_path / "nothing")
