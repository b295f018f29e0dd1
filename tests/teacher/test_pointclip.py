import math

import pytest
import torch

from clip2scene.geometry.superpoints import find_superpoints
from clip2scene.teacher.clip.load import Clip
from clip2scene.teacher.clip.tokenizer import WholeTokenizer, word_tokenizer
from clip2scene.teacher.pointclip import DISTANCE, FROM_ABOVE, VIEWS, depth_maps, point_clip
from clip2scene.types import Prompts


def ball(count=4000, radius=0.5, middle=(6.0, 2.0, 0.0)):
    """Points spread evenly over a sphere."""
    number = torch.arange(count) + 0.5
    up = 1 - 2 * number / count
    around = math.pi * (1 + 5**0.5) * number
    level = (1 - up**2).sqrt()
    directions = torch.stack([level * around.cos(), level * around.sin(), up], dim=1)
    return directions * radius + torch.tensor(middle)


def wall(x, y, width, height=1.5, step=0.05, bottom=-1.8):
    """Points of an upright rectangle that faces the sensor."""
    across, up = torch.meshgrid(torch.arange(0, width, step), torch.arange(0, height, step), indexing="ij")
    across, up = across.reshape(-1), up.reshape(-1)
    return torch.stack([torch.full_like(across, x), y + across, bottom + up], dim=1)


def road(size=20.0, step=0.25, height=-1.8):
    x, y = torch.meshgrid(torch.arange(-size, size, step), torch.arange(-size, size, step), indexing="ij")
    return torch.stack([x.reshape(-1), y.reshape(-1), torch.full((x.numel(),), height)], dim=1)


def turn(positions, angle):
    cos, sin = math.cos(angle), math.sin(angle)
    return positions @ torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]).T


def one_region(positions, **settings):
    return depth_maps(positions, torch.zeros(len(positions), dtype=torch.long), **settings)[0]


def painted_one_by_one(positions, view, side, dot):
    """The slow truth: every point of one region, every pixel of its disc."""
    middle = (positions.amin(0) + positions.amax(0)) / 2
    x, y = middle[0].item(), middle[1].item()
    away = torch.tensor([x, y, 0.0]) / math.hypot(x, y)
    left = torch.tensor([-away[1].item(), away[0].item(), 0.0])
    local = [torch.stack([(p - middle) @ away, (p - middle) @ left, (p - middle)[2]]) for p in positions]
    radius = max(p.norm().item() for p in local)
    picture, depths = torch.zeros(side, side), torch.full((side, side), math.inf)
    for p in local:
        right, down, sight = (view @ (p / radius)).tolist()
        depth = sight + DISTANCE
        focal = math.sqrt(DISTANCE**2 - 1) * (side / 2 - dot - 0.5)
        col, row = round(right / depth * focal + (side - 1) / 2), round(down / depth * focal + (side - 1) / 2)
        for i in range(side):
            for j in range(side):
                if math.hypot(i - row, j - col) <= dot + 0.5 and depth < depths[i, j]:
                    depths[i, j] = depth
                    picture[i, j] = 255 - 175 * (depth - (DISTANCE - 1)) / 2
    return picture


def test_maps_equal_those_painted_point_by_point():
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(25, 3, generator=generator) * torch.tensor([1.0, 2.0, 1.5]) + 4.0
    maps = one_region(positions, side=16, dot=1)
    for view, seen in zip(VIEWS, maps, strict=True):
        truth = painted_one_by_one(positions, view, 16, 1)
        differing = (seen.float() - truth).abs() > 1
        assert differing.sum() <= 2  # a point on the border of two pixels may fall to either


def test_views_are_six_proper_sides_without_mirrors():
    assert torch.equal(VIEWS @ VIEWS.mT, torch.eye(3).expand(6, 3, 3))
    assert torch.equal(torch.linalg.det(VIEWS), torch.ones(6))
    assert {tuple(sight) for sight in VIEWS[:, 2].tolist()} == {
        tuple(sign * axis for axis in row) for row in torch.eye(3).tolist() for sign in (1.0, -1.0)
    }


