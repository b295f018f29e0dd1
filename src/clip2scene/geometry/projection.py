"""Rigid motion, projection, occlusion and voxelisation: pure functions.

Frames, pixels and names are those of ``docs/conventions.md``: ``a_from_b`` is a 4x4 matrix that turns
positions of frame b into frame a, pixels are (u, v) = (column, row) with whole numbers at pixel centres.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.types import Camera, Pairs

_ROTATION_TOLERANCE = 1e-3  # calibration files round to 6 or 7 digits, and some are float32


def rigid_from_quaternion(
    wxyz: Sequence[float | int], translation: Sequence[float | int]
) -> Float[Tensor, "4 4"]:
    """Build a rigid motion from a rotation quaternion and a translation.

    Args:
        wxyz: Quaternion, real part first; scaled to unit length.
        translation: Metres.

    Returns:
        The 4x4 matrix, in float64: positions in a city's frame are too large for float32.

    Raises:
        ValueError: If a number is not finite or the quaternion is not near unit length; it is no rotation
            then.

    Example:
        >>> rigid_from_quaternion([1, 0, 0, 0], [1, 2, 3])[:3, 3].tolist()
        [1.0, 2.0, 3.0]
    """
    quaternion = torch.tensor(wxyz, dtype=torch.float64)
    offset = torch.tensor(translation, dtype=torch.float64)
    if quaternion.shape != (4,) or offset.shape != (3,):
        raise ValueError(
            f"expected four numbers w x y z and three x y z, got {list(wxyz)} and {list(translation)}"
        )
    length = quaternion.norm()
    if not (offset.isfinite().all() and abs(float(length) - 1) < _ROTATION_TOLERANCE):
        raise ValueError(
            f"quaternion {list(wxyz)} with translation {list(translation)} is not a rigid motion: expected "
            f"finite numbers and a rotation of length 1, got {float(length):.6g}; check the calibration"
        )
    w, x, y, z = (quaternion / length).tolist()
    rigid = torch.eye(4, dtype=torch.float64)
    rigid[:3, :3] = torch.tensor(  # scipy's Rotation differs in the last bit
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )
    rigid[:3, 3] = offset
    return rigid


def check_rigid(a_from_b: Float[Tensor, "4 4"], name: str) -> None:
    """Refuse a matrix that is not a rotation followed by a translation.

    Args:
        a_from_b: The matrix to check.
        name: What the matrix is and where it came from, for the message.

    Raises:
        ValueError: If a number is not finite, the last row is not 0 0 0 1, or the upper left 3x3 is not a
            rotation (scaled, sheared or mirrored).
    """
    matrix = a_from_b.double()
    if not matrix.isfinite().all():
        raise ValueError(f"{name} holds numbers that are not finite; check the calibration")
    if (matrix[3] - matrix.new_tensor([0, 0, 0, 1])).abs().max() > _ROTATION_TOLERANCE:
        raise ValueError(
            f"the last row of {name} is {matrix[3].tolist()}, expected 0 0 0 1; check the calibration"
        )
    rotation = matrix[:3, :3]
    error = (rotation @ rotation.T - torch.eye(3, dtype=torch.float64, device=matrix.device)).abs().max()
    determinant = torch.linalg.det(rotation)
    if error > _ROTATION_TOLERANCE or determinant < 0:
        raise ValueError(
            f"{name} is not a rotation: expected orthonormal rows and determinant 1, got a deviation of "
            f"{float(error):.3g} and determinant {float(determinant):.3g}; check the calibration"
        )


def check_intrinsics(intrinsics: Float[Tensor, "rows columns"], name: str) -> None:
    """Refuse a matrix that is not that of a pinhole camera.

    Args:
        intrinsics: The matrix to check.
        name: Whose it is and where it came from, for the message.

    Raises:
        ValueError: If the matrix is not 3x3, a number is not finite in float32 (in which pixels are worked
            out), the focal lengths are not positive, or there is something else than zeros below the diagonal
            or than 1 in the corner.
    """
    matrix = intrinsics.detach().float()
    fits = matrix.shape == (3, 3) and bool(matrix.isfinite().all())
    if fits:
        below = torch.stack([matrix[1, 0], matrix[2, 0], matrix[2, 1], matrix[2, 2] - 1])
        fits = float(below.abs().max()) < 1e-6 and float(matrix.diagonal().min()) > 0
    if not fits:
        raise ValueError(
            f"{name}: intrinsics are {intrinsics.tolist()}, expected fx s cx, 0 fy cy, 0 0 1, finite numbers "
            "with positive fx and fy in pixels; check the calibration"
        )


def invert_rigid(a_from_b: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """Return ``b_from_a``.

    Example:
        >>> b_from_a = invert_rigid(rigid_from_quaternion([1, 0, 0, 0], [1, 2, 3]))
        >>> b_from_a[:3, 3].tolist()
        [-1.0, -2.0, -3.0]
    """
    inverse = torch.eye(4, dtype=a_from_b.dtype, device=a_from_b.device)
    inverse[:3, :3] = a_from_b[:3, :3].T
    inverse[:3, 3] = -(a_from_b[:3, :3].T @ a_from_b[:3, 3])
    return inverse


def transform_points(
    a_from_b: Float[Tensor, "4 4"], points: Float[Tensor, "points 3"]
) -> Float[Tensor, "points 3"]:
    """Transform points of frame b into frame a.

    Args:
        a_from_b: Rigid motion; its precision is reduced to that of ``points`` last, so that large offsets
            that cancelled while motions were composed cost nothing.
        points: Positions in frame b, in metres.

    Returns:
        The positions in frame a, in the type and order of ``points``.
    """
    motion = a_from_b.to(points)
    return points @ motion[:3, :3].T + motion[:3, 3]


def pixels_of(
    in_camera: Float[Tensor, "*points 3"], intrinsics: Float[Tensor, "3 3"], *, least_depth: float = 1e-6
) -> Float[Tensor, "*points 2"]:
    """Project points onto the image plane of a pinhole camera.

    Args:
        in_camera: Positions in the camera's frame, in metres: x right, y down, z forward.
        intrinsics: Of the camera, in pixels.
        least_depth: Points nearer than this, or behind the camera, are projected as if they were this far
            away, in metres; their pixels mean nothing.

    Returns:
        (u, v) of each point, in pixels, also outside of the image.

    Example:
        >>> intrinsics = torch.tensor([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]])
        >>> pixels_of(torch.tensor([[1.0, -2.0, 10.0]]), intrinsics).tolist()
        [[60.0, 20.0]]
    """
    rays = in_camera @ intrinsics.to(in_camera).T
    return rays[..., :2] / rays[..., 2:].clamp(min=least_depth)


def project_points(
    positions: Float[Tensor, "points 3"],
    cameras: Sequence[Camera],
    *,
    min_depth: float = 1.0,
    border: float = 1.0,
) -> Pairs:
    """Pair each point with the pixels it projects to, one pair for each camera whose image holds it.

    A point is kept when it lies at least ``min_depth`` in front of the camera and its pixel is at least
    ``border`` pixels inside the image's outermost pixel centres. Occlusion is not tested: see
    :func:`drop_occluded`.

    Args:
        positions: In the lidar frame, in metres.
        cameras: The image sensors to project into.
        min_depth: Nearest depth kept, in metres. The default discards returns from the vehicle's own body.
        border: Margin in pixels: ``border <= u <= width - 1 - border``, and so for v. May be 0, or negative
            down to -0.5, the image's true edge.

    Returns:
        The pairs, ordered by view, then by point; a point visible in two cameras is in two pairs. Empty when
        none is.

    Raises:
        ValueError: If ``min_depth`` is not positive (points behind the camera would be mirrored into the
            image), or ``border`` is below -0.5 (pixels outside the image would be read).
    """
    if not min_depth > 0:
        raise ValueError(
            f"min_depth must be positive, got {min_depth}; points behind the camera have no pixel"
        )
    if border < -0.5:
        raise ValueError(f"border must be at least -0.5 pixels, got {border}; beyond it there is no image")
    found: list[Pairs] = []
    for view, camera in enumerate(cameras):
        in_camera = transform_points(camera.camera_from_lidar, positions)
        depths = in_camera[:, 2]
        ahead = (depths >= min_depth).nonzero()[:, 0]
        pixels = pixels_of(in_camera[ahead], camera.intrinsics)
        last = pixels.new_tensor([camera.width - 1, camera.height - 1])
        inside = ((pixels >= border) & (pixels <= last - border)).all(dim=1)
        kept = ahead[inside]
        found.append(Pairs(kept, torch.full_like(kept, view), pixels[inside], depths[kept]))
    return _join(found, positions)


def drop_occluded(
    pairs: Pairs,
    cameras: Sequence[Camera],
    *,
    cell: float = 0.25,
    gap_across: float = 1.25,
    gap_down: float = 2.5,
    tolerance: float = 0.05,
    slack: float = 0.4,
) -> Pairs:
    """Drop the pairs whose point is hidden behind a nearer one in its camera's view.

    The lidar sees past things that block the camera's sight. Each camera's points are splatted into a coarse
    depth buffer. The gaps that the lidar's beams leave on near surfaces are filled by a morphological
    closing: so a gap between two points of a car is closed, but nothing grows beyond the car's outline, and
    a road that recedes from beam to beam never hides itself. Points deeper than their cell are dropped.

    Args:
        pairs: What :func:`project_points` returned.
        cameras: The same cameras.
        cell: Edge of a buffer cell, in degrees of view at the image's centre.
        gap_across: Widest horizontal gap between two beams that is closed, in degrees.
        gap_down: Widest vertical one; somewhat more than the spacing of the lidar's rings.
        tolerance: How much deeper than its cell a visible point may be, as a fraction of the cell's depth;
            covers surfaces seen at a slant.
        slack: The same in metres, added.

    Returns:
        The pairs that are left, in their order.

    Raises:
        ValueError: If ``cell`` is not positive or another number is negative.
    """
    if not cell > 0 or min(gap_across, gap_down, tolerance, slack) < 0:
        numbers = f"{cell}, {gap_across}, {gap_down}, {tolerance}, {slack}"
        raise ValueError(f"expected cell > 0 and gaps, tolerance and slack >= 0, got {numbers}")
    visible = torch.ones(len(pairs), dtype=torch.bool, device=pairs.depths.device)
    for view, camera in enumerate(cameras):
        mine = (pairs.views == view).nonzero()[:, 0]
        if len(mine):
            windows = round(gap_down / cell), round(gap_across / cell)
            depths = pairs.depths[mine]
            nearest = _nearest_surface(_cells(pairs.pixels[mine], camera, cell), depths, windows)
            visible[mine] = depths <= nearest * (1 + tolerance) + slack
    return Pairs(pairs.points[visible], pairs.views[visible], pairs.pixels[visible], pairs.depths[visible])


def _nearest_surface(
    cells: Int[Tensor, "pairs 2"], depths: Float[Tensor, " pairs"], gaps: tuple[int, int]
) -> Float[Tensor, " pairs"]:
    """Give the depth buffer's depth in each pair's cell, in metres, with gaps of (rows, columns) closed."""
    column, row = cells.unbind(dim=1)
    columns, rows = int(column.max()) + 1, int(row.max()) + 1
    buffer = depths.new_full((rows * columns,), torch.inf)
    buffer.scatter_reduce_(0, row * columns + column, depths, "amin")
    return _close_gaps(buffer.view(rows, columns), *gaps)[row, column]


def _cells(pixels: Float[Tensor, "pairs 2"], camera: Camera, cell: float) -> Int[Tensor, "pairs 2"]:
    """Return the buffer column and row of each pixel."""
    degrees_per_pixel = torch.rad2deg(torch.atan(1 / camera.intrinsics.diagonal()[:2])).to(pixels)
    return ((pixels + 0.5) * degrees_per_pixel / cell).floor().long().clamp(min=0)


def _close_gaps(depths: Float[Tensor, "rows columns"], high: int, wide: int) -> Float[Tensor, "rows columns"]:
    """Close a depth buffer: the largest, over windows that hold the cell, of the least depth in the window.

    Args:
        depths: Infinite where there is no point.
        high: Gap to close, in rows; the window is the next odd number.
        wide: The same in columns.

    Returns:
        Depths that are nowhere greater than ``depths``.
    """
    down, across = high // 2, wide // 2

    def grow(values: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
        """Spread each cell's value over a window where it is the largest."""
        rows = F.max_pool2d(values[None, None], (1, 2 * across + 1), stride=1, padding=(0, across))
        return F.max_pool2d(rows, (2 * down + 1, 1), stride=1, padding=(down, 0))[0, 0]

    return grow(-grow(-depths))


