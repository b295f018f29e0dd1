import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip2scene.distill.losses.consistency import (
    guarded,
    packed_consistency,
    softmax_within,
    spatial_temporal_consistency,
)
from clip2scene.student.model import ProjectionHeads


def draw(pairs, channels, num_cells, seed):
    """Points, pixels and texts of pairs that each have a class of their own, and cells."""
    generator = torch.Generator().manual_seed(seed)
    points, pixels, text = torch.randn(3, pairs, channels, generator=generator, dtype=torch.float64)
    return points, pixels, text, torch.randint(5, 5 + num_cells, (pairs,), generator=generator)


def slow_consistency(points, pixels, text, cells, temperature):
    """Eq. 2 to 4, cell by cell and pair by pair."""
    total = torch.zeros((), dtype=points.dtype)
    numbers = sorted(set(cells.tolist()))
    for number in numbers:
        mine = [i for i, cell in enumerate(cells.tolist()) if cell == number]
        a = [torch.exp(pixels[i] @ text[i] / temperature) for i in mine]
        b = [torch.exp(points[i] @ text[i] / temperature) for i in mine]
        z = sum(a) + sum(b)
        fused = sum(a[k] / z * pixels[i] + b[k] / z * points[i] for k, i in enumerate(mine))
        total = total + sum(1 - torch.sigmoid(points[i] @ fused) for i in mine)
    return total / len(numbers)


def test_with_the_guard_nothing_teaches_where_in_the_text_space_all_points_lie():
    points, pixels, text, cells = draw(pairs=12, channels=5, num_cells=3, seed=0)
    words = (torch.arange(12), cells, text)
    offset = torch.randn(5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    head = torch.nn.Linear(5, 5, dtype=torch.float64)
    for guard, taught in (("centred", False), ("unit", True), ("none", True)):
        here, there = (
            spatial_temporal_consistency(each, pixels, *words, guard=guard)
            for each in (points, points + offset)
        )
        assert torch.allclose(here, there) is not taught
        head.zero_grad()
        spatial_temporal_consistency(head(points), pixels, *words, guard=guard).backward()
        assert bool(head.bias.grad.abs().max() > 1e-9) is taught
        assert head.weight.grad.abs().max() > 1e-3


def slow_packed(points, labels, cells, text):
    """The released code's dense pack, slot by slot."""
    slots = []
    for number in sorted(set(cells.tolist())):
        mine = [i for i, cell in enumerate(cells.tolist()) if cell == number][:8]
        anchor = text[labels[mine[0]]]
        weights = torch.stack([points[i] @ anchor for i in mine]).softmax(0)
        fused = sum(weight * points[i] for weight, i in zip(weights, mine, strict=True))
        slots += [1 - torch.sigmoid(fused @ points[i]) for i in mine]
        slots += [torch.tensor(0.5, dtype=points.dtype)] * (8 - len(mine))
    return torch.stack(slots).mean()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(1, 8), st.integers(0, 999))
def test_scattered_sums_equal_the_equations_in_value_and_gradient(pairs, channels, num_cells, seed):
    points, pixels, text, cells = draw(pairs, channels, num_cells, seed)
    fast = [points.clone().requires_grad_(), pixels.clone().requires_grad_()]
    slow = [points.clone().requires_grad_(), pixels.clone().requires_grad_()]
    value = spatial_temporal_consistency(
        *fast, torch.arange(pairs), cells, text, temperature=0.7, guard="none"
    )
    truth = slow_consistency(*slow, text, cells, 0.7)
    torch.testing.assert_close(value, truth)
    value.backward()
    truth.backward()
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 999))
def test_the_released_form_equals_its_pack(pairs, num_cells, seed):
    points, _, _, cells = draw(pairs, 3, num_cells, seed)
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (pairs,), generator=generator)
    fast, slow = points.clone().requires_grad_(), points.clone().requires_grad_()
    value, truth = packed_consistency(fast, labels, cells, text), slow_packed(slow, labels, cells, text)
    torch.testing.assert_close(value, truth)
    value.backward()
    truth.backward()
    torch.testing.assert_close(fast.grad, slow.grad)


