"""How the numbers of a cloud file are meant, where the file does not say."""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

Unit = Literal["m", "cm", "mm", "km", "ft", "us-ft", "in"]
"""Units of length; ``us-ft`` is the foot of United States surveys."""

METRES: dict[str, float] = {
    **{"m": 1.0, "cm": 0.01, "mm": 0.001, "km": 1000.0},
    **{"ft": 0.3048, "us-ft": 1200 / 3937, "in": 0.0254},
}
"""Metres in a unit."""

_DIRECTIONS = {
    **{"F": (1, 0, 0), "B": (-1, 0, 0), "L": (0, 1, 0)},
    **{"R": (0, -1, 0), "U": (0, 0, 1), "D": (0, 0, -1)},
}


@dataclass(frozen=True)
class CloudOptions:
    """How the numbers of a cloud file are meant; None leaves it to the file, or to a guess.

    Attributes:
        axes: Where x, y and z of the file point: three of F B L R U D, such as FLU or RFU.
        unit: The unit of its coordinates; metres if left out.
        intensity: The field that is the intensity, or ``none``.
        intensity_max: The intensity that becomes 1.
        columns: Names of the numbers of a point, in files without names; ``_`` passes one over.
        colours: Whether the student takes colours, as those of rooms do, and not the intensity.
        ground: Height of the ground in metres that clouds of a map are brought to; that of a lidar on a car
            if left out.
    """

    axes: str | None = None
    unit: str | None = None
    intensity: str | None = None
    intensity_max: float | None = None
    columns: tuple[str, ...] | None = None
    colours: bool | None = None
    ground: float | None = None

    def __post_init__(self) -> None:
        if self.axes is not None:
            turn_from(self.axes, "--axes")
        if self.unit is not None and self.unit not in METRES:
            raise ValueError(f"--unit is {self.unit!r}, expected one of {', '.join(METRES)}")
        if self.intensity_max is not None and not 0 < self.intensity_max < float("inf"):
            raise ValueError(f"--intensity-max is {self.intensity_max}, expected a number above 0")
        named = [name.lower() for name in self.columns or () if name != "_"]
        if self.columns is not None and (len(set(named)) < len(named) or not {"x", "y", "z"} <= set(named)):
            raise ValueError(
                f"--columns is {','.join(self.columns)!r}, expected different names with x, y and z among "
                "them, such as x,y,z,intensity,_"
            )

    def over(self, usual: "CloudOptions") -> "CloudOptions":
        """Take what is left out here from other options."""
        own: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(usual, **{name: value for name, value in own.items() if value is not None})


def turn_from(axes: str, what: str) -> Float64[np.ndarray, "3 3"]:
    """Build the rotation from a frame whose x, y and z point along three letters to forward, left, up.

    Args:
        axes: Three of F B L R U D, in any case.
        what: Where they were told, for the message.

    Raises:
        ValueError: If they are no such letters, or make a left-handed frame.
    """
    letters = axes.upper()
    known = [_DIRECTIONS[letter] for letter in letters if letter in _DIRECTIONS]
    turn = np.array(known, dtype=np.float64).T
    if len(letters) != 3 or len(known) != 3 or np.linalg.det(turn) < 0.5:
        raise ValueError(
            f"{what} is {axes!r}, expected three letters of different directions that make a right-handed "
            "frame, such as FLU (x forward, y left, z up) or RFU; check the lidar's manual"
        )
    return turn
