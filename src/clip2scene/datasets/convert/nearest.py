"""Which image of a camera belongs to which cloud: the nearest in time."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64


def nearest_clouds(clouds_us: Sequence[int], images_us: Sequence[int], most_apart_us: int) -> dict[int, int]:
    """Give each image the nearest cloud, and let each cloud keep the nearest of the images that it was given.

    Of two as near, the earlier is taken.

    Args:
        clouds_us: Moments of clouds, strictly rising.
        images_us: Moments of a camera's images, strictly rising.
        most_apart_us: The farthest that both may be apart.

    Returns:
        The cloud's moment by the image's.

    Example:
        >>> nearest_clouds([100, 200, 300], [90, 120, 210, 260], 50)
        {90: 100, 210: 200, 260: 300}
    """
    if not clouds_us or not images_us:
        return {}
    clouds, images = np.array(clouds_us, dtype=np.int64), np.array(images_us, dtype=np.int64)
    given = clouds[_nearest(clouds, images)]
    apart = np.abs(given - images)
    order = np.lexsort((images, apart, given))
    first = order[np.unique(given[order], return_index=True)[1]]
    kept = first[apart[first] <= most_apart_us]
    return dict(zip(images[kept].tolist(), given[kept].tolist(), strict=True))


def _nearest(
    times: Int64[np.ndarray, " times"], asked: Int64[np.ndarray, " asked"]
) -> Int64[np.ndarray, " asked"]:
    """Find the nearest time for each that is asked for; of two as near, the earlier."""
    after = np.searchsorted(times, asked).clip(1, max(len(times) - 1, 1))
    before = after - 1
    after = after.clip(max=len(times) - 1)
    return np.where(asked - times[before] <= times[after] - asked, before, after)
