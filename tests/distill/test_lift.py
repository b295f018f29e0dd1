from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from clip2scene.distill.lift import LiftOptions, PairingOptions, find_pairs, gather_sweeps, lift_split
from clip2scene.distill.lifted import hash_clouds, load_lifted
from clip2scene.io import hash_points
from clip2scene.teacher.backbone import ImageBackbone
from clip2scene.teacher.maskclip import DenseEmbeddings
from clip2scene.teacher.pamr import PixelAdaptive
from clip2scene.teacher.refine import Refinement
from clip2scene.types import Camera, DepthImage, PointCloud, Prompts, Sample

PAIRING = PairingOptions(occlusion_test=False)
OPTIONS = LiftOptions(PAIRING)
FAR = LiftOptions(replace(PAIRING, min_depth=2.0))
PICTURE = torch.tensor([30, 40, 0], dtype=torch.uint8).expand(21, 21, 3)
PROMPTS = Prompts(("car", "tree"), ("car", "tree", "bush"), torch.tensor([0, 1, 1]), torch.eye(3))


def make_sample(token, with_labels=True):
    """Two points ahead of a camera that looks along the lidar's x, one behind it."""
    camera_from_lidar = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    camera = Camera("front", torch.tensor([[10.0, 0, 10], [0, 10, 10], [0, 0, 1]]), camera_from_lidar, 21, 21)
    positions = torch.tensor([[5.0, 0, 0], [-5.0, 0, 0], [6.0, 1, 1]])
    labels = torch.tensor([0, 1, 1]) if with_labels else None
    return Sample(token, PointCloud(positions, torch.ones(3, 1)), (camera,), lambda view: PICTURE, labels)


class Drives:
    def __init__(self, *tokens, with_labels=True):
        self.tokens = tokens
        self.with_labels = with_labels
        self.reads = 0

    def __getitem__(self, index):
        self.reads += 1
        return make_sample(self.tokens[index], self.with_labels)


class SaysCarThenBush:
    """Answers the first name at its first pair, the third at all others."""

    def __call__(self, sample):
        return self

    def logits_at(self, pairs, text):
        logits = torch.zeros(len(pairs), len(text))
        logits[:, 2] = 1
        logits[:1] = torch.tensor([2.0, 0, 1])
        return logits


def test_answers_arrive_at_the_points_that_the_camera_sees(tmp_path):
    (path,) = lift_split(Drives("a"), SaysCarThenBush(), PROMPTS, tmp_path / "train", options=OPTIONS)
    lifted = load_lifted(path)
    assert lifted.pair_points.tolist() == [0, 2]
    assert lifted.pair_logits.tolist() == [[2, 1], [0, 1]]  # a class has the logit of its best name
    assert lifted.teacher_labels().tolist() == [0, -1, 1]
    assert lifted.visible().tolist() == [True, False, True]
    assert lifted.labels.tolist() == [0, 1, 1]


class KnowsTheSecondPairAlone:
    """A teacher with no class at its first pair, as class maps have it where nobody painted."""

    def __call__(self, sample):
        cells = torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]], [[0.0, 0.0]]])
        return Unpainted((cells,), None, ((21, 21),))


class Unpainted(DenseEmbeddings):
    def logits_at(self, pairs, text):
        return torch.eye(3)[1:2].repeat(len(pairs), 1) * torch.arange(len(pairs))[:, None]


class TwoCells(SaysCarThenBush):
    """A tree to the left, a car to the right, of the same picture; and what it answers without maps."""

    sizes = ((21, 21),)

    def logit_map(self, view, text):
        return torch.tensor([[[0.0, 0.1]], [[0.1, 0.0]], [[0.0, 0.0]]])


