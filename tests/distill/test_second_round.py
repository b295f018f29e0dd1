from dataclasses import replace

import pytest
import torch

from clip2scene.datasets.drives import Moment
from clip2scene.distill import consolidate, second_round
from clip2scene.distill.lifted import LiftedSample, load_lifted, save_consolidated, save_lifted
from clip2scene.distill.second_round import (
    Predictions,
    Ranks,
    SecondRoundOptions,
    predictions_of,
    relabel,
    second_round_split,
    teacher_of,
)
from clip2scene.types import PointCloud

CLASSES = 4
POINTS = 600
OPTIONS = SecondRoundOptions()
SURE = SecondRoundOptions(0.0, {"student": "who knows"})


def noisy(labels, share, seed):
    """Make a share of labels wrong."""
    draw = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(labels), generator=draw) < share
    return torch.where(wrong, (labels + 1) % CLASSES, labels), wrong


def make_sample(number, wrong=0.3, seen=0.8):
    """Draw points of all classes; the teacher sees some and errs on a share of those."""
    draw = torch.Generator().manual_seed(number)
    truth = torch.randint(CLASSES, (POINTS,), generator=draw)
    positions = torch.rand(POINTS, 3, generator=draw) * 8
    points = (torch.rand(POINTS, generator=draw) < seen).nonzero()[:, 0]
    logits = torch.eye(CLASSES)[noisy(truth, wrong, number)[0][points]]
    return LiftedSample(PointCloud(positions, truth[:, None].float()), points, logits, None)


def truth_of(lifted):
    return lifted.cloud.features[:, 0].long()


def student(lifted, wrong=0.2):
    """Predict what the cloud's feature tells, in the open; unsure where it errs."""
    labels, erring = noisy(truth_of(lifted), wrong, int(lifted.cloud.positions.abs().sum()))
    best = torch.where(erring, 0.4, 0.9)
    scores = ((1 - best) / (CLASSES - 1))[:, None].repeat(1, CLASSES)
    return scores.scatter_(1, labels[:, None], best[:, None])


def write(folder, samples):
    paths = [folder / f"s{number}.safetensors" for number in range(len(samples))]
    for path, sample in zip(paths, samples, strict=True):
        save_lifted(path, sample)
    return paths


def right(paths):
    samples = [load_lifted(path) for path in paths]
    targets = [each.teacher_labels() if each.consolidated is None else each.consolidated for each in samples]
    hits = [labels == truth_of(sample) for labels, sample in zip(targets, samples, strict=True)]
    return torch.cat(hits).float().mean().item()


def ranks_of(*predictions, classes=CLASSES):
    ranks = Ranks(classes)
    for each in predictions:
        ranks.add(each)
    return ranks


def test_ranks_are_those_of_a_slow_count_within_each_class():
    draw = torch.Generator().manual_seed(0)
    clouds = [
        Predictions(
            torch.randint(-1, 3, (200,), generator=draw),
            (torch.randint(40, (200,), generator=draw) / 40).half().float(),
        )
        for _ in range(3)
    ]
    found = torch.cat([ranks_of(*clouds).of(each) for each in clouds]).tolist()
    labels, doubts = (torch.cat(each).tolist() for each in zip(*clouds, strict=True))
    for label, doubt, rank in zip(labels, doubts, found, strict=True):
        mine = [each for each, other in zip(doubts, labels, strict=True) if other == label]
        surer, alike = sum(each < doubt for each in mine), sum(each == doubt for each in mine)
        assert rank == pytest.approx(1.0 if label == -1 else (surer + alike / 2) / len(mine))


def test_a_rare_class_keeps_its_part_however_unsure():
    doubts = [torch.linspace(0.0, 0.2, 10_000), torch.linspace(0.6, 0.9, 20)]
    frequent, rare = (
        Predictions(torch.full((len(each),), number), each.half().float())
        for number, each in enumerate(doubts)
    )
    ranks = ranks_of(frequent, rare)
    teacher = Predictions(torch.full((10_020,), 2), torch.full((10_020,), 0.1).half().float())
    both = Predictions(*(torch.cat(each) for each in zip(frequent, rare, strict=True)))
    found = relabel(both, teacher, (ranks, ranks_of(teacher)), 0.25)  # all of the teacher's have rank 0.5
    assert int((found == 0).sum()) == pytest.approx(2500, abs=10)
    assert int((found == 1).sum()) == 5  # by scores, none of them would be ahead of the teacher's 0.9


