import torch

from clip2scene.viewer.picking import nearest_to_ray

EYE, AHEAD = torch.zeros(3), torch.tensor([1.0, 0.0, 0.0])


def test_of_points_under_the_click_the_nearest_to_the_eye_is_meant():
    points = torch.tensor([[30.0, 0.0, 0.0], [10.0, 0.01, 0.0], [20.0, 0.0, 0.0]])
    assert nearest_to_ray(points, EYE, AHEAD) == 1


def test_on_one_surface_the_point_nearest_to_the_ray_is_meant():
    points = torch.tensor([[10.0, 0.05, 0.0], [10.1, 0.0, 0.0], [10.2, -0.04, 0.0]])
    assert nearest_to_ray(points, EYE, AHEAD) == 1


def test_a_click_that_misses_by_little_still_hits_and_one_that_misses_by_much_does_not():
    point = torch.tensor([[10.0, 0.15, 0.0]])
    assert nearest_to_ray(point, EYE, AHEAD) == 0
    assert nearest_to_ray(2 * point, EYE, AHEAD) == 0, "angles count, not metres"
    assert nearest_to_ray(torch.tensor([[10.0, 0.3, 0.0]]), EYE, AHEAD) is None


def test_what_lies_behind_the_eye_is_not_hit():
    assert nearest_to_ray(torch.tensor([[-10.0, 0.0, 0.0]]), EYE, AHEAD) is None
    assert nearest_to_ray(torch.zeros(0, 3), EYE, AHEAD) is None


def test_the_ray_starts_at_the_eye_and_may_have_any_length():
    points = torch.tensor([[5.0, 5.0, 0.0], [5.0, 0.0, 0.0]])
    assert nearest_to_ray(points, torch.tensor([0.0, 5.0, 0.0]), 7 * AHEAD) == 0


def test_it_agrees_with_a_look_at_every_point():
    draw = torch.Generator().manual_seed(1)
    points = torch.rand(3000, 3, generator=draw) * 40 - 20
    eye = torch.tensor([-30.0, 3.0, 8.0])
    for target in points[:20]:
        ray, away = (target - eye).double(), (points - eye).double()
        depths = away @ (ray / ray.norm())
        angles = torch.linalg.cross(away, (ray / ray.norm()).expand(len(points), 3)).norm(dim=1) / depths
        within = [number for number in range(len(points)) if 0 <= angles[number] <= 0.006]
        first = min(float(depths[number]) for number in within)
        near = [number for number in within if depths[number] <= first + 0.5]
        assert nearest_to_ray(points, eye, ray) == min(near, key=lambda number: angles[number])
