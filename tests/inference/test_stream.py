import pytest
import torch

from clip2scene.inference.segmenter import Segmenter
from clip2scene.inference.stream import SegmenterStream, StreamOptions
from clip2scene.types import IGNORE_LABEL, PointCloud, Prompts

HERE = torch.eye(4, dtype=torch.float64)
PLACES = torch.tensor([[1.0, 0.05, 0.05], [5.0, 0.05, 0.05], [9.0, 0.05, 0.05]])


class Told(Segmenter):
    """Says of the points of a cloud what their features say: scores of two words and of one background."""

    def __init__(self):
        prompts = Prompts(("left", "right"), ("left", "right"), torch.arange(2), torch.eye(2))
        self.prompts = self._trained = prompts
        self.background = None

    def all_scores(self, cloud, **options):
        return cloud.features


def cloud(*scores, at=PLACES):
    return PointCloud(at[: len(scores)], torch.tensor(scores))


LEFT, RIGHT, NONE = [0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]


@pytest.fixture
def stream():
    return SegmenterStream(Told(), StreamOptions(seconds=1.0, cube_m=0.2))


def moved(x):
    pose = HERE.clone()
    pose[0, 3] = x
    return pose


def test_what_was_said_of_a_place_counts_until_it_fades(stream):
    for time_s in (0.0, 0.1):
        assert stream.push(cloud(LEFT, LEFT), HERE, time_s).labels.tolist() == [0, 0]
    found = stream.push(cloud(RIGHT, LEFT), HERE, 0.2)
    weight = torch.exp(torch.tensor([-0.2, -0.1])).sum()
    assert found.labels.tolist() == [0, 0]
    expected = (torch.tensor(RIGHT) + weight * torch.tensor(LEFT)) / (1 + weight)
    torch.testing.assert_close(found.scores[0], expected[:2])
    assert stream.push(cloud(RIGHT), HERE, 9.0).labels.tolist() == [1]


def test_memories_are_of_places_in_the_world(stream):
    stream.push(cloud(LEFT, NONE), HERE, 0.0)
    found = stream.push(cloud(RIGHT, RIGHT), moved(-4.0), 0.0)  # its second point lies where the first did
    assert found.labels.tolist() == [1, 0]


def test_none_of_the_words_is_remembered_too(stream):
    for time_s in (0.0, 0.1, 0.2):
        stream.push(cloud(NONE), HERE, time_s)
    assert stream.push(cloud(RIGHT), HERE, 0.3).labels.tolist() == [IGNORE_LABEL]


def test_points_of_one_cube_count_as_one(stream):
    together = PLACES[:1].expand(5, 3)
    stream.push(cloud(*[LEFT] * 5, at=together), HERE, 0.0)
    found = stream.push(cloud(RIGHT), HERE, 0.0)
    torch.testing.assert_close(found.scores[0], torch.tensor([0.55, 0.35]))


@pytest.mark.parametrize(("pose", "time_s"), [(HERE, -1.0), (moved(20_000.0), 0.1)])
def test_a_clock_that_goes_back_or_a_far_place_begins_anew(pose, time_s, stream):
    stream.push(cloud(LEFT), HERE, 0.0)
    stream.push(cloud(RIGHT), pose, time_s)
    assert stream.push(cloud(RIGHT), pose, time_s).labels.tolist() == [1]


@pytest.mark.parametrize("metres", [100.0, 4_500_000.0])
def test_where_the_world_begins_does_not_matter_and_poses_stay_as_they_are(metres, stream):
    stream.push(cloud(LEFT), moved(metres), 1.7e9)
    pose = moved(metres)
    assert stream.push(cloud(RIGHT), pose, 1.7e9).labels.tolist() == [0]
    assert torch.equal(pose, moved(metres))


def test_what_is_forgotten_takes_no_memory(stream):
    stream.push(cloud(LEFT, LEFT, LEFT), HERE, 0.0)
    stream.push(cloud(LEFT), HERE, 60.0)
    assert len(stream._keys) == len(stream._sums) == len(stream._weights) == 1


def test_points_without_a_sure_word_get_none():
    stream = SegmenterStream(Told(), StreamOptions(abstain=0.7))
    assert stream.push(cloud(LEFT, RIGHT), HERE, 0.0).labels.tolist() == [0, IGNORE_LABEL]


def test_unfit_poses_and_memories_are_told(stream):
    with pytest.raises(ValueError, match="world_from_cloud"):
        stream.push(cloud(LEFT), 2 * HERE, 0.0)
    with pytest.raises(ValueError, match="memory of 0 seconds in cubes of 0.4 m; expected both above 0"):
        StreamOptions(seconds=0.0)


def test_a_first_cloud_is_labelled_as_it_is_alone(tiny_run, tiny_toytown):
    from clip2scene.datasets.nuscenes.loader import NuScenes

    sample = NuScenes(tiny_toytown, split="val", labels=False)[0]
    segmenter = Segmenter.load(tiny_run)
    segmenter.set_prompts(["road", "tree"])
    alone, first = segmenter.segment(sample.cloud), SegmenterStream(segmenter).push(sample.cloud, HERE, 0.0)
    assert torch.equal(alone.labels, first.labels) and torch.equal(alone.scores, first.scores)
