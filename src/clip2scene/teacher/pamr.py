"""Pixel-adaptive mask refinement (PAMR; Araslanov and Roth, CVPR 2020, Sec. 3.3): like colours share scores.

Each pixel takes over the mean score of its neighbours, weighted by how near their colours are to its own, and
does so several times. Neighbours lie on 3 x 3 grids of several spacings, so few rounds carry a score far.
"""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from scipy.sparse import csr_array
from torch import Tensor

CONTRAST = 0.1
"""Factor on the local standard deviation; of 0.05, 0.1, 0.2, 0.4 the best on four towns made to choose it."""

_ROWS_AT_ONCE = 64  # so that what is worked on stays near the processor
_TINY = 1e-8  # where all colours are alike, all neighbours weigh the same


@dataclass(frozen=True)
class PixelAdaptive:
    """PAMR with its two settings.

    Attributes:
        rounds: How often every pixel takes over the mean of its neighbours.
        dilations: Spacing of each 3 x 3 grid of neighbours, in pixels of the working size.
    """

    rounds: int = 10
    dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)

    def __call__(
        self, image: Float[Tensor, "3 height width"], scores: Float[Tensor, "classes height width"]
    ) -> Float[Tensor, "classes height width"]:
        """Refine scores in an image.

        Args:
            image: RGB in 0..1.
            scores: Of each class at each pixel.

        Returns:
            Means of the given scores: nothing is above their highest, and where they sum to one, so do these.
        """
        weights = neighbour_weights(image, self.dilations).flatten()
        starts, columns = _neighbours(*image.shape[1:], self.dilations)
        refined: Any = scores.flatten(1).T.contiguous()
        if torch.backends.mkl.is_available():  # twice as fast
            means: Any = _sparse(starts, columns, weights)
        else:
            means, refined = csr_array((weights.numpy(), columns, starts)), refined.numpy()
        for _ in range(self.rounds):
            refined = means @ refined
        return torch.as_tensor(refined).T.reshape(scores.shape)


def neighbour_weights(
    image: Float[Tensor, "3 height width"], dilations: tuple[int, ...]
) -> Float[Tensor, "height width neighbours"]:
    """Say how much each neighbour counts: the affinities of PAMR after their softmax.

    The affinity of pixel i with its neighbour j is the mean over the colour channels of -|I_i - I_j| divided
    by :data:`CONTRAST` times the standard deviation of that channel among i and all of its neighbours. Beyond
    the border lies what is at the border.

    Args:
        image: RGB in 0..1.
        dilations: As :class:`PixelAdaptive` has them.

    Returns:
        Weights that sum to one at each pixel; neighbours as in :func:`offsets`.
    """
    reach, around = max(dilations), offsets(dilations)
    height, width = image.shape[1:]
    padded = F.pad(image[None], (reach,) * 4, mode="replicate")[0]
    result = image.new_empty(height, width, len(around))
    for top in range(0, height, _ROWS_AT_ONCE):
        rows = min(_ROWS_AT_ONCE, height - top)
        strip = padded[:, top : top + rows + 2 * reach].contiguous()
        centre = strip[:, reach : reach + rows, reach : reach + width].contiguous()
        beside = [strip[:, reach + y :, reach + x :][:, :rows, :width] for y, x in around]
        total, squares, step = torch.zeros_like(centre), torch.zeros_like(centre), torch.empty_like(centre)
        for each in beside:  # differences to the centre: their variance is that of the colours
            torch.sub(each, centre, out=step)
            total += step
            squares.addcmul_(step, step)
        variance = (squares - total.square() / (len(around) + 1)) / len(around)
        scale = -1 / (3 * (CONTRAST * variance.clamp(min=0).sqrt() + _TINY))
        affinities = centre.new_empty(len(around), rows, width)
        for number, each in enumerate(beside):
            torch.sub(each, centre, out=step).abs_().mul_(scale)
            torch.add(step[0], step[1], out=affinities[number]).add_(step[2])
        result[top : top + rows] = affinities.softmax(0).permute(1, 2, 0)
    return result


def offsets(dilations: tuple[int, ...]) -> list[tuple[int, int]]:
    """List the rows and columns from a pixel to its neighbours: eight for each dilation."""
    square = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    return [(dilation * y, dilation * x) for dilation in dilations for y, x in square]


def _sparse(starts: np.ndarray, columns: np.ndarray, weights: Float[Tensor, " entries"]) -> Tensor:
    """Lay weights out as torch's sparse matrix."""
    side = len(starts) - 1
    with warnings.catch_warnings():  # that such matrices are in beta
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(starts),
            torch.from_numpy(columns),
            weights,
            (side, side),
            check_invariants=False,
        )


@lru_cache(maxsize=2)
def _neighbours(height: int, width: int, dilations: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Number the neighbours of each pixel, and where each pixel's begin, as a sparse matrix has them."""
    around = np.array(offsets(dilations), np.int32)
    rows = (np.arange(height, dtype=np.int32)[:, None] + around[:, 0]).clip(0, height - 1)
    cols = (np.arange(width, dtype=np.int32)[:, None] + around[:, 1]).clip(0, width - 1)
    columns = (rows[:, None] * width + cols[None]).reshape(-1)
    return np.arange(0, columns.size + 1, len(around), dtype=np.int32), columns
