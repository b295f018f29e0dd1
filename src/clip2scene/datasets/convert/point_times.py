"""When each point of a cloud was measured, as drivers of lidars write it.

| field | of | holds |
|---|---|---|
| ``t`` | Ouster | whole nanoseconds since the stamp |
| ``time`` | Velodyne | seconds since the stamp, or before it |
| ``timestamp`` | Hesai, RoboSense, Livox | seconds (Livox: nanoseconds) of the sensor's clock |
| ``time_stamp`` | Autoware | whole nanoseconds since the stamp |
| ``offset_time``, ``time_offset`` | others | time since the stamp |
"""

from collections.abc import Iterable

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


def offsets_us(
    values: Float64[np.ndarray, " points"], stamp_us: int
) -> Float64[np.ndarray, " points"] | None:
    """Say how long after the cloud's stamp each point was measured, whatever the unit and the beginning.

    Args:
        values: Of the field of times.
        stamp_us: Of the cloud, in microseconds.

    Returns:
        Microseconds, negative before the stamp; None where the values are those of no sweep of 5 ms to 1 s
        within a second of the stamp: all alike, of another clock, or no times.

    Example:
        >>> offsets_us(np.array([-0.1, 0.0]), 1_700_000_000_000_000).tolist()
        [-100000.0, 0.0]
    """
    if not len(values) or not np.isfinite(values).all():
        return None
    span = float(values.max() - values.min())
    unit = next((unit for unit in _UNITS_US if _SHORTEST_US <= span * unit < _LONGEST_US), None)
    if unit is None:
        return None
    for begin in (0.0, stamp_us / unit):  # since the stamp, or since the clock's own beginning
        since = (values - begin) * unit
        if float(np.abs(since).max()) <= _LONGEST_US:
            return since
    return None
