"""The weather of a town, as far as a lidar feels it: what rain and fog swallow, and what they give back."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class Weather:
    """What the air does to a lidar's light.

    Attributes:
        extinction: Share of light lost per metre, one way.
        drops: Share of the lost returns in whose place a drop or a wisp near by is seen.
        drops_within: How far away such a drop is at most, metres.
    """

    extinction: float = 0.0
    drops: float = 0.0
    drops_within: float = 8.0

    def pass_through(
        self, distances: Float[np.ndarray, " points"], rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, " points"], Bool[np.ndarray, " points"], Bool[np.ndarray, " points"]]:
        """Give the distances that are measured, which returns come back at all, and which are drops."""
        if not self.extinction:
            return distances, np.ones(len(distances), bool), np.zeros(len(distances), bool)
        swallowed = rng.random(len(distances)) < 1 - np.exp(-2 * self.extinction * distances)
        drops = swallowed & (rng.random(len(distances)) < self.drops)
        near = np.minimum(distances, rng.uniform(0.5, self.drops_within, len(distances)))
        return np.where(drops, near, distances), ~swallowed | drops, drops


CLEAR = Weather()


def draw_weather(rng: np.random.Generator) -> Weather:
    """Draw a weather: clear for seven towns of ten, else rain or fog of any strength."""
    if rng.random() < 0.7:
        return CLEAR
    return Weather(
        extinction=float(rng.uniform(0.001, 0.02)),
        drops=float(rng.uniform(0.0, 0.06)),
        drops_within=float(rng.uniform(3.0, 15.0)),
    )
