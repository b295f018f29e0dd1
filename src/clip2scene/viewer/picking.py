"""Which point a click means: the nearest one under it."""

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

_NARROW, _WIDE = 0.006, 0.02
"""Half angles of the cones around a click's ray in radians: some 4 and 12 pixels of a usual window."""
_LAYER_M = 0.5
"""Of the points in a cone, those so near to the first one belong to the same surface."""


def nearest_to_ray(
    positions: Float[Tensor, "points 3"], origin: Float[Tensor, "3"], direction: Float[Tensor, "3"]
) -> int | None:
    """Find the point under a click: on the nearest surface along its ray, the point nearest to the ray.

    Args:
        positions: Of the points that can be seen, in metres.
        origin: Where the eye is.
        direction: Of the ray, of any length.

    Returns:
        The point's number; None where the click hits nothing.
    """
    if not len(positions):
        return None
    ray = normalize(direction.to(positions), dim=0)
    away = positions - origin.to(positions)
    depths = away @ ray
    aside = (away - depths[:, None] * ray).norm(dim=1)
    for angle in (_NARROW, _WIDE):
        within = ((depths > 0) & (aside <= angle * depths)).nonzero()[:, 0]
        if len(within):
            near = within[depths[within] <= depths[within].min() + _LAYER_M]
            return int(near[(aside[near] / depths[near]).argmin()])
    return None