def test_refined_maps_are_lifted_in_the_place_of_the_teachers_answers(tmp_path):
    refined = replace(OPTIONS, refinement=Refinement(PixelAdaptive(1, (1,)), pixels=441))
    (plain,) = lift_split(Drives("a"), TwoCells(), PROMPTS, tmp_path, options=OPTIONS)
    (path,) = lift_split(Drives("a"), TwoCells(), PROMPTS, tmp_path, options=refined)
    assert plain.parent != path.parent
    lifted = load_lifted(path)
    assert lifted.pair_points.tolist() == [0, 2]
    # In an even picture the mean of a pixel's neighbours on a slope is its own value, here of the car.
    cars = torch.tensor([0.5, (10 - 10 / 6 + 0.5) * 2 / 21 - 0.5])
    expected = torch.stack([cars, 1 - cars], dim=1).log() / 100
    torch.testing.assert_close(lifted.pair_logits, expected, atol=1e-5, rtol=1e-3)


def test_a_teacher_without_maps_is_not_refined(tmp_path):
    refined = replace(OPTIONS, refinement=Refinement(PixelAdaptive()))
    with pytest.raises(ValueError, match="--teacher.refine needs a teacher with maps.*SaysCarThenBush"):
        lift_split(Drives("a"), SaysCarThenBush(), PROMPTS, tmp_path, options=refined)


@pytest.mark.parametrize("keep", ["classes", "maps"])
def test_a_pair_without_a_class_is_no_pair_and_its_point_no_target(tmp_path, keep):
    options = replace(OPTIONS, keep=keep)
    (path,) = lift_split(Drives("a"), KnowsTheSecondPairAlone(), PROMPTS, tmp_path, options=options)
    lifted = load_lifted(path)
    assert lifted.pair_points.tolist() == [2]
    assert lifted.pair_logits.tolist() == [[0, 1]]
    assert lifted.teacher_labels().tolist() == [-1, -1, 1]
    assert lifted.item_from_teacher().target_points.tolist() == [2]
    if keep == "maps":
        assert lifted.teacher_features.pairs.points.tolist() == [2]
        assert lifted.item_from_teacher().pixels.embeddings.shape == (1, 3)


def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path):
    folder = tmp_path / "train"
    first = lift_split(Drives("a", "b"), SaysCarThenBush(), PROMPTS, folder, options=OPTIONS)
    first[1].unlink()
    drives = Drives("a", "b")
    assert lift_split(drives, SaysCarThenBush(), PROMPTS, folder, options=OPTIONS) == first
    assert drives.reads == 1


class ShortDrives(Drives):
    """Sample "bad" cannot be read."""

    def __getitem__(self, index):
        if self.tokens[index] == "bad":
            raise ValueError("bad.bin is cut short")
        return super().__getitem__(index)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_two_processes_share_the_samples(tmp_path, two_threads):
    drives = Drives(*"abcdefgh")
    shared = lift_split(drives, SaysCarThenBush(), PROMPTS, tmp_path / "shared", options=OPTIONS)
    assert drives.reads == 0  # all were read elsewhere
    torch.set_num_threads(1)
    alone = lift_split(drives, SaysCarThenBush(), PROMPTS, tmp_path / "alone", options=OPTIONS)
    assert [path.name for path in shared] == [path.name for path in alone]
    assert all(mine.read_bytes() == its.read_bytes() for mine, its in zip(shared, alone, strict=True))


def test_what_is_to_be_lifted_is_announced_and_a_gpu_has_all_of_it_to_itself(tmp_path, two_threads):
    drives, announced = Drives(*"abcdefgh"), []
    paths = lift_split(
        drives, SaysCarThenBush(), PROMPTS, tmp_path, options=OPTIONS, announce=announced.append, alone=True
    )
    assert drives.reads == 8  # none in another process
    paths[3].unlink()
    lift_split(drives, SaysCarThenBush(), PROMPTS, tmp_path, options=OPTIONS, announce=announced.append)
    assert announced == [list(range(8)), [3]]


def test_what_another_process_finds_wrong_is_said_in_its_own_words(tmp_path, two_threads):
    with pytest.raises(ValueError, match="^bad.bin is cut short$"):
        drives = ShortDrives("bad", *"abcdefg")
        lift_split(drives, SaysCarThenBush(), PROMPTS, tmp_path, options=OPTIONS)


