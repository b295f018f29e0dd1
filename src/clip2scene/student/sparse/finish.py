"""What ends a convolution at inference: batch normalisation, which is frozen then, and ReLU."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Finish:
    """A scale and a shift of each channel, then ReLU where it is wanted.

    Attributes:
        scale: What each channel is multiplied by.
        shift: What is added to it then.
        relu: Whether values below zero become zero.
    """

    scale: Float[Tensor, " channels"]
    shift: Float[Tensor, " channels"]
    relu: bool

    def __call__(self, rows: Float[Tensor, "rows channels"]) -> Float[Tensor, "rows channels"]:
        """Apply it in plain torch; half precision is computed in float32."""
        out = torch.addcmul(self.shift, rows, self.scale).to(rows.dtype)
        return out.relu_() if self.relu else out