def test_who_is_surer_labels_a_point_and_a_point_without_a_label_is_not_left_out():
    student = Predictions(torch.tensor([3, 3, 3, 3]), torch.tensor([0.1, 0.3, 0.1, 0.3]))
    teacher = Predictions(torch.tensor([0, 0, -1, -1]), torch.tensor([0.5, 0.2, 1.0, 1.0]))
    ranks = ranks_of(student), ranks_of(teacher)
    assert ranks[0].of(student).tolist() == [0.25, 0.75, 0.25, 0.75]
    assert ranks[1].of(teacher).tolist() == [0.75, 0.25, 1.0, 1.0]
    assert relabel(student, teacher, ranks, 0.0).tolist() == [3, 0, 3, 3]
    assert relabel(student, teacher, ranks, 0.3).tolist() == [3, 0, 3, -1]
    assert relabel(student, teacher, ranks, 0.6).tolist() == [0, 0, 3, -1]
    assert relabel(student, teacher, ranks, 1.0).tolist() == [0, 0, -1, -1]


def test_the_teachers_doubt_is_by_its_scores_of_the_moment():
    cloud = PointCloud(torch.rand(5, 3), torch.zeros(5, 1))
    logits = torch.tensor([[1.0, 1.0, 0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    lifted = LiftedSample(cloud, torch.tensor([0, 1, 1]), logits, None)
    found = teacher_of(replace(lifted, superpoints=torch.tensor([-1, 0, 0, -1, 1])))
    assert found.labels.tolist() == [0, 0, 0, -1, -1]  # two points share votes, and the last two have none
    torch.testing.assert_close(found.doubts, torch.tensor([0.5, 0.5, 0.5, 1.0, 1.0]), atol=1e-3, rtol=0)
    voted = teacher_of(replace(lifted, consolidated=torch.tensor([2, 1, -1, 3, -1])))
    assert voted.labels.tolist() == [2, 1, -1, 3, -1]
    torch.testing.assert_close(voted.doubts, torch.tensor([1.0, 0.5, 1.0, 1.0, 1.0]), atol=1e-3, rtol=0)


def test_predictions_are_the_best_class_and_what_it_lacks():
    labels, doubts = predictions_of(torch.tensor([[0.75, 0.25], [0.0, 1.0]]))
    assert labels.tolist() == [0, 1] and doubts.tolist() == [0.25, 0.0]


def test_known_noise_of_the_labels_is_recovered(tmp_path):
    paths = write(tmp_path, [make_sample(number) for number in range(6)])
    before = right(paths)
    assert before == pytest.approx(0.8 * 0.7, abs=0.03)
    # Where the student is sure, four of five points, it is right and ahead of the teacher, whose ranks are
    # all a half; elsewhere the teacher's label stays, right as often as before.
    found = second_round_split(paths, student, options=replace(OPTIONS, lead=0.05))
    assert right(found) == pytest.approx(0.8 + 0.2 * before, abs=0.03)
    everything = second_round_split(paths, lambda lifted: torch.eye(CLASSES)[truth_of(lifted)], options=SURE)
    assert right(everything) == pytest.approx(before + 0.2, abs=0.03)  # a tie is the teacher's
    nothing = second_round_split(paths, student, options=replace(OPTIONS, lead=1.0))
    assert right(nothing) == before


def test_labels_become_targets_of_every_point_and_pairs_stay(tmp_path):
    paths = write(tmp_path, [make_sample(0)])
    (found,) = second_round_split(paths, student, options=OPTIONS)
    item = load_lifted(found).item_from_teacher()
    assert torch.equal(item.target_points, torch.arange(POINTS))
    assert torch.equal(item.pixels.points, load_lifted(paths[0]).pair_points)


def test_an_interrupted_call_goes_on_and_ends_as_an_uninterrupted_one(tmp_path):
    samples = [make_sample(number) for number in range(4)]
    whole = second_round_split(write(tmp_path / "whole", samples), student, options=OPTIONS)
    paths, asked = write(tmp_path / "cut", samples), []

    def once(lifted):
        if len(asked) == 2:
            raise ValueError("cut short")
        asked.append(lifted)
        return student(lifted)

    with pytest.raises(ValueError, match="cut short"):
        second_round_split(paths, once, options=OPTIONS)
    more = []
    found = second_round_split(paths, lambda lifted: more.append(0) or student(lifted), options=OPTIONS)
    assert len(more) == 2  # what was predicted is not asked again
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in whole]
    found[1].unlink()
    found[3].write_bytes(found[3].read_bytes()[:50])
    again = second_round_split(paths, lambda _: pytest.fail("all is predicted"), options=OPTIONS)
    assert again[1].read_bytes() == whole[1].read_bytes()
    with pytest.raises(ValueError, match="cannot be read"):
        load_lifted(again[3])


def test_another_student_or_lead_has_files_of_its_own(tmp_path):
    paths = write(tmp_path, [make_sample(0)])
    first = second_round_split(paths, student, options=OPTIONS)
    quiet = second_round_split(
        paths, lambda _: pytest.fail("is predicted"), options=replace(OPTIONS, lead=0.2)
    )
    assert quiet != first
    other = replace(OPTIONS, about={"student": "another"})
    assert second_round_split(paths, student, options=other) not in (first, quiet)


def stand_still(monkeypatch):
    """Let nothing move: these clouds are of no scene that a beam could pass."""
    still = lambda moments, paths, viewpoint: [  # noqa: E731
        torch.zeros(len(load_lifted(path).cloud), dtype=torch.bool) for path in paths
    ]
    monkeypatch.setattr(consolidate, "find_moving", still)


def test_moments_of_a_drive_outvote_a_single_one(tmp_path, monkeypatch):
    stand_still(monkeypatch)
    scene, moments, samples = make_sample(0), [], []
    grid = torch.arange(POINTS).float()
    for number in range(7):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = 2.0 * number
        x, y = grid % 30 + 0.5 - 2.0 * number, grid // 30 + 0.5
        cloud = PointCloud(torch.stack([x, y, torch.full_like(x, 0.5)], 1), scene.cloud.features)
        samples.append(
            replace(scene, cloud=cloud, pair_points=scene.pair_points[:0], pair_logits=scene.pair_logits[:0])
        )
        moments.append(Moment(number, number * 500_000, pose))
    paths = write(tmp_path, [*samples, make_sample(1)])
    apart = replace(OPTIONS, lead=0.0, place_size=1.0)  # no camera sees any, so that the student labels all
    alone = second_round_split(paths, student, options=apart)
    drives = {"a": tuple(moments), "b": (Moment(7, 0, torch.eye(4, dtype=torch.float64)),)}
    together = second_round_split(paths, student, options=replace(apart, drives=drives))
    assert right(alone[:7]) == pytest.approx(0.8, abs=0.03)
    assert right(together[:7]) > 0.97
    assert torch.equal(*(load_lifted(each[7]).consolidated for each in (alone, together)))


def test_where_moments_disagree_there_is_doubt(tmp_path, monkeypatch):
    stand_still(monkeypatch)
    paths = write(tmp_path, [make_sample(0, seen=1.0)] * 2)
    said = iter([torch.zeros(POINTS).long(), torch.ones(POINTS).long()] * 2)
    moments = tuple(Moment(number, number, torch.eye(4, dtype=torch.float64)) for number in range(2))
    options = replace(OPTIONS, drives={"a": moments}, place_size=0.02)
    second_round_split(paths, lambda _: torch.eye(CLASSES)[next(said)], options=options)
    (path, _) = sorted(tmp_path.glob("gathered-*/*"))
    assert torch.allclose(second_round._load(path).doubts, torch.tensor(0.5))


def test_consolidated_samples_keep_their_labels_where_the_student_is_unsure(tmp_path):
    paths = write(tmp_path, [make_sample(0)])
    labels = torch.full((POINTS,), 2)
    consolidated = tmp_path / "consolidated-0" / paths[0].name
    save_consolidated(consolidated, labels)
    nothing = replace(OPTIONS, lead=1.0)
    (found,) = second_round_split([consolidated], student, options=nothing)
    assert torch.equal(load_lifted(found).consolidated, labels)
