from dataclasses import replace

import pytest
import torch

from clip2scene.distill.batch import Superpixels
from clip2scene.distill.lifted import (
    LiftedSample,
    TeacherFeatures,
    hash_clouds,
    load_lifted,
    save_consolidated,
    save_lifted,
)
from clip2scene.io import hash_points
from clip2scene.teacher.maskclip import DenseEmbeddings
from clip2scene.types import Pairs, PointCloud

# Four points of two sweeps; the first is seen twice, the third once.
SAMPLE = LiftedSample(
    PointCloud(torch.arange(12.0).reshape(4, 3), torch.ones(4, 1)),
    torch.tensor([0, 0, 2]),
    torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]),
    None,
)
FEATURES = TeacherFeatures(
    DenseEmbeddings((torch.rand(3, 2, 2).half().float(),), None, ((20, 30),)),
    Pairs(
        torch.tensor([0, 0, 2]),
        torch.zeros(3, dtype=torch.long),
        torch.tensor([[14.0, 9.0], [0.0, 0.0], [29.0, 19.0]]),  # the first lies between all four cells
        torch.zeros(3),
    ),
)
REGIONS = Superpixels(torch.tensor([0, 1, 1]), torch.rand(2, 3).half().float())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"labels": torch.tensor([0, 1, -1, -1])},
        {"superpoints": torch.tensor([0, 1, -1, 0]), "sweep_sizes": (2, 2)},
        {"keyframe_size": 3},
        {"teacher_features": FEATURES},
    ],
)
def test_a_sample_is_read_as_it_was_written(path, parts):
    written = replace(SAMPLE, **parts)
    save_lifted(path, written)
    found = load_lifted(path)
    for one, other in zip(flat(written), flat(found), strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_of_the_teachers_maps_only_what_pairs_read_is_kept(path):
    maps = DenseEmbeddings(
        tuple(torch.rand(5, 30, 40).half().float() for _ in range(3)), None, ((90, 120),) * 3
    )
    pixels = torch.tensor([[3.0, 4.0], [60.2, 44.4], [119.0, 89.0]])
    pairs = Pairs(SAMPLE.pair_points, torch.tensor([0, 0, 2]), pixels, torch.zeros(3))
    written = replace(SAMPLE, teacher_features=TeacherFeatures(maps, pairs))
    save_lifted(path, written)
    found = load_lifted(path)
    for item in (each.item_from_teacher().pixels.embeddings for each in (written, found)):
        assert torch.equal(item, maps.embeddings_at(pairs))
    kept = [each.any(0).sum().item() for each in found.teacher_features.maps.embeddings]
    assert kept == [4 + 4, 0, 1]  # two places between four cells, and a corner of the image
    assert path.stat().st_size < 3000


def test_maps_of_bytes_take_half_the_space_and_lose_little(path):
    cells = torch.nn.functional.normalize(torch.randn(64, 20, 20), dim=0)
    maps = DenseEmbeddings((cells,), None, ((40, 40),))
    pairs = Pairs(torch.arange(50), torch.zeros(50).long(), 40 * torch.rand(50, 2), torch.zeros(50))
    written = replace(
        SAMPLE,
        cloud=PointCloud(torch.rand(50, 3), torch.ones(50, 1)),
        pair_points=torch.arange(50),
        pair_logits=torch.ones(50, 2),
        teacher_features=TeacherFeatures(maps, pairs),
    )
    sizes, found = {}, {}
    for precision in ("float16", "int8"):
        save_lifted(path, written, precision=precision)
        sizes[precision], found[precision] = path.stat().st_size, load_lifted(path)
    exact = maps.embeddings_at(pairs)
    for precision, most in (("float16", 1e-3), ("int8", 1e-2)):
        torch.testing.assert_close(
            found[precision].item_from_teacher().pixels.embeddings, exact, atol=most, rtol=0
        )
    assert sizes["int8"] < 0.65 * sizes["float16"]
    save_lifted(path, found["int8"], precision="int8")  # rounding once more changes nothing
    again = load_lifted(path).teacher_features.maps.embeddings[0]
    assert torch.equal(again, found["int8"].teacher_features.maps.embeddings[0])


def test_with_superpixels_no_map_is_kept(path):
    written = replace(SAMPLE, teacher_features=replace(FEATURES, superpixels=REGIONS))
    save_lifted(path, written)
    found = load_lifted(path)
    assert not found.teacher_features.maps.embeddings[0].any()
    for one, other in zip(*(flat(each.item_from_teacher().pixels) for each in (written, found)), strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def flat(value):
    """All numbers of a dataclass, in order."""
    if isinstance(value, (tuple, list)):
        return [each for part in value for each in flat(part)]
    return flat(list(vars(value).values())) if hasattr(value, "__dataclass_fields__") else [value]


def test_the_class_of_a_point_is_that_of_the_sum_of_its_pairs():
    assert SAMPLE.visible().tolist() == [True, False, True, False]
    assert SAMPLE.teacher_labels().tolist() == [1, -1, 0, -1]
    assert SAMPLE.item_from_teacher().targets.tolist() == [0, 1, 0]  # each pair trains on its own


def test_the_teachers_scores_of_a_point_are_those_of_its_pairs_together():
    by_pair = (100 * SAMPLE.pair_logits).softmax(1)
    expected = torch.stack([by_pair[0] + by_pair[1], torch.zeros(2), by_pair[2], torch.zeros(2)])
    torch.testing.assert_close(SAMPLE.summed_scores(), expected)


def test_a_point_that_two_cameras_see_gets_the_class_both_like_best():
    cloud = PointCloud(torch.zeros(1, 3), torch.zeros(1, 1))
    logits = torch.tensor([[3.0, 2.9, 0.0], [0.0, 2.9, 3.0]])
    lifted = LiftedSample(cloud, torch.tensor([0, 0]), logits, None)
    assert lifted.teacher_labels().tolist() == [1]
    assert lifted.item_from_teacher().targets.tolist() == [0, 2]


def test_in_a_piece_a_point_has_one_vote_however_many_cameras_see_it():
    """The mean of its pairs: a point that three see with 1.0 does not outvote one that one sees with 1.5."""
    cloud = PointCloud(torch.zeros(3, 3), torch.zeros(3, 1))
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.5]])
    lifted = LiftedSample(cloud, torch.tensor([0, 0, 0, 1]), logits, None, torch.tensor([0, 0, 0]))
    assert lifted.voted_labels().tolist() == [1, 1, 1]
    assert lifted.teacher_labels().tolist() == [0, 1, -1]


