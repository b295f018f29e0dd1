"""What a simulated person clicks on, and which scores may stand beside each other."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def loop():
    path = Path(__file__).parents[1] / "benchmarks" / "correction_loop.py"
    spec = importlib.util.spec_from_file_location("correction_loop", path)
    sys.modules["correction_loop"] = module = importlib.util.module_from_spec(spec)  # for its dataclass
    spec.loader.exec_module(module)
    yield module
    del sys.modules["correction_loop"]


class Start:
    def __init__(self, weight=1.0):
        self.weight = weight

    def student(self):
        student = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(student.weight, self.weight)
        torch.nn.init.zeros_(student.bias)
        return student


def asked(out, **changes):
    settings = {"clicks": [0, 10], "seeds": [0], "people": ["worst"], "steps": 100, "rest": "start"}
    return argparse.Namespace(out=out, run=out, data_root=out, **settings | changes)


def test_scores_of_other_settings_are_refused(loop, tmp_path):
    loop.check_settings(asked(tmp_path), Start())
    loop.check_settings(asked(tmp_path, seeds=[1, 2], clicks=[5, 10], people=["random"]), Start())
    for changes, start in (
        ({"steps": 40}, Start()),
        ({"rest": "nothing"}, Start()),
        ({"clicks": [20]}, Start()),
        ({}, Start(2.0)),
    ):
        with pytest.raises(ValueError, match="holds scores of other settings"):
            loop.check_settings(asked(tmp_path, **changes), start)
    (tmp_path / "settings.json").unlink()
    (tmp_path / "clicks.json").touch()
    with pytest.raises(ValueError, match="holds scores of unknown settings"):
        loop.check_settings(asked(tmp_path), Start())


def test_the_walk_takes_some_wrong_pieces_of_each_keyframe_and_comes_back(loop):
    def click(token, piece, wrong=True):
        return loop.Click(token, piece, label=0, points=9, wrong=wrong)

    clicks = {
        "a": [click("a", 0), click("a", 1, wrong=False), click("a", 2), click("a", 3)],
        "b": [click("b", 0)],
    }
    taken = [(each.token, each.piece) for each in loop.walk(["b", "a"], clicks, 2)]
    assert taken == [("b", 0), ("a", 0), ("a", 2), ("a", 3)]
