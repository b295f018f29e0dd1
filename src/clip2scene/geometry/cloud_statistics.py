"""What tells one cloud from another before any network sees it: units, axes, frame, ground, intensity.

:func:`describe_cloud` measures one cloud, :class:`CloudSpread` holds what was measured over many, such as
those that a run was trained on, and :func:`clip2scene.geometry.unlike.find_unlike` compares.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from clip2scene.geometry.ground import Ground, estimate_ground
from clip2scene.types import PointCloud

_MOST_POINTS = 50_000  # that percentiles are taken of


@dataclass(frozen=True)
class CloudStatistics:
    """What was measured of one cloud.

    Attributes:
        num_points: How many.
        centre_distance: From the origin to the middle (the median along each axis) of the points, in metres.
        near_range: 5th percentile of the distance from the sensor, of a room from its middle; in metres.
        middle_range: 50th percentile.
        far_range: 95th percentile.
        lowest_deg: 2nd percentile of the elevation seen from the sensor, of a room from its middle.
        highest_deg: 98th percentile.
        ground_height: z of the ground below the sensor, of a room below its middle, in metres; NaN, as are
            the next two, where there is no ground.
        ground_pitch_deg: How much the ground rises ahead.
        ground_roll_deg: How much it rises to the left.
        ground_share: Share of the surroundings where the lowest points are ground, in 0..1; 0 for none.
        dim_intensity: 50th percentile of the intensities that are not 0; NaN where all are. Of colours, their
            mean over the channels takes the intensity's place.
        bright_intensity: 90th percentile of the same.
        zero_intensity: Share of points whose intensity is 0.
    """

    num_points: int
    centre_distance: float
    near_range: float
    middle_range: float
    far_range: float
    lowest_deg: float
    highest_deg: float
    ground_height: float
    ground_pitch_deg: float
    ground_roll_deg: float
    ground_share: float
    dim_intensity: float
    bright_intensity: float
    zero_intensity: float

    @property
    def has_ground(self) -> bool:
        """Whether a ground was found."""
        return self.ground_share > 0

    @property
    def has_intensity(self) -> bool:
        """Whether hardly every intensity is 0."""
        return self.zero_intensity < 0.995


NAMES = tuple(CloudStatistics.__dataclass_fields__)


def describe_cloud(cloud: PointCloud, *, indoors: bool = False) -> CloudStatistics:
    """Measure a cloud; it takes milliseconds.

    Args:
        cloud: One that was seen from about its origin, z up, in metres, or that is to be tried for that; of a
            room, in any frame.
        indoors: Whether it is a room.

    Raises:
        ValueError: If the cloud has no points, or a position is not finite.
    """
    if not len(cloud) or not cloud.positions.isfinite().all():
        raise ValueError("the cloud has no points, or holds NaN or infinite numbers; drop those points")
    few = slice(None, None, max(1, len(cloud) // _MOST_POINTS) | 1)
    points = cloud.positions[few].detach().cpu().double().numpy()
    middle = np.median(points, axis=0)
    seen = points - middle if indoors else points
    ranges = np.linalg.norm(seen, axis=1)
    elevation = np.degrees(np.arcsin(seen[:, 2] / np.maximum(ranges, 1e-9)))
    near, half, far = np.percentile(ranges, [5, 50, 95]).tolist()
    lowest, highest = np.percentile(elevation, [2, 98]).tolist()
    ground = _room_floor(cloud.positions, middle) if indoors else estimate_ground(cloud.positions)
    return CloudStatistics(
        len(cloud),
        float(np.linalg.norm(middle)),
        *(near, half, far, lowest, highest),
        *_of_ground(ground),
        *_of_intensity(cloud.features[few]),
    )


@dataclass(frozen=True)
class CloudSpread:
    """What was measured over clouds that belong together.

    Attributes:
        clouds: How many.
        indoors: Whether they are rooms.
        quantiles: By the name of a statistic, its 5th, 50th and 95th percentile over the clouds where it is a
            number; absent where it is none in all.
    """

    clouds: int
    indoors: bool
    quantiles: Mapping[str, tuple[float, float, float]]

    @classmethod
    def of(cls, found: Iterable[CloudStatistics], *, indoors: bool) -> "CloudSpread":
        """Summarise the statistics of some clouds, at least one."""
        rows = [asdict(each) for each in found]
        quantiles = {}
        for name in NAMES:
            values = np.array([row[name] for row in rows], dtype=np.float64)
            if np.isfinite(values).any():
                low, middle, high = np.nanpercentile(values, [5, 50, 95]).round(6).tolist()
                quantiles[name] = (low, middle, high)
        return cls(len(rows), indoors, quantiles)

    @classmethod
    def from_json(cls, content: Any) -> "CloudSpread":  # noqa: ANN401 - whatever JSON can hold
        """Read what :meth:`to_json` gave.

        Raises:
            ValueError: If it is something else.
        """
        try:
            quantiles = {name: tuple(map(float, content["quantiles"][name])) for name in content["quantiles"]}
            fits = all(len(each) == 3 and np.isfinite(each).all() for each in quantiles.values())
            if not fits or not {"num_points", "middle_range", "zero_intensity"} <= set(quantiles):
                raise ValueError("a statistic is missing or is not three numbers")
            return cls(int(content["clouds"]), bool(content["indoors"]), quantiles)  # type: ignore[arg-type]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"these are no statistics of clouds ({error})") from None

    def to_json(self) -> dict[str, Any]:
        """Give plain values for a file."""
        return asdict(self)

    def low(self, name: str) -> float:
        """Give the 5th percentile of a statistic; NaN where no cloud has it."""
        return self.quantiles.get(name, (np.nan,) * 3)[0]

    def middle(self, name: str) -> float:
        """Give the median of a statistic; NaN where no cloud has it."""
        return self.quantiles.get(name, (np.nan,) * 3)[1]

    def high(self, name: str) -> float:
        """Give the 95th percentile of a statistic; NaN where no cloud has it."""
        return self.quantiles.get(name, (np.nan,) * 3)[2]


def _room_floor(positions: Float[Tensor, "points 3"], middle: Float[np.ndarray, "3"]) -> Ground | None:
    """Find the floor of a room, by finer cells than a street needs; its height is that below the middle."""
    x, y, _ = middle.tolist()
    floor = estimate_ground(positions, centre=(x, y), reach=4.0, cell=0.2, band=0.06)
    if floor is None:
        return None
    below = floor.height + floor.slope_x * x + floor.slope_y * y
    return Ground(below, floor.slope_x, floor.slope_y, floor.share)


def _of_ground(ground: Ground | None) -> tuple[float, float, float, float]:
    if ground is None:
        return np.nan, np.nan, np.nan, 0.0
    return ground.height, ground.pitch_deg, ground.roll_deg, ground.share


def _of_intensity(features: Float[Tensor, "points channels"]) -> tuple[float, float, float]:
    if not features.shape[1]:
        return np.nan, np.nan, 1.0
    values = features.detach().cpu().float().mean(1).numpy()
    some = values[values > 0]
    if not len(some):
        return np.nan, np.nan, 1.0
    dim, bright = np.percentile(some, [50, 90]).tolist()
    return dim, bright, float(1 - len(some) / len(values))
