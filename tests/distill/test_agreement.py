from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from tests.distill.test_consolidate import record
from tests.teachers import CLASSES, noise, points_with_classes, teacher_with

from clip2scene.datasets.drives import Moment
from clip2scene.distill.agreement import (
    FEW,
    Agreement,
    between_cameras,
    between_moments,
    measure_agreement,
)
from clip2scene.distill.lifted import LiftedSample, load_lifted, save_lifted
from clip2scene.types import PointCloud

GOOD, BAD = (0.9, 0.5, 0.9, 0.4), (0.6, 0.9, 0.5, 0.9)


def count_slowly(groups):
    """Compare each label of each group with all others there."""
    said, agreed = torch.zeros(CLASSES).double(), torch.zeros(CLASSES).double()
    for labels in groups:
        for number, label in enumerate(labels):
            others = labels[:number] + labels[number + 1 :]
            if others:
                said[label] += 1
                agreed[label] += sum(other == label for other in others) / len(others)
    return said, agreed


def test_cameras_are_compared_as_a_slow_count_of_all_pairs_of_views_does():
    draw = torch.Generator().manual_seed(1)
    points = torch.randint(0, 60, (150,), generator=draw)  # none to seven views
    logits = torch.rand(150, CLASSES, generator=draw)
    lifted = LiftedSample(PointCloud(torch.zeros(60, 3), torch.zeros(60, 1)), points, logits, None)
    groups = [logits[points == point].argmax(1).tolist() for point in range(60)]
    assert {len(group) for group in groups} >= {0, 1, 2, 3, 4}
    said, agreed = count_slowly(groups)
    found = between_cameras(lifted)
    assert torch.equal(found.said, said)
    torch.testing.assert_close(found.agreed, agreed)


def test_moments_are_compared_by_the_first_view_of_each_place(tmp_path):
    draw, truth = torch.Generator().manual_seed(2), points_with_classes(300)
    positions = torch.rand(300, 3, generator=draw) * 3
    moments, paths, still, at = [], [], [], defaultdict(list)
    for number in range(4):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = float(number)
        cloud = PointCloud(positions - pose[:3, 3].float(), torch.zeros(300, 1))
        lifted = replace(teacher_with(GOOD, truth, number), cloud=cloud)
        path = tmp_path / f"{number}.safetensors"
        save_lifted(path, lifted)
        moments.append(Moment(number, number, pose))
        paths.append(path)
        still.append(torch.rand(300, generator=draw) < 0.7)
        lifted, views = load_lifted(path), {}
        for point, logits in zip(lifted.pair_points.tolist(), lifted.pair_logits, strict=True):
            if still[-1][point]:
                world = lifted.cloud.positions[point].double() + pose[:3, 3]
                views.setdefault(tuple((world / 0.5).floor().int().tolist()), int(logits.argmax()))
        for place, label in views.items():
            at[place].append(label)
    said, agreed = count_slowly(list(at.values()))
    found = between_moments(moments, paths, still, size=0.5)
    assert found.said.sum() > 300
    assert torch.equal(found.said, said)
    torch.testing.assert_close(found.agreed, agreed)


def test_weights_order_teachers_by_their_accuracy_in_each_class_and_noise_has_next_to_none():
    truth = points_with_classes()
    good, bad = (between_cameras(teacher_with(each, truth, 1)).weights() for each in (GOOD, BAD))
    assert [bool(one > two) for one, two in zip(good, bad, strict=True)] == [True, False, True, False]
    perfect = between_cameras(teacher_with((1.0,) * CLASSES, truth, 1)).weights()
    torch.testing.assert_close(perfect, torch.ones(CLASSES).double())
    assert between_cameras(noise(truth, 3)).weights().max() < 0.15
    many = points_with_classes(500_000)
    assert between_cameras(noise(many, 3)).weights().max() < 0.06


def test_a_teacher_that_says_one_class_of_everything_agrees_by_chance():
    said = torch.tensor([1000.0, 0, 0, 0]).double()
    assert torch.equal(Agreement(said, said).weights(), torch.zeros(CLASSES).double())


def test_a_class_that_was_rarely_said_is_trusted_as_the_mean():
    said, agreed = torch.tensor([500.0, 500, 2, 0]).double(), torch.tensor([450.0, 450, 0, 0]).double()
    kappas = Agreement(said, agreed).kappas()
    chance = said / said.sum()
    mean = (agreed.sum() / said.sum() - chance.square().sum()) / (1 - chance.square().sum())
    assert kappas[3] == pytest.approx(float(mean))
    own = -chance[2] / (1 - chance[2])
    assert kappas[2] == pytest.approx(float((2 * own + FEW * mean) / (2 + FEW)))


def test_without_anything_to_compare_nothing_is_told():
    nothing = between_cameras(teacher_with(GOOD, points_with_classes(100), 1, views=1))
    with pytest.raises(ValueError, match="no point has pseudo-labels of two cameras, and no place of two"):
        nothing.weights()


def test_a_drive_is_compared_over_time_and_without_poses_cameras_alone(tmp_path):
    drives, good, _ = record(tmp_path / "good", wrong=0.1)
    _, bad, _ = record(tmp_path / "bad", wrong=0.4)
    told = measure_agreement([good, bad], drives)
    weights = [each.weights() for each in told]
    assert (weights[0] > weights[1] + 0.05).all()
    assert all(each.said.sum() > 1000 for each in told)
    again = measure_agreement([good, bad], drives)
    assert all(torch.equal(one.agreed, two.agreed) for one, two in zip(told, again, strict=True))
    (folder,) = (tmp_path / "good").glob("agreement-*")
    assert {path.suffix for path in folder.iterdir()} >= {".safetensors", ".json"}
    alone = measure_agreement([good, bad], {})
    assert not any(each.said.any() for each in alone), "each point is seen by one camera"


def test_what_moves_is_not_compared_over_time(tmp_path):
    car = 2
    passing = lambda number: [(4.0 + 5.0 * number, -4.0)]  # noqa: E731
    pieces = lambda number, classes: torch.where(classes == car, 0, -1)  # noqa: E731
    drives, paths, _ = record(tmp_path / "in", boxes=passing, superpoints=pieces)
    (told,) = measure_agreement([paths], drives)
    assert told.said[car] < 0.02 * told.said.sum()
    assert (told.agreed[:2] / told.said[:2] > 0.98).all()