def voxelize(
    positions: Float[Tensor, "points 3"], voxel_size: float
) -> tuple[Int[Tensor, "voxels 3"], Int[Tensor, " points"]]:
    """Sort points into cubes: ``floor(position / voxel_size)``.

    Args:
        positions: Metres.
        voxel_size: Edge of a cube, in metres.

    Returns:
        The integer coordinates of the cubes that hold a point, sorted by x, then y, then z; and for each
        point the row of its cube.

    Raises:
        ValueError: If the voxel size is not positive, a position is not finite, or the cloud spans more than
            a million cubes along an axis.

    Example:
        >>> positions = torch.tensor([[0.05, 0, 0], [0.19, 0, 0], [0.11, 0, 0]])
        >>> coordinates, voxel_of_point = voxelize(positions, 0.1)
        >>> coordinates.tolist(), voxel_of_point.tolist()
        ([[0, 0, 0], [1, 0, 0]], [0, 1, 1])
    """
    if not voxel_size > 0:
        raise ValueError(f"voxel_size must be positive, got {voxel_size}")
    if not len(positions):
        empty = torch.zeros(0, 3, dtype=torch.int64, device=positions.device)
        return empty, empty[:, 0]
    if not positions.isfinite().all():
        raise ValueError("positions hold numbers that are not finite; drop those points first")
    cubes = torch.floor(positions / voxel_size)
    span = float((cubes.amax(dim=0) - cubes.amin(dim=0)).max())  # as floats: far points have no whole number
    if not (span < 1 << 20 and float(cubes.abs().max()) < 1 << 62):
        raise ValueError(
            f"the cloud spans {span + 1:.0f} cubes of {voxel_size} m along an axis, at most "
            f"{1 << 20} fit; use larger voxels or drop stray points"
        )
    cubes = cubes.long()
    lowest = cubes.amin(dim=0)
    shifted = cubes - lowest
    x, y, z = shifted.unbind(dim=1)
    keys, voxel_of_point = torch.unique((x << 40) | (y << 20) | z, return_inverse=True)
    coordinates = torch.stack([keys >> 40, (keys >> 20) & 0xFFFFF, keys & 0xFFFFF], dim=1) + lowest
    return coordinates, voxel_of_point


def _join(parts: Sequence[Pairs], like: Tensor) -> Pairs:
    """Concatenate pairs; none at all become an empty set."""
    none = torch.zeros(0, dtype=torch.int64, device=like.device)
    empty = Pairs(none, none, like.new_zeros(0, 2), like.new_zeros(0))
    parts = [empty, *parts]
    return Pairs(
        torch.cat([part.points for part in parts]),
        torch.cat([part.views for part in parts]),
        torch.cat([part.pixels for part in parts]),
        torch.cat([part.depths for part in parts]),
    )
