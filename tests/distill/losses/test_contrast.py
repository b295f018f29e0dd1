import math

import pytest
import torch

from clip2scene.distill.losses.contrast import kl_divergence, pixel_point_infonce, superpixel_infonce


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equal_rows_cost_the_logarithm_of_their_number():
    same = torch.ones(4096, 3)
    assert pixel_point_infonce(same, same).item() == pytest.approx(math.log(4096), abs=1e-3)


def test_each_point_looks_for_its_own_pixel():
    points, pixels = rows(7, 4), rows(7, 4, seed=1)
    total = 0.0
    for i in range(7):
        cosines = [float(points[i] @ x / points[i].norm() / x.norm()) / 0.1 for x in pixels]
        total -= cosines[i] - math.log(sum(math.exp(each) for each in cosines))
    assert pixel_point_infonce(points, pixels, temperature=0.1).item() == pytest.approx(total / 7)
    assert pixel_point_infonce(points, 5 * pixels, temperature=0.1).item() == pytest.approx(total / 7)


def test_superpixels_meet_the_mean_of_their_points_and_unseen_ones_take_no_part():
    points, regions = rows(6, 3), rows(4, 3, seed=1)
    of_pair = torch.tensor([2, 0, 2, 2, 0, 3])  # nobody looks at region 1
    unit = [each / each.norm() for each in points]
    means = {0: (unit[1] + unit[4]) / 2, 2: (unit[0] + unit[2] + unit[3]) / 3, 3: unit[5]}
    total = 0.0
    for number, mean in means.items():
        scores = {other: float(mean @ regions[other]) / 0.07 for other in means}
        total -= scores[number] - math.log(sum(math.exp(score) for score in scores.values()))
    assert superpixel_infonce(points, of_pair, regions).item() == pytest.approx(total / 3)


def test_kl_divergence_is_that_of_the_shares():
    student, teacher = rows(5, 3), rows(5, 3, seed=1)
    p, q = (teacher / 2).softmax(1), (student / 2).softmax(1)
    truth = 4 * (p * (p / q).log()).sum() / 5
    assert kl_divergence(student, teacher, temperature=2.0).item() == pytest.approx(truth.item())
    assert kl_divergence(teacher, teacher + 3).item() == pytest.approx(0, abs=1e-9)  # a shift means nothing


@pytest.mark.parametrize("kind", ["pixels", "superpixels", "kl"])
def test_gradients_are_those_of_the_value_and_nothing_costs_nothing(kind):
    def loss(points):
        other = rows(4, 3, seed=2)
        if kind == "superpixels":
            return superpixel_infonce(points, torch.tensor([0, 0, 1, 3])[: len(points)], other)
        function = pixel_point_infonce if kind == "pixels" else kl_divergence
        return function(points, other[: len(points)])

    torch.autograd.gradcheck(loss, rows(4, 3).requires_grad_())
    nothing = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
    loss(nothing).backward()
    assert nothing.grad.shape == (0, 3)


@pytest.mark.parametrize("function", [pixel_point_infonce, kl_divergence])
def test_a_temperature_must_be_positive(function):
    with pytest.raises(ValueError, match="temperature must be positive"):
        function(rows(2, 2), rows(2, 2), temperature=0.0)
