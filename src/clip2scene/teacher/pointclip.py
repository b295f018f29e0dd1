"""PointCLIP (Zhang et al., CVPR 2022): depth maps of things, named by an image-text model without training.

The paper names objects that somebody has cut out. Here the pieces into which a sweep falls stand in for them,
and every point takes the answer of its piece:

* what stands on the ground: a superpoint each, seen from six sides;
* the ground: cut into squares of a map, each seen from above, since it shows nothing from elsewhere;
* pieces of too few points to make a picture: the answer of the nearest point that has one.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from scipy.spatial import cKDTree
from torch import Tensor

from clip2scene.geometry.superpoints import FARTHEST, find_superpoints
from clip2scene.teacher.clip.load import Clip
from clip2scene.types import IGNORE_LABEL, Prompts

TEMPLATES = ("point cloud depth map of a {}",)
"""The paper's sentence (Sec. 3.2), for models that know the words."""

DISTANCE = 2.2  # of the eye from the middle of a piece, in radii
NEAR_SHADE, FAR_SHADE = 255.0, 80.0  # brightness of the nearest and the farthest point; the rest is black
PIECES_AT_ONCE = 16

# Rows are the picture's right, its down and the direction of sight, in a frame whose x points away from the
# sensor and whose z points up.
VIEWS = torch.tensor(
    [
        [[0, -1, 0], [0, 0, -1], [1, 0, 0]],  # front: the side that the sensor saw
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
    """Name every point of a sweep by what the depth maps of its piece look like.

    Args:
        clip: The image-text model.
        prompts: The classes, in its text space.
        positions: In the lidar frame, z up, in metres.
        side: Height and width of a depth map, in pixels; the model stretches it to its own size.
        dot: Radius of the disc that a point covers in it, in pixels.
        min_points: Pieces of fewer points are not looked at.
        ground_square: Edge of the squares that the ground is cut into, in metres.
        centred: Not in the paper: take the mean off the sweep's embeddings, and off the names', before they
            are compared. All depth maps look much alike to a model that never saw one, and so one class gets
            nearly all of them; their differences say a little more.

    Returns:
        Train id of every point; ``IGNORE_LABEL`` everywhere if no piece has enough points.

    Raises:
        ValueError: If a setting is out of range.
    """
    if side < 8 or not 0 <= dot < side // 4 or min_points < 1 or ground_square <= 0:
        raise ValueError(
            "expected a side of at least 8 pixels, a dot of 0 or more that fits in it, at least 1 point a "
            f"piece and squares of a positive size, got {side}, {dot}, {min_points} and {ground_square}"
        )
    positions = positions.float()
    pieces = find_superpoints(positions)
    standing, ground = (pieces >= 0).nonzero()[:, 0], (pieces < 0).nonzero()[:, 0]
    squares = (positions[ground, :2].clamp(-FARTHEST, FARTHEST) / ground_square).floor().long()
    squares = squares.unique(dim=0, return_inverse=True)[1]
    standing, pieces = _large_pieces(standing, pieces[standing], min_points)
    ground, squares = _large_pieces(ground, squares, min_points)
    seen = [
        *(_embed(clip, maps) for maps in _draw(positions[standing], pieces, VIEWS, side, dot)),
        *(_embed(clip, maps) for maps in _draw(positions[ground], squares, FROM_ABOVE, side, dot)),
    ]
    answers = torch.full((len(positions),), IGNORE_LABEL)
    if not seen:
        return answers
    named = _name(torch.cat(seen), prompts, centred)
    answers[standing] = named[pieces]
    answers[ground] = named[squares + (int(pieces.max()) + 1 if len(pieces) else 0)]
    return _fill_from_nearest(positions, answers)


def _name(
    embeddings: Float[Tensor, "pieces channels"], prompts: Prompts, centred: bool
) -> Int[Tensor, " pieces"]:
    """Give each piece the class whose name it is closest to."""
    if not centred or len(embeddings) == 1:  # the mean of one piece is the piece
        return prompts.class_logits(embeddings).argmax(1)
    names = F.normalize(prompts.embeddings - prompts.embeddings.mean(0), dim=1)
    return prompts.best_name((embeddings - embeddings.mean(0)) @ names.T).argmax(1)


def _large_pieces(
    members: Int[Tensor, " members"], numbers: Int[Tensor, " members"], min_points: int
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " kept"]]:
    """Drop the points of small pieces, and number the others from 0 without a gap."""
    large = torch.bincount(numbers)[numbers] >= min_points
    return members[large], numbers[large].unique(return_inverse=True)[1]


def _draw(
    positions: Float[Tensor, "points 3"],
    pieces: Int[Tensor, " points"],
    views: Float[Tensor, "views 3 3"],
    side: int,
    dot: int,
) -> Iterator[UInt8[Tensor, "some views side side"]]:
    """Draw the depth maps of some pieces at a time, in the order of their numbers."""
    order = pieces.argsort(stable=True)
    positions, pieces = positions[order], pieces[order]
    for first in range(0, int(pieces[-1]) + 1 if len(pieces) else 0, PIECES_AT_ONCE):
        here = (pieces >= first) & (pieces < first + PIECES_AT_ONCE)
        yield depth_maps(positions[here], pieces[here] - first, views=views, side=side, dot=dot)


def depth_maps(
    positions: Float[Tensor, "points 3"],
    pieces: Int[Tensor, " points"],
    *,
    views: Float[Tensor, "views 3 3"] = VIEWS,
    side: int = 64,
    dot: int = 2,
) -> UInt8[Tensor, "pieces views side side"]:
    """Draw every piece of a cloud from several sides, in perspective, bright where it is near.

    A piece is brought to the unit ball, so its size and its distance do not show, as in the paper; the side
    that faces the sensor is its front. Each point covers a small disc, and where discs overlap the nearest
    wins.

    Args:
        positions: In the sensor's frame, z up, in metres.
        pieces: Number of each point's piece; from 0, none left out.
        views: Right, down and direction of sight of each view, see :data:`VIEWS`.
        side: Height and width of a map, in pixels.
        dot: Radius of a point's disc, in pixels.

    Returns:
        Brightness: 255 for the nearest possible point, 80 for the farthest, 0 for none.
    """
    count = int(pieces.max()) + 1 if len(pieces) else 0
    turned = _in_unit_balls(positions, pieces, count)
    right, down, depth = torch.einsum("vij,pj->ivp", views, turned)
    depth = depth + DISTANCE  # from the eye
    # The ball's outline, seen from the eye, just fills the map less its dots.
    focal = (DISTANCE**2 - 1) ** 0.5 * (side / 2 - dot - 0.5)
    col = (right / depth * focal + (side - 1) / 2).round().long()
    row = (down / depth * focal + (side - 1) / 2).round().long()
    steps = torch.arange(-dot, dot + 1)
    up, across = torch.meshgrid(steps, steps, indexing="ij")
    disc = up**2 + across**2 <= (dot + 0.5) ** 2
    up, across = up[disc][:, None, None], across[disc][:, None, None]
    number = pieces * len(views) + torch.arange(len(views))[:, None]  # of the map
    pixel = (number * side + row + up) * side + col + across
    nearest = torch.full((count * len(views) * side * side,), torch.inf)
    nearest.scatter_reduce_(0, pixel.flatten(), depth.expand(pixel.shape).flatten(), "amin")
    share = (nearest - (DISTANCE - 1)) / 2  # 0 for the nearest point of the ball, 1 for the farthest
    shade = NEAR_SHADE + (FAR_SHADE - NEAR_SHADE) * share
    shade = torch.where(nearest.isinf(), 0.0, shade.clamp(FAR_SHADE, NEAR_SHADE))
    return shade.round().byte().view(count, len(views), side, side)


def _in_unit_balls(
    positions: Float[Tensor, "points 3"], pieces: Int[Tensor, " points"], count: int
) -> Float[Tensor, "points 3"]:
    """Turn each piece so that x points away from the sensor, and bring it to the unit ball."""
    corners = positions.new_zeros(2, count, 3)
    where = pieces[:, None].expand(-1, 3)
    for corner, pick in zip(corners, ("amin", "amax"), strict=True):
        corner.scatter_reduce_(0, where, positions, pick, include_self=False)
    middle = corners.mean(0)
    away = F.normalize(middle[:, :2], dim=1)
    away = torch.where(away.any(1, keepdim=True), away, torch.tensor([1.0, 0.0]))[pieces]
    x, y, z = (positions - middle[pieces]).unbind(1)
    turned = torch.stack([away[:, 0] * x + away[:, 1] * y, away[:, 0] * y - away[:, 1] * x, z], dim=1)
    radius = positions.new_zeros(count).scatter_reduce_(0, pieces, turned.norm(dim=1), "amax")
    return turned / radius.clamp(min=1e-6)[pieces, None]


def _embed(clip: Clip, maps: UInt8[Tensor, "pieces views side side"]) -> Float[Tensor, "pieces channels"]:
    """Embed depth maps as grey pictures; the mean over a piece's views, so that logits are averaged."""
    pictures = maps.flatten(0, 1)[..., None].expand(-1, -1, -1, 3)
    return clip.encode_image(pictures).unflatten(0, maps.shape[:2]).mean(1)


def _fill_from_nearest(
    positions: Float[Tensor, "points 3"], answers: Int[Tensor, " points"]
) -> Int[Tensor, " points"]:
    """Give points without an answer that of the nearest point that has one."""
    has_one = answers != IGNORE_LABEL
    if has_one.all() or not has_one.any():
        return answers
    nearest = cKDTree(positions[has_one].numpy()).query(positions[~has_one].numpy())[1]
    answers[~has_one] = answers[has_one][torch.from_numpy(nearest)]
    return answers
