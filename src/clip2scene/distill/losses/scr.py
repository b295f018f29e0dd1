"""Losses over class logits: InfoNCE per class (SCR, Eq. 1), cross-entropy, Lovasz-softmax.

Each is a pure function of logits (points x classes, before the softmax) and train ids. Points labelled
:data:`~clip2scene.types.IGNORE_LABEL` are skipped; without any other, the loss is a differentiable zero.
"""

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
    bounded: bool = False,
) -> Float[Tensor, ""]:
    """InfoNCE per class: its text is the anchor, its points are positives, all other points negatives.

    Semantic consistency (SCR) as CLIP2Scene writes it, section 3.2, Eq. 1:

        loss = sum over c of  logsumexp_negatives(D / tau) - logsumexp_positives(D / tau)

    with ``D`` the dot product of text and point. It compares the *points of a class*; the softmax over the
    *classes of a point* is :func:`point_cross_entropy`. Read literally, the denominator holds the negatives
    alone, so the loss has no lower bound and may be negative: growing features lower it for ever. At equal
    logits a class adds log(negatives / positives).

    Args:
        logits: Dot products of point features and class texts, before the temperature.
        labels: Train id of each point.
        temperature: Divides the logits; 0.5 in section 4.1 of the paper.
        bounded: Whether the denominator holds the positives too, as in InfoNCE elsewhere (van den Oord et al.
            2018): no class then adds less than 0, and at equal logits log(points / positives).

    Returns:
        The loss over classes that have both positives and negatives here; zero when there are none.

    Raises:
        ValueError: If ``temperature`` is not positive, or a label is no train id of these logits.
    """
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
    logits, labels = labelled(logits, labels)
    positive = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
    usable = positive.any(0) & ~positive.all(0)
    if not usable.any():
        return logits.sum() * 0.0
    logits, positive = logits[:, usable] / temperature, positive[:, usable]
    attracted = logits.masked_fill(~positive, -torch.inf).logsumexp(0)
    repelled = logits if bounded else logits.masked_fill(positive, -torch.inf)
    return (repelled.logsumexp(0) - attracted).sum()


def point_cross_entropy(
    logits: Float[Tensor, "points classes"],
    labels: Int[Tensor, " points"],
    *,
    class_weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Softmax cross-entropy over the classes of each point, averaged over labelled points.

    Semantic consistency (SCR) as CLIP2Scene's released code computes it in place of Eq. 1: no temperature,
    and features are not normalised. All-zero features cost ln(classes). With true labels it is the
    supervised loss.

    Args:
        logits: Dot products of point features and class texts, or the outputs of a classifier.
        labels: Train id of each point.
        class_weights: Weight of a point of each class; the mean is over the summed weight. See
            :func:`class_weights`.

    Returns:
        The mean loss, 0 or more; zero without labelled points.

    Raises:
        ValueError: If a label is no train id of these logits.
    """
    logits, labels = labelled(logits, labels)
    total = F.cross_entropy(logits, labels.long(), weight=class_weights, reduction="sum")
    if class_weights is None:
        return total / max(len(labels), 1)
    return total / class_weights[labels].sum().clamp_min(torch.finfo(logits.dtype).tiny)


def lovasz_softmax(
    logits: Float[Tensor, "points classes"],
    labels: Int[Tensor, " points"],
) -> Float[Tensor, ""]:
    """Lovasz-softmax: a convex surrogate of 1 - IoU, averaged over the classes present.

    The Lovász extension of the Jaccard loss (Berman et al., CVPR 2018, Eq. 8, 9 and 12): per class, each
    point's error |truth - probability| is weighted by how much the Jaccard loss grows when that point joins
    those with greater errors. Where all errors are 0 or 1 it is exactly 1 - IoU.

    Args:
        logits: Before the softmax.
        labels: Train id of each point.

    Returns:
        The loss, in 0..1; zero without labelled points.

    Raises:
        ValueError: If a label is no train id of these logits.
    """
    logits, labels = labelled(logits, labels)
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
    """Class weights (all points / points of the class) ** power, larger for rare classes.

    Args:
        label_histogram: Number of points of each class.
        power: In 0..1: 0 weights all classes alike, 1 gives every class the same total weight.

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


def labelled(
    logits: Float[Tensor, "points classes"], labels: Int[Tensor, " points"]
) -> tuple[Float[Tensor, "labelled classes"], Int[Tensor, " labelled"]]:
    """Drop ignored points, and refuse labels that are no column of ``logits``."""
    kept = labels != IGNORE_LABEL
    logits, labels = logits[kept], labels[kept]
    num_classes = logits.shape[1]
    if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(
            f"labels must be train ids 0..{num_classes - 1} or {IGNORE_LABEL} for ignored points, got "
            f"{int(labels.min())}..{int(labels.max())}; map raw ids to train ids first"
        )
    return logits, labels