def test_a_lone_point_in_the_released_form_costs_itself_and_seven_halves():
    point = torch.tensor([[0.6, -0.3]])
    value = packed_consistency(point, torch.tensor([0]), torch.tensor([7]), torch.eye(2))
    assert value.item() == pytest.approx((7 * 0.5 + 1 - torch.sigmoid((point**2).sum()).item()) / 8)


@pytest.mark.parametrize("guard", ["none", "unit", "centred"])
def test_gradients_are_those_of_the_value(guard):
    points, pixels, text, cells = draw(9, 3, 3, 0)
    torch.autograd.gradcheck(
        lambda p, x: spatial_temporal_consistency(p, x, torch.arange(9), cells, text, guard=guard),
        (points.requires_grad_(), pixels.requires_grad_()),
    )


@pytest.mark.parametrize("guard", ["none", "unit", "centred"])
@pytest.mark.parametrize("pairs", [0, 1])
def test_nothing_and_next_to_nothing_have_finite_gradients(guard, pairs):
    points, nought = torch.zeros(pairs, 4, requires_grad=True), torch.zeros(pairs, dtype=torch.long)
    value = spatial_temporal_consistency(
        points, torch.zeros(pairs, 4), nought, nought, torch.ones(1, 4), guard=guard
    )
    value.backward()
    assert points.grad.isfinite().all()


def test_huge_scores_do_not_overflow():
    weights = softmax_within(torch.tensor([1e4, 0.0, -1e4]), torch.tensor([0, 0, 1]), 2)
    assert weights.tolist() == [1.0, 0.0, 1.0]


def test_features_that_are_all_alike_are_nothing_once_centred():
    alike = torch.full((6, 4), 3.0)
    assert guarded(alike, "unit").norm(dim=1).tolist() == pytest.approx([1.0] * 6)
    assert guarded(alike, "centred").abs().max() < 1e-5


def learn_alone(guard):
    """Train both layers on this term alone; how alike cells are in the end, and how alike within a cell."""
    torch.manual_seed(0)
    cells = torch.arange(400) // 4
    meaning = torch.randn(100, 16)[cells]  # what a point's surroundings and a pixel's have in common
    point_features, seen = meaning + 0.5 * torch.randn(400, 16), meaning + 0.5 * torch.randn(400, 16)
    text = torch.nn.functional.normalize(torch.randn(5, 16), dim=1)
    heads = ProjectionHeads(16, 16, 16)
    optimiser = torch.optim.AdamW(heads.parameters(), 0.02)
    for _ in range(200):
        points = heads.points(point_features)
        loss = spatial_temporal_consistency(points, heads.pixels(seen), cells % 5, cells, text, guard=guard)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    unit = torch.nn.functional.normalize(heads.points(point_features).detach(), dim=1)
    alike = unit @ unit.T
    same = cells[:, None] == cells
    within = alike[same & ~torch.eye(400, dtype=torch.bool)].mean()
    return alike[~same].mean().item(), within.item()


def test_growing_features_lower_the_bare_term_and_no_guarded_one():
    noise, meaning, text, cells = draw(40, 6, 10, 0)
    pixels = meaning[cells]  # a cell's pairs mean the same
    points = pixels + 0.1 * noise

    def values(guard):
        sizes = (1, 20)
        return [
            spatial_temporal_consistency(
                size * points, size * pixels, torch.arange(40), cells, text, guard=guard
            ).item()
            for size in sizes
        ]

    small, large = values("none")
    assert large < 0.2 * small
    for guard in ("unit", "centred"):
        small, large = values(guard)
        assert large == pytest.approx(small, rel=0.2)


def test_centring_keeps_cells_apart_where_unit_length_alone_makes_all_one():
    between, _ = learn_alone("unit")
    assert between > 0.9  # it cannot grow, but it is one direction
    between, within = learn_alone("centred")
    assert abs(between) < 0.1
    assert within > 0.6


def test_a_temperature_must_be_positive():
    points, pixels, text, cells = draw(2, 2, 1, 0)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        spatial_temporal_consistency(points, pixels, torch.arange(2), cells, text, temperature=0.0)
