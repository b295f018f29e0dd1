"""Measured depth: which points a depth camera confirms, and the points that its images make."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from clip2scene.geometry.projection import invert_rigid, pixels_of, transform_points, voxelize
from clip2scene.types import DepthImage, Pairs, PointCloud


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
    to is gone, where nothing was measured, and outside the depth camera's image.

    Args:
        pairs: What :func:`~clip2scene.geometry.projection.project_points` returned for the colour cameras.
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
    confirmed = torch.zeros(len(pairs), dtype=torch.bool, device=pairs.depths.device)
    for view in pairs.views.unique().tolist():
        mine = (pairs.views == view).nonzero()[:, 0]
        confirmed[mine] = _is_confirmed(positions[pairs.points[mine]], read_depth(view), tolerance)
    parts = (pairs.points, pairs.views, pairs.pixels, pairs.depths)
    return Pairs(*(each[confirmed] for each in parts))


def _is_confirmed(positions: Float[Tensor, "points 3"], image: DepthImage, tolerance: float) -> Tensor:
    """Tell which points lie where something was measured."""
    return _too_far(positions, image).abs() <= tolerance


def count_contradicted(
    positions: Float[Tensor, "points 3"], image: DepthImage, *, tolerance: float = 0.05
) -> tuple[int, int]:
    """Count the points that a depth image confirms, and those that it contradicts by measuring farther.

    Points behind what was measured are hidden and say nothing.

    Args:
        positions: In the lidar frame, in metres.
        image: What was measured.
        tolerance: Difference in depth, in metres, up to which a point is confirmed.

    Returns:
        How many are confirmed, and how many contradicted.
    """
    too_far = _too_far(positions, image)
    return int((too_far.abs() <= tolerance).sum()), int((too_far < -tolerance).sum())


def _too_far(positions: Float[Tensor, "points 3"], image: DepthImage) -> Float[Tensor, " points"]:
    """Tell how far each point lies behind what was measured there, in metres; NaN where nothing was."""
    height, width = image.depths.shape
    in_camera = transform_points(image.camera.camera_from_lidar, positions)
    depths = in_camera[:, 2]
    pixels = pixels_of(in_camera, image.camera.intrinsics)
    column, row = pixels.round().clamp(-1, max(width, height)).long().unbind(1)
    inside = (depths > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    measured = image.depths[row.clamp(0, height - 1), column.clamp(0, width - 1)]
    return torch.where(inside & (measured > 0), depths - measured, torch.nan)


def unproject(image: DepthImage, *, step: int = 1, farthest: float = torch.inf) -> Float[Tensor, "points 3"]:
    """Give the points that a depth image shows, in the lidar frame.

    Args:
        image: What was measured.
        step: Every so many rows and columns are taken.
        farthest: Largest depth taken, in metres; depth cameras err more with distance.

    Returns:
        One point for each pixel where something was measured, row by row.

    Raises:
        ValueError: If ``step`` or ``farthest`` is not positive.
    """
    if step < 1 or not farthest > 0:
        raise ValueError(f"step and farthest must be positive, got {step} and {farthest}")
    depths = image.depths[::step, ::step]
    row, column = ((depths > 0) & (depths <= farthest)).nonzero(as_tuple=True)
    pixels = torch.stack([column * step, row * step, torch.ones_like(row)], 1).double()
    rays = torch.linalg.solve(image.camera.intrinsics.double(), pixels.T).T
    in_camera = rays * depths[row, column].double()[:, None]
    return transform_points(invert_rigid(image.camera.camera_from_lidar.double()), in_camera).float()


def average_in_voxels(
    positions: Float[Tensor, "points 3"], features: Float[Tensor, "points channels"], voxel_size: float
) -> PointCloud:
    """Make one point of those that lie in one voxel: the mean of their positions and of their features.

    Args:
        positions: Metres.
        features: Of each point.
        voxel_size: Edge of a voxel, in metres.

    Returns:
        A point for each voxel that holds any, sorted by voxel.

    Example:
        >>> positions = torch.tensor([[0.01, 0, 0], [0.03, 0, 0], [0.07, 0, 0]])
        >>> cloud = average_in_voxels(positions, torch.tensor([[0.0], [1.0], [0.5]]), 0.05)
        >>> cloud.positions[:, 0].tolist(), cloud.features[:, 0].tolist()
        ([0.019999999552965164, 0.07000000029802322], [0.5, 0.5])
    """
    voxels, voxel_of_point = voxelize(positions, voxel_size)
    values = torch.cat([positions, features], 1).double()
    sums = values.new_zeros(len(voxels), values.shape[1]).index_add_(0, voxel_of_point, values)
    counts = torch.bincount(voxel_of_point, minlength=len(voxels))[:, None]
    means = (sums / counts).float()
    return PointCloud(means[:, :3].contiguous(), means[:, 3:].contiguous())
