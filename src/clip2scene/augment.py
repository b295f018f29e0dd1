"""Random changes to a sample that keep its pixel-point pairs true.

Clouds are moved without touching the order of their points, so pairs (which name points by number) need no
change; where points are dropped, or an image is cropped or mirrored, the pairs are changed along. A moved
cloud no longer fits its cameras: pair points with pixels first, augment afterwards.

All randomness comes from the generator passed in, so a step can be repeated exactly.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from clip2scene.types import Pairs, PointCloud


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


def drop_points(cloud: PointCloud, pairs: Pairs, keep: Bool[Tensor, "points"]) -> tuple[PointCloud, Pairs]:
    """Leave points out, together with their pairs.

    Args:
        cloud: The cloud to thin.
        pairs: Its pairs.
        keep: Which points stay; index labels with it too.

    Returns:
        The points that stay, in their order, and their pairs with the points' new numbers.
    """
    new_number = keep.cumsum(0) - 1
    stays = keep[pairs.points]
    kept = Pairs(pairs.points[stays], pairs.views[stays], pairs.pixels[stays], pairs.depths[stays])
    return (
        PointCloud(cloud.positions[keep], cloud.features[keep]),
        replace(kept, points=new_number[kept.points]),
    )


@dataclass(frozen=True)
class ImageWindow:
    """A part of an image, resized and maybe mirrored.

    Attributes:
        left: First column of the part.
        top: First row of the part.
        width: Columns of the part.
        height: Rows of the part.
        columns: Width it is resized to.
        rows: Height it is resized to.
        mirrored: Whether left and right are exchanged afterwards.
    """

    left: int
    top: int
    width: int
    height: int
    columns: int
    rows: int
    mirrored: bool = False

    def cut(self, image: UInt8[Tensor, "height width 3"]) -> UInt8[Tensor, "rows columns 3"]:
        """Take the part out of an image: crop, resize (bilinear, smoothed where it shrinks), mirror.

        Raises:
            ValueError: If the part reaches beyond the image.
        """
        bottom, right = self.top + self.height, self.left + self.width
        if min(self.left, self.top) < 0 or bottom > image.shape[0] or right > image.shape[1]:
            raise ValueError(
                f"the window spans columns {self.left}..{right} and rows {self.top}..{bottom}, beyond an "
                f"image of {image.shape[1]}x{image.shape[0]}; draw it for this image's size"
            )
        part = image[self.top : bottom, self.left : right]
        if (self.rows, self.columns) != (self.height, self.width):
            planes = part.permute(2, 0, 1)[None].float()
            planes = F.interpolate(planes, (self.rows, self.columns), mode="bilinear", antialias=True)
            part = planes[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)
        return part.flip(1) if self.mirrored else part

    def move(self, pixels: Float[Tensor, "pairs 2"]) -> Float[Tensor, "pairs 2"]:
        """Say where pixels of the whole image lie in the cut one; beyond its borders if they were cut off."""
        start = pixels.new_tensor([self.left, self.top])
        zoom = pixels.new_tensor([self.columns / self.width, self.rows / self.height])
        moved = (pixels - start + 0.5) * zoom - 0.5  # integers are pixel centres
        return torch.stack([self.columns - 1 - moved[:, 0], moved[:, 1]], dim=1) if self.mirrored else moved

    def holds(self, pixels: Float[Tensor, "pairs 2"]) -> Bool[Tensor, "pairs"]:
        """Tell which pixels of the whole image lie on the area of this part's own pixels."""
        first = pixels.new_tensor([self.left, self.top]) - 0.5
        return ((pixels >= first) & (pixels < first + pixels.new_tensor([self.width, self.height]))).all(1)


def window_pairs(pairs: Pairs, view: int, window: ImageWindow) -> Pairs:
    """Follow one camera's pairs into a window of its image; those outside are dropped, others' are kept."""
    mine = pairs.views == view
    stays = ~mine | window.holds(pairs.pixels)
    pixels = torch.where(mine[:, None], window.move(pairs.pixels), pairs.pixels)
    return Pairs(pairs.points[stays], pairs.views[stays], pixels[stays], pairs.depths[stays])


def draw_window(
    pixels: Float[Tensor, "pairs 2"],
    generator: torch.Generator,
    *,
    width: int,
    height: int,
    columns: int = 416,
    rows: int = 224,
    min_pairs: int = 1024,
) -> ImageWindow:
    """Draw a random part of an image that keeps enough of its pairs.

    As in CLIP2Scene: an area of 30 to 100 % of the image, an aspect ratio of 14/9 to 17/9, mirrored half of
    the time; drawn again until more than ``min_pairs`` pairs or more than 75 % of them stay. After 20 draws
    the one that kept most is taken, so an image without pairs is no trap.

    Args:
        pixels: Pixels of this image's pairs.
        generator: Source of the draws.
        width: Of the image.
        height: Of the image.
        columns: Width to resize to.
        rows: Height to resize to.
        min_pairs: As many pairs are always enough.

    Returns:
        A window inside the image.
    """
    best, most = None, -1
    for _ in range(20):
        area, ratio, x, y, mirror = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
        pixels_inside = (0.3 + 0.7 * area) * width * height
        aspect = math.exp(math.log(14 / 9) + ratio * math.log(17 / 14))
        cut_width = min(width, max(1, round(math.sqrt(pixels_inside * aspect))))
        cut_height = min(height, max(1, round(math.sqrt(pixels_inside / aspect))))
        left, top = int(x * (width - cut_width + 1)), int(y * (height - cut_height + 1))
        window = ImageWindow(left, top, cut_width, cut_height, columns, rows, mirrored=mirror < 0.5)
        kept = int(window.holds(pixels).sum())
        if kept > most:
            best, most = window, kept
        if kept > min_pairs or kept > 0.75 * len(pixels):
            break
    assert best is not None
    return best
