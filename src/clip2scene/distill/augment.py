"""Random changes to a cloud that keep its pixel-point pairs true.

Clouds are moved without touching the order of their points, so pairs (which name points by number) need no
change. A moved cloud no longer fits its cameras: pair points with pixels first, augment afterwards.

All randomness comes from the generator passed in, so a step can be repeated exactly.
"""

import math
from dataclasses import replace

import torch

from clip2scene.types import PointCloud


def augment_cloud(
    cloud: PointCloud,
    generator: torch.Generator,
    *,
    rotate: bool = True,
    flip: bool = True,
    scale: float = 0.0,
) -> PointCloud:
    """Turn a cloud about the vertical axis, mirror it and change its size, at random.

    CLIP2Scene's augmentation (rotation and mirroring), with a scale as an option. The same draws are made
    whichever parts are switched on.

    Args:
        cloud: Any cloud whose z axis points up.
        generator: Source of the draws.
        rotate: Turn by an angle even over the full circle.
        flip: Negate x, and y, each with probability one half.
        scale: Half-width of an even scale factor around 1.

    Returns:
        The same points in the same order with new positions; features are kept.

    Raises:
        ValueError: If ``scale`` is not in 0 (included) to 1 (excluded).
    """
    if not 0 <= scale < 1:
        raise ValueError(f"scale must be at least 0 and below 1, got {scale}")
    turn, mirror_x, mirror_y, size = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    angle = 2 * math.pi * turn if rotate else 0.0
    cos, sin = math.cos(angle), math.sin(angle)
    motion = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    if flip:
        motion[0] *= -1 if mirror_x < 0.5 else 1
        motion[1] *= -1 if mirror_y < 0.5 else 1
    motion *= 1 + scale * (2 * size - 1)
    return replace(cloud, positions=cloud.positions @ motion.to(cloud.positions).T)
