import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from clip2scene.config import LabelsConfig
from clip2scene.inference import rank_scenes as ranking
from clip2scene.inference.rank_scenes import (
    SATURATION,
    class_uncertainty,
    rank,
    rank_by_coverage,
    read_ranking,
)
from clip2scene.io import read_json
from clip2scene.recipes import fine_tuned
from clip2scene.runs.init_weights import init_weights_of
from clip2scene.runs.run import open_run
from clip2scene.training.train import finetune


def test_what_is_uncertain_and_not_yet_covered_comes_first():
    uncertainty = SATURATION * torch.tensor([[3.0, 0.0], [7.0, 0.0], [0.0, 1.0]])
    ranked = rank_by_coverage(["few", "many", "rare"], uncertainty)
    # log 8 is the most; then log 2 for the rare, against log(11 / 8) for more of the same.
    assert ranked.units == ("many", "rare", "few")
    assert ranked.scores == pytest.approx([math.log(8), math.log(2), math.log(11 / 8)])


def test_greedy_order_is_that_of_trying_all():
    uncertainty = 50 * torch.rand(12, 4, generator=torch.Generator().manual_seed(0)) ** 3
    chosen = []
    while len(chosen) < 12:
        covered = {
            each: sum(
                math.log(1 + float(uncertainty[[*chosen, each], c].sum()) / SATURATION) for c in range(4)
            )
            for each in range(12)
            if each not in chosen
        }
        chosen.append(max(covered, key=covered.get))
    assert rank_by_coverage([str(n) for n in range(12)], uncertainty).units == tuple(map(str, chosen))


def test_uncertainty_is_the_entropy_of_the_points_predicted_as_each_class():
    shares = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.24, 0.26, 0.25, 0.25]])
    found = class_uncertainty(shares.clamp_min(1e-30).log())
    assert found.tolist() == pytest.approx([0.5, 1.0, 0.0, 0.0], abs=1e-3)


def test_a_run_ranks_a_split_without_labels(tiny_run, tiny_toytown, tmp_path):
    ranked = rank(tiny_run, data_root=tiny_toytown, by="keyframe", out=tmp_path / "order.json")
    assert len(ranked.units) == 2
    assert ranked.scores[0] >= ranked.scores[1] > 0
    assert read_ranking(tmp_path / "order.json") == ("keyframe", ranked.units)
    scenes = rank(tiny_run, data_root=tiny_toytown, out=tmp_path / "scenes.json")
    assert len(scenes.units) == 1


@pytest.mark.parametrize("content", [[], {"by": "scene"}, {"by": "scene", "order": [3]}, {"order": ["a"]}])
def test_a_file_that_is_no_ranking_is_refused(tmp_path, content):
    (tmp_path / "order.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is no ranking"):
        read_ranking(tmp_path / "order.json")


def test_what_is_labelled_counts_as_covered():
    uncertainty = SATURATION * torch.tensor([[8.0, 0.0], [0.0, 1.0]])
    ranked = rank_by_coverage(["alike", "other"], uncertainty, covered=SATURATION * torch.tensor([9.0, 0.0]))
    assert ranked.units == ("other", "alike")
    assert ranked.scores == pytest.approx([math.log(2), math.log(18 / 10)])


@pytest.fixture(scope="module")
def tuned(tiny_run, tiny_recipe, tiny_toytown, tmp_path_factory):
    """Fine-tunes ``tiny_run`` with so many of the two keyframes of a scene; read it, never write to it."""

    @cache
    def run(count):
        folder = tmp_path_factory.mktemp("tuned") / "run"
        labels = LabelsConfig(by="keyframe", count=count, absent="allow")
        recipe = replace(fine_tuned(tiny_recipe), labels=labels, steps=1)
        finetune(recipe, data_root=tiny_toytown, out=folder, start=init_weights_of(tiny_run))
        return folder

    return run


def test_what_a_run_was_trained_on_stands_in_front(tuned, tiny_toytown, tmp_path):
    run = tuned(1)
    ranked = rank(run, data_root=tiny_toytown, by="keyframe", out=tmp_path / "order.json")
    assert (len(ranked.units), len(ranked.scores), ranked.labelled) == (2, 1, 1)
    assert ranked.units[:1] == open_run(run).subset.tokens
    assert read_json(tmp_path / "order.json")["labelled"] == 1
    assert read_ranking(tmp_path / "order.json") == ("keyframe", ranked.units)
    scenes = rank(run, data_root=tiny_toytown, by="scene", out=tmp_path / "scenes.json")
    assert (len(scenes.units), len(scenes.scores), scenes.labelled) == (1, 1, 0)  # half of it is left


def test_a_scene_labelled_in_part_counts_with_the_rest(tuned, tiny_toytown, tmp_path, monkeypatch):
    """Each keyframe has an uncertainty of 20: the labelled half of the scene covers 10, the other adds 10."""
    uncertainty = SATURATION * torch.eye(len(open_run(tuned(1)).prompts.classes))[0]
    monkeypatch.setattr(ranking, "class_uncertainty", lambda _: uncertainty)
    scenes = rank(tuned(1), data_root=tiny_toytown, out=tmp_path / "scenes.json")
    assert scenes.scores == pytest.approx([math.log(2.0) - math.log(1.5)])


def test_nothing_left_to_rank_is_said_and_no_list_is_written(tuned, tiny_toytown, tmp_path):
    with pytest.raises(ValueError, match="the labels of all 2 keyframes of split 'train' .* none is left to"):
        rank(tuned(2), data_root=tiny_toytown, by="keyframe", out=tmp_path / "order.json")
    assert not (tmp_path / "order.json").exists()
