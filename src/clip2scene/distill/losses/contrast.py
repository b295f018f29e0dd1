"""Losses of the rival methods over pixel-point pairs: InfoNCE (PPKT, SLidR) and KL divergence."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def pixel_point_infonce(
    points: Float[Tensor, "pairs channels"],
    pixels: Float[Tensor, "pairs channels"],
    *,
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    """Pixel-point InfoNCE: PPKT (Liu et al. 2021, Eq. 1).

    Rows are normalised to unit length. Each point is an anchor, its own pixel the positive and the pixels of
    all other pairs the negatives. Equal rows cost ln(pairs).

    Args:
        points: Point feature of each pair. Memory grows with pairs squared: draw some first, PPKT has 4096.
        pixels: Pixel feature of each pair.
        temperature: Divides the cosines, which lie in -1..1.

    Returns:
        The mean loss, 0 or more; zero without pairs.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """
    return _info_nce(F.normalize(points, dim=1), F.normalize(pixels, dim=1), temperature)


def superpixel_infonce(
    points: Float[Tensor, "pairs channels"],
    superpixel_of_pair: Int[Tensor, " pairs"],
    superpixels: Float[Tensor, "superpixels channels"],
    *,
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    """Superpixel-superpoint InfoNCE: SLidR (Sautier et al. 2022, Eq. 2).

    Point features are normalised to unit length and averaged over the pairs of each superpixel; the means
    keep their length, as in its code. Each mean is an anchor, its superpixel the positive and all others the
    negatives. Superpixels without a pair take no part.

    Args:
        points: Point feature of each pair.
        superpixel_of_pair: Row of ``superpixels`` that holds each pair's pixel.
        superpixels: Mean pixel feature of each, over all its pixels.
        temperature: Divides the dot products.

    Returns:
        The mean loss, 0 or more; zero without pairs.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """
    counts = torch.bincount(superpixel_of_pair, minlength=len(superpixels))
    sums = points.new_zeros(superpixels.shape[0], points.shape[1])
    sums = sums.index_add(0, superpixel_of_pair, F.normalize(points, dim=1))
    present = counts > 0
    return _info_nce(sums[present] / counts[present, None], superpixels[present], temperature)


def kl_divergence(
    student: Float[Tensor, "pairs classes"],
    teacher: Float[Tensor, "pairs classes"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """KL divergence of the student's class distribution from the teacher's: CLIP2Scene, Table 3, baseline.

    KL(softmax(teacher / T) || softmax(student / T)) T^2, averaged over pairs. A teacher whose logits are
    cosines gives almost uniform distributions at T = 1, and the student is trained to copy them.

    Args:
        student: Logits of each pair's point.
        teacher: Logits of each pair's pixel.
        temperature: T, divides both sides' logits.

    Returns:
        The mean loss, 0 or more; zero without pairs.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """
    _check(temperature)
    if not len(student):
        return student.sum() * 0.0
    log_p = (student / temperature).log_softmax(1)
    log_q = (teacher / temperature).log_softmax(1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) * temperature**2


def _info_nce(
    anchors: Float[Tensor, "rows channels"], candidates: Float[Tensor, "rows channels"], temperature: float
) -> Float[Tensor, ""]:
    """InfoNCE whose positive is the candidate of the anchor's own row."""
    _check(temperature)
    if not len(anchors):
        return anchors.sum() * 0.0
    positives = torch.arange(len(anchors), device=anchors.device)
    return F.cross_entropy(anchors @ candidates.T / temperature, positives)


def _check(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
