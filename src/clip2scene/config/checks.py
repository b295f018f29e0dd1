"""How settings are refused: one sentence that names the option, what it must be, and what it is."""

import math
from typing import NoReturn

INF = math.inf
Number = float | int


def refuse(option: str, expected: str, got: object) -> NoReturn:
    """Raise the sentence of a bad setting.

    Args:
        option: As the command line spells it, such as ``--data.sweeps``.
        expected: What it must be.
        got: What it is.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{option} must be {expected}, got {got!r}; correct that option, or the recipe")


def check_range(
    option: str,
    value: Number | None,
    *,
    above: Number = -INF,
    least: Number = -INF,
    below: Number = INF,
    most: Number = INF,
) -> None:
    """Refuse a number outside its range, and NaN; None is no number and always allowed.

    Args:
        option: As for :func:`refuse`.
        value: The number.
        above: Bound that is not in the range itself.
        least: Lowest number of the range.
        below: Bound that is not in the range itself.
        most: Highest number of the range.

    Raises:
        ValueError: If it lies outside.

    Example:
        >>> check_range("--data.sweeps", 0, least=1, most=10)
        Traceback (most recent call last):
        ValueError: --data.sweeps must be at least 1 and at most 10, got 0; correct that option, or the recipe
    """
    if value is None or (above < value < below and least <= value <= most):
        return
    bounds = {"above": above, "at least": least, "below": below, "at most": most}
    refuse(
        option, " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if abs(bound) < INF), value
    )
