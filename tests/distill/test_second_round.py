from dataclasses import replace

import pytest
import torch

from clip2scene.datasets.drives import Moment
from clip2scene.distill import consolidate, second_round
from clip2scene.distill.lifted import LiftedSample, load_lifted, save_consolidated, save_lifted
from clip2scene.distill.second_round import (
    Predictions,
    SecondRoundOptions,
    find_limits,
    predictions_of,
    relabel,
    second_round_split,
)
from clip2scene.types import PointCloud

CLASSES = 4
POINTS = 600
HALF = SecondRoundOptions(0.5)


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
    labels, erring = noisy(truth_of(lifted), wrong, len(lifted.pair_points))
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


def test_limits_are_those_of_a_slow_sort_within_each_class():
    draw = torch.Generator().manual_seed(0)
    predictions = [
        Predictions(torch.randint(3, (500,), generator=draw), torch.rand(500, generator=draw).half().float())
        for _ in range(4)
    ]
    labels, doubts = (torch.cat(each) for each in zip(*predictions, strict=True))
    for share in (0.01, 0.3, 0.77, 1.0):
        limits = find_limits(predictions, CLASSES, share)
        for number in range(3):
            mine = doubts[labels == number].sort().values
            needed = -(-len(mine) * share // 1)  # rounded up
            assert limits[number] == mine[int(needed) - 1]
        assert limits[3] == -1  # nothing is of the last class
    assert (find_limits(predictions, CLASSES, 0.0) == -1).all()


def test_a_rare_class_keeps_its_part_however_unsure():
    frequent = Predictions(
        torch.zeros(10_000, dtype=torch.long), torch.linspace(0.0, 0.2, 10_000).half().float()
    )
    rare = Predictions(torch.ones(20, dtype=torch.long), torch.linspace(0.6, 0.9, 20).half().float())
    limits = find_limits([frequent, rare], 2, 0.25)
    sure = [int((each.doubts <= limits[each.labels]).sum()) for each in (frequent, rare)]
    assert sure[0] == pytest.approx(2500, abs=10) and sure[1] == 5
    # One limit for all would leave none of it: of all points, the surest quarter is of the frequent class.
    everyone = torch.cat([frequent.doubts, rare.doubts]).sort().values
    assert rare.doubts.min() > everyone[len(everyone) // 4]


def test_unsure_points_keep_the_teachers_label_if_they_have_one():
    said = torch.tensor([0, 1, 2])
    lifted = LiftedSample(
        PointCloud(torch.rand(5, 3), torch.zeros(5, 1)), torch.arange(3), torch.eye(CLASSES)[said], None
    )
    predictions = Predictions(torch.tensor([3, 3, 1, 3, 3]), torch.tensor([0.1, 0.3, 0.1, 0.1, 0.3]))
    limits = torch.tensor([-1.0, -1.0, -1.0, 0.2])
    assert relabel(lifted, predictions, limits).tolist() == [3, 1, 2, 3, -1]
    voted = replace(lifted, consolidated=torch.tensor([0, 0, 0, 0, 2]))
    assert relabel(voted, predictions, limits).tolist() == [3, 0, 0, 3, 2]
    pieces = replace(lifted, superpoints=torch.tensor([-1, 0, -1, -1, 0]))  # the last takes the second's vote
    assert relabel(pieces, predictions, limits).tolist() == [3, 1, 2, 3, 1]


def test_predictions_are_the_best_class_and_what_it_lacks():
    labels, doubts = predictions_of(torch.tensor([[0.75, 0.25], [0.0, 1.0]]))
    assert labels.tolist() == [0, 1] and doubts.tolist() == [0.25, 0.0]


def test_known_noise_of_the_labels_is_recovered(tmp_path):
    paths = write(tmp_path, [make_sample(number) for number in range(6)])
    before = right(paths)
    assert before == pytest.approx(0.8 * 0.7, abs=0.03)
    found = second_round_split(paths, student, options=HALF)
    # Half of all is sure, ties and all: 0.8 of the points, whose labels are right. Of the others it is the
    # teacher's that counts.
    assert right(found) == pytest.approx(0.8 + 0.2 * before, abs=0.03)
    everything = second_round_split(paths, student, options=replace(HALF, share=1.0))
    assert right(everything) == pytest.approx(0.8, abs=0.03)
    nothing = second_round_split(paths, student, options=replace(HALF, share=0.0))
    assert right(nothing) == before


def test_labels_become_targets_of_every_point_and_pairs_stay(tmp_path):
    paths = write(tmp_path, [make_sample(0)])
    (found,) = second_round_split(paths, student, options=HALF)
    item = load_lifted(found).item_from_teacher()
    assert torch.equal(item.target_points, torch.arange(POINTS))
    assert torch.equal(item.pixels.points, load_lifted(paths[0]).pair_points)


def test_an_interrupted_call_goes_on_and_ends_as_an_uninterrupted_one(tmp_path):
    samples = [make_sample(number) for number in range(4)]
    whole = second_round_split(write(tmp_path / "whole", samples), student, options=HALF)
    paths, asked = write(tmp_path / "cut", samples), []

    def once(lifted):
        if len(asked) == 2:
            raise ValueError("cut short")
        asked.append(lifted)
        return student(lifted)

    with pytest.raises(ValueError, match="cut short"):
        second_round_split(paths, once, options=HALF)
    more = []
    found = second_round_split(paths, lambda lifted: more.append(0) or student(lifted), options=HALF)
    assert len(more) == 2  # what was predicted is not asked again
    assert [path.read_bytes() for path in found] == [path.read_bytes() for path in whole]
    found[1].unlink()
    found[3].write_bytes(found[3].read_bytes()[:50])
    again = second_round_split(paths, lambda _: pytest.fail("all is predicted"), options=HALF)
    assert again[1].read_bytes() == whole[1].read_bytes()
    with pytest.raises(ValueError, match="cannot be read"):
        load_lifted(again[3])


def test_another_student_or_share_has_files_of_its_own(tmp_path):
    paths = write(tmp_path, [make_sample(0)])
    first = second_round_split(paths, student, options=HALF)
    quiet = second_round_split(paths, lambda _: pytest.fail("is predicted"), options=replace(HALF, share=0.2))
    assert quiet != first
    other = replace(HALF, about={"student": "another"})
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
        seen = 400 - number  # so that the student errs elsewhere at each moment
        samples.append(
            replace(
                scene,
                cloud=cloud,
                pair_points=scene.pair_points[:seen],
                pair_logits=scene.pair_logits[:seen],
            )
        )
        moments.append(Moment(number, number * 500_000, pose))
    paths = write(tmp_path, [*samples, make_sample(1)])
    everything = replace(HALF, share=1.0, place_size=1.0)
    alone = second_round_split(paths, student, options=everything)
    drives = {"a": tuple(moments), "b": (Moment(7, 0, torch.eye(4, dtype=torch.float64)),)}
    together = second_round_split(paths, student, options=replace(everything, drives=drives))
    assert right(alone[:7]) == pytest.approx(0.8, abs=0.03)
    assert right(together[:7]) > 0.97
    assert torch.equal(*(load_lifted(each[7]).consolidated for each in (alone, together)))


def test_where_moments_disagree_there_is_doubt(tmp_path, monkeypatch):
    stand_still(monkeypatch)
    paths = write(tmp_path, [make_sample(0, seen=1.0)] * 2)
    said = iter([torch.zeros(POINTS).long(), torch.ones(POINTS).long()] * 2)
    moments = tuple(Moment(number, number, torch.eye(4, dtype=torch.float64)) for number in range(2))
    options = replace(HALF, drives={"a": moments}, place_size=0.02)
    second_round_split(paths, lambda _: torch.eye(CLASSES)[next(said)], options=options)
    (path, _) = sorted(tmp_path.glob("gathered-*/*"))
    assert torch.allclose(second_round._load(path).doubts, torch.tensor(0.5))


def test_consolidated_samples_keep_their_labels_where_the_student_is_unsure(tmp_path):
    paths = write(tmp_path, [make_sample(0)])
    labels = torch.full((POINTS,), 2)
    consolidated = tmp_path / "consolidated-0" / paths[0].name
    save_consolidated(consolidated, labels)
    nothing = replace(HALF, share=0.0)
    (found,) = second_round_split([consolidated], student, options=nothing)
    assert torch.equal(load_lifted(found).consolidated, labels)
