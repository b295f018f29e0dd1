"""How sure a few repetitions make us: spread, paired differences, correction for many comparisons."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Difference:
    """What two experiments differ by, over the seeds that both have.

    Attributes:
        mean: Mean of the differences; nan with fewer than two seeds in common, as all that follows.
        low: Lower end of its 95 % confidence interval.
        high: Upper end.
        p: P-value of the paired t-test: how often chance alone would give as much, either way.
        num_seeds: How many seeds both have.
    """

    mean: float
    low: float
    high: float
    p: float
    num_seeds: int


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Give mean and sample standard deviation (n - 1); nan where too few values are there.

    Example:
        >>> spread([1.0, 3.0])
        (2.0, 1.4142135623730951)
    """
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def paired_difference(values: Mapping[int, float], baseline: Mapping[int, float]) -> Difference:
    """Compare two experiments seed by seed.

    Pairing takes out what a seed does to both. The test supposes that differences are about normal; with
    three seeds nobody can tell.

    Args:
        values: Score by seed.
        baseline: What it is compared with.
    """
    shared = [seed for seed in values if not math.isnan(values[seed] - baseline.get(seed, math.nan))]
    if len(shared) < 2:
        return Difference(math.nan, math.nan, math.nan, math.nan, len(shared))
    mean, deviation = spread([values[seed] - baseline[seed] for seed in shared])
    error, freedom = deviation / math.sqrt(len(shared)), len(shared) - 1
    reach = float(stats.t.ppf(0.975, freedom)) * error
    if error == 0:  # the same in every seed: no difference at all, or one without any doubt
        p = float(mean == 0)
    else:
        p = 2 * float(stats.t.sf(abs(mean) / error, freedom))
    return Difference(mean, mean - reach, mean + reach, p, len(shared))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for being many (Holm 1979): the chance of one false alarm among all stays below them.

    Args:
        p_values: One a comparison; nan for one that could not be made, which does not count.

    Example:
        >>> holm([0.01, 0.04, math.nan])
        [0.02, 0.04, nan]
    """
    p = np.asarray(p_values, dtype=float)
    corrected = np.full_like(p, math.nan)
    order = np.argsort(p, kind="stable")[: int((~np.isnan(p)).sum())]  # nan sorts last
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.maximum.accumulate(p[order] * factors).clip(max=1.0)
    return corrected.tolist()


def reach_of_interval(num_seeds: int) -> float:
    """Say how many standard deviations a mean's 95 % confidence interval goes to each side.

    Example:
        >>> round(reach_of_interval(3), 2)
        2.48
    """
    return float(stats.t.ppf(0.975, num_seeds - 1)) / math.sqrt(num_seeds)
