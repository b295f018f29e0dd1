import pytest
import torch

from clip2scene.distill.batch import Batch
from clip2scene.distill.self_training import self_training_predictions, switch_targets
from clip2scene.student.model import Embedder
from clip2scene.types import IGNORE_LABEL, Prompts

PROMPTS = Prompts(("ground", "wall"), ("ground", "wall"), torch.arange(2), torch.eye(2))


def make_batch(num_points, target_points, targets):
    points = torch.zeros(num_points, 3)
    item = torch.zeros(num_points, dtype=torch.long)
    return Batch(points, points[:, :1], item, torch.tensor(target_points), torch.tensor(targets))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_one_draw_switches_a_whole_step():
    batch = make_batch(4, [0, 1, 1, 3], [0, 0, 0, 0])
    own = torch.ones(4, dtype=torch.long)
    outcomes = [
        switch_targets(batch, own, generator(seed), probability=0.5).targets.tolist() for seed in range(40)
    ]
    assert all(each in ([0, 0, 0, 0], [1, 1, 1, 1]) for each in outcomes)
    assert 10 < sum(each == [1, 1, 1, 1] for each in outcomes) < 30


def test_a_draw_for_each_point_switches_about_that_share():
    batch = make_batch(1000, list(range(1000)), [0] * 1000)
    own = torch.ones(1000, dtype=torch.long)
    switched = switch_targets(batch, own, generator(), probability=0.3, switch="point").targets
    assert 250 < int(switched.sum()) < 350


def test_where_the_student_is_unsure_the_teachers_target_stays():
    batch = make_batch(3, [0, 1, 2], [0, 0, 0])
    own = torch.tensor([1, IGNORE_LABEL, 1])
    assert switch_targets(batch, own, generator(), probability=1.0).targets.tolist() == [1, 0, 1]


def test_points_that_nobody_teaches_join_when_asked_to():
    batch = make_batch(5, [3, 3], [0, 1])
    own = torch.tensor([1, 0, IGNORE_LABEL, 1, 1])
    alone = switch_targets(batch, own, generator(), probability=0.0)
    assert (alone.target_points.tolist(), alone.targets.tolist()) == ([3, 3], [0, 1])
    joined = switch_targets(batch, own, generator(), probability=0.0, unseen=True)
    assert (joined.target_points.tolist(), joined.targets.tolist()) == ([3, 3, 0, 1, 4], [0, 1, 1, 0, 1])


class Echo(torch.nn.Module):
    out_channels = 2

    def forward(self, positions, features, batch_of_point):
        return features


def make_student():
    student = Embedder(Echo(), 2)
    torch.nn.init.eye_(student.head.weight)
    torch.nn.init.zeros_(student.head.bias)
    return student


def test_an_answer_is_the_best_class_if_its_share_suffices():
    point_features = torch.tensor([[3.0, 0.0], [0.0, 0.2], [0.0, 3.0]])
    student = make_student()
    assert self_training_predictions(student, point_features, None, PROMPTS).tolist() == [0, 1, 1]
    assert self_training_predictions(student, point_features, None, PROMPTS, confidence=0.9).tolist() == [
        0,
        IGNORE_LABEL,
        1,
    ]


def test_a_superpoint_settles_on_one_answer():
    point_features = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    pieces = torch.tensor([0, 0, -1])
    assert self_training_predictions(make_student(), point_features, pieces, PROMPTS).tolist() == [0, 0, 1]


@pytest.mark.parametrize("confidence", [0.0, 0.5])
def test_own_answers_carry_no_gradient(confidence):
    point_features = torch.rand(3, 2, requires_grad=True)
    answers = self_training_predictions(make_student(), point_features, None, PROMPTS, confidence=confidence)
    assert not answers.requires_grad
