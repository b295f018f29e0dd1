from dataclasses import replace

from clip2scene.experiments.run_report.cost_table import cost_notes, cost_rows, packed_results, provenance
from clip2scene.experiments.run_report.facts import read_facts

CALL = {
    "work": "pretrain",
    "command": "clip2scene pretrain toytown",
    "date": "2026-11-30",
    "machine": "2 cores, no GPU",
    "instructions": "AVX2",
    "commit": "abc-dirty",
    "steps": [0, 40],
    "stages": {"open": 1.5, "lift": 90.0},
    "memory_peak": 1_234_000_000,
    "gpu_memory_peak": None,
}


def test_a_call_is_a_row_with_its_stages(make_run):
    (row,) = cost_rows(read_facts(make_run(cost={"calls": [CALL]})))
    assert row["stages"] == "open 1.5 s, lift 1.5 min" and row["time"] == "1.5 min"
    assert (
        row["memory"] == "1.23 GB" and row["machine"] == "2 cores, no GPU, AVX2" and row["steps"] == "0 to 40"
    )


def test_what_was_not_recorded_is_said(make_run):
    facts = read_facts(make_run())
    assert cost_rows(facts) == []
    told = " ".join(cost_notes(facts))
    assert "300 steps took" in told and "were not recorded" in told
    assert dict(provenance(facts))["machine"] == "not recorded" == dict(provenance(facts))["commit"]
    judged = replace(facts, cost=({**CALL, "work": "evaluate"},))
    assert "were not recorded" in " ".join(cost_notes(judged))
    assert "were not recorded" not in " ".join(cost_notes(replace(facts, cost=(CALL,))))


def test_provenance_is_that_of_the_training(make_run):
    told = dict(provenance(read_facts(make_run(cost={"calls": [CALL]}))))
    assert told["command"] == CALL["command"] and told["commit"] == "abc-dirty"
    assert told["machine"] == "2 cores, no GPU, AVX2" and "torch" in told["versions"]


def test_a_packed_run_tells_what_it_was_packed_with():
    from pathlib import Path

    facts = read_facts(Path("builtin"))
    assert dict(packed_results(facts))["student"] == "56.2"
    assert dict(provenance(facts))["command"].startswith("clip2scene make-toytown")
