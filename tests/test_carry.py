from dataclasses import replace

import pytest
import torch

from clip2scene.carried import Carried, load_carried
from clip2scene.carry import carry_split
from clip2scene.types import Camera, PointCloud, Prompts, Sample

SETTINGS = {
    "min_depth": 1.0,
    "occlusion_test": False,
    "moved_test": True,
    "merge_sweeps": False,
    "viewpoint": (0.0, 0.0, 0.0),
    "superpoint_vote": False,
    "keep": "classes",
}
PROMPTS = Prompts(("car", "tree"), ("car", "tree", "bush"), torch.tensor([0, 1, 1]), torch.eye(3))


def make_sample(token, with_labels=True):
    """Two points ahead of a camera that looks along the lidar's x, one behind it."""
    camera_from_lidar = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    camera = Camera("front", torch.tensor([[10.0, 0, 10], [0, 10, 10], [0, 0, 1]]), camera_from_lidar, 21, 21)
    positions = torch.tensor([[5.0, 0, 0], [-5.0, 0, 0], [6.0, 1, 1]])
    labels = torch.tensor([0, 1, 1]) if with_labels else None
    return Sample(token, PointCloud(positions, torch.ones(3, 1)), (camera,), lambda view: None, labels)


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
    (path,) = carry_split(Drives("a"), SaysCarThenBush(), PROMPTS, tmp_path / "train", settings=SETTINGS)
    carried = load_carried(path)
    assert carried.pair_points.tolist() == [0, 2]
    assert carried.pair_logits.tolist() == [[2, 1], [0, 1]]  # a class has the logit of its best name
    assert carried.teacher_labels().tolist() == [0, -1, 1]
    assert carried.seen().tolist() == [True, False, True]
    assert carried.labels.tolist() == [0, 1, 1]


def test_a_point_that_two_cameras_see_gets_the_class_both_like_best():
    cloud = PointCloud(torch.zeros(1, 3), torch.zeros(1, 1))
    logits = torch.tensor([[3.0, 2.9, 0.0], [0.0, 2.9, 3.0]])
    carried = Carried(cloud, torch.tensor([0, 0]), logits, None)
    assert carried.teacher_labels().tolist() == [1]
    assert carried.lesson_of_teacher().targets.tolist() == [0, 2]


def test_an_interrupted_call_goes_on_where_it_stopped(tmp_path):
    folder = tmp_path / "train"
    first = carry_split(Drives("a", "b"), SaysCarThenBush(), PROMPTS, folder, settings=SETTINGS)
    first[1].unlink()
    drives = Drives("a", "b")
    assert carry_split(drives, SaysCarThenBush(), PROMPTS, folder, settings=SETTINGS) == first
    assert drives.reads == 1


@pytest.mark.parametrize("change", ["settings", "prompts"])
def test_answers_made_another_way_are_not_reused(tmp_path, change):
    folder = tmp_path / "train"
    carry_split(Drives("a"), SaysCarThenBush(), PROMPTS, folder, settings=SETTINGS)
    settings = {**SETTINGS, "min_depth": 2.0} if change == "settings" else SETTINGS
    prompts = replace(PROMPTS, embeddings=PROMPTS.embeddings.flip(0)) if change == "prompts" else PROMPTS
    drives = Drives("a")
    carry_split(drives, SaysCarThenBush(), prompts, folder, settings=settings)
    assert drives.reads == 1


def test_a_split_that_no_camera_sees_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no camera sees any point.*check the calibration"):
        settings = {**SETTINGS, "min_depth": 100.0}
        carry_split(Drives("a"), SaysCarThenBush(), PROMPTS, tmp_path / "train", settings=settings)


def test_without_labels_nothing_can_be_learnt_from_them(tmp_path):
    drives = Drives("a", with_labels=False)
    (path,) = carry_split(drives, SaysCarThenBush(), PROMPTS, tmp_path / "train", settings=SETTINGS)
    with pytest.raises(ValueError, match="read without"):
        load_carried(path).lesson_of_labels()


def test_a_damaged_file_is_named(tmp_path):
    (path,) = carry_split(Drives("a"), SaysCarThenBush(), PROMPTS, tmp_path / "train", settings=SETTINGS)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=f"{path.name}.*delete it and run again"):
        load_carried(path)
