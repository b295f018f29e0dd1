"""What the student is pulled towards: one pure function per term.

All of them take logits of the shape points x classes and the train id of each point, skip points that carry
:data:`~clip2scene.types.IGNORE_LABEL`, and return a scalar. A batch without a single label costs zero, and
that zero can be differentiated, so a training loop needs no special case for it.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.types import IGNORE_LABEL


def class_infonce(
    logits: Float[Tensor, "points classes"],
    labels: Int[Tensor, " points"],
    *,
    temperature: float = 0.5,
    reduction: Literal["sum", "mean"] = "sum",
    positives_in_denominator: bool = False,
) -> Float[Tensor, ""]:
    """Draw the points of each class to its text and push all other points away from it.

    Semantic consistency (SCR) as the CLIP2Scene paper writes it, section 3.2, Eq. 1. The text embedding of
    class ``c`` is the anchor, points labelled ``c`` are its positives and all other points its negatives:

        loss = sum over c of  logsumexp_negatives(D / tau) - logsumexp_positives(D / tau)

    with ``D`` the dot product of text and point. The contrast is thus over *points for a class*; the one
    over *classes for a point* is :func:`point_cross_entropy`.

    Read literally, the denominator holds the negatives alone. The loss can then fall without bound as
    features grow, and it may be negative: its value is no measure of fit by itself. With
    ``positives_in_denominator`` it becomes the usual InfoNCE, never below zero. Either way both sums run
    over points, so the value (not the gradient's direction) shifts with how many points each class has: at
    equal logits a class adds log(number of negatives / number of positives).

    Args:
        logits: Dot products of point features and class texts, before the temperature.
        labels: Train id of each point.
        temperature: Divides the logits; 0.5 in section 4.1 of the paper.
        reduction: ``"sum"`` over classes as in Eq. 1, or their mean, which does not grow with the number of
            classes that happen to be in the batch.
        positives_in_denominator: Contrast the positives with all points instead of the negatives.

    Returns:
        The loss over classes that have both positives and negatives here; zero when there are none.

    Raises:
        ValueError: If ``temperature`` is not positive, or a label is no train id of these logits.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    logits, labels = _labelled(logits, labels)
    positive = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    usable = positive.any(0) & ~positive.all(0)
    if not usable.any():
        return logits.sum() * 0.0
    logits, positive = logits[:, usable] / temperature, positive[:, usable]
    attracted = logits.masked_fill(~positive, -torch.inf).logsumexp(0)
    contrast = logits if positives_in_denominator else logits.masked_fill(positive, -torch.inf)
    per_class = contrast.logsumexp(0) - attracted
    return per_class.sum() if reduction == "sum" else per_class.mean()


def point_cross_entropy(
    logits: Float[Tensor, "points classes"],
    labels: Int[Tensor, " points"],
    *,
    class_weights: Float[Tensor, " classes"] | None = None,
    label_smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Ask every point to choose its class: softmax cross-entropy, averaged over labelled points.

    Semantic consistency (SCR) as CLIP2Scene's released code computes it in place of Eq. 1: no temperature,
    and features are not normalised. All-zero features cost ln(classes). With labels made by people it is
    the first half of the supervised loss.

    Args:
        logits: Dot products of point features and class texts, or the outputs of a classifier.
        labels: Train id of each point.
        class_weights: How much a point of each class counts; the mean is over the summed weight. See
            :func:`class_weights`.
        label_smoothing: Share of the target spread evenly over all classes, 0 to 1.

    Returns:
        The mean loss; zero without labelled points.

    Raises:
        ValueError: If a label is no train id of these logits.
    """
    logits, labels = _labelled(logits, labels)
    total = F.cross_entropy(
        logits, labels.long(), weight=class_weights, label_smoothing=label_smoothing, reduction="sum"
    )
    if class_weights is None:
        return total / max(len(labels), 1)
    return total / class_weights[labels].sum().clamp_min(torch.finfo(logits.dtype).tiny)


def lovasz_softmax(
    logits: Float[Tensor, "points classes"],
    labels: Int[Tensor, " points"],
) -> Float[Tensor, ""]:
    """Minimise a convex stand-in for 1 - IoU, averaged over the classes present.

    The Lovász extension of the Jaccard loss (Berman et al., CVPR 2018, Eq. 8, 9 and 12): per class, each
    point's error |truth - probability| is weighed by how much the Jaccard loss grows when that point joins
    those with greater errors. Where all errors are 0 or 1 it is exactly 1 - IoU.

    Args:
        logits: Before the softmax.
        labels: Train id of each point.

    Returns:
        The loss, in 0..1; zero without labelled points.

    Raises:
        ValueError: If a label is no train id of these logits.
    """
    logits, labels = _labelled(logits, labels)
    if len(labels) == 0:
        return logits.sum() * 0.0
    present = labels.unique()
    truth = labels[:, None] == present
    probability = logits.softmax(1)[:, present]
    errors, order = torch.where(truth, 1 - probability, probability).sort(dim=0, descending=True)
    with torch.no_grad():
        hits = truth.gather(0, order).to(errors.dtype).cumsum(0)
        ranks = torch.arange(1, len(labels) + 1, device=errors.device, dtype=errors.dtype)[:, None]
        size = hits[-1]
        # The first k points taken as mistakes: size - hits stay right, the union gains their false alarms.
        jaccard = 1 - (size - hits) / (size + ranks - hits)
        steps = torch.diff(jaccard, dim=0, prepend=torch.zeros_like(jaccard[:1]))
    return (errors * steps).sum(0).mean()


def class_weights(label_histogram: Int[Tensor, " classes"], power: float = 0.5) -> Float[Tensor, " classes"]:
    """Weigh classes by (all points / points of the class) ** power, rare ones more.

    Args:
        label_histogram: Number of points of each class.
        power: 0 leaves all classes alike, 1 gives every class the same total weight, 0.5 goes half way.

    Returns:
        Weights scaled so that the average *point* weighs 1; 0 for a class without points. All ones when the
        histogram is empty.

    Raises:
        ValueError: If a count is negative.

    Example:
        >>> class_weights(torch.tensor([900, 100]), power=1.0).tolist()
        [0.5555555820465088, 5.0]
    """
    if (label_histogram < 0).any():
        raise ValueError(f"a label histogram holds counts, got {label_histogram.tolist()}")
    counts = label_histogram.double()
    if counts.sum() == 0:
        return torch.ones_like(label_histogram, dtype=torch.float32)
    raw = torch.where(counts > 0, (counts.sum() / counts.clamp_min(1)) ** power, 0.0)
    return (raw * counts.sum() / (raw * counts).sum()).float()


def _labelled(
    logits: Float[Tensor, "points classes"], labels: Int[Tensor, " points"]
) -> tuple[Float[Tensor, "labelled classes"], Int[Tensor, " labelled"]]:
    """Leave out the points that teach nothing, and refuse labels that are no column of ``logits``."""
    taught = labels != IGNORE_LABEL
    logits, labels = logits[taught], labels[taught]
    num_classes = logits.shape[1]
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(
            f"labels must be train ids 0..{num_classes - 1} or {IGNORE_LABEL} for ignored points, got "
            f"{int(labels.min())}..{int(labels.max())}; map raw ids to train ids first"
        )
    return logits, labels
