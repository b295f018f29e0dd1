import shutil

import pytest
import torch
from PIL import Image

from clip2scene.classes.tables import TOYTOWN
from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.evaluation.evaluate import open_evaluation
from clip2scene.inference.figures import (
    CUT_M,
    _choose_views,
    _look_down,
    draw_above,
    draw_samples,
    draw_words,
    word_colours,
)
from clip2scene.viz.raster import RIGHT, WRONG, class_colours


def colours_of(picture):
    return {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}


@pytest.fixture(scope="module")
def sample(tiny_toytown):
    return NuScenes(tiny_toytown, split="val", class_set=TOYTOWN)[0]


def draw_from(run, data, count):
    opened = open_evaluation(run, data_root=data)
    return draw_samples(opened.run, opened.student, opened.dataset, opened.paths, count=count)


def test_samples_are_drawn_from_above_and_over_their_cameras(tiny_run, tiny_toytown, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    drawn = draw_from(run, tiny_toytown, count=1)
    token = NuScenes(tiny_toytown, split="val", labels=False).tokens[0]
    kinds = ("above", "cameras", "carried")
    assert [path.name for path in drawn] == [f"{token}-{kind}.png" for kind in kinds]
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.width == 1600
            assert picture.height > 400
            assert len(colours_of(picture)) > 100


def test_each_picture_is_drawn_once_however_many_are_asked_for(tiny_run, tiny_toytown, tmp_path):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    drawn = draw_from(run, tiny_toytown, count=5)
    assert len(set(drawn)) == len(drawn) == 6  # three pictures of each of the split's two samples
    assert draw_from(run, tiny_toytown, count=0) == []


def test_a_perfect_student_is_all_green_and_a_wrong_one_has_red(sample):
    def errors_of(student):
        labels = {"student": student, "ground truth": sample.labels}
        return colours_of(draw_above(sample, labels, TOYTOWN))

    assert RIGHT in errors_of(sample.labels)
    assert WRONG not in errors_of(sample.labels)
    shifted = torch.where(sample.labels >= 0, (sample.labels + 1) % len(TOYTOWN), -1)
    assert WRONG in errors_of(shifted)
    assert RIGHT not in errors_of(shifted)


def test_the_picture_from_above_shows_the_truth_in_its_classes_colours(sample):
    labels = {"student": sample.labels, "ground truth": sample.labels}
    shown = colours_of(draw_above(sample, labels, TOYTOWN))
    road = torch.tensor([TOYTOWN.classes.index("driveable surface")])
    assert tuple(class_colours(road, TOYTOWN)[0].tolist()) in shown


def test_words_get_colours_that_can_be_told_apart_and_do_not_change_as_words_are_added():
    colours = word_colours(12).int()
    apart = (colours[:, None] - colours).abs().sum(2) + 1000 * torch.eye(12, dtype=torch.int)
    assert apart.min() > 40
    assert torch.equal(word_colours(3), word_colours(12)[:3])
    assert (colours.amax(1) > 150).all()  # bright enough for a dark ground


def test_a_room_is_drawn_without_its_ceiling_and_fills_the_picture():
    gap, edge = torch.meshgrid(torch.linspace(0, 6, 120), torch.linspace(0, 4, 80), indexing="ij")
    floor = torch.stack([gap, edge, torch.zeros_like(gap)], 2).reshape(-1, 3)
    positions = torch.cat([floor, floor + torch.tensor([0.0, 0.0, CUT_M + 0.5])])
    red, blue = torch.tensor([250, 0, 0], dtype=torch.uint8), torch.tensor([0, 0, 250], dtype=torch.uint8)
    colours = torch.cat([red.expand(len(floor), 3), blue.expand(len(floor), 3)])
    drawn = _look_down(positions, colours, indoors=True)
    assert (0, 0, 250) not in colours_of(drawn)
    reds = dict((colour, count) for count, colour in drawn.getcolors(1 << 24))[250, 0, 0]
    assert (
        reds > 0.5 * drawn.width * drawn.height
    )  # a room of 6 by 4 m: two thirds of the square, less a margin
    assert (0, 0, 250) in colours_of(_look_down(positions, colours, indoors=False))


def test_of_a_walk_views_are_shown_that_lie_far_apart_and_of_a_vehicle_the_first():
    assert _choose_views(16, indoors=True) == [0, 5, 10]
    assert _choose_views(2, indoors=True) == [0, 1]
    assert _choose_views(6, indoors=False) == [0, 1, 2]
    assert _choose_views(1, indoors=False) == _choose_views(1, indoors=True) == [0]


def test_a_cloud_is_drawn_in_the_colours_of_its_words():
    positions = torch.rand(200, 3) * 20 - 10
    labels = torch.arange(200) % 2
    shown = colours_of(draw_words("cloud", positions, labels, ["house", "road"], indoors=False))
    assert {tuple(colour) for colour in word_colours(2).tolist()} <= shown


def test_a_map_is_drawn_as_far_as_it_goes():
    positions = torch.tensor([[0.0, 0.0, 0.0], [3.0, 1.0, 0.0], [700.0, -300.0, 40.0]])
    given = ("map", positions, torch.tensor([0, 0, 1]), ["house", "road"])
    far = tuple(word_colours(2)[1].tolist())
    seen = [
        sum(count for count, colour in picture.convert("RGB").getcolors(1 << 24) if colour == far)
        for picture in (draw_words(*given, indoors=False), draw_words(*given, indoors=False, a_map=True))
    ]
    assert seen[1] > seen[0]  # of which there is the legend's
