from dataclasses import dataclass

import pytest
import torch
from tests.tiny_towers import tiny_resnet

from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.clip.load import Clip
from clip2scene.teacher.cost import Cost, cost_of, time_image
from clip2scene.teacher.kept_maps import open_maps
from clip2scene.teacher.maskclip import MaskClip
from clip2scene.teacher.text_table import one_hot_table
from clip2scene.types import Camera, PointCloud, Sample

GREY = torch.full((3,), 0.5)
IMAGE = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(0)).byte()


def teacher(folder=None):
    clip = Clip("resnet", tiny_resnet(), one_hot_table([f"word {n}" for n in range(8)]), GREY, GREY, 32, 8)
    return CachedTeacher(MaskClip(clip), "weights", open_maps(folder))


@dataclass
class Samples:
    views: int
    tokens: tuple[str, ...] = ("a",)

    def __getitem__(self, number):
        camera = Camera("front", torch.eye(3), torch.eye(4), 32, 32)
        cloud = PointCloud(torch.zeros(1, 3), torch.zeros(1, 1))
        return Sample(str(number), cloud, (camera,) * self.views, lambda view: IMAGE)


def test_the_paper_size_of_nuscenes_is_told_in_core_days():
    cost = Cost(images=168_780, seconds=40.5, processes=2)
    assert cost.total == pytest.approx(168_780 * 40.5 / 2)
    said = str(cost)
    assert "about 40 s an image on a core: 79 core-days for 168,780 images, 40 days with 2 processes" in said
    assert "--teacher.working-size (the paper: 224 416)" in said
    assert "on cuda:0: 0.2 days for" in str(Cost(168_780, 0.1, 1, torch.device("cuda:0")))


def test_an_image_is_timed_with_one_thread_and_the_threads_are_put_back():
    before = torch.get_num_threads()
    seconds, maps = time_image(teacher().teacher, IMAGE)
    assert seconds > 0 and maps[0].shape == (8, 4, 4) and torch.get_num_threads() == before


def test_a_long_look_is_announced_and_a_short_one_is_not(monkeypatch, tmp_path):
    slow = [5.0]
    monkeypatch.setattr("clip2scene.teacher.cost.time_image", lambda *_: (slow[0], ()))
    cost = cost_of(teacher(), Samples(6), range(1000))
    assert (cost.images, cost.seconds) == (6000, 5.0)
    assert cost_of(teacher(), Samples(6), range(10)) is None  # few images
    assert cost_of(teacher(), Samples(6), []) is None
    assert cost_of(teacher(), Samples(0), range(1000)) is None  # a data set without images
    slow[0] = 0.001
    assert cost_of(teacher(), Samples(6), range(1000)) is None
    slow[0] = 5.0
    cached = teacher(tmp_path)
    cached(Samples(1)[0])
    assert cost_of(cached, Samples(6), range(1000)) is None  # a look that was paid for