def test_a_piece_that_no_camera_sees_has_no_class_even_where_logits_are_negative():
    cloud = PointCloud(torch.zeros(3, 3), torch.zeros(3, 1))
    lifted = LiftedSample(
        cloud, torch.tensor([0]), torch.tensor([[-0.2, -0.1]]), None, torch.tensor([0, 0, 1])
    )
    assert lifted.voted_labels().tolist() == [1, 1, -1]
    assert lifted.teacher_labels().tolist() == [1, -1, -1]


def test_superpoints_vote_where_there_are_any_and_every_point_of_theirs_is_a_target():
    assert torch.equal(SAMPLE.voted_labels(), SAMPLE.teacher_labels())
    voted = replace(SAMPLE, superpoints=torch.tensor([0, 0, 1, -1]))
    assert voted.voted_labels().tolist() == [1, 1, 0, -1]
    item = voted.item_from_teacher()
    assert (item.target_points.tolist(), item.targets.tolist()) == ([0, 1, 2, 3], [1, 1, 0, -1])


def test_pairs_that_are_left_out_take_their_pixels_with_them():
    kept = replace(SAMPLE, teacher_features=FEATURES).item_from_teacher(torch.tensor([2])).pixels
    assert (kept.points.tolist(), kept.logits.tolist()) == ([2], [[3, 0]])
    assert kept.embeddings.shape == (1, 3)


def test_without_labels_nothing_can_be_learnt_from_them():
    with pytest.raises(ValueError, match="read without"):
        SAMPLE.item_from_labels()
    labels = torch.tensor([0, 1, -1, -1])
    assert torch.equal(replace(SAMPLE, labels=labels).item_from_labels().targets, labels)


@pytest.mark.parametrize(
    ("parts", "size"), [({}, 4), ({"sweep_sizes": (2, 2)}, 2), ({"keyframe_size": 3}, 3)]
)
def test_a_cloud_is_known_by_the_points_of_its_keyframe(path, parts, size):
    save_lifted(path, replace(SAMPLE, **parts))
    positions = SAMPLE.cloud.positions
    assert hash_clouds([path]) == {"a": hash_points(positions[:size])}
    assert hash_points(positions) != hash_points(positions.flip(0))


def test_a_damaged_file_is_named(path):
    save_lifted(path, SAMPLE)
    path.write_bytes(path.read_bytes()[:50])
    for read in (load_lifted, lambda path: hash_clouds([path])):
        with pytest.raises(ValueError, match=f"{path.name}.*delete it and run again"):
            read(path)


def test_a_changed_number_is_found_out(path):
    save_lifted(path, SAMPLE)
    bits = bytearray(path.read_bytes())
    bits[-1] ^= 1
    path.write_bytes(bits)
    with pytest.raises(ValueError, match=f"{path.name} is damaged.*delete it and run again"):
        load_lifted(path)


def test_what_a_drive_agreed_on_is_kept_beside_the_sample_and_is_what_is_trained_on(path):
    save_lifted(path, replace(SAMPLE, superpoints=torch.tensor([0, 0, 1, -1])))
    beside = path.parent / "consolidated-1" / path.name
    save_consolidated(beside, torch.tensor([2, -1, 0, 1]))
    found = load_lifted(beside)
    assert torch.equal(found.cloud.positions, SAMPLE.cloud.positions)
    assert found.teacher_labels().tolist() == SAMPLE.teacher_labels().tolist()
    item = found.item_from_teacher()
    assert (item.target_points.tolist(), item.targets.tolist()) == ([0, 1, 2, 3], [2, -1, 0, 1])
    assert item.superpoints is not None, "the pieces are still there, for the student's mean"
    assert load_lifted(path).consolidated is None
    save_consolidated(beside, torch.tensor([2, -1, 0]))
    with pytest.raises(ValueError, match="3 pseudo-labels of 4 points.*delete it and run again"):
        load_lifted(beside)