@pytest.mark.parametrize("change", ["options", "prompts"])
def test_answers_made_another_way_are_not_reused(tmp_path, change):
    folder = tmp_path / "train"
    lift_split(Drives("a"), SaysCarThenBush(), PROMPTS, folder, options=OPTIONS)
    options = FAR if change == "options" else OPTIONS
    prompts = replace(PROMPTS, embeddings=PROMPTS.embeddings.flip(0)) if change == "prompts" else PROMPTS
    drives = Drives("a")
    lift_split(drives, SaysCarThenBush(), prompts, folder, options=options)
    assert drives.reads == 1


def test_a_split_that_no_camera_sees_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no camera sees any point.*check the calibration"):
        options = LiftOptions(replace(PAIRING, min_depth=100.0))
        lift_split(Drives("a"), SaysCarThenBush(), PROMPTS, tmp_path / "train", options=options)


class Sweeps(Drives):
    """The keyframe sees a wall at x = 20; a sweep before it saw a box at x = 5 that has gone since."""

    def __getitem__(self, index):
        sample = make_sample(self.tokens[index], self.with_labels)
        y, z = torch.meshgrid(torch.linspace(-4, 4, 60), torch.linspace(-3, 4, 40), indexing="ij")
        wall = torch.stack([torch.full_like(y, 20.0), y, z], dim=-1).reshape(-1, 3)
        box = torch.stack([torch.full_like(y, 5.0), 0.1 * y, 0.1 * z], dim=-1).reshape(-1, 3)
        labels = torch.ones(len(wall), dtype=torch.long) if self.with_labels else None
        sweeps = tuple(
            PointCloud(each, torch.ones(len(each), 1)) for each in (box, wall + torch.tensor([0, 0.05, 0]))
        )
        return replace(sample, cloud=PointCloud(wall, torch.ones(len(wall), 1)), labels=labels, sweeps=sweeps)


def lift_sweeps(folder, *, superpoint_vote=False, **pairing):
    options = LiftOptions(replace(PAIRING, **pairing), superpoint_vote=superpoint_vote)
    paths = lift_split(Sweeps("a"), SaysCarThenBush(), PROMPTS, folder, options=options)
    return load_lifted(paths[0])


