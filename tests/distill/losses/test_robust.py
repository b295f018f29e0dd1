import math

import pytest
import torch

from clip2scene.distill.losses.robust import generalised_cross_entropy, reverse_cross_entropy
from clip2scene.distill.losses.scr import point_cross_entropy
from clip2scene.types import IGNORE_LABEL

WEIGHTS = torch.tensor([0.1, 1.0, 2.0, 0.0, 5.0], dtype=torch.float64)


def generalised(logits, labels, **more):
    return generalised_cross_entropy(logits, labels, q=0.7, **more)


BOTH = pytest.mark.parametrize("loss", [generalised, reverse_cross_entropy])


def batch(points=40, classes=5):
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(points, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(IGNORE_LABEL, classes, (points,), generator=generator)


def probabilities(row):
    total = sum(math.exp(each) for each in row)
    return [math.exp(each) / total for each in row]


def slow_mean(cost, logits, labels, weights):
    """Add up the costs of labelled points, by hand, over the weight of all of them."""
    above, below = 0.0, 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if label != IGNORE_LABEL:
            above += weights[label] * cost(probabilities(row), label)
            below += weights[label]
    return above / below


@pytest.mark.parametrize("weighted", [False, True])
def test_both_are_their_equations(weighted):
    logits, labels = batch()
    weights = WEIGHTS.tolist() if weighted else [1.0] * 5
    given = {"class_weights": WEIGHTS} if weighted else {}
    for q in (0.1, 0.7, 1.0):
        expected = slow_mean(lambda p, y, q=q: (1 - p[y] ** q) / q, logits, labels, weights)
        assert float(generalised_cross_entropy(logits, labels, q=q, **given)) == pytest.approx(expected)

    def reverse(p, label):
        truth = [1.0 if each == label else math.exp(-4) for each in range(len(p))]
        return -sum(share * math.log(there) for share, there in zip(p, truth, strict=True))

    expected = slow_mean(reverse, logits, labels, weights)
    assert float(reverse_cross_entropy(logits, labels, **given)) == pytest.approx(expected)


def test_towards_zero_it_is_the_cross_entropy_and_at_one_half_the_absolute_error():
    logits, labels = batch()
    plain = point_cross_entropy(logits, labels, class_weights=WEIGHTS)
    near = generalised_cross_entropy(logits, labels, q=1e-9, class_weights=WEIGHTS)
    torch.testing.assert_close(near, plain)
    kept = labels != IGNORE_LABEL
    truth = torch.nn.functional.one_hot(labels[kept], 5)
    error = (truth - logits.softmax(1)[kept]).abs().sum(1).mean()
    torch.testing.assert_close(generalised_cross_entropy(logits, labels, q=1.0), error / 2)


def test_a_label_that_is_held_to_be_unlikely_pulls_less_by_its_probability_to_the_q():
    logits = torch.tensor([[3.0, 0.0, -2.0]], dtype=torch.float64, requires_grad=True)
    probability = logits.softmax(1)[0]
    for label in range(3):
        given = torch.tensor([label])
        (own,) = torch.autograd.grad(generalised_cross_entropy(logits, given, q=0.7), logits)
        (plain,) = torch.autograd.grad(point_cross_entropy(logits, given), logits)
        torch.testing.assert_close(own, probability[label] ** 0.7 * plain)


@BOTH
def test_gradients_are_right(loss):
    logits, labels = batch(12, 4)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits.requires_grad_())


@BOTH
def test_a_batch_without_labels_or_weights_costs_a_zero_that_can_be_differentiated(loss):
    for labels, weights in ((torch.full((3,), -1), None), (torch.zeros(3).long(), torch.tensor([0.0, 1.0]))):
        logits = torch.randn(3, 2, requires_grad=True)
        value = loss(logits, labels, class_weights=weights)
        value.backward()
        assert value.item() == 0 and not logits.grad.any()


@BOTH
def test_logits_of_any_size_give_finite_losses_and_gradients(loss):
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    for labels in (torch.tensor([0, 1]), torch.tensor([1, 0])):
        value = loss(logits, labels)
        (gradient,) = torch.autograd.grad(value, logits)
        assert torch.isfinite(value) and torch.isfinite(gradient).all()
    assert torch.isfinite(loss(logits.bfloat16(), labels))


@BOTH
def test_labels_that_are_no_train_ids_are_refused(loss):
    logits, labels = batch()
    labels[3] = 255
    with pytest.raises(ValueError, match=r"train ids 0\.\.4"):
        loss(logits, labels)


def test_noisy_labels_teach_less_that_is_wrong():
    """A linear classifier of two overlapping clouds, with more than a third of one class called the other."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.arange(2).repeat(500)
    points = torch.randn(1000, 2, generator=draw) + 6 * truth[:, None] - 3
    noisy = torch.where((truth == 1) & (torch.rand(1000, generator=draw) < 0.4), 0, truth)

    def learn(loss):
        torch.manual_seed(0)
        layer = torch.nn.Linear(2, 2)
        optimiser = torch.optim.Adam(layer.parameters(), 0.05)
        for _ in range(300):
            optimiser.zero_grad()
            loss(layer(points), noisy).backward()
            optimiser.step()
        return float(
            layer(points).softmax(1).gather(1, truth[:, None]).mean().detach()
        )  # sure of what is true

    robust = learn(generalised)
    symmetric = learn(lambda *given: 0.1 * point_cross_entropy(*given) + reverse_cross_entropy(*given))
    assert min(robust, symmetric) > learn(point_cross_entropy) + 0.1
