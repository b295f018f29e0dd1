import json
from dataclasses import replace

import pytest
import torch

from clip2scene.config import LabelsConfig
from clip2scene.ranking import rank, rank_by, read_ranking
from clip2scene.recipes import fine_tuned
from clip2scene.run import open_run, open_start
from clip2scene.train import finetune


def test_the_most_doubtful_comes_first_and_then_what_is_doubtful_and_unlike_it():
    places = torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 0.0], [0.0, 4.0]])
    doubts = torch.tensor([0.5, 0.9, 0.3, 0.4])
    ranked = rank_by(["a", "b", "c", "d"], doubts, places)
    # After b: a is 0.1 away (0.05), c 4.9 (1.47), d 4.0 (1.60). After d: c 1.47, a 0.05.
    assert ranked.units == ("b", "d", "c", "a")
    assert ranked.scores == pytest.approx((0.9, 1.6005, 1.47, 0.05), abs=1e-3)


def test_alike_scenes_come_last_but_all_are_listed():
    places = torch.tensor([[1.0], [1.0], [2.0]])
    ranked = rank_by(["a", "twin", "other"], torch.tensor([0.6, 0.5, 0.1]), places)
    assert ranked.units == ("a", "other", "twin")


def test_greedy_order_is_that_of_trying_all():
    generator = torch.Generator().manual_seed(0)
    places, doubts = torch.rand(12, 4, generator=generator), torch.rand(12, generator=generator)
    chosen = [int(doubts.argmax())]
    while len(chosen) < 12:
        gains = {
            each: float(doubts[each]) * min(float((places[each] - places[other]).norm()) for other in chosen)
            for each in range(12)
            if each not in chosen
        }
        chosen.append(max(gains, key=gains.get))
    assert rank_by([str(n) for n in range(12)], doubts, places).units == tuple(map(str, chosen))


def test_a_run_ranks_a_split_without_labels(tiny_run, tiny_toytown, tmp_path):
    ranked = rank(tiny_run, data_root=tiny_toytown, by="keyframe", out=tmp_path / "order.json")
    assert len(ranked.units) == 2
    assert 0 < ranked.scores[0] < 1
    assert read_ranking(tmp_path / "order.json") == ("keyframe", ranked.units)
    scenes = rank(tiny_run, data_root=tiny_toytown, out=tmp_path / "scenes.json")
    assert len(scenes.units) == 1


@pytest.mark.parametrize("content", [[], {"by": "scene"}, {"by": "scene", "order": [3]}, {"order": ["a"]}])
def test_a_file_that_is_no_ranking_is_refused(tmp_path, content):
    (tmp_path / "order.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is no ranking"):
        read_ranking(tmp_path / "order.json")


def test_what_is_labelled_is_not_listed_and_what_is_like_it_comes_last():
    places = torch.tensor([[0.0], [0.1], [5.0], [3.0]])
    ranked = rank_by(["labelled", "alike", "far", "near"], torch.ones(4), places, known=1)
    assert ranked.units == ("far", "near", "alike")
    assert ranked.scores == pytest.approx((5.0, 2.0, 0.1))


def test_a_run_does_not_rank_what_it_has_learnt_from(tiny_run, tiny_recipe, tiny_toytown, tmp_path):
    labels = LabelsConfig(by="keyframe", count=1, absent="allow")
    recipe = replace(fine_tuned(tiny_recipe), labels=labels, steps=1)
    finetune(recipe, data_root=tiny_toytown, out=tmp_path / "run", start=open_start(tiny_run))
    ranked = rank(tmp_path / "run", data_root=tiny_toytown, by="keyframe", out=tmp_path / "order.json")
    assert len(ranked.units) == 1
    assert ranked.units[0] not in open_run(tmp_path / "run").subset.tokens
