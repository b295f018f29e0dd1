from collections import defaultdict

import pytest
import torch

from clip2scene.geometry.place_votes import PlaceVotes

SIZE = 0.5


def make_moments(count=6, points=400, classes=3, seed=0):
    """Points of several moments around the origin, on both sides of it, and scores of any size."""
    draw = torch.Generator().manual_seed(seed)
    spans = torch.tensor([60.0, 60.0, 3.0]).double()
    return [
        (
            (torch.rand(points, 3, generator=draw).double() - 0.5) * spans,
            torch.rand(points, classes, generator=draw) + 0.01,
        )
        for _ in range(count)
    ]


def gather(moments, asked, **how):
    with PlaceVotes(SIZE, moments[0][1].shape[1], **how) as votes:
        for positions, scores in moments:
            votes.add(positions, scores)
        return votes.at(asked)


def count_slowly(moments, asked):
    """Each moment gives each place it has points in one vote, shared as the points' scores are."""
    classes = moments[0][1].shape[1]
    votes = defaultdict(lambda: torch.zeros(classes, dtype=torch.double))

    def place_of(position):
        return tuple(int(each // SIZE) for each in position.tolist())

    for positions, scores in moments:
        sums = defaultdict(lambda: torch.zeros(classes, dtype=torch.double))
        for position, score in zip(positions, scores, strict=True):
            sums[place_of(position)] += score.double()
        for place, total in sums.items():
            votes[place] += total / total.sum()
    return torch.stack([votes[place_of(position)] for position in asked])


def test_every_moment_has_one_vote_on_each_place():
    moments = make_moments(points=1500)
    asked = torch.cat([moments[0][0][:200], moments[0][0][:50] + 1000.0])
    found, slow = gather(moments, asked), count_slowly(moments, asked)
    assert slow.sum(1).max() > 1.5, "some places were seen by more than one moment"
    assert torch.allclose(found.double(), slow, atol=6 * 3 / 4096)
    assert not found[200:].any(), "where nobody voted, there are no votes"


def test_many_points_of_one_moment_do_not_outvote_two_moments():
    near = torch.zeros(100, 3).double(), torch.tensor([[1.0, 0.0]]).repeat(100, 1)
    far = torch.zeros(1, 3).double(), torch.tensor([[0.0, 1.0]])
    assert gather([near, far, far], far[0]).tolist() == [[1.0, 2.0]]


def test_the_order_of_moments_and_of_points_changes_no_bit():
    moments = make_moments()
    asked = torch.cat([positions for positions, _ in moments])
    turned = [(positions.flip(0), scores.flip(0)) for positions, scores in moments[::-1]]
    exact = [(positions, (64 * scores).round()) for positions, scores in moments]  # sums of these are exact
    exact_turned = [(positions, (64 * scores).round()) for positions, scores in turned]
    assert torch.equal(gather(exact, asked), gather(exact_turned, asked))
    assert torch.allclose(gather(moments, asked), gather(turned, asked), atol=2 / 4096)


@pytest.mark.parametrize("tile", [0.5, 8.0, 1000.0])
@pytest.mark.parametrize("most_bytes", [0, 20_000, 10**9])
def test_neither_tiles_nor_what_is_put_by_on_disk_changes_anything(tile, most_bytes):
    moments = make_moments(count=3, points=150)
    asked = torch.cat([positions for positions, _ in moments])
    found = gather(moments, asked, tile=tile, most_bytes=most_bytes)
    assert torch.equal(found, gather(moments, asked))


def test_tiles_that_are_not_in_use_leave_the_memory_and_their_folder_goes_in_the_end():
    here, there = torch.zeros(1, 3).double(), torch.full((1, 3), 100.0).double()
    score = torch.tensor([[1.0, 0.0]])
    with PlaceVotes(SIZE, 2, most_bytes=0) as votes:
        votes.add(here, score)
        votes.add(there, score)
        folder = votes.folder
        assert len(list(folder.iterdir())) == 2, "the first tile: its places and their votes"
        assert votes.at(here).tolist() == [[1.0, 0.0]] and votes.at(there).tolist() == [[1.0, 0.0]]
        votes.add(here, score)
        assert votes.at(here).tolist() == [[2.0, 0.0]], "what came back is added to"
    assert not folder.exists()


def test_no_points_are_no_votes():
    none = torch.zeros(0, 3).double(), torch.zeros(0, 2)
    assert gather([none], torch.zeros(2, 3).double()).tolist() == [[0.0, 0.0]] * 2
    assert gather([none], none[0]).shape == (0, 2)


@pytest.mark.parametrize("far", [1e9, float("nan"), float("inf")])
def test_points_that_are_nowhere_near_are_refused(far):
    with pytest.raises(ValueError, match="524 km from where its drive begins.*poses in metres"):
        gather([(torch.tensor([[far, 0.0, 0.0]]).double(), torch.ones(1, 2))], torch.zeros(1, 3).double())