def test_a_ball_is_a_disc_from_every_side_brightest_in_its_middle():
    maps = one_region(ball(), side=64, dot=2)
    rows = torch.arange(64) - 31.5
    far_out = (rows[:, None] ** 2 + rows[None] ** 2).sqrt()
    for seen in maps:
        assert (seen[far_out < 28] > 0).all()
        assert (seen[far_out > 33] == 0).all()
        assert seen[31:33, 31:33].min() >= 253
        assert seen[far_out < 4].float().mean() > seen[(far_out > 20) & (far_out < 26)].float().mean() + 8


def test_the_nearest_point_wins():
    line = torch.tensor([[4.0, 0.0, 0.0], [5.0, 0.0, 0.0], [6.0, 0.0, 0.0]])
    front, back, *_ = one_region(line, side=32, dot=1)
    middle = front[15:17, 15:17]
    assert middle.max() == 255 and back[15:17, 15:17].max() == 255
    alone = one_region(line[[0, 2]], side=32, dot=1)[0]
    assert torch.equal(front, alone)  # the middle one hides behind the first


def test_the_front_is_the_side_that_faces_the_sensor():
    near, far = wall(5.0, -0.5, 1.0, 1.0), wall(6.0, -0.5, 1.0, 1.0)
    small = far[(far[:, 1].abs() < 0.3) & ((far[:, 2] + 1.3).abs() < 0.3)]
    front, back, *_ = one_region(torch.cat([near, small]))
    assert (front[30:34, 30:34].float() > 180).all() and front.max() - front[front > 0].min() < 25
    assert len(back[back > 0].unique()) > 1 and back[30:34, 30:34].min() > back[32, 12:16].max() + 30


@pytest.mark.parametrize("angle", [0.7, 2.0, -2.6])
def test_maps_do_not_depend_on_where_a_region_stands_or_how_large_it_is(angle):
    generator = torch.Generator().manual_seed(1)
    shape = torch.rand(60, 3, generator=generator) - 0.5
    shape = torch.cat([shape, -shape])  # so that the middle stays the middle when turned
    truth = one_region(shape + torch.tensor([5.0, 0.0, 0.0]))
    moved = one_region(turn(shape + torch.tensor([50.0, 0.0, 0.0]), angle))
    larger = one_region(3 * shape + torch.tensor([30.0, 0.0, 4.0]))
    assert (larger != truth).float().mean() < 0.01
    below = one_region(shape)  # over the sensor there is no direction away from it
    assert (below != truth).float().mean() < 0.01
    assert (moved != truth).float().mean() < 0.02


def test_regions_drawn_together_equal_each_alone():
    first, second = ball(200), wall(9.0, -3.0, 2.0)
    positions = torch.cat([first, second])
    regions = torch.cat([torch.ones(len(first)), torch.zeros(len(second))]).long()
    mixed = torch.randperm(len(positions), generator=torch.Generator().manual_seed(0))
    together = depth_maps(positions[mixed], regions[mixed], views=FROM_ABOVE)
    assert together.shape == (2, 1, 64, 64)
    assert torch.equal(together[1], one_region(first, views=FROM_ABOVE))
    assert torch.equal(together[0], one_region(second, views=FROM_ABOVE))


