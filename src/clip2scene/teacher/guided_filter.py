"""The guided filter with a colour guide (He, Sun and Tang, TPAMI 2013): one cost for any radius."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class GuidedFilter:
    """Scores are a linear function of the colours in every window; a pixel has the mean over its windows.

    Attributes:
        radius: From a window's centre to its side, in pixels of the working size.
        epsilon: How much a steep function is held against it, as a variance of colours in 0..1; edges of less
            than its root are smoothed over.
    """

    radius: int = 16
    epsilon: float = 1e-2

    def __call__(
        self, image: Float[Tensor, "3 height width"], scores: Float[Tensor, "classes height width"]
    ) -> Float[Tensor, "classes height width"]:
        """Refine scores in an image (the paper's section on colour guides).

        Args:
            image: RGB in 0..1, the guide.
            scores: Of each class at each pixel.

        Returns:
            Filtered scores; what a line gives below zero is zero, so their sum may be a little higher.
        """
        colours, given = image.double(), scores.double()  # sums of many numbers, and differences of these
        mean = self._mean(colours)
        products = self._mean((colours[:, None] * colours[None]).flatten(0, 1)).unflatten(0, (3, 3))
        spread = (products - mean[:, None] * mean[None]).permute(2, 3, 0, 1)
        spread = spread + self.epsilon * torch.eye(3, dtype=torch.float64)
        average = self._mean(given)
        together = self._mean((given[:, None] * colours[None]).flatten(0, 1)).unflatten(0, (-1, 3))
        covariance = (together - average[:, None] * mean[None]).permute(2, 3, 1, 0)
        slopes = torch.linalg.solve(spread, covariance).permute(3, 2, 0, 1)
        intercepts = average - (slopes * mean[None]).sum(1)
        slopes = self._mean(slopes.flatten(0, 1)).unflatten(0, (-1, 3))
        filtered = (slopes * colours[None]).sum(1) + self._mean(intercepts)
        return filtered.clamp(min=0).to(scores.dtype)

    def _mean(self, values: Float[Tensor, "channels height width"]) -> Float[Tensor, "channels height width"]:
        """Average over the window around each pixel, as far as it lies in the image: a box filter."""
        for axis in (1, 2):
            size = values.shape[axis]
            last = (torch.arange(size) + self.radius).clamp(max=size - 1)
            first = (torch.arange(size) - self.radius).clamp(min=0)
            shape = (-1, 1) if axis == 1 else (-1,)
            sums = values.cumsum(axis)
            begun = sums.index_select(axis, first) - values.index_select(axis, first)
            values = (sums.index_select(axis, last) - begun) / (last - first + 1).view(shape)
        return values
