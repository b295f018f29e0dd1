"""What can be said of a cloud that is unlike others, what is passed over, and the measures of unlikeness."""

from dataclasses import dataclass

from clip2scene.geometry.cloud_statistics import CloudSpread, CloudStatistics

FAR_UNDER_M = 5.0
"""So far beyond the spread, the ground is in another frame, or seen from the air."""

_FEW = 8  # others, whose spread says little


@dataclass(frozen=True)
class Remark:
    """In what a cloud is unlike others.

    Attributes:
        kind: ``unit``, ``frame``, ``axes``, ``place``, ``ground``, ``tilt``, ``range``, ``beams``, ``points``
            or ``intensity``.
        sentence: What is unlike, by how much, and the likely cause; the others are "they".
        remedy: What to do about a cloud file, with options of ``clip2scene segment``.
        severe: Whether nothing right can come of the cloud as it is.
    """

    kind: str
    sentence: str
    remedy: str
    severe: bool = False


@dataclass(frozen=True)
class Tolerance:
    """What a student is indifferent to, beyond what the others show: it takes it away, or was trained for it.

    Attributes:
        height_m: How much farther away the ground may lie, in metres; infinite for any height.
        tilt_deg: How much more it may be tilted, in degrees.
        intensity_factor: By what factor more intensities may leave the others'.
        no_intensity: Whether there may be none.
    """

    height_m: float = 0.0
    tilt_deg: float = 0.0
    intensity_factor: float = 1.0
    no_intensity: bool = False


NOTHING = Tolerance()
"""That of a student which takes clouds as they are."""


def beyond(others: CloudSpread, name: str, value: float) -> float:
    """Say how far a statistic lies outside the others' wider spread; NaN where either is none."""
    more = 0.5 * width(others, name)
    return max(value - others.high(name) - more, 0.0) + min(value - others.low(name) + more, 0.0)


def width(others: CloudSpread, name: str) -> float:
    """Say how wide the others are spread."""
    return others.high(name) - others.low(name)


def margin(others: CloudSpread, usual: float) -> float:
    """Give a margin, twice as wide where the others are too few to know their spread."""
    return usual if others.clouds >= _FEW else 2 * usual


def times_beyond(others: CloudSpread, name: str, value: float) -> float:
    """Say by what factor a statistic leaves the others' spread; 1 within."""
    low, high = others.low(name), others.high(name)
    return max(value / max(high, 1e-9), low / max(value, 1e-9), 1.0)


def half_within(others: CloudSpread, found: CloudStatistics) -> str:
    """Say how far half of the points reach."""
    return (
        f"half of the points lie within {long(found.middle_range)} m, {theirs(others, 'middle_range', 'm')}"
    )


def theirs(others: CloudSpread, name: str, unit: str, digits: int = 2) -> str:
    """Say what the others have."""
    low, high = f"{others.low(name):.{digits}f}", f"{others.high(name):.{digits}f}"
    return f"theirs {low if low == high else f'{low} to {high}'} {unit}".rstrip()


def long(metres: float) -> str:
    """Write a length with as many digits as count."""
    return f"{metres:.2f}" if metres < 10 else f"{metres:.0f}"
