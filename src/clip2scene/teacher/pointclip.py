"""PointCLIP (Zhang et al., CVPR 2022): zero-shot classification of depth maps, without any training.

The paper classifies single objects. Here a sweep is segmented into regions first, and every point takes the
class of its region:

* above the ground: superpoints, each projected from six sides;
* the ground: squares of a grid, each projected from above only;
* regions of too few points: the class of the nearest classified point.
"""

from collections.abc import Iterator
from itertools import chain

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from scipy.spatial import cKDTree
from torch import Tensor

from clip2scene.geometry.pieces import FARTHEST
from clip2scene.geometry.superpoints import find_superpoints
from clip2scene.teacher.clip.load import Clip
from clip2scene.types import IGNORE_LABEL, Prompts

TEMPLATES = ("point cloud depth map of a {}",)
"""The paper's prompt template (Sec. 3.2), for models of the language."""

DISTANCE = 2.2  # of the virtual camera from the middle of a region, in radii
NEAR_SHADE, FAR_SHADE = 255.0, 80.0  # brightness of the nearest and the farthest point; the rest is black
REGIONS_AT_ONCE = 16

Members = tuple[Int[Tensor, " _"], Int[Tensor, " _"]]
"""Indices of points, and the region of each, numbered from 0 without a gap."""

# Rows are the depth map's right, its down and the viewing direction, in a frame whose x points away from the
# sensor and whose z points up.
VIEWS = torch.tensor(
    [
        [[0, -1, 0], [0, 0, -1], [1, 0, 0]],  # front: the side that faces the sensor
        [[0, 1, 0], [0, 0, -1], [-1, 0, 0]],  # back
        [[1, 0, 0], [0, 0, -1], [0, 1, 0]],  # from its right
        [[-1, 0, 0], [0, 0, -1], [0, -1, 0]],  # from its left
        [[0, -1, 0], [-1, 0, 0], [0, 0, -1]],  # from above
        [[0, -1, 0], [1, 0, 0], [0, 0, 1]],  # from below
    ],
    dtype=torch.float32,
)
FROM_ABOVE = VIEWS[4:5]


def point_clip(
    clip: Clip,
    prompts: Prompts,
    positions: Float[Tensor, "points 3"],
    *,
    side: int = 64,
    dot: int = 2,
    min_points: int = 10,
    ground_square: float = 10.0,
    centred: bool = False,
) -> Int[Tensor, " points"]:
    """Label every point of a sweep by zero-shot classification of its region's depth maps.

    Args:
        clip: The image-text model.
        prompts: Text embeddings of the classes, in the model's text space.
        positions: In the lidar frame, z up, in metres.
        side: Height and width of a depth map, in pixels; the model stretches it to its own size.
        dot: Radius of the disc that a point covers in it, in pixels.
        min_points: Regions of fewer points are not classified themselves.
        ground_square: Edge of the grid cells of the ground, in metres.
        centred: Not in the paper: subtract the means of image and of text embeddings before the cosine, since
            those of depth maps are much alike and one class would get nearly all.

    Returns:
        Train id of every point; ``IGNORE_LABEL`` everywhere if no region has enough points.

    Raises:
        ValueError: If a setting is out of range.
    """
    _check_settings(side, dot, min_points, ground_square)
    positions = positions.float()
    (standing, superpoints), (ground, squares) = _regions(positions, min_points, ground_square)
    standing_maps = _draw(positions[standing], superpoints, VIEWS, side, dot)
    ground_maps = _draw(positions[ground], squares, FROM_ABOVE, side, dot)
    embeddings = [_embed(clip, maps) for maps in chain(standing_maps, ground_maps)]
    labels = torch.full((len(positions),), IGNORE_LABEL)
    if not embeddings:
        return labels
    of_region = _classify(torch.cat(embeddings), prompts, centred)
    labels[standing] = of_region[superpoints]
    labels[ground] = of_region[squares + (int(superpoints.max()) + 1 if len(superpoints) else 0)]
    return _fill_from_nearest(positions, labels)


def _check_settings(side: int, dot: int, min_points: int, ground_square: float) -> None:
    if side < 8 or not 0 <= dot < side // 4 or min_points < 1 or ground_square <= 0:
        raise ValueError(
            "expected a side of at least 8 pixels, a dot of 0 or more that fits in it, at least 1 point a "
            f"region and squares of a positive size, got {side}, {dot}, {min_points} and {ground_square}"
        )


def _regions(
    positions: Float[Tensor, "points 3"], min_points: int, ground_square: float
) -> tuple[Members, Members]:
    """Segment a sweep: superpoints of what stands on the ground, and squares of the ground."""
    superpoints = find_superpoints(positions)
    standing, ground = (superpoints >= 0).nonzero()[:, 0], (superpoints < 0).nonzero()[:, 0]
    squares = (positions[ground, :2].clamp(-FARTHEST, FARTHEST) / ground_square).floor().long()
    squares = squares.unique(dim=0, return_inverse=True)[1]
    return (
        _large_regions(standing, superpoints[standing], min_points),
        _large_regions(ground, squares, min_points),
    )


def _classify(
    embeddings: Float[Tensor, "regions channels"], prompts: Prompts, centred: bool
) -> Int[Tensor, " regions"]:
    """Zero-shot classification: the class of the highest cosine."""
    if not centred or len(embeddings) == 1:  # the mean of one embedding is the embedding
        return prompts.class_logits(embeddings).argmax(1)
    names = F.normalize(prompts.embeddings - prompts.embeddings.mean(0), dim=1)
    return prompts.best_name((embeddings - embeddings.mean(0)) @ names.T).argmax(1)


