import json
import math
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from tests.ranks_in_threads import refusals

from clip2scene.classes.mapping import ClassMapping
from clip2scene.config import Recipe, TeacherConfig
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.distill.lifted import LiftedSample
from clip2scene.evaluation import evaluate as evaluate_module
from clip2scene.evaluation.counting import COLUMNS
from clip2scene.evaluation.evaluate import evaluate_samples, write_metrics
from clip2scene.evaluation.reliability import Reliability
from clip2scene.io import read_json
from clip2scene.runs import builtin, copies
from clip2scene.runs import run as run_module
from clip2scene.runs.run import Run
from clip2scene.runs.sources import Sources
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts

PROMPTS = Prompts(("ground", "wall"), ("ground", "wall"), torch.arange(2), torch.eye(2))


class Features(torch.nn.Module):
    """A backbone that gives each point's own features."""

    out_channels = 2

    def forward(self, positions, features, batch_of_point):
        return features


def make_echo():
    """A student whose embedding of a point is that point's features: the test decides what it predicts."""
    student = Embedder(Features(), 2)
    torch.nn.init.eye_(student.head.weight)
    torch.nn.init.zeros_(student.head.bias)
    return student


def make_sample(student, truth, pairs, superpoints=None):
    """A sample of hand-made predictions.

    Args:
        student: Its prediction at each point.
        truth: The labels.
        pairs: (point, the teacher's logits) of each pair.
        superpoints: Piece of each point.
    """
    cloud = PointCloud(torch.rand(len(truth), 3), torch.eye(2)[torch.tensor(student)])
    points = torch.tensor([point for point, _ in pairs], dtype=torch.long)
    logits = torch.tensor([logits for _, logits in pairs]).reshape(-1, 2).float()
    pieces = None if superpoints is None else torch.tensor(superpoints)
    return LiftedSample(cloud, points, logits, torch.tensor(truth), pieces)


def test_each_column_scores_its_predictions_on_its_points():
    pairs = [(0, [1.0, 0.0]), (1, [1.0, 0.0]), (1, [0.0, 3.0]), (2, [5.0, 0.0])]
    sample = make_sample(student=[0, 1, 1, 0], truth=[0, 1, 1, 1], pairs=pairs)
    scores = evaluate_samples(make_echo(), PROMPTS, [sample])
    assert scores["student"].confusion == ((1, 0), (1, 2))
    assert scores["student_seen"].confusion == ((1, 0), (0, 2))
    assert scores["student_unseen"].confusion == ((0, 0), (1, 0))
    assert scores["teacher_seen"].confusion == ((1, 0), (1, 1))  # at point 1 its two pairs add up to "wall"
    assert scores["teacher_seen"].unanswered == (0, 0)
    assert scores["teacher"].confusion == ((1, 0), (1, 1))
    assert scores["teacher"].unanswered == (0, 1)  # the point that no camera sees counts as wrong
    assert scores["random"].num_points == scores["student"].num_points == 4
    assert set(scores) == {*COLUMNS, "random"}


def test_teacher_vote_and_student_are_all_scored_in_the_classes_of_the_labels():
    """Three prompts, the last two of which stand for one class of the labels."""
    prompts = Prompts(("road", "car", "bus"), ("road", "car", "bus"), torch.arange(3), torch.eye(3)[:, :2])
    mapping = ClassMapping(("vehicle", "ground"), torch.tensor([1, 0, 0]))
    cloud = PointCloud(torch.rand(2, 3), torch.eye(2))  # the student says road, then car
    logits = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    sample = LiftedSample(cloud, torch.arange(2), logits, torch.tensor([0, 1]), torch.tensor([0, -1]))
    scores = evaluate_samples(make_echo(), prompts, [sample], mapping)
    assert scores["student"].confusion == ((0, 1), (1, 0))
    assert scores["teacher"].confusion == scores["voted"].confusion == ((1, 0), (0, 1))


def test_the_vote_of_a_superpoint_reaches_its_invisible_points():
    pairs = [(0, [0.0, 2.0]), (1, [1.0, 0.0]), (3, [1.0, 0.0])]
    sample = make_sample([0] * 4, truth=[1, 1, 1, 0], pairs=pairs, superpoints=[0, 0, 0, -1])
    scores = evaluate_samples(make_echo(), PROMPTS, [sample])
    assert scores["voted"].confusion == ((1, 0), (0, 3))
    assert scores["voted_seen"].confusion == ((1, 0), (0, 2))
    assert scores["teacher"].confusion == ((1, 0), (1, 1))


