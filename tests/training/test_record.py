import json
from copy import deepcopy

import pytest
import torch
from tests.ranks_in_threads import on_ranks
from tests.training.test_train import CPU, make_run

from clip2scene.runs.cost import Cost
from clip2scene.training.record import recording
from clip2scene.training.state import resume


@pytest.fixture
def write_two(tmp_path):
    """Write down two steps, as one of some ranks."""
    run, _ = make_run(tmp_path)
    begun = resume(run, CPU)

    def write():
        state = deepcopy(begun)
        cost = Cost(tmp_path, "pretrain", CPU)
        with recording(run, state, [], device=CPU, save_every=2, cost=cost) as record:
            for step in (1, 2):
                state.step = step
                record({"loss": torch.tensor(2.5), "scr": torch.tensor(2.5)})

    return write


def test_steps_are_logged_and_saved_with_their_cost_now_and_then(write_two, tmp_path):
    write_two()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"], line["scr"]) for line in lines] == [(1, 2.5, 2.5), (2, 2.5, 2.5)]
    assert (tmp_path / "checkpoint.safetensors").exists()
    assert json.loads((tmp_path / "cost.json").read_text())["calls"][0]["steps"] == [0, 2]


def test_only_the_first_of_several_ranks_writes(write_two, tmp_path):
    on_ranks(3, write_two)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
    assert len(list(tmp_path.glob("checkpoint*"))) == 1
