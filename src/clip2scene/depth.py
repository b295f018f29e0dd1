"""Measured depth: which points a depth camera saw."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.geometry import transform_points
from clip2scene.types import DepthImage, Pairs


def drop_unconfirmed(
    pairs: Pairs,
    positions: Float[Tensor, "points 3"],
    read_depth: Callable[[int], DepthImage],
    *,
    tolerance: float = 0.05,
) -> Pairs:
    """Drop the pairs whose point is not where the depth camera measured something.

    A point is projected into the depth image with that camera's own intrinsics and compared with the depth of
    the pixel whose centre is nearest. So a point is dropped where it is hidden, where the surface it belonged
    to is gone, where nothing was measured, and where the depth camera does not look.

    Args:
        pairs: What :func:`~clip2scene.geometry.project_points` returned for the colour cameras.
        positions: The points that ``pairs`` number, in the lidar frame, in metres.
        read_depth: Returns the depth image that belongs to colour camera number ``view``.
        tolerance: Largest difference in depth, in metres.

    Returns:
        The pairs that are left, in their order.

    Raises:
        ValueError: If ``tolerance`` is not positive.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance must be positive metres, got {tolerance}")
    seen = torch.zeros(len(pairs), dtype=torch.bool, device=pairs.depths.device)
    for view in pairs.views.unique().tolist():
        mine = (pairs.views == view).nonzero()[:, 0]
        seen[mine] = _is_confirmed(positions[pairs.points[mine]], read_depth(view), tolerance)
    return Pairs(pairs.points[seen], pairs.views[seen], pairs.pixels[seen], pairs.depths[seen])


def _is_confirmed(positions: Float[Tensor, "points 3"], image: DepthImage, tolerance: float) -> Tensor:
    """Tell which points lie where something was measured."""
    height, width = image.depths.shape
    in_camera = transform_points(image.camera.camera_from_lidar, positions)
    depths = in_camera[:, 2]
    rays = in_camera @ image.camera.intrinsics.to(positions).T
    pixels = rays[:, :2] / depths.clamp(min=1e-6)[:, None]
    column, row = pixels.round().clamp(-1, max(width, height)).long().unbind(1)
    inside = (depths > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    measured = image.depths[row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return inside & (measured > 0) & ((measured - depths).abs() <= tolerance)
