"""Light of a town: the sun, the sky, haze and the camera's exposure."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """How a town is lit.

    Attributes:
        to_sun: Unit vector towards the sun, world frame.
        sun: Colour and strength of direct light; weak under cloud.
        ambient: Colour and strength of the light from everywhere.
        zenith: Colour of the sky overhead.
        horizon: Colour of the sky at the horizon, and of the haze.
        haze: Share of light lost per metre.
        exposure: Factor on everything.
        clouds: How much of the sky is cloud, 0..1.
        lamp: Where the direct light comes from indoors, metres; None where it is the sun.
    """

    to_sun: Float[np.ndarray, " 3"]
    sun: Float[np.ndarray, " 3"]
    ambient: Float[np.ndarray, " 3"]
    zenith: Float[np.ndarray, " 3"]
    horizon: Float[np.ndarray, " 3"]
    haze: float
    exposure: float
    clouds: float
    lamp: Float[np.ndarray, " 3"] | None = None


def draw_light(rng: np.random.Generator) -> Light:
    """Draw a time of day and a weather."""
    height, around = np.radians(rng.uniform(18, 70)), rng.uniform(0, 2 * np.pi)
    to_sun = np.array([np.cos(height) * np.cos(around), np.cos(height) * np.sin(around), np.sin(height)])
    overcast = rng.random() < 0.35
    strength = rng.uniform(0.1, 0.25) if overcast else rng.uniform(0.6, 0.95)
    warmth = np.array([1.0, rng.uniform(0.88, 1.0), rng.uniform(0.75, 1.0)])
    ambient = (rng.uniform(0.75, 0.95) if overcast else rng.uniform(0.42, 0.6)) * np.array([0.97, 1.0, 1.04])
    blue, grey = np.array([0.28, 0.48, 0.82]), np.full(3, 0.72)
    zenith = (grey if overcast else blue) * rng.uniform(0.8, 1.15)
    horizon = (0.3 * zenith + 0.7 * np.array([0.85, 0.87, 0.9])) * warmth**0.5
    return Light(
        to_sun=to_sun.astype(np.float32),
        sun=(strength * warmth).astype(np.float32),
        ambient=ambient.astype(np.float32),
        zenith=zenith.astype(np.float32),
        horizon=horizon.astype(np.float32),
        haze=float(rng.uniform(0.0005, 0.004)),
        exposure=float(rng.uniform(0.85, 1.2)),
        clouds=float(rng.uniform(0.0, 0.8)),
    )
