import pytest
import torch
import torch.nn.functional as F

from clip2scene.inference.segmenter import Segmenter
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts

WORDS = {"car": [1.0, 0.0], "road": [0.0, 1.0], "both": [0.6, 0.8]}


class Features(torch.nn.Module):
    """A backbone that gives each point's own features."""

    out_channels = 2

    def forward(self, positions, features, batch_of_point):
        return features


def make_echo():
    """A student whose embedding of a point is that point's features."""
    student = Embedder(Features(), 2)
    torch.nn.init.eye_(student.head.weight)
    torch.nn.init.zeros_(student.head.bias)
    return student


def place(names):
    rows = torch.tensor([WORDS[name] for name in names])
    return Prompts(tuple(names), tuple(names), torch.arange(len(names)), rows)


@pytest.fixture
def segmenter():
    return Segmenter(make_echo(), place(["car", "road"]), place, in_channels=2)


CLOUD = PointCloud(torch.zeros(3, 3), torch.tensor([[2.0, 0.0], [0.0, 2.0], [3.0, 4.0]]))


def test_each_point_gets_the_word_it_is_closest_to(segmenter):
    segmenter.set_prompts(["road", "both", "car"])
    found = segmenter.segment(CLOUD)
    assert [found.names[label] for label in found.labels] == ["car", "road", "both"]
    assert found.embeddings is None


def test_embeddings_are_given_when_they_are_asked_for(segmenter):
    assert torch.equal(segmenter.segment(CLOUD, with_embeddings=True).embeddings, CLOUD.features)


def test_scores_are_the_softmax_over_the_words(segmenter):
    found = segmenter.segment(CLOUD)
    torch.testing.assert_close(found.scores, F.softmax(CLOUD.features, dim=1))
    assert found.names == ("car", "road")


def test_a_single_word_fits_where_no_class_of_the_background_fits_better(segmenter):
    segmenter.set_prompts(["car"])
    found = segmenter.segment(CLOUD)
    assert found.names == ("car",) and segmenter.num_compared == 2
    assert found.labels.tolist() == [0, -1, -1]
    torch.testing.assert_close(found.scores, F.softmax(CLOUD.features, dim=1)[:, :1])


def test_without_a_background_a_single_word_fits_everywhere(segmenter):
    segmenter.set_prompts(["car"], background="none")
    found = segmenter.segment(CLOUD)
    assert found.labels.tolist() == [0, 0, 0]
    assert found.scores.tolist() == [[1.0]] * 3


def test_the_background_may_be_given_in_words(segmenter):
    segmenter.set_prompts(["car"], background=["both"])
    assert segmenter.segment(CLOUD).labels.tolist() == [0, -1, -1]
    assert segmenter.background.classes == ("both",)
    with pytest.raises(ValueError, match="all different"):
        segmenter.set_prompts(["car"], background=["car"])


def test_points_below_the_least_score_get_no_word(segmenter):
    segmenter.set_prompts(["car", "road"])
    scores = segmenter.segment(CLOUD).scores.amax(1)
    found = segmenter.segment(CLOUD, abstain=float(scores.min()) + 1e-4)
    assert (found.labels == -1).tolist() == (scores == scores.min()).tolist()
    assert torch.equal(found.scores, segmenter.segment(CLOUD).scores)


def test_the_temperature_sharpens_scores_and_changes_no_label():
    plain, sharp = (
        Segmenter(make_echo(), place(["car", "road"]), place, in_channels=2, temperature=each).segment(CLOUD)
        for each in (1.0, 0.5)
    )
    assert torch.equal(plain.labels, sharp.labels)
    torch.testing.assert_close(sharp.scores, F.softmax(2 * CLOUD.features, dim=1))


@pytest.mark.parametrize("names", [[], [""], ["car", " "], ["car", "car"], ["car", "car "]])
def test_no_words_and_repeated_words_are_refused_and_the_old_ones_stay(segmenter, names):
    with pytest.raises(ValueError, match="all different and not empty"):
        segmenter.set_prompts(names)
    assert segmenter.prompts.classes == ("car", "road")


def test_one_string_is_not_taken_for_a_list_of_letters(segmenter):
    with pytest.raises(ValueError, match=r"a list of words.*\['car'\]"):
        segmenter.set_prompts("car")


def test_a_word_without_a_meaning_is_named(tiny_run):
    segmenter = Segmenter.load(tiny_run)
    with pytest.raises(ValueError, match="never taught zeppelin; .*words that it knows, such as .*car"):
        segmenter.set_prompts(["car", "zeppelin"])
    with pytest.raises(ValueError, match="'red zeppelin'|zeppelin"):
        segmenter.set_prompts(["red zeppelin"])


@pytest.mark.parametrize(
    ("positions", "features", "fault"),
    [
        (torch.zeros(0, 3), torch.zeros(0, 1), "no points|empty|at least one"),
        (torch.tensor([[0.0, torch.nan, 0.0]]), torch.zeros(1, 1), "NaN|finite"),
        (torch.zeros(2, 3), torch.tensor([[0.5], [torch.inf]]), "NaN|finite"),
        (torch.zeros(2, 3), torch.zeros(2, 3), "channel|features"),
        (torch.zeros(2, 3), torch.zeros(2, 0), "channel|features"),
        (torch.tensor([[0.0, 0.0, 0.0], [1e9, 0.0, 0.0]]), torch.zeros(2, 1), "too far"),
    ],
)
def test_a_cloud_that_the_student_cannot_read_is_refused(tiny_run, positions, features, fault):
    with pytest.raises(ValueError, match=fault):
        Segmenter.load(tiny_run).segment(PointCloud(positions, features))


def test_a_cloud_of_one_point_is_labelled(tiny_run):
    found = Segmenter.load(tiny_run).segment(PointCloud(torch.ones(1, 3), torch.ones(1, 1)))
    assert found.scores.isfinite().all()
    assert found.labels.shape == (1,)
