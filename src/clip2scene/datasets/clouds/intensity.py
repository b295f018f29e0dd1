"""Which field of a cloud is the intensity, and which of its numbers is 1."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

INTENSITIES = (
    *("intensity", "intensities", "i", "reflectance", "reflectivity", "remission", "remissions"),
    *("amplitude", "signal", "refl", "laser_intensity", "signal_photons"),
)
"""Names of the intensity, the first of them that a cloud has; in any case, and after ``scalar_``."""

SCALES = (1.0, 255.0, 1023.0, 4095.0, 65535.0)
"""What sensors and exporters count up to: a share, or 8, 10, 12 or 16 bits."""

MOST_ABOVE = 0.001
"""Share of the points that may lie above a guessed scale, as retro-reflectors do; they count as 1."""

MOST_BEYOND = 0.01
"""Share of a cloud's points that may lie above a scale that is known."""


def plain_name(name: str) -> str:
    """Give a field's name as it is looked up: in small letters, without CloudCompare's ``scalar_``."""
    return name.strip().strip("\"'").lower().removeprefix("scalar_")


def find_intensity(fields: Iterable[str]) -> list[str]:
    """List the fields that may be the intensity, the likeliest first.

    Example:
        >>> find_intensity(["x", "Reflectivity", "scalar_Intensity"])
        ['scalar_Intensity', 'Reflectivity']
    """
    found = [name for name in fields if plain_name(name) in INTENSITIES]
    return sorted(found, key=lambda name: (INTENSITIES.index(plain_name(name)), name != plain_name(name)))


def say_taken(fields: Iterable[str]) -> str | None:
    """Say which field the intensity is taken from; None where no other name could be meant, or there is none.

    Example:
        >>> say_taken(["x", "Reflectivity", "scalar_Intensity"])
        'intensity is taken from scalar_Intensity, not from Reflectivity'
        >>> say_taken(["x", "intensity"])
    """
    name, *others = find_intensity(fields) or [INTENSITIES[0]]
    if not others and plain_name(name) == INTENSITIES[0]:
        return None
    beside = f", not from {', '.join(others)}" if others else ""
    return f"intensity is taken from {name}{beside}"


@dataclass(frozen=True)
class Spread:
    """What must be known of intensities to tell their scale; spreads of several clouds add up.

    Attributes:
        points: How many there are.
        above: How many lie above each of :data:`SCALES`.
        highest: The highest.
        whole: Whether all are whole numbers.
    """

    points: int
    above: tuple[int, ...]
    highest: float
    whole: bool

    @classmethod
    def of(cls, values: Float32[np.ndarray, " points"]) -> "Spread":
        """Take it of one cloud, of at least one point."""
        above = tuple(int((values > scale).sum()) for scale in SCALES)
        return cls(len(values), above, float(values.max()), bool((values == np.floor(values)).all()))

    def __add__(self, other: "Spread") -> "Spread":
        above = tuple(mine + theirs for mine, theirs in zip(self.above, other.above, strict=True))
        highest = max(self.highest, other.highest)
        return Spread(self.points + other.points, above, highest, self.whole and other.whole)

    @property
    def says_nothing(self) -> bool:
        """Whether these are zeros and ones, which any scale has."""
        return self.whole and self.highest <= 1

    def scale(self) -> float:
        """Give the least of :data:`SCALES` that all but a few intensities keep to; whole numbers count.

        Raises:
            ValueError: If they go beyond 65535.
        """
        for scale, above in zip(SCALES, self.above, strict=True):
            counts = scale == 1 and self.whole and self.highest > 1
            if above <= MOST_ABOVE * self.points and not counts:
                return scale
        raise ValueError(
            f"holds intensities up to {self.highest:g}, expected at most {SCALES[-1]:g}; say by "
            "--intensity-max which is to become 1, or leave them out by --intensity none"
        )


def intensity_max(spreads: Sequence[Spread]) -> float:
    """Say what intensity becomes 1 in a recording: right for all clouds together and for each of them.

    Args:
        spreads: Of each cloud; at least one.

    Returns:
        One of :data:`SCALES`, or the highest intensity where that lies beyond them.
    """
    total = sum(spreads[1:], spreads[0])
    if total.highest > SCALES[-1]:
        return total.highest
    least = SCALES.index(total.scale())
    for place in range(least, len(SCALES)):
        if all(each.above[place] <= MOST_BEYOND * each.points for each in spreads):
            break
    return SCALES[place]
