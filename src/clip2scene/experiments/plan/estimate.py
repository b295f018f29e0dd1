"""From a few measurements to the whole, with the range that it may lie in; and to several machines.

A mean of few is uncertain: its range is Student's, at 95 %. That is the spread between samples alone. What
all of them share (other work on the machine while it was measured, files that the system had in memory) is in
no range.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

LEVEL = 0.95
"""Chance that the mean lies in its range, if the samples were drawn at random and nothing else varied."""
FROM_ONE = 2.0
"""Where a single value was measured, the whole may lie this factor below and above."""


@dataclass(frozen=True)
class Range:
    """A quantity, and the least and the most that it may be.

    Example:
        >>> Range(2.0, 1.0, 3.0) + Range(1.0, 1.0, 1.0)
        Range(value=3.0, low=2.0, high=4.0)
    """

    value: float
    low: float
    high: float

    def __add__(self, other: "Range") -> "Range":
        """Add two quantities; as if both were at their worst at once, for they may have one cause."""
        return Range(self.value + other.value, self.low + other.low, self.high + other.high)

    def times(self, least: float, most: float | None = None) -> "Range":
        """Multiply by a factor, or by one of which the least and, as a guess, the most is known."""
        most = least if most is None else most
        return Range(self.value * least, self.low * least, self.high * most)


NOTHING = Range(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Measurement:
    """What single things took: seconds, or bytes.

    Attributes:
        values: One a thing; at least one.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean."""
        return float(np.mean(self.values))

    @property
    def spread(self) -> float | None:
        """The standard deviation between the things; None for a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    def of(self, count: int) -> Range:
        """Extrapolate to ``count`` things: count x mean, within count x (mean +- t x spread / sqrt(n)).

        Of a single value, within half and twice. Nothing is below 0.
        """
        mean, number = self.mean, len(self.values)
        if self.spread is None:
            return Range(count * mean, count * mean / FROM_ONE, count * mean * FROM_ONE)
        width = float(student_t.ppf((1 + LEVEL) / 2, number - 1)) * self.spread / math.sqrt(number)
        return Range(count * mean, count * max(0.0, mean - width), count * (mean + width))


@dataclass(frozen=True)
class Work:
    """Seconds of work that several ranks share, and of work that they do not.

    Attributes:
        alone: What does not get shorter, however many share the rest.
        shared: What n of them do in an n-th of the time.
        sizes: How many they may be.
    """

    alone: Range
    shared: Range
    sizes: Sequence[int]

    def by(self, ranks: int) -> Range:
        """Say what it takes so many, by Amdahl's law: alone + shared / ranks."""
        return self.alone + self.shared.times(1 / ranks)

    def ranks_within(self, seconds: float) -> int | None:
        """Find the fewest that do it in some seconds; None if no number of them does."""
        fits = (size for size in sorted(self.sizes) if self.by(size).value <= seconds)
        return next(fits, None)


def total(parts: Iterable[Range]) -> Range:
    """Add quantities."""
    return sum(parts, NOTHING)


def divisors(number: int) -> list[int]:
    """List the whole numbers that divide another: how many ranks may share a batch.

    Example:
        >>> divisors(12)
        [1, 2, 3, 4, 6, 12]
    """
    return [each for each in range(1, number + 1) if number % each == 0]