def test_sweeps_stand_one_after_another_and_what_moved_away_is_in_no_pair(tmp_path):
    lifted = lift_sweeps(tmp_path)
    number = 60 * 40
    assert lifted.sweep_sizes == (number, number, number)
    assert len(lifted.cloud) == 3 * number
    assert (lifted.labels[:number] == 1).all() and (lifted.labels[number:] == -1).all()
    sweep_of_pair = lifted.pair_points // number
    assert set(sweep_of_pair.tolist()) == {0, 2}
    assert 1 in set((lift_sweeps(tmp_path, moved_test=False).pair_points // number).tolist())
    train_item = lifted.item_from_teacher()
    assert train_item.item_sizes == lifted.sweep_sizes


def test_what_has_moved_is_told_from_where_the_lidar_stands():
    """A lidar 300 m from the cloud's origin tells the same as one in it."""
    sample, far = Sweeps("a")[0], torch.tensor([0.0, 300.0, 0.0])
    clouds = [PointCloud(each.positions + far, each.features) for each in (sample.cloud, *sample.sweeps)]
    away = replace(sample, cloud=clouds[0], sweeps=tuple(clouds[1:]))
    still = gather_sweeps(sample, None, PAIRING).still
    assert not still.all()
    assert torch.equal(gather_sweeps(away, (0.0, 300.0, 0.0), PAIRING).still, still)


def test_points_meet_the_pixels_that_the_options_leave_them():
    """Two points on one ray, 5 and 9 m ahead, and one beside them that a depth camera has measured."""
    positions = torch.tensor([[5.0, 0.0, 0.0], [9.0, 0.0, 0.0], [5.0, 2.0, 0.0]])
    sample = make_sample("a")
    measured = replace(
        sample, read_depth=lambda view: DepthImage(sample.cameras[0], torch.full((21, 21), 9.0))
    )

    def points(sample, **options):
        return find_pairs(positions, sample, PairingOptions(**options)).points.tolist()

    assert points(sample) == [0, 2]
    assert points(sample, occlusion_test=False) == points(measured, occlusion_test=False) == [0, 1, 2]
    assert points(measured) == [1]
    assert points(sample, occlusion_test=False, min_depth=6.0) == [1]


def test_a_merged_cloud_is_one_item_without_what_moved_away(tmp_path):
    lifted = lift_sweeps(tmp_path, merge_sweeps=True)
    assert lifted.sweep_sizes == ()
    assert len(lifted.cloud) == len(lifted.labels) == 2 * 60 * 40
    assert lifted.cloud.positions[:, 0].min() == 20
    everything = lift_sweeps(tmp_path, merge_sweeps=True, moved_test=False)
    assert len(everything.cloud) == 3 * 60 * 40


@pytest.mark.parametrize("merge", [False, True])
def test_a_sample_is_known_by_its_keyframe_however_many_sweeps_come_along(tmp_path, merge):
    paths = lift_split(
        Sweeps("a"),
        SaysCarThenBush(),
        PROMPTS,
        tmp_path / "many",
        options=LiftOptions(replace(PAIRING, merge_sweeps=merge)),
    )
    keyframe = Sweeps("a")[0].cloud.positions
    assert len(load_lifted(paths[0]).cloud) > len(keyframe)
    assert hash_clouds(paths) == {"a": hash_points(keyframe)}
    alone = lift_split(Drives("a"), SaysCarThenBush(), PROMPTS, tmp_path / "one", options=OPTIONS)
    assert hash_clouds(alone) == {"a": hash_points(make_sample("a").cloud.positions)}


def test_pieces_of_one_sweep_are_not_those_of_another(tmp_path):
    lifted = lift_sweeps(tmp_path, superpoint_vote=True)
    pieces = [set(each[each >= 0].tolist()) for each in lifted.superpoints.split(lifted.sweep_sizes)]
    assert pieces[0] and not pieces[0] & pieces[1] and not pieces[0] & pieces[2]


def test_pieces_are_found_from_where_the_lidar_stands(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "clip2scene.distill.lift.find_superpoints",
        lambda positions, *, viewpoint: seen.append(viewpoint) or torch.zeros(len(positions)).long(),
    )
    options = LiftOptions(PAIRING, (1.0, 0.0, 1.8), superpoint_vote=True)
    lift_split(Sweeps("a"), SaysCarThenBush(), PROMPTS, tmp_path, options=options)
    assert seen == [(1.0, 0.0, 1.8)] * 3


def test_features_are_kept_at_the_precision_that_is_asked_for(tmp_path):
    for precision, kind in (("float16", torch.float16), ("int8", torch.int8)):
        options = replace(OPTIONS, keep="maps", precision=precision)
        (path,) = lift_split(Drives("a"), Looks(), PROMPTS, tmp_path, options=options)
        assert load_file(path)["map.0"].dtype == kind
        embeddings = load_lifted(path).item_from_teacher().pixels.embeddings
        torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(2))


class Looks:
    """A teacher with features: two cells side by side."""

    def __call__(self, sample):
        cells = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]])
        return DenseEmbeddings((cells,), None, ((21, 21),))


