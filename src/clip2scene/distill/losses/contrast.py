"""What the rivals ask of points and pixels, as their papers define it."""

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
    """Let every point find its own pixel among those of all pairs: PPKT (Liu et al. 2021, Eq. 1).

    Rows are brought to unit length; points are the anchors, pixels the candidates. Equal rows cost ln(pairs).

    Args:
        points: Point feature of each pair. Their number is squared in memory: draw some first, PPKT has 4096.
        pixels: Pixel feature of each pair.
        temperature: Divides the cosines.

    Returns:
        The mean loss; zero without pairs.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """
    return _find_own(F.normalize(points, dim=1), F.normalize(pixels, dim=1), temperature)


def superpixel_infonce(
    points: Float[Tensor, "pairs channels"],
    superpixel_of_pair: Int[Tensor, " pairs"],
    superpixels: Float[Tensor, "superpixels channels"],
    *,
    temperature: float = 0.07,
) -> Float[Tensor, ""]:
    """Let the points behind each superpixel find it among all others: SLidR (Sautier et al. 2022, Eq. 2).

    Point features are brought to unit length and averaged over the pairs of each superpixel; the means keep
    their length, as in its code. Superpixels that no pair looks at take no part.

    Args:
        points: Point feature of each pair.
        superpixel_of_pair: Superpixel that each pair looks at.
        superpixels: Mean pixel feature of each, over all its pixels.
        temperature: Divides the dot products.

    Returns:
        The mean loss; zero without pairs.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """
    counts = torch.bincount(superpixel_of_pair, minlength=len(superpixels))
    sums = points.new_zeros(superpixels.shape[0], points.shape[1])
    sums = sums.index_add(0, superpixel_of_pair, F.normalize(points, dim=1))
    seen = counts > 0
    return _find_own(sums[seen] / counts[seen, None], superpixels[seen], temperature)


def kl_divergence(
    student: Float[Tensor, "pairs classes"],
    teacher: Float[Tensor, "pairs classes"],
    *,
    temperature: float = 1.0,
) -> Float[Tensor, ""]:
    """Let the student's shares of the classes follow the teacher's: the KL baseline of CLIP2Scene's Table 3.

    KL(softmax(teacher / T) || softmax(student / T)) T^2, averaged over pairs. A teacher whose logits are
    cosines gives shares that are almost even at T = 1, so the student learns to prefer nothing.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """
    _check(temperature)
    if not len(student):
        return student.sum() * 0.0
    log_p = (student / temperature).log_softmax(1)
    log_q = (teacher / temperature).log_softmax(1)
    return F.kl_div(log_p, log_q, reduction="batchmean", log_target=True) * temperature**2


def _find_own(
    anchors: Float[Tensor, "rows channels"], candidates: Float[Tensor, "rows channels"], temperature: float
) -> Float[Tensor, ""]:
    """Ask each anchor for the candidate of its own row."""
    _check(temperature)
    if not len(anchors):
        return anchors.sum() * 0.0
    own = torch.arange(len(anchors), device=anchors.device)
    return F.cross_entropy(anchors @ candidates.T / temperature, own)


def _check(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"the temperature must be positive, got {temperature}")
