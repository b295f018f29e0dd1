import json
from dataclasses import replace

import pytest
import torch
from tests.teachers import CLASSES, noise, points_with_classes, teacher_with

from clip2scene.distill.agreement import between_cameras
from clip2scene.distill.fuse import check_alike, fuse, fuse_split
from clip2scene.distill.lifted import LiftedSample, TeacherFeatures, load_lifted, save_lifted
from clip2scene.teacher.maskclip import DenseEmbeddings
from clip2scene.types import Pairs, PointCloud

GOOD, BAD = (0.9, 0.5, 0.9, 0.4), (0.6, 0.9, 0.5, 0.9)
TRUTH = points_with_classes()


def weights_of(*samples):
    return torch.stack([between_cameras(each).weights() for each in samples]).float()


def right(sample):
    return (sample.teacher_labels() == TRUTH).float().mean().item()


def test_two_teachers_fused_are_better_than_each():
    one, two = teacher_with(GOOD, TRUTH, 1), teacher_with(BAD, TRUTH, 2)
    fused = right(fuse([one, two], weights_of(one, two)))
    assert fused > max(right(one), right(two)) + 0.1
    for number in range(CLASSES):  # and no class is given up for the others
        mine = TRUTH == number
        hits = (fuse([one, two], weights_of(one, two)).teacher_labels() == TRUTH)[mine].float().mean()
        assert hits > min((each.teacher_labels() == TRUTH)[mine].float().mean() for each in (one, two))


def test_noise_changes_next_to_nothing():
    one, two = teacher_with(GOOD, TRUTH, 1), noise(TRUTH, 3)
    fused = fuse([one, two], weights_of(one, two))
    assert right(fused) > right(one) - 0.01
    agrees = one.pair_logits.argmax(1).view(2, -1).diff(dim=0)[0] == 0  # else a grain of noise decides
    changed = fused.teacher_labels() != one.teacher_labels()
    assert agrees.float().mean() > 0.5 and changed[agrees].float().mean() < 0.002
    weightless = torch.stack([weights_of(one)[0], torch.zeros(CLASSES)])
    assert torch.equal(fuse([one, two], weightless).teacher_labels(), one.teacher_labels())


def test_the_same_teacher_twice_gives_its_labels_back(tmp_path):
    draw = torch.Generator().manual_seed(0)
    hard = teacher_with(BAD, TRUTH, 1)
    soft = replace(hard, pair_logits=torch.rand(hard.pair_logits.shape, generator=draw) * 0.05)
    for sample in (hard, soft):
        save_lifted(tmp_path / "a.safetensors", sample)
        stored = load_lifted(tmp_path / "a.safetensors")
        for trust in (torch.tensor([0.9, 0.1, 0.5, 0.02]), torch.ones(CLASSES)):
            save_lifted(tmp_path / "b.safetensors", fuse([stored, stored], torch.stack([trust, trust])))
            labels = stored.teacher_labels()
            summed = torch.zeros(len(TRUTH), CLASSES).index_add_(0, stored.pair_points, stored.pair_logits)
            top = summed.topk(2).values
            clear = top[:, 0] - top[:, 1] > 1e-4  # ties may go either way
            found = load_lifted(tmp_path / "b.safetensors").teacher_labels()
            clear &= found >= 0  # a class that no view says on its own is trusted by none
            assert clear.float().mean() > 0.5
            assert torch.equal(found[clear], labels[clear])


def cloud_of(points):
    return PointCloud(torch.arange(points).float()[:, None].expand(-1, 3), torch.zeros(points, 1))


