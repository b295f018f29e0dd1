import pytest
import torch
from tests.ranks_in_threads import on_ranks

from clip2scene.classes.mapping import ClassMapping
from clip2scene.distill.lifted import LiftedSample
from clip2scene.evaluation.counting import Counts
from clip2scene.evaluation.reliability import Reliability
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts

PROMPTS = Prompts(("road", "wall", "car"), ("road", "wall", "car"), torch.arange(3), torch.eye(3))


class Features(torch.nn.Module):
    """A backbone that gives each point's own features."""

    out_channels = 3

    def forward(self, positions, features, batch_of_point):
        return features


@pytest.fixture
def echo():
    """A student whose logits of a point are that point's features."""
    student = Embedder(Features(), 3)
    torch.nn.init.eye_(student.head.weight)
    torch.nn.init.zeros_(student.head.bias)
    return student


def make_sample(logits, truth):
    """Points of which the student and, at all of them, the teacher have the same logits."""
    cloud = PointCloud(torch.rand(len(truth), 3), torch.tensor(logits))
    return LiftedSample(cloud, torch.arange(len(truth)), torch.tensor(logits), torch.tensor(truth))


WALL_THEN_ROAD = [0.5, 0.9, 0.1]


def test_a_class_that_a_data_set_does_not_name_is_never_the_answer_there(echo):
    counts = Counts(echo, PROMPTS, sources=("a", "b"))
    counts.add([make_sample([WALL_THEN_ROAD], [1])], source="a", named={0, 1, 2})
    counts.add([make_sample([WALL_THEN_ROAD], [0])], source="b", named={0, 2})
    scores = counts.scores()
    for column in ("student", "teacher", "voted", "student:a", "student:b"):
        assert scores[column].accuracy == 1, column
    assert scores["student"].num_points == 2 and scores["student:b"].num_points == 1


def test_words_that_stand_for_no_class_stay_wrong(echo):
    mapping = ClassMapping(("road", "car"), torch.tensor([0, -1, 1]))
    counts = Counts(echo, PROMPTS, mapping, sources=("a",))
    counts.add([make_sample([WALL_THEN_ROAD], [0])], source="a", named={0, 1})
    assert counts.scores()["student:a"].unanswered == (1, 0)


def test_a_student_that_knows_none_of_the_classes_chooses_among_all(echo):
    mapping = ClassMapping(("road", "wall", "car", "boat"), torch.arange(3))
    counts = Counts(echo, PROMPTS, mapping, sources=("a",))
    counts.add([make_sample([WALL_THEN_ROAD], [3])], source="a", named={3})
    assert counts.scores()["student"].accuracy == 0


def test_what_ranks_count_adds_up_to_what_one_process_counts(echo):
    generator = torch.Generator().manual_seed(0)
    samples = [
        make_sample(
            torch.rand(50, 3, generator=generator).tolist(),
            torch.randint(-1, 3, (50,), generator=generator).tolist(),
        )
        for _ in range(5)
    ]

    def count(mine):
        counts = Counts(echo, PROMPTS, reliability=Reliability(), sources=("a",))
        counts.add(mine, source="a")
        counts.add_up()
        return counts

    alone = count(samples)
    for counts in on_ranks(3, count, [samples[rank::3] for rank in range(3)]):
        found, wanted = counts.scores(), alone.scores()
        assert {name: (each.confusion, each.unanswered) for name, each in found.items()} == {
            name: (each.confusion, each.unanswered) for name, each in wanted.items()
        }
        assert counts.reliability.points.equal(alone.reliability.points)
        assert counts.reliability.right.equal(alone.reliability.right)
        torch.testing.assert_close(counts.reliability.scores, alone.reliability.scores, rtol=1e-12, atol=0)
