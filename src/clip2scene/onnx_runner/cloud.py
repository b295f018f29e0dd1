"""A cloud on its way into the network and back: :mod:`clip2scene.student.inputs` in NumPy."""

from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int64

from clip2scene.geometry.ground import Ground
from clip2scene.onnx_runner.about import About


def read_points(cloud: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401 - several kinds
    """Take positions and features out of what a user gives.

    Args:
        cloud: An array of x, y, z and the features; or anything with ``positions`` and ``features``.
        channels: Features that are expected.

    Returns:
        Both in float32.

    Raises:
        ValueError: If there is no point, numbers are not finite, or there are other features.
    """
    if hasattr(cloud, "positions"):
        positions, features = np.asarray(cloud.positions), np.asarray(cloud.features)
    else:
        every = np.asarray(cloud)
        if every.ndim != 2 or every.dtype.kind not in "fiu" or every.shape[1] < 3:
            raise ValueError(
                f"expected a cloud of points x {3 + channels} numbers (x, y, z and the features), got "
                f"{every.dtype} {every.shape}"
            )
        positions, features = every[:, :3], every[:, 3:]
    flat = positions.ndim != 2 or features.ndim != 2
    if flat or positions.shape[1] != 3 or len(features) != len(positions):
        raise ValueError(
            f"expected positions points x 3 and features points x {channels}, got {positions.shape} and "
            f"{features.shape}"
        )
    if features.shape[1] != channels:
        raise ValueError(
            f"the student was trained on {channels} channels of features, got {features.shape[1]}; give the "
            "cloud what the training clouds had"
        )
    if not len(positions):
        raise ValueError("the cloud has no points; leave empty clouds out")
    with np.errstate(over="ignore"):  # what is beyond float32 is infinite, and refused
        positions, features = positions.astype(np.float32), features.astype(np.float32)
    if not np.isfinite(positions).all() or not np.isfinite(features).all():
        raise ValueError("the cloud holds NaN or infinite numbers; drop those points")
    return positions, features


def prepare(
    positions: Float32[np.ndarray, "points 3"],
    features: Float32[np.ndarray, "points channels"],
    about: About,
    ground: Ground | None,
) -> tuple[Float32[np.ndarray, "points 3"], Float32[np.ndarray, "points inputs"]]:
    """Make of a cloud what the network is given: level positions in metres, and all its features.

    Args:
        positions: In metres.
        features: What the sensor measured.
        about: What the student is given.
        ground: The plane of the ground where it is known.
    """
    if about.intensity == "none":
        features = np.zeros_like(features)
    elif about.intensity == "quantile":
        features = quantiles(features)
    heights = None
    if about.level or about.height == "ground":
        from clip2scene.geometry.level import find_levelling  # SciPy's solver

        level, heights = find_levelling(positions, ground=ground)(positions)
        positions = level if about.level else positions
    if about.height == "none":
        return positions, features
    above = heights if about.height == "ground" and heights is not None else positions[:, 2]
    return positions, np.concatenate([features, above[:, None] / np.float32(about.height_unit)], 1)


def quantiles(values: Float32[np.ndarray, "points channels"]) -> Float32[np.ndarray, "points channels"]:
    """Give the rank of each value within its channel, -1 to 1; 0 where all are equal."""
    ranks = np.zeros_like(values)
    for channel, column in enumerate(values.T):
        _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        if len(counts) > 1:
            middles = (np.cumsum(counts) - (counts + 1) / 2).astype(values.dtype)
            ranks[:, channel] = (2 * middles / (len(values) - 1) - 1)[place]
    return ranks


def turn_about_z(
    positions: Float32[np.ndarray, "points 3"], degrees: float
) -> Float32[np.ndarray, "points 3"]:
    """Turn points about the vertical axis, to the left."""
    if not degrees:
        return positions
    cos, sin = (np.float32(each(np.radians(degrees))) for each in (np.cos, np.sin))
    x, y, z = positions.T
    return np.stack([cos * x - sin * y, sin * x + cos * y, z], 1)


def average_within(
    pieces: Int64[np.ndarray, " points"], values: Float[np.ndarray, "points ..."]
) -> Float[np.ndarray, "points ..."]:
    """Give the points of each superpoint their mean; those of the ground (-1) keep their own value."""
    inside = np.flatnonzero(pieces >= 0)
    if not len(inside):
        return values
    order = inside[np.argsort(pieces[inside], kind="stable")]
    counts = np.bincount(pieces[inside])
    sums = np.add.reduceat(values[order], np.cumsum(counts) - counts)
    means = values.copy()
    means[order] = np.repeat(sums / counts.reshape(-1, *[1] * (values.ndim - 1)), counts, axis=0)
    return means
