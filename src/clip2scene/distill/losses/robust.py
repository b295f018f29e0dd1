"""Losses for noisy labels: cross-entropies that a target which the network contradicts pulls at less.

Arguments, skipped points and errors are those of :func:`clip2scene.distill.losses.scr.point_cross_entropy`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.distill.losses.scr import labelled

LEAST_LOG = -4.0
"""What stands for log 0 in the reverse cross-entropy (Wang et al., ICCV 2019, Sec. 3.3: A)."""


def generalised_cross_entropy(
    logits: Float[Tensor, "points classes"],
    labels: Int[Tensor, " points"],
    *,
    q: float,
    class_weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Generalised cross-entropy of each point: ``(1 - p ** q) / q``, p the probability of its label.

    Zhang and Sabuncu, NeurIPS 2018, Eq. 6. Its gradient is that of the cross-entropy times ``p ** q``, so a
    label that the network holds to be unlikely counts for less. Towards q = 0 it is the cross-entropy; at
    q = 1 it is 1 - p, half the mean absolute error. (Its truncated form, Eq. 10, is left out: a network that
    begins from chance gives no label the probability from which it would learn.)

    Args:
        logits: Before the softmax.
        labels: Train id of each point.
        q: Above 0, at most 1.
        class_weights: Weight of a point of each class.

    Returns:
        The mean loss, in 0..1/q; zero without labelled points.
    """
    logits, labels = labelled(logits, labels)
    log_p = logits.log_softmax(1).gather(1, labels[:, None].long())[:, 0]
    weights = torch.ones_like(log_p) if class_weights is None else class_weights[labels]
    total = weights.sum().clamp_min(torch.finfo(logits.dtype).eps)
    return (-torch.expm1(q * log_p) / q * weights).sum() / total


def reverse_cross_entropy(
    logits: Float[Tensor, "points classes"],
    labels: Int[Tensor, " points"],
    *,
    class_weights: Float[Tensor, " classes"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of the label's distribution under the network's: what makes a cross-entropy symmetric.

    Wang et al., ICCV 2019, Eq. 5: the sum over classes of ``-p log(label's probability)``, with
    :data:`LEAST_LOG` for the logarithm of 0. That is -:data:`LEAST_LOG` times the generalised cross-entropy
    at q = 1. The symmetric cross-entropy is a weighted sum of the two (Eq. 7).
    """
    value = generalised_cross_entropy(logits, labels, q=1.0, class_weights=class_weights)
    return -LEAST_LOG * value
