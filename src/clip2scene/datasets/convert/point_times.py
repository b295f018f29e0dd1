"""When each point of a cloud was measured, as drivers of lidars write it.

| field | of | holds |
|---|---|---|
| ``t`` | Ouster | whole nanoseconds since the stamp |
| ``time`` | Velodyne | seconds since the stamp, or before it |
| ``timestamp`` | Hesai, RoboSense, Livox | seconds (Livox: nanoseconds) of the sensor's clock |
| ``time_stamp`` | Autoware | whole nanoseconds since the stamp |
| ``offset_time``, ``time_offset`` | others | time since the stamp |

Drivers do not keep to it, so how the times are counted is told by all clouds of a recording together: a few
points of one cloud may span as many nanoseconds as a sweep has microseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Float64

FIELDS = ("t", "time", "timestamp", "time_stamp", "offset_time", "time_offset")
"""Names of the field, in small letters."""

_UNITS_US = (1e6, 1e3, 1.0, 1e-3)
"""Microseconds of a second, a millisecond, a microsecond and a nanosecond."""

_SHORTEST_US, _LONGEST_US = 5e3, 1e6
"""A sweep lasts so long; as these are less than a factor of 1000 apart, its span tells the unit."""


def find_time(names: Iterable[str]) -> str | None:
    """Name the field that holds points' times; None if there is none.

    Example:
        >>> find_time(["x", "y", "z", "intensity", "t"])
        't'
    """
    given = {name.lower(): name for name in names}
    return next((given[name] for name in FIELDS if name in given), None)


@dataclass(frozen=True)
class PointClock:
    """How the times of points are counted.

    Attributes:
        unit_us: Microseconds of their unit.
        since_stamp: Whether they count from the cloud's stamp, not from the beginning of the sensor's clock.
    """

    unit_us: float
    since_stamp: bool

    def offsets_us(
        self, values: Float64[np.ndarray, " points"], stamp_us: int
    ) -> Float64[np.ndarray, " points"] | None:
        """Say how long after the cloud's stamp each point was measured.

        Args:
            values: Of the field of times.
            stamp_us: Of the cloud, in microseconds.

        Returns:
            Microseconds, negative before the stamp; None where the values are those of no sweep within a
            second of the stamp.
        """
        begin = 0.0 if self.since_stamp else stamp_us / self.unit_us
        since = (values - begin) * self.unit_us
        return since if len(values) and bool((np.abs(since) <= _LONGEST_US).all()) else None


def find_clock(ranges: Sequence[tuple[float, float]], stamps_us: Sequence[int]) -> PointClock | None:
    """Tell how the times of points are counted, by all clouds of a recording.

    Of the ways that bring most clouds within a second of their stamps, and let the longest of these last 5 ms
    to 1 s, the one is taken that leaves them nearest to their stamps.

    Args:
        ranges: The least and the greatest time of each cloud, as the field has it.
        stamps_us: Of the clouds, in microseconds.

    Returns:
        None where no way fits half of the clouds: all times are alike, of another clock, or no times.

    Example:
        >>> find_clock([(-0.1, 0.0)], [1_700_000_000_000_000])
        PointClock(unit_us=1000000.0, since_stamp=True)
    """
    bounds, stamps = np.array(ranges, dtype=np.float64).reshape(-1, 2), np.array(stamps_us, dtype=np.int64)
    found: list[tuple[int, float, PointClock]] = []
    for unit, since_stamp in product(_UNITS_US, (True, False)):
        since = (bounds - (0.0 if since_stamp else stamps[:, None] / unit)) * unit
        far = np.abs(since).max(axis=1)
        fits = far <= _LONGEST_US  # NaN does not
        count = int(fits.sum())
        if 2 * count >= max(len(stamps), 1):
            span = float(np.diff(since[fits]).max(initial=0))
            if _SHORTEST_US <= span < _LONGEST_US:
                found.append((-count, float(np.median(far[fits])), PointClock(unit, since_stamp)))
    return min(found, key=lambda each: each[:2])[2] if found else None