def test_without_superpoints_the_vote_is_the_teachers_own_label():
    sample = make_sample([0, 0], [0, 1], [(0, [0.0, 1.0])])
    scores = evaluate_samples(make_echo(), PROMPTS, [sample])
    assert scores["voted"] == scores["teacher"]


def test_scores_are_counted_over_the_split_and_not_averaged_over_samples():
    small = make_sample([1], [0], [])
    large = make_sample([0] * 9, [0] * 9, [])
    scores = evaluate_samples(make_echo(), PROMPTS, iter([small, large]))
    assert scores["student"].accuracy == pytest.approx(0.9)
    assert scores["student"].iou["ground"] == pytest.approx(0.9)
    assert math.isnan(scores["teacher_seen"].miou)  # it saw nothing


def test_points_without_a_true_label_are_not_evaluated():
    scores = evaluate_samples(make_echo(), PROMPTS, [make_sample([0, 1, 1], [0, -1, -1], [])])
    assert scores["student"].num_points == 1
    assert scores["student"].accuracy == 1


def test_a_split_without_labels_cannot_be_evaluated():
    sample = make_sample([0], [0], [])
    with pytest.raises(ValueError, match="needs a data set with labels"):
        evaluate_samples(
            make_echo(), PROMPTS, [LiftedSample(sample.cloud, sample.pair_points, sample.pair_logits, None)]
        )


def test_metrics_tell_how_the_student_was_trained(tmp_path):
    scores = evaluate_samples(make_echo(), PROMPTS, [make_sample([0, 1, 1], [0, 0, 0], [])])
    recipe = Recipe("mine", teacher=TeacherConfig(trained_on_2d_labels=True), seed=7, supervision="labels")
    write_metrics(Run(tmp_path, recipe, PROMPTS, Sources(None, "", 1, 1, "")), "test", scores, Reliability())
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["miou"] == metrics["columns"]["student"]["miou"] == pytest.approx(1 / 3)
    assert metrics["iou"]["wall"] is None  # absent from the truth
    assert metrics["columns"]["teacher_seen"]["miou"] is None
    assert [metrics[key] for key in ("split", "recipe", "seed")] == ["test", "mine", 7]
    assert metrics["teacher_trained_on_2d_labels"] and not metrics["label_free"]


def counted(monkeypatch, owner, name, counts):
    """Count the calls of a function of a module, or a constructor."""
    real = getattr(owner, name)

    def call(*args, **options):
        counts[f"{owner.__name__.rpartition('.')[2]}.{name}"] += 1
        return real(*args, **options)

    monkeypatch.setattr(owner, name, call)


def test_scores_and_pictures_open_everything_once(tiny_run, tiny_toytown, tmp_path, monkeypatch, call):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    shutil.rmtree(run / "carried" / "val")  # so that the teacher is needed as well
    counts = Counter()
    counted(monkeypatch, NuScenes, "__init__", counts)
    counted(monkeypatch, evaluate_module, "open_run", counts)
    counted(monkeypatch, run_module, "load_clip", counts)
    counted(monkeypatch, run_module, "load_checkpoint", counts)
    code, said, err = call("evaluate", run, "--data-root", tiny_toytown, "--pictures", 2)
    assert code == 0 and said.count("drew ") == 6, err
    assert counts == {
        "NuScenes.__init__": 1,
        "evaluate.open_run": 1,
        "run.load_clip": 1,
        "run.load_checkpoint": 1,
    }


def test_the_student_in_the_package_is_evaluated_in_a_copy(
    tiny_run, tiny_toytown, tmp_path, monkeypatch, call
):
    for module in (builtin, copies):
        monkeypatch.setattr(module, "ASSET", tiny_run)
    monkeypatch.chdir(tmp_path)
    before = sorted(tiny_run.rglob("*"))
    evaluated = ("evaluate", "builtin", "--data-root", tiny_toytown, "--pictures", 0)
    code, _, err = call(*evaluated)
    assert code == 1 and "builtin is a part of the package" in err and "--out" in err
    code, said, err = call(*evaluated, "--out", "scored")
    assert code == 0, err
    assert "wrote scored/metrics.json" in said
    assert call("evaluate", tiny_run, *evaluated[2:], "--out", "named")[0] == 0
    assert read_json(Path("scored/metrics.json")) == read_json(Path("named/metrics.json"))
    assert sorted(tiny_run.rglob("*")) == before


def test_ranks_that_evaluate_other_splits_are_refused(tiny_run, tiny_toytown):
    errors = refusals(
        2,
        lambda split: evaluate_module.open_evaluation(tiny_run, data_root=tiny_toytown, split=split),
        ["val", "train"],
    )
    assert all("--split train (there val)" in error for error in errors)
