"""What the sensor measured of each point of a file, in 0..1: one channel of intensity, or three of colour.

What of it is 1 follows from all points of a file at once, so a large one is looked at as a whole before the
first of its points is brought to 0..1.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from clip2scene.datasets.clouds.intensity import MOST_BEYOND, SCALES, Spread, find_intensity, say_taken
from clip2scene.datasets.clouds.options import CloudOptions
from clip2scene.datasets.clouds.table import Columns, plain_name


@dataclass(frozen=True)
class Tally:
    """What must be known of a file's intensities or colours; those of its parts add up.

    Attributes:
        points: How many there are.
        strange: How many of their numbers are NaN, infinite or negative.
        spread: Of the others; None where there is no intensity.
        above: How many lie above what is known to be 1, if that is known.
    """

    points: int
    strange: int = 0
    spread: Spread | None = None
    above: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        both = None if self.spread is None or other.spread is None else self.spread + other.spread
        strange, above = self.strange + other.strange, self.above + other.above
        return Tally(self.points + other.points, strange, both, above)


@dataclass(frozen=True)
class FeatureReader:
    """Brings a file's intensities or colours to 0..1: looks at all points, decides, then reads.

    Attributes:
        path: For messages.
        options: The field, and what of it is 1 if that is known; or whether colours are wanted.
        told_by: Who says what is 1, and what to do where it cannot be right.
        scale: What is 1 where it is not known; None guesses.
    """

    path: Path
    options: CloudOptions
    told_by: str
    scale: float | None

    def look(self, columns: Columns) -> Tally:
        """Look at some points.

        Raises:
            ValueError: If the field that was asked for, or colours, are not there.
        """
        raw = self._raw(columns)
        if raw is None:
            return Tally(len(next(iter(columns.values()))))
        fine = np.isfinite(raw) & (raw >= 0)
        strange = int(fine.size - np.count_nonzero(fine))
        numbers = (np.where(fine, raw, 0) if strange else raw).reshape(-1)
        known = self._known
        return Tally(len(raw), strange, Spread.of(numbers), 0 if known is None else int((raw > known).sum()))

    def decide(self, tally: Tally, columns: Columns) -> tuple[float, Spread | None, list[str]]:
        """Say which number becomes 1.

        Args:
            tally: Of all points.
            columns: Of some of them, for the names.

        Returns:
            It; the spread of intensities whose scale is not known; and what is to be said of them.

        Raises:
            ValueError: If numbers are strange, or lie beyond what is known to be 1, or what sensors count up
                to.
        """
        if self.options.colours:
            return self._unit_of_colours(tally), None, []
        spread = tally.spread
        if spread is None:
            lacking = f"it has no intensity, only {', '.join(columns)}; all points get 0"
            told = [] if self.options.intensity else [f"{lacking} (--intensity names a field)"]
            return 1.0, None, told
        name, taken = self._field(columns), None if self.options.intensity else say_taken(columns)
        if tally.strange:
            raise ValueError(
                f"{self.path} holds {tally.strange} intensities of {tally.points} that are NaN, infinite or "
                f"negative ({name}); drop those points, name another field by --intensity, or say "
                "--intensity none"
            )
        told = [f"its {taken} (--intensity names another)"] if taken else []
        if not spread.highest:
            told.append(f"all of its intensities ({name}) are 0, as if it had none")
        unit, above = self._unit(spread, tally.above)
        if self.options.intensity_max is None and unit != 1:
            told.append(f"its intensities are taken as 0 to {unit:g} (--intensity-max says otherwise)")
        if above:
            told.append(f"{above} of its {tally.points} intensities lie above {unit:g} and count as that")
        return unit, spread if self.options.intensity_max is None else None, told

    def read(self, columns: Columns, unit: float) -> Float32[np.ndarray, "points channels"]:
        """Bring intensities or colours of some points to 0..1; zeros where there is no intensity.

        Args:
            columns: Of the file, all of which was looked at.
            unit: What becomes 1 (:meth:`decide`).
        """
        raw = self._raw(columns)
        if raw is None:
            return np.zeros((len(next(iter(columns.values()))), 1), np.float32)
        return (raw / np.float32(unit)).clip(max=1)

    @property
    def _known(self) -> float | None:
        """What is 1 without a guess."""
        return self.scale if self.options.intensity_max is None else self.options.intensity_max

    def _raw(self, columns: Columns) -> Float32[np.ndarray, "points channels"] | None:
        """Find the intensity, None if there is none; or the colours."""
        if self.options.colours:
            return _colours(self.path, columns)
        name = self._field(columns)
        if name is None:
            return None
        with np.errstate(over="ignore"):
            return columns[name].astype(np.float32)[:, None]

    def _field(self, columns: Columns) -> str | None:
        """Name the field of the intensity, None if there is none."""
        wanted = self.options.intensity
        if wanted is None:
            return next(iter(find_intensity(columns)), None)
        if wanted.lower() == "none":
            return None
        known = [name for name in columns if name == wanted]
        known += [name for name in columns if plain_name(name) == plain_name(wanted)]
        if not known:
            raise ValueError(
                f"{self.path} has no field {wanted!r} to take the intensity from, only {', '.join(columns)}; "
                "name one of these by --intensity"
            )
        return known[0]

    def _unit(self, spread: Spread, above: int) -> tuple[float, int]:
        """Say what intensity becomes 1, and how many lie above it."""
        known = self.options.intensity_max
        if known is not None:
            if above > MOST_BEYOND * spread.points:
                raise ValueError(
                    f"{self.path} holds intensities up to {spread.highest:g}, {above} of {spread.points} "
                    f"above the {known:g} {self.told_by}"
                )
            return known, above
        try:
            own = spread.scale()
        except ValueError as error:
            raise ValueError(f"{self.path} {error}") from None
        return (own, spread.above[SCALES.index(own)]) if self.scale is None else (self.scale, above)

    def _unit_of_colours(self, tally: Tally) -> float:
        """Say what number of a colour becomes 1: of shares, bytes, or 16 bits."""
        assert tally.spread is not None
        highest = tally.spread.highest
        if tally.strange or highest > SCALES[-1]:
            raise ValueError(
                f"{self.path} has colours that are NaN, infinite, negative or above {SCALES[-1]:g}; "
                "restore it"
            )
        return 1.0 if highest <= 1 else 255.0 if highest <= 255 else SCALES[-1]


def _colours(path: Path, columns: Columns) -> Float32[np.ndarray, "points 3"]:
    """Find red, green and blue, or one number that packs them, as PCD has it."""
    by_name = {plain_name(name): column for name, column in columns.items()}
    for names in (("red", "green", "blue"), ("r", "g", "b")):
        if set(names) <= set(by_name):
            return np.stack([by_name[name] for name in names], axis=1).astype(np.float32)
    packed = by_name.get("rgb", by_name.get("rgba"))
    if packed is None:
        raise ValueError(
            f"{path} has no colours, only {', '.join(columns)}; the run was trained on rooms, whose "
            "points have red, green and blue"
        )
    bits = packed.view(np.uint32) if packed.dtype == np.float32 else packed.astype(np.uint32)
    return np.stack([bits >> shift & 255 for shift in (16, 8, 0)], axis=1).astype(np.float32)
