"""What a tool's files say about the points of a sample, before it is known whether that fits."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int64

Table = Mapping[int, str]
"""The name of each number."""

MOST_BYTES = 1 << 29
"""Bytes of a text or a JSON file of a tool that is read."""


@dataclass(frozen=True)
class FoundLabels:
    """Labels of one sample.

    Attributes:
        token: Name of the sample.
        file: Where they were found, for messages.
        ids: Number of each point, in the file's order.
        names: What the numbers stand for.
        none: Numbers of points without a label.
        positions: Where the file has its points, in metres; None where it has none.
    """

    token: str
    file: Path
    ids: Int64[np.ndarray, " points"]
    names: Table
    none: frozenset[int]
    positions: Float[np.ndarray, "places 3"] | None = None


@contextmanager
def as_records(path: Path, what: str) -> Iterator[None]:
    """Tell of whatever is not as expected in what JSON gave as one fault of its file.

    Raises:
        ValueError: If an entry is missing or of another kind.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else f"{error}"
        raise ValueError(f"{path} does not hold {what} ({said}); export it from the tool again") from None


def whole_number(value: Any) -> int:  # noqa: ANN401 - whatever JSON can hold
    """Take a whole number.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"expected a whole number, got {value!r:.40}")
    return value


def whole_numbers(values: Any) -> Int64[np.ndarray, " points"]:  # noqa: ANN401 - whatever JSON can hold
    """Take a list of whole numbers.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(values, list):
        raise TypeError(f"expected a list of whole numbers, got {type(values).__name__}")
    try:
        array = np.array(values) if values else np.zeros(0, np.int64)
    except ValueError:  # lists of several lengths
        raise TypeError("expected a list of whole numbers, got lists") from None
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"expected a list of whole numbers, got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64)
