"""Whether times and ways can be those of a drive: rates, speeds, clocks; and the likely cause if not.

Whoever orders clouds by time asks here first: with times in another unit, or places that jump, sweeps of
other drives would become earlier sweeps without a word.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

FASTEST_US, SLOWEST_US = 5_000, 20_000_000
"""Clouds that follow each other lie at least and at most so far apart: lidars turn 1 to 100 times a second,
and every cloud, or one in many, is kept."""

MOST_SPEED_M_S = 100.0
"""No vehicle with a lidar is faster."""

MOST_CORRECTION_M = 10.0
"""By so much positioning may correct itself at once."""

MOST_APART_US = 1_000_000
"""An image and its cloud lie nearer to each other, if their clocks agree."""

_SINCE_1970_US = 1_000_000_000_000_000  # 2001
_UNITS = (("milliseconds", 1000.0), ("seconds", 1e6), ("nanoseconds", 1e-3))


def rate_fault(steps_us: Sequence[float | int], most_us: float | int = np.inf) -> str | None:
    """Say what is wrong with the time from each cloud or image to the next.

    Args:
        steps_us: Microseconds.
        most_us: The longest that is expected, by the median.

    Returns:
        What is wrong and the likely cause, a sentence's end; None if nothing is.

    Example:
        >>> rate_fault([100, 100])
        'follow each other by 0.1 ms (median); are their times in milliseconds, not microseconds?'
    """
    step = float(np.median(steps_us)) if len(steps_us) else 0.0
    if step <= 0 or FASTEST_US <= step <= most_us:
        return None
    units = [name for name, factor in _UNITS if FASTEST_US <= step * factor <= SLOWEST_US]
    why = f"are their times in {units[0]}, not microseconds?" if units else "in which unit are their times?"
    return f"follow each other by {step / 1000:g} ms (median); {why}"


def way_fault(
    times_us: Sequence[int], places_m: Float[np.ndarray, "moments 3"], drives: Sequence[int] | None = None
) -> tuple[int, str] | None:
    """Find where a vehicle would have to be faster than any is.

    Args:
        times_us: Microseconds, rising within a drive.
        places_m: Where the vehicle was then, in metres.
        drives: The drive of each; what lies between two is no way. None is one drive.

    Returns:
        The number of the first moment that cannot be reached from the one before, and a sentence's end about
        it with the likely cause; None if there is no such moment.

    Example:
        >>> way_fault([0, 50_000], np.array([[0.0, 0, 0], [2000.0, 0, 0]]))
        (1, 'is 2000 m from the place 50 ms before, 40000 m/s; does another drive begin there?')
    """
    if len(times_us) < 2:
        return None
    steps_s = np.diff(np.array(times_us, dtype=np.float64)) / 1e6
    ways_m = np.linalg.norm(np.diff(places_m, axis=0), axis=1)
    joined = np.ones(len(steps_s), np.bool_) if drives is None else np.diff(np.array(drives)) == 0
    joined &= steps_s > 0
    wrong = joined & (ways_m > MOST_CORRECTION_M + MOST_SPEED_M_S * steps_s)
    if not wrong.any():
        return None
    first = int(wrong.argmax())
    often = wrong.sum() > 0.5 * joined.sum() and joined.sum() > 1
    why = "are places in metres?" if often else "does another drive begin there?"
    speed = f"{ways_m[first] / steps_s[first]:.0f} m/s"
    text = f"is {ways_m[first]:.0f} m from the place {1000 * steps_s[first]:g} ms before, {speed}; {why}"
    return first + 1, text


def clock_fault(clouds_us: Sequence[int], others_us: Sequence[int]) -> str | None:
    """Say by how much the clock of images or poses differs from that of their clouds, and why.

    Args:
        clouds_us: Microseconds.
        others_us: Of what belongs to each, one for one.

    Returns:
        A sentence's end; None where the median difference is at most a second, or nothing is to compare.

    Example:
        >>> clock_fault([0, 100_000], [3_600_005_000, 3_600_105_000])
        'are 3600 s later than their clouds (median); are the clocks the same? A time zone or summer time?'
    """
    if not len(clouds_us) or not len(others_us):
        return None
    clouds, others = np.array(clouds_us, dtype=np.int64), np.array(others_us, dtype=np.int64)
    apart = float(np.median(others - clouds))
    if abs(apart) <= MOST_APART_US:
        return None
    text = f"are {abs(apart) / 1e6:.4g} s {'later' if apart > 0 else 'earlier'} than their clouds (median)"
    return f"{text}; are the clocks the same? {_why_apart(float(np.median(clouds)), apart)}"


def _why_apart(cloud_us: float, apart_us: float) -> str:
    """Guess why two clocks differ, as a question."""
    other_us, apart_s = cloud_us + apart_us, abs(apart_us) / 1e6
    low, high = sorted((max(cloud_us, 1.0), max(other_us, 1.0)))
    for name, factor in _UNITS[:2]:
        if abs(high / low / factor - 1) < 0.01:
            return f"Is one of them in {name}?"
    if low < _SINCE_1970_US / 10 < _SINCE_1970_US <= high:
        return "One counts from 1970, the other since its device was started?"
    if apart_s < 15 * 3600 and abs(apart_s - 1800 * round(apart_s / 1800)) < 5:
        return "A time zone or summer time?"
    if abs(apart_s - 18) < 0.5 or abs(apart_s - 37) < 0.5 or abs(apart_s - 19) < 0.5:
        return "GPS time is 18 s ahead of UTC, atomic time 37 s?"
    return "Were they ever set?"


def spans_fault(clouds_us: Sequence[int], others_us: Sequence[int]) -> str | None:
    """Say as :func:`clock_fault` how two clocks differ whose moments, in order, share no time."""
    if not len(clouds_us) or not len(others_us):
        return None
    apart = max(others_us[0] - clouds_us[-1], clouds_us[0] - others_us[-1])
    return clock_fault(clouds_us[:1], others_us[:1]) if apart > 0 else None