@pytest.mark.parametrize("keep", ["maps", "superpixels"])
def test_the_teachers_features_come_back_as_they_were(tmp_path, keep, monkeypatch):
    halves = torch.zeros(21, 21, dtype=torch.long)
    halves[:, 11:] = 1
    monkeypatch.setattr("clip2scene.distill.lift.slic_superpixels", lambda image: halves)
    (path,) = lift_split(Drives("a"), Looks(), PROMPTS, tmp_path, options=replace(OPTIONS, keep=keep))
    lifted = load_lifted(path)
    pairs = lifted.teacher_features.pairs
    assert pairs.points.tolist() == lifted.pair_points.tolist() == [0, 2]
    pixels = lifted.item_from_teacher().pixels
    if keep == "superpixels":
        assert pixels.superpixels.of_pair.tolist() == [int(u >= 10.5) for u in pairs.pixels[:, 0]]
        assert pixels.superpixels.embeddings.shape == (2, 3)
        assert pixels.embeddings is None
        return
    middle = 0.5**0.5
    torch.testing.assert_close(pixels.embeddings[0], torch.tensor([middle, middle, 0]), atol=2e-2, rtol=0)
    torch.testing.assert_close(pixels.logits.argmax(1), PROMPTS.class_logits(pixels.embeddings).argmax(1))
    assert pixels.superpixels is None
    second = lifted.item_from_teacher(torch.tensor([1])).pixels
    assert second.points.tolist() == [2]
    assert torch.equal(second.embeddings, pixels.embeddings[1:])
    assert torch.equal(second.logits, pixels.logits[1:])


class TwoViews(Drives):
    """Two cameras in one place; one point above the middle of their images, one below it."""

    def __getitem__(self, index):
        sample = make_sample(self.tokens[index])
        cloud = PointCloud(torch.tensor([[5.0, 0.0, 2.0], [5.0, 0.0, -2.0]]), torch.ones(2, 1))
        return replace(sample, cloud=cloud, cameras=sample.cameras * 2, labels=None)


def test_superpixels_of_every_view_are_regions_of_their_own(tmp_path, monkeypatch):
    class LooksTwice:
        def __call__(self, sample):
            cells = torch.nn.functional.normalize(torch.rand(3, 2, 1), dim=0)
            return DenseEmbeddings((cells, cells), None, ((21, 21), (21, 21)))

    halves = torch.zeros(21, 21, dtype=torch.long)
    halves[11:] = 1  # the lower rows
    monkeypatch.setattr("clip2scene.distill.lift.slic_superpixels", lambda image: halves)
    options = replace(OPTIONS, keep="superpixels")
    (path,) = lift_split(TwoViews("a"), LooksTwice(), PROMPTS, tmp_path, options=options)
    regions = load_lifted(path).item_from_teacher().pixels.superpixels
    assert regions.of_pair.tolist() == [0, 1, 2, 3]
    assert regions.embeddings.shape == (4, 3)


def test_runs_that_need_the_same_answers_share_them(tmp_path):
    first = lift_split(Drives("a"), SaysCarThenBush(), PROMPTS, tmp_path, options=OPTIONS)
    drives = Drives("a")
    assert (
        lift_split(
            drives,
            SaysCarThenBush(),
            PROMPTS,
            tmp_path,
            options=replace(OPTIONS),
        )
        == first
    )
    assert drives.reads == 0
    other = lift_split(drives, SaysCarThenBush(), PROMPTS, tmp_path, options=FAR)
    assert other != first and first[0].exists()


def test_another_backbone_stands_in_for_the_teachers_features_alone(tmp_path):
    drives, tower = (
        Drives("a"),
        ImageBackbone(lambda pixels: pixels[:, :2], 2, 1, torch.zeros(3), torch.ones(3)),
    )
    options = replace(OPTIONS, keep="maps")
    (path,) = lift_split(drives, Looks(), PROMPTS, tmp_path, options=options, backbone=tower)
    (other,) = lift_split(drives, Looks(), PROMPTS, tmp_path / "own", options=options)
    lifted, own = load_lifted(path), load_lifted(other)
    assert torch.equal(lifted.pair_logits, own.pair_logits)
    assert [len(each.teacher_features.maps.embeddings[0]) for each in (lifted, own)] == [2, 3]
    pixels = lifted.item_from_teacher().pixels
    torch.testing.assert_close(pixels.embeddings, torch.tensor([[0.6, 0.8]]).expand(2, 2), atol=2e-3, rtol=0)