def _large_regions(
    members: Int[Tensor, " members"], numbers: Int[Tensor, " members"], min_points: int
) -> Members:
    """Drop the points of small regions, and number the others from 0 without a gap."""
    large = torch.bincount(numbers)[numbers] >= min_points
    return members[large], numbers[large].unique(return_inverse=True)[1]


def _draw(
    positions: Float[Tensor, "points 3"],
    regions: Int[Tensor, " points"],
    views: Float[Tensor, "views 3 3"],
    side: int,
    dot: int,
) -> Iterator[UInt8[Tensor, "some views side side"]]:
    """Draw the depth maps of some regions at a time, in the order of their numbers."""
    order = regions.argsort(stable=True)
    positions, regions = positions[order], regions[order]
    for first in range(0, int(regions[-1]) + 1 if len(regions) else 0, REGIONS_AT_ONCE):
        here = (regions >= first) & (regions < first + REGIONS_AT_ONCE)
        yield depth_maps(positions[here], regions[here] - first, views=views, side=side, dot=dot)


def depth_maps(
    positions: Float[Tensor, "points 3"],
    regions: Int[Tensor, " points"],
    *,
    views: Float[Tensor, "views 3 3"] = VIEWS,
    side: int = 64,
    dot: int = 2,
) -> UInt8[Tensor, "regions views side side"]:
    """Project every region of a cloud to depth maps from several sides, in perspective; near is bright.

    A region is scaled to the unit ball, so neither its size nor its distance shows, as in the paper (Sec.
    3.1); the side that faces the sensor is its front. Each point covers a small disc; the nearest one wins
    (z-buffer).

    Args:
        positions: In the sensor's frame, z up, in metres.
        regions: Region of each point; from 0, none left out.
        views: Right, down and viewing direction of each depth map, see :data:`VIEWS`.
        side: Height and width of a map, in pixels.
        dot: Radius of a point's disc, in pixels.

    Returns:
        Brightness: 255 for the nearest possible point, 80 for the farthest, 0 for none.
    """
    count = int(regions.max()) + 1 if len(regions) else 0
    turned = _in_unit_balls(positions, regions, count)
    right, down, depth = torch.einsum("vij,pj->ivp", views, turned)
    depth = depth + DISTANCE  # from the virtual camera
    # The ball's outline just fills the map less its dots.
    focal = (DISTANCE**2 - 1) ** 0.5 * (side / 2 - dot - 0.5)
    col = (right / depth * focal + (side - 1) / 2).round().long()
    row = (down / depth * focal + (side - 1) / 2).round().long()
    steps = torch.arange(-dot, dot + 1)
    up, across = torch.meshgrid(steps, steps, indexing="ij")
    disc = up**2 + across**2 <= (dot + 0.5) ** 2
    up, across = up[disc][:, None, None], across[disc][:, None, None]
    number = regions * len(views) + torch.arange(len(views))[:, None]  # of the map
    pixel = (number * side + row + up) * side + col + across
    nearest = torch.full((count * len(views) * side * side,), torch.inf)
    nearest.scatter_reduce_(0, pixel.flatten(), depth.expand(pixel.shape).flatten(), "amin")
    share = (nearest - (DISTANCE - 1)) / 2  # 0 for the nearest point of the ball, 1 for the farthest
    shade = NEAR_SHADE + (FAR_SHADE - NEAR_SHADE) * share
    shade = torch.where(nearest.isinf(), 0.0, shade.clamp(FAR_SHADE, NEAR_SHADE))
    return shade.round().byte().view(count, len(views), side, side)


def _in_unit_balls(
    positions: Float[Tensor, "points 3"], regions: Int[Tensor, " points"], count: int
) -> Float[Tensor, "points 3"]:
    """Rotate each region so that x points away from the sensor, and scale it to the unit ball."""
    corners = positions.new_zeros(2, count, 3)
    where = regions[:, None].expand(-1, 3)
    for corner, pick in zip(corners, ("amin", "amax"), strict=True):
        corner.scatter_reduce_(0, where, positions, pick, include_self=False)
    middle = corners.mean(0)
    away = F.normalize(middle[:, :2], dim=1)
    away = torch.where(away.any(1, keepdim=True), away, torch.tensor([1.0, 0.0]))[regions]
    x, y, z = (positions - middle[regions]).unbind(1)
    turned = torch.stack([away[:, 0] * x + away[:, 1] * y, away[:, 0] * y - away[:, 1] * x, z], dim=1)
    radius = positions.new_zeros(count).scatter_reduce_(0, regions, turned.norm(dim=1), "amax")
    return turned / radius.clamp(min=1e-6)[regions, None]


def _embed(clip: Clip, maps: UInt8[Tensor, "regions views side side"]) -> Float[Tensor, "regions channels"]:
    """Image embeddings of grey depth maps, averaged over a region's views, which averages the logits."""
    pictures = maps.flatten(0, 1)[..., None].expand(-1, -1, -1, 3)
    return clip.encode_image(pictures).unflatten(0, maps.shape[:2]).mean(1)


def _fill_from_nearest(
    positions: Float[Tensor, "points 3"], labels: Int[Tensor, " points"]
) -> Int[Tensor, " points"]:
    """Give unlabelled points the label of the nearest labelled one."""
    known = labels != IGNORE_LABEL
    if known.all() or not known.any():
        return labels
    nearest = cKDTree(positions[known].numpy()).query(positions[~known].numpy())[1]
    labels[~known] = labels[known][torch.from_numpy(nearest)]
    return labels
