from collections import namedtuple
from pathlib import Path

import pytest

from clip2scene.experiments.plan import whole
from clip2scene.experiments.plan.estimate import Range, Work, divisors
from clip2scene.experiments.plan.figures import Plan

Usage = namedtuple("Usage", "total used free")


def exactly(value):
    return Range(value, value, value)


def figures(plan):
    return {each.name: each for each in plan.figures}


@pytest.fixture
def ranks():
    def run(within, batch=4):
        plan = Plan("work")
        work = Work(exactly(3600.0), exactly(36000.0), divisors(batch))
        whole.plan_ranks(plan, work, within, called="rank", limit="a batch has no more", lacking="sending")
        return plan

    return run


def test_several_ranks_and_the_number_for_a_wanted_time_follow_from_amdahl(ranks):
    plan = ranks(6.0)
    found = figures(plan)
    assert found["in all, by 2 ranks"].value == 3600 + 18000
    assert found["in all, by 4 ranks"].value == 3600 + 9000
    assert "in all, by 8 ranks" not in found  # a batch of 4 cannot be shared so
    assert found["ranks for 6 hours"].value == 2
    assert found["what several ranks cost beside"].value is None
    assert not plan.lines


def test_a_time_that_no_number_reaches_is_a_fault_and_gets_no_number(ranks):
    plan = ranks(1.0)
    assert figures(plan)["ranks for 1 hours"].how == "not measured"
    (line,) = plan.lines
    assert line.mark == "fault" and "a batch has no more" in line.text


def test_one_rank_alone_is_told_nothing_of_several(ranks):
    assert not [
        name for name in figures(ranks(None, batch=1)) if "by" in name and "rank" in name and "in all" in name
    ]


def test_the_disk_is_compared_with_what_is_needed(monkeypatch, tmp_path):
    monkeypatch.setattr(whole.shutil, "disk_usage", lambda _: Usage(100, 90, 10))
    for need, mark in ((exactly(11.0), "fault"), (Range(9.0, 8.0, 12.0), "note"), (exactly(9.0), None)):
        plan = Plan("work")
        whole.plan_disk(plan, need, tmp_path / "not" / "there" / "yet")
        assert [line.mark for line in plan.lines] == ([mark] if mark else [])
        assert figures(plan)["disk, free"].value == 10


def test_a_disk_that_nobody_can_ask_is_one_fault(monkeypatch):
    def refuse(_):
        raise OSError("gone")

    monkeypatch.setattr(whole.shutil, "disk_usage", refuse)
    plan = Plan("work")
    whole.plan_disk(plan, exactly(1.0), Path())
    assert [line.mark for line in plan.lines] == ["fault"]


def test_the_sum_names_its_parts_and_what_it_leaves_out():
    plan = Plan("work")
    assert whole.plan_total(plan, {"a": exactly(1.0), "b": exactly(2.0)}, "c").value == 3.0
    assert plan.figures[0].basis == "a + b; not counted: c"