def test_a_point_gets_the_product_of_discounted_votes():
    one = LiftedSample(cloud_of(3), torch.tensor([0, 0]), torch.tensor([[0.02, 0.0], [0.0, 0.01]]), None)
    two = LiftedSample(cloud_of(3), torch.tensor([0, 1]), torch.tensor([[0.0, 0.03], [0.01, 0.0]]), None)
    fused = fuse([one, two], torch.tensor([[0.8, 0.1], [0.3, 0.6]]))
    assert fused.pair_points.tolist() == [0, 1]
    votes = torch.tensor([0.4 + 0.6 / 2, 0.6 / 2]) * torch.tensor([0.4 / 2, 0.6 + 0.4 / 2])  # a view of two
    torch.testing.assert_close((100 * fused.pair_logits[0]).softmax(0), votes / votes.sum())
    torch.testing.assert_close((100 * fused.pair_logits[1]).softmax(0), torch.tensor([0.65, 0.35]))
    assert fused.teacher_labels().tolist() == [1, 0, -1]
    certain = fuse([two, two], torch.ones(2, 2))
    assert certain.pair_logits.isfinite().all() and certain.teacher_labels().tolist() == [1, 0, -1]


def test_points_of_a_teacher_without_any_trust_stay_without_a_label():
    one = LiftedSample(cloud_of(2), torch.tensor([0]), torch.tensor([[0.3, 0.0]]), None)
    two = LiftedSample(cloud_of(2), torch.tensor([1]), torch.tensor([[0.0, 0.3]]), None)
    fused = fuse([one, two], torch.tensor([[0.5, 0.5], [0.0, 0.0]]))
    assert fused.teacher_labels().tolist() == [0, -1]


def test_a_teacher_with_features_keeps_its_pairs():
    pairs = Pairs(torch.tensor([0, 0, 1]), torch.zeros(3).long(), torch.zeros(3, 2), torch.ones(3))
    maps = DenseEmbeddings((torch.ones(4, 2, 2),), None, ((8, 8),))
    features = TeacherFeatures(maps, pairs)
    logits = torch.tensor([[0.3, 0.0]] * 3)
    one = LiftedSample(cloud_of(3), pairs.points, logits, None, teacher_features=features)
    two = LiftedSample(cloud_of(3), torch.tensor([0, 2]), torch.tensor([[0.0, 0.3]] * 2), None)
    fused = fuse([one, two], torch.tensor([[0.5, 0.5], [0.9, 0.9]]))
    assert fused.pair_points.tolist() == [0, 0, 1] and fused.teacher_features is one.teacher_features
    assert fused.pair_logits.argmax(1).tolist() == [1, 1, 0]


@pytest.fixture
def folders(tmp_path):
    """Two teachers of two samples on disk."""
    paths_of = []
    for name, accuracy in (("one", GOOD), ("two", BAD)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps({"prompts": {"classes": list("abcd")}}))
        paths_of.append([folder / "s0.safetensors", folder / "s1.safetensors"])
        for number, path in enumerate(paths_of[-1]):
            save_lifted(path, teacher_with(accuracy, TRUTH[:500], number))
    return paths_of


def test_a_split_is_fused_once_and_anew_for_other_weights(folders):
    weights = torch.full((2, CLASSES), 0.5)
    check_alike(folders)
    paths = fuse_split(folders, weights)
    expected = fuse([load_lifted(paths[1]) for paths in folders], weights)
    assert torch.equal(load_lifted(paths[1]).teacher_labels(), expected.teacher_labels())
    stamp = paths[0].stat().st_mtime_ns
    assert fuse_split(folders, weights) == paths and paths[0].stat().st_mtime_ns == stamp
    assert fuse_split(folders, weights / 2) != paths
    check_alike([paths, folders[1]])  # fused ones can be fused again


def test_teachers_that_do_not_fit_each_other_are_refused(folders):
    (folders[1][0].parent / "manifest.json").write_text(json.dumps({"prompts": {"classes": list("abce")}}))
    with pytest.raises(ValueError, match="two has pseudo-labels of a, b, c, e, expected a, b, c, d, as the"):
        check_alike(folders)
    (folders[1][0].parent / "manifest.json").write_text(json.dumps({"prompts": {"classes": list("abcd")}}))
    save_lifted(folders[1][0], teacher_with(BAD, TRUTH[:499], 0))
    with pytest.raises(ValueError, match="two/s0.* has other points than .*one/s0.*; fuse teachers of the"):
        fuse_split(folders, torch.full((2, CLASSES), 0.5))
    folders[1][1].unlink()
    with pytest.raises(ValueError, match="two lacks the pseudo-labels of 1 of 2 samples, such as s1; lift"):
        check_alike(folders)