def test_one_point_is_a_dot_in_the_middle_and_none_is_nothing():
    dot = one_region(torch.tensor([[3.0, 1.0, 0.0]]), side=16, dot=1)
    assert ((dot > 0).sum((1, 2)) == 9).all()  # with a radius of a pixel and a half
    assert (dot[:, 7:9, 7:9] > 0).all()
    nothing = depth_maps(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    assert nothing.shape == (0, 6, 64, 64)


class Shapes:
    """Sees how much of a picture is lit, and how often it was asked."""

    def __init__(self):
        self.pictures = []

    def encode_image(self, pixels):
        self.pictures += [*(pixels[:, 0] * 255)]
        lit = (pixels[:, 0] > 0).float().mean((1, 2))
        return torch.stack([lit, 0.35 - lit], dim=1)


def seeing(model):
    words = WholeTokenizer(word_tokenizer([], 12))  # no text is asked for
    return Clip("resnet", model, words, torch.zeros(3), torch.ones(3), 64, 8)


FULL_OR_THIN = Prompts(("full", "thin"), ("full", "thin"), torch.arange(2), torch.eye(2))


def street():
    """A road with a wide and a thin thing on it, and a few stray points beside the thin one."""
    thin = wall(10.0, -6.0, 0.15, height=3.0)
    stray = torch.tensor([[10.0, -7.0, 0.0], [10.0, -7.1, 0.1]])
    return road(), ball(3000, 1.2, (9.0, 4.0, 0.5)), thin, stray


def test_every_point_takes_the_class_of_its_region():
    parts = street()
    cloud = torch.cat(parts)
    model = Shapes()
    answers = point_clip(seeing(model), FULL_OR_THIN, cloud)
    ground, full, thin, stray = answers.split([len(part) for part in parts])
    regions = find_superpoints(cloud)
    assert (regions[-2:] >= 0).all() and len(regions[regions >= 0].unique()) >= 3
    assert (full == 0).all() and (thin == 1)[parts[2][:, 2] > -1.4].all()
    assert (stray == 1).all()  # too few for a picture: as the nearest
    assert (ground == 0).all()  # a square from above is full
    squares = 4 * 4
    assert len(model.pictures) == squares + 6 * 2


def test_squares_of_the_ground_are_classified_one_by_one():
    whole, strip = road(10.0), road(10.0)
    strip = strip[strip[:, 1].abs() < 0.5] + torch.tensor([40.0, 5.0, 0.0])
    cloud = torch.cat([whole, strip])
    answers = point_clip(seeing(Shapes()), FULL_OR_THIN, cloud)
    assert (answers[: len(whole)] == 0).all() and (answers[len(whole) :] == 1).all()


def test_logits_are_averaged_over_views():
    # From the front the wall is full, from three sides thin: the mean decides.
    model = Shapes()
    point_clip(seeing(model), FULL_OR_THIN, wall(8.0, -1.0, 2.0, height=2.0))
    lit = torch.stack([(picture > 0).float().mean() for picture in model.pictures[:6]])
    assert lit.max() > 0.35 > lit.mean() > lit.min()
    cloud = wall(8.0, -1.0, 2.0, height=2.0)
    standing = point_clip(seeing(Shapes()), FULL_OR_THIN, cloud)[find_superpoints(cloud) >= 0]
    assert len(standing) > 100
    lit = torch.nn.functional.normalize(torch.stack([lit, 0.35 - lit], dim=1)).mean(0)
    assert (standing == lit.argmax()).all()


class Grey(Shapes):
    """Finds all pictures much alike."""

    def encode_image(self, pixels):
        lit = super().encode_image(pixels)[:, 0]
        return torch.stack([torch.full_like(lit, 4.0), lit], dim=1)


def test_centring_tells_apart_what_otherwise_gets_one_class():
    ground, full, thin, _ = street()
    cloud = torch.cat([ground, full, thin])
    names = torch.tensor([[0.8, 0.6], [1.0, 0.0]])
    aside = Prompts(("full", "thin"), ("full", "thin"), torch.arange(2), names)
    assert (point_clip(seeing(Grey()), aside, cloud) == 1).all()
    answers = point_clip(seeing(Grey()), aside, cloud, centred=True)
    _, full_answers, thin_answers = answers.split([len(ground), len(full), len(thin)])
    assert (full_answers == 0).all() and (thin_answers == 1)[thin[:, 2] > -1.4].all()


def test_a_lone_region_is_not_centred():
    # No ground is dense enough to be looked at, so there is one region, and its mean is itself.
    model, lone = Grey(), ball(500)
    names = torch.tensor([[0.8, 0.6], [1.0, 0.0]])
    aside = Prompts(("full", "thin"), ("full", "thin"), torch.arange(2), names)
    assert (point_clip(seeing(model), aside, lone, centred=True, min_points=300) == 1).all()
    assert len(model.pictures) == 6


def test_the_same_cloud_gets_the_same_labels():
    cloud = torch.cat(street())
    first, second = (point_clip(seeing(Shapes()), FULL_OR_THIN, cloud) for _ in range(2))
    assert torch.equal(first, second)


def test_an_empty_cloud_and_one_of_too_few_points_get_no_label():
    assert point_clip(seeing(Shapes()), FULL_OR_THIN, torch.zeros(0, 3)).shape == (0,)
    assert point_clip(seeing(Shapes()), FULL_OR_THIN, ball(5)).tolist() == [-1] * 5


@pytest.mark.parametrize(
    "change", [{"side": 4}, {"dot": -1}, {"dot": 16}, {"min_points": 0}, {"ground_square": 0.0}]
)
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="side of at least 8 pixels"):
        point_clip(seeing(Shapes()), FULL_OR_THIN, ball(), **change)
