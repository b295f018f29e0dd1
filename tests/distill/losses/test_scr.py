import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from clip2scene.distill.losses.scr import class_infonce, class_weights, lovasz_softmax, point_cross_entropy
from clip2scene.types import IGNORE_LABEL

LOSSES = [
    class_infonce,
    point_cross_entropy,
    lambda x, y: point_cross_entropy(x, y, class_weights=torch.arange(1, x.shape[1] + 1, dtype=x.dtype)),
    lovasz_softmax,
]
ALL = pytest.mark.parametrize("loss", LOSSES, ids=["infonce", "ce", "ce_weighted", "lovasz"])


def batch(points: int = 40, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(points, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(IGNORE_LABEL, classes, (points,), generator=generator)


def slow_class_infonce(logits: torch.Tensor, labels: torch.Tensor, temperature: float) -> list[float]:
    """Eq. 1 with plain exponentials and loops: one term per class that has positives and negatives."""
    terms = []
    for anchor in range(logits.shape[1]):
        above, below, others = 0.0, 0.0, 0
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            if label == IGNORE_LABEL:
                continue
            weight = math.exp(row[anchor] / temperature)
            above += weight * (label == anchor)
            below += weight * (label != anchor)
            others += label != anchor
        if above and others:
            terms.append(-math.log(above / below))
    return terms


def slow_lovasz(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Add points in order of falling error and watch the Jaccard loss 1 - |right| / |union| grow."""
    kept = [i for i, label in enumerate(labels.tolist()) if label != IGNORE_LABEL]
    probability = logits.softmax(1).tolist()
    losses = []
    for cls in {int(labels[i]) for i in kept}:
        members = {i for i in kept if labels[i] == cls}
        error = {i: 1 - probability[i][cls] if i in members else probability[i][cls] for i in kept}
        mistakes: set[int] = set()
        total, before = 0.0, 0.0
        for i in sorted(kept, key=lambda i: -error[i]):
            mistakes.add(i)
            predicted = (members - mistakes) | (mistakes - members)
            after = 1 - len(members & predicted) / len(members | predicted)
            total, before = total + error[i] * (after - before), after
        losses.append(total)
    return sum(losses) / len(losses)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 25),
    st.integers(2, 6),
    st.integers(0, 999),
    st.sampled_from([0.07, 0.5, 1.0]),
)
def test_class_infonce_is_equation_1(points, classes, seed, temperature):
    logits, labels = batch(points, classes, seed)
    terms = slow_class_infonce(logits, labels, temperature)
    total = class_infonce(logits, labels, temperature=temperature)
    assert float(total) == pytest.approx(sum(terms), abs=1e-9)


def test_class_infonce_at_equal_logits_counts_points():
    labels = torch.tensor([0, 0, 0, 1])
    assert float(class_infonce(torch.zeros(4, 3), labels)) == pytest.approx(math.log(1 / 3) + math.log(3 / 1))


def test_class_infonce_survives_logits_whose_exponential_overflows():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = class_infonce(logits, torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == pytest.approx(-8e4)
    assert torch.isfinite(logits.grad).all()


def test_class_infonce_falls_without_bound_as_features_grow():
    logits, labels = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1])
    assert class_infonce(100 * logits, labels) < class_infonce(10 * logits, labels) < -10


def test_class_infonce_is_bounded_once_positives_are_in_the_denominator():
    """Minus the logarithm of the positives' share in each class's sum: for two classes of 1 and 3 points."""
    logits, labels = (
        torch.tensor([[1.0, 0.0], [0.5, 2.0], [0.0, 1.0], [0.0, 0.5]]),
        torch.tensor([0, 1, 1, 1]),
    )
    shares = (logits / 0.5).exp()
    shares = shares / shares.sum(0)
    truth = -shares[0, 0].log() - shares[1:, 1].sum().log()
    torch.testing.assert_close(class_infonce(logits, labels, bounded=True), truth)
    even = class_infonce(torch.zeros(4, 2), labels, bounded=True)
    assert even.item() == pytest.approx(math.log(4 / 1) + math.log(4 / 3))
    for size in (1e2, 1e4):  # growing features reach the bound and stay there
        assert class_infonce(size * torch.eye(2)[labels], labels, bounded=True).item() == pytest.approx(0)


def test_a_batch_of_a_single_class_has_no_contrast():
    logits = torch.randn(6, 3, requires_grad=True)
    loss = class_infonce(logits, torch.full((6,), 2))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        class_infonce(*batch(), temperature=temperature)


@pytest.mark.parametrize("classes", [2, 16, 33])
def test_cross_entropy_of_zero_features_is_the_log_of_the_number_of_classes(classes):
    labels = torch.arange(classes)
    assert float(point_cross_entropy(torch.zeros(classes, classes), labels)) == pytest.approx(
        math.log(classes)
    )


def test_weighted_cross_entropy_is_the_weighted_mean_over_points():
    logits, labels = batch()
    weights = torch.tensor([0.1, 1.0, 2.0, 5.0, 0.0], dtype=torch.float64)
    kept = labels != IGNORE_LABEL
    each = -logits.log_softmax(1)[kept, labels[kept]]
    expected = (each * weights[labels[kept]]).sum() / weights[labels[kept]].sum()
    assert torch.allclose(point_cross_entropy(logits, labels, class_weights=weights), expected)


def test_points_that_all_weigh_nothing_cost_nothing():
    logits = torch.randn(3, 2, requires_grad=True)
    loss = point_cross_entropy(
        logits, torch.zeros(3, dtype=torch.long), class_weights=torch.tensor([0.0, 1.0])
    )
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 25), st.integers(2, 6), st.integers(0, 999))
def test_lovasz_equals_the_slow_truth(points, classes, seed):
    logits, labels = batch(points, classes, seed)
    labels[0] = 0
    assert float(lovasz_softmax(logits, labels)) == pytest.approx(slow_lovasz(logits, labels), abs=1e-9)


def test_lovasz_of_hard_answers_is_one_minus_the_mean_iou():
    truth = torch.tensor([0, 0, 0, 1, 1, IGNORE_LABEL])
    answers = torch.tensor([0, 0, 1, 1, 0, 1])
    logits = 1e4 * F.one_hot(answers, 3).double()
    assert float(lovasz_softmax(logits, truth)) == pytest.approx(1 - (2 / 4 + 1 / 3) / 2)


@ALL
def test_gradients_are_right(loss):
    logits, labels = batch(12, 4)
    assert torch.autograd.gradcheck(lambda x: loss(x, labels), logits.requires_grad_())


@ALL
def test_ignored_points_teach_nothing(loss):
    logits, labels = batch()
    logits.requires_grad_()
    loss(logits, labels).backward()
    ignored = labels == IGNORE_LABEL
    assert ignored.any()
    assert not logits.grad[ignored].any()
    assert logits.grad[~ignored].any(1).all()
    assert torch.equal(loss(logits, labels), loss(logits[~ignored], labels[~ignored]))


@ALL
@pytest.mark.parametrize("points", [0, 7])
def test_a_batch_without_labels_costs_a_zero_that_can_be_differentiated(loss, points):
    logits = torch.randn(points, 3, requires_grad=True)
    value = loss(logits, torch.full((points,), IGNORE_LABEL))
    value.backward()
    assert value.item() == 0
    assert torch.equal(logits.grad, torch.zeros(points, 3))


@ALL
@pytest.mark.parametrize("label", [5, 255, -2])
def test_labels_that_are_no_train_ids_are_refused(loss, label):
    logits, labels = batch()
    labels[3] = label
    with pytest.raises(ValueError, match=r"train ids 0\.\.4"):
        loss(logits, labels)


@ALL
def test_the_order_of_points_does_not_matter(loss):
    logits, labels = batch()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(loss(logits, labels), loss(logits[order], labels[order]))


def test_half_precision_logits_give_finite_losses():
    logits, labels = batch(2000, 16)
    for loss in LOSSES[:2]:
        assert torch.isfinite(loss(logits.bfloat16(), labels))


def test_class_weights_average_to_one_over_points():
    histogram = torch.tensor([9_000, 900, 90, 0, 10])
    for power in (0.0, 0.5, 1.0):
        weights = class_weights(histogram, power)
        assert float((weights * histogram).sum() / histogram.sum()) == pytest.approx(1, rel=1e-5)
        assert weights[3] == 0
    assert torch.equal(class_weights(histogram, 0.0), torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0]))
    equal = (class_weights(histogram, 1.0) * histogram)[[0, 1, 2, 4]]
    assert torch.allclose(equal, equal[:1].expand(4))
    root = class_weights(histogram, 0.5)
    assert float(root[1] / root[0]) == pytest.approx(math.sqrt(10), rel=1e-5)


def test_class_weights_of_nothing_are_even_and_negative_counts_are_refused():
    assert torch.equal(class_weights(torch.zeros(3, dtype=torch.long)), torch.ones(3))
    with pytest.raises(ValueError, match="holds counts"):
        class_weights(torch.tensor([1, -1]))
