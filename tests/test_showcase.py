import shutil

import pytest
import torch
from PIL import Image

from clip2scene.datasets.nuscenes import NuScenes
from clip2scene.labels import TOYTOWN
from clip2scene.pictures import RIGHT, WRONG, class_colours
from clip2scene.showcase import draw_above, draw_samples, word_colours


def colours_of(picture):
    return {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}


@pytest.fixture(scope="module")
def sample(tiny_toytown):
    return NuScenes(tiny_toytown, split="val", class_set=TOYTOWN)[0]


def test_samples_are_drawn_from_above_and_over_their_cameras(tiny_run, tiny_toytown, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    drawn = draw_samples(run, data_root=tiny_toytown, split="val", count=1)
    token = NuScenes(tiny_toytown, split="val", with_labels=False).tokens[0]
    assert [path.name for path in drawn] == [f"{token}-above.png", f"{token}-cameras.png"]
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.width == 1600
            assert picture.height > 400
            assert len(colours_of(picture)) > 100


def test_each_picture_is_drawn_once_however_many_are_asked_for(tiny_run, tiny_toytown, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    drawn = draw_samples(run, data_root=tiny_toytown, split="val", count=5)
    assert len(set(drawn)) == len(drawn) == 4  # two pictures of each of the split's two samples
    assert draw_samples(run, data_root=tiny_toytown, split="val", count=0) == []


def test_a_perfect_student_is_all_green_and_a_wrong_one_has_red(sample):
    def errors_of(student):
        answers = {"student": student, "ground truth": sample.labels}
        return colours_of(draw_above(sample, answers, TOYTOWN))

    assert RIGHT in errors_of(sample.labels)
    assert WRONG not in errors_of(sample.labels)
    shifted = torch.where(sample.labels >= 0, (sample.labels + 1) % len(TOYTOWN), -1)
    assert WRONG in errors_of(shifted)
    assert RIGHT not in errors_of(shifted)


def test_the_picture_from_above_shows_the_truth_in_its_classes_colours(sample):
    answers = {"student": sample.labels, "ground truth": sample.labels}
    shown = colours_of(draw_above(sample, answers, TOYTOWN))
    road = torch.tensor([TOYTOWN.classes.index("driveable surface")])
    assert tuple(class_colours(road, TOYTOWN)[0].tolist()) in shown


def test_words_get_colours_that_can_be_told_apart_and_do_not_change_as_words_are_added():
    colours = word_colours(12).int()
    apart = (colours[:, None] - colours).abs().sum(2) + 1000 * torch.eye(12, dtype=torch.int)
    assert apart.min() > 40
    assert torch.equal(word_colours(3), word_colours(12)[:3])
    assert (colours.amax(1) > 150).all()  # bright enough for a dark ground
