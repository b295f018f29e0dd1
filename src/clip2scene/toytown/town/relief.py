"""The lie of the land: how high the ground lies at each place of a varied street's plan.

The heights are a smooth function of street coordinates (s, d). They fade to the level of the land around
before the street's ends, and are nowhere below it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from clip2scene.toytown.town.extent import END, REACH, START

_FADE = 55.0
"""Metres in which the relief fades out at the street's far end and at its sides."""


STEEPEST_HILLS = 0.1
"""Rise of the hills, metres a metre along the road or across it, at most."""


@dataclass(frozen=True)
class Slope:
    """A rise from one level to another, smooth at both ends.

    Attributes:
        start: Where it begins, metres.
        width: Metres from there to where it ends.
        rise: Metres, negative for a fall.
    """

    start: float
    width: float
    rise: float

    def height(self, place: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """Height at some places, metres above the level before it."""
        return self.rise * _smooth((place - self.start) / self.width)


@dataclass(frozen=True)
class Relief:
    """Hills, a ramp, the road's crown and a bank on each side.

    Attributes:
        waves: Amplitude in metres, radians a metre along s and along d, phase in radians, of each hill.
        crown: How much the road falls from its middle to both edges, metres a metre.
        half_width: Of the road, metres.
        ramp: Along s.
        banks: To the left and to the right, by the distance from the road's middle.
    """

    waves: tuple[tuple[float, float, float, float], ...]
    crown: float
    half_width: float
    ramp: Slope
    banks: tuple[Slope, Slope]

    @property
    def base(self) -> float:
        """What the street is raised by so that no place lies below the land around, metres."""
        lowest = self.crown * self.half_width + sum(abs(wave[0]) for wave in self.waves)
        return lowest + sum(max(0.0, -slope.rise) for slope in (self.ramp, *self.banks))

    def height(
        self, s: Shaped[np.ndarray, " points"], d: Shaped[np.ndarray, " points"]
    ) -> Float[np.ndarray, " points"]:
        """Height of the ground at some places of the street, metres."""
        away = np.abs(d)
        result = self.base - self.crown * np.minimum(away, self.half_width) + self.ramp.height(s)
        result = result + np.where(d > 0, self.banks[0].height(away), self.banks[1].height(away))
        for amplitude, along, across, phase in self.waves:
            result = result + amplitude * np.sin(along * s + across * d + phase)
        inside = _smooth((REACH - away) / _FADE) * _smooth((END - s) / _FADE) * _smooth((s - START) / _FADE)
        return inside * result


def _smooth(share: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """From 0 to 1 as ``share`` does, level at both ends."""
    share = np.clip(share, 0.0, 1.0)
    return share * share * (3 - 2 * share)


def draw_relief(rng: np.random.Generator, half_width: float) -> Relief:
    """Draw a relief: of five streets one is level, and none is steeper than about one in ten along the road.

    Args:
        rng: Draws it.
        half_width: Of the road, metres.
    """
    steepness = rng.uniform(0.2, 1.0) if rng.random() < 0.8 else 0.0
    lengths, headings = rng.uniform(50.0, 200.0, 4), rng.uniform(0.0, 2 * np.pi, 4)
    slopes, phases = 0.5 * steepness * rng.dirichlet(np.ones(4)), rng.uniform(0.0, 2 * np.pi, 4)
    together = max(float(slopes @ np.abs(np.cos(headings))), float(slopes @ np.abs(np.sin(headings))))
    slopes *= min(1.0, STEEPEST_HILLS / max(together, 1e-6))
    numbers = 2 * np.pi / lengths
    waves = zip(slopes / numbers, numbers * np.cos(headings), numbers * np.sin(headings), phases, strict=True)
    length = rng.uniform(35.0, 70.0)
    ramp = Slope(
        float(rng.uniform(-20.0, 90.0)), float(length), float(length * steepness * rng.normal(0, 0.01))
    )
    banks = []
    for _ in range(2):
        width, steep = rng.uniform(6.0, 18.0), rng.uniform(-0.12, 0.15) * (rng.random() < 0.5)
        start = half_width + rng.uniform(3.0, 14.0)
        banks.append(Slope(float(start), float(width), float(steepness * steep * width)))
    return Relief(
        waves=tuple((float(a), float(b), float(c), float(e)) for a, b, c, e in waves),
        crown=float(rng.uniform(0.0, 0.03)),
        half_width=half_width,
        ramp=ramp,
        banks=(banks[0], banks[1]),
    )
