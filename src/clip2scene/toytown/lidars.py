"""Lidars: where their beams point, how far and how well they measure, what they call intensity, how they sit.

:data:`LIDARS` holds one of each kind that drives on streets, :func:`draw_lidar` one as no other vehicle has
it. A sweep is taken with them in :mod:`clip2scene.toytown.sensors`.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

MOST_POINTS = 40_000
"""Firings times beams of a drawn lidar's sweep at most, so that training stays affordable."""


_ROSETTE_HZ = (121.6, 77.7)
"""Turns a second of the two prisms that draw a rosette; no multiple of each other, so it never repeats."""


@dataclass(frozen=True)
class Intensity:
    """How the number that a lidar gives for the strength of a return comes about.

    Attributes:
        angle_share: Share of the strength that a grazed surface loses, 0..1; 0 does not tell angles apart.
        falloff: Power of the range in units of 10 m by which it falls; 0 where the lidar makes up for it.
        gamma: Power of the strength.
        gain: Factor on it; 0 records none.
        speckle: The factor of each return is drawn from 1 - speckle to 1 + speckle.
        mirrors: Factor for signs, and boards and rings of work sites, which throw light straight back.
        levels: Steps that 0..1 is cut into; 0 leaves it whole.
    """

    angle_share: float = 0.75
    falloff: float = 0.0
    gamma: float = 1.0
    gain: float = 1.0
    speckle: float = 0.15
    mirrors: float = 1.0
    levels: int = 0

    def record(
        self,
        reflectance: Float[np.ndarray, " points"],
        facing: Float[np.ndarray, " points"],
        distances: Float[np.ndarray, " points"],
        mirrored: Bool[np.ndarray, " points"],
        rng: np.random.Generator,
    ) -> Float[np.ndarray, " points"]:
        """Give the intensity of each return, 0..1.

        Args:
            reflectance: Of the surface at the lidar's wavelength, 0..1.
            facing: Cosine between the beam and the surface's normal.
            distances: Metres.
            mirrored: Whether the surface throws light straight back.
            rng: Draws the speckle.
        """
        strength = reflectance * ((1 - self.angle_share) + self.angle_share * facing)
        strength = strength * np.where(mirrored, np.float32(self.mirrors), np.float32(1))
        strength = strength * (np.maximum(distances, 1.0) / np.float32(10)) ** -self.falloff
        speckle = rng.uniform(1 - self.speckle, 1 + self.speckle, len(strength))
        value = np.clip(self.gain * strength**self.gamma * speckle, 0, 1)
        return (np.round(value * self.levels) / self.levels if self.levels else value).astype(np.float32)


@dataclass(frozen=True)
class Lidar:
    """One lidar and how it sits on the vehicle.

    Attributes:
        name: Of its kind.
        elevations_deg: Of the beams, ascending; of a rosette, the one beam's middle.
        azimuth_steps: Firings in a sweep; each fires all beams.
        pattern: ``lines`` go round, or from left to right of the view; a ``rosette`` winds through the round
            view and starts every sweep elsewhere.
        view_deg: Width of the view, its middle straight ahead; all around by default.
        offsets_deg: How far each beam points to the left of where it should; nothing by default.
        revolution_s: Seconds that a sweep takes. Where it is longer than the time from one sweep to the next,
            both see the time between.
        min_range: Nearest return, metres.
        max_range: Farthest return, metres.
        range_noise: Standard deviation, metres.
        dropouts: Share of returns that are lost without a reason.
        sensitivity: How weak a return may be: 2 keeps from a surface what 1 keeps from one twice as bright.
        weights: What red, green and blue give to the reflectance at its wavelength.
        intensity: What it says of a return's strength.
        position: On the vehicle: metres ahead, to the left, above the ground.
        angles_deg: Roll (left side up), pitch (nose down) and yaw (to the left), in degrees: turned about its
            own x axis, then about the vehicle's y and z axes.
    """

    name: str
    elevations_deg: tuple[float, ...]
    azimuth_steps: int = 720
    pattern: Literal["lines", "rosette"] = "lines"
    view_deg: float = 360.0
    offsets_deg: tuple[float, ...] = ()
    revolution_s: float = 0.05
    min_range: float = 1.0
    max_range: float = 70.0
    range_noise: float = 0.02
    dropouts: float = 0.02
    sensitivity: float = 1.0
    weights: tuple[float, float, float] = (0.45, 0.35, 0.2)
    intensity: Intensity = Intensity()
    position: tuple[float, float, float] = (0.9, 0.0, 1.84)
    angles_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def firings(
        self, end_time_s: float, steps: int
    ) -> tuple[Float[np.ndarray, "steps beams"], Float[np.ndarray, "steps beams"]]:
        """Azimuth and elevation of every beam of every firing of the sweep that ends then, in radians.

        Args:
            end_time_s: End of the sweep.
            steps: Firings in it, evenly spaced in time.
        """
        if self.pattern == "rosette":
            return self._rosette(end_time_s, steps)
        view = np.radians(self.view_deg)
        azimuths = -view * np.arange(steps) / steps + view / 2
        elevations = np.radians(self.elevations_deg)
        offsets = np.radians(self.offsets_deg) if self.offsets_deg else np.zeros(len(elevations))
        return azimuths[:, None] + offsets, np.broadcast_to(elevations, (steps, len(elevations)))

    def _rosette(
        self, end_time_s: float, steps: int
    ) -> tuple[Float[np.ndarray, "steps 1"], Float[np.ndarray, "steps 1"]]:
        """Two prisms turn against each other, and their deflections add up to at most half the view."""
        times = end_time_s + self.revolution_s * (np.arange(steps) / steps - 1.0)
        first, second = (2 * np.pi * turns * times for turns in _ROSETTE_HZ)
        share = np.radians(self.view_deg) / 4
        left, high = share * (np.cos(first) + np.cos(second)), share * (np.sin(first) - np.sin(second))
        away = np.hypot(left, high)
        scale = np.sinc(away / np.pi)  # sin(away) / away
        up = np.arcsin(scale * high) + np.radians(self.elevations_deg[0])
        return np.arctan2(scale * left, np.cos(away))[:, None], up[:, None]

    def lost_share(
        self, strength: Float[np.ndarray, " points"], distances: Float[np.ndarray, " points"]
    ) -> Float[np.ndarray, " points"]:
        """Chance of each return to be lost: by bad luck, for being far and weak, or for being very weak."""
        seen = strength * self.sensitivity
        weakness = (distances / self.max_range) ** 2
        return self.dropouts + 0.6 * weakness * np.exp(-seen * 6) + 0.5 * np.exp(-seen * 30)


def _steps(*stretches: tuple[float, float, int]) -> tuple[float, ...]:
    """Even steps from a first to a last elevation, both included, so many of them; several in a row."""
    return tuple(float(angle) for low, high, number in stretches for angle in np.linspace(low, high, number))


LIDARS: dict[str, Lidar] = {
    lidar.name: lidar
    for lidar in (
        Lidar(
            "spinning-16", _steps((-15.0, 15.0, 16)), 900, revolution_s=0.1, max_range=80.0, range_noise=0.03
        ),
        Lidar("spinning-32", _steps((-30.67, 10.67, 32))),
        Lidar(
            "spinning-40", _steps((-16.0, -7.0, 10), (-6.0, 2.0, 25), (3.0, 7.0, 5)), 900, revolution_s=0.1
        ),
        Lidar(
            "spinning-64",
            (-25.0, -19.0, *_steps((-14.0, -7.0, 8), (-6.0, 1.8333, 48)), 2.0, 3.0, 5.0, 8.0, 11.0, 15.0),
            600,
            revolution_s=0.1,
            max_range=100.0,
        ),
        Lidar(
            "spinning-64-down",
            _steps((-24.33, -8.83, 32), (-8.33, 2.0, 32)),
            600,
            revolution_s=0.1,
            max_range=80.0,
            range_noise=0.015,
            position=(0.8, 0.0, 1.73),
        ),
        Lidar(
            "spinning-128",
            _steps((-25.0, -6.5, 30), (-6.0, 3.0, 73), (3.5, 15.0, 25)),
            300,
            revolution_s=0.1,
            max_range=120.0,
        ),
        Lidar(
            "livox",
            (0.0,),
            20_000,
            pattern="rosette",
            view_deg=70.0,
            revolution_s=0.1,
            max_range=90.0,
            position=(1.5, 0.0, 1.6),
        ),
        Lidar(
            "solid-state",
            _steps((-14.5, 10.5, 64)),
            400,
            view_deg=120.0,
            revolution_s=0.1,
            max_range=100.0,
            range_noise=0.03,
            position=(1.6, 0.0, 1.5),
        ),
    )
}
"""One lidar of each kind, by name. ``spinning-32`` is the plain world's own, much like nuScenes'; ``-40`` and
``-64`` are dense about the horizon as PandaSet's, ``-64-down`` looks down as KITTI's, ``livox`` winds a
rosette, ``solid-state`` looks ahead."""


def ego_from_lidar(lidar: Lidar = LIDARS["spinning-32"]) -> Float[np.ndarray, "4 4"]:
    """Pose of a lidar on the vehicle; without roll, pitch and yaw its axes are parallel to the ego's."""
    (roll, pitch, yaw), pose = np.radians(lidar.angles_deg), np.eye(4)
    about_x = np.array([[1, 0, 0], [0, np.cos(roll), -np.sin(roll)], [0, np.sin(roll), np.cos(roll)]])
    about_y = np.array([[np.cos(pitch), 0, np.sin(pitch)], [0, 1, 0], [-np.sin(pitch), 0, np.cos(pitch)]])
    about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    pose[:3, :3] = about_z @ about_y @ about_x + 0.0  # no zero keeps a sign
    pose[:3, 3] = lidar.position
    return pose


def draw_lidar(rng: np.random.Generator) -> Lidar:
    """Draw a lidar of one of the kinds, with beams, losses, intensity, noise and mount of its own."""
    names = tuple(LIDARS)
    kind = LIDARS[names[int(rng.integers(len(names)))]]
    elevations = _draw_elevations(kind, rng)
    misaligned = rng.uniform(0.0, 0.1) if rng.random() < 0.5 else 0.0
    offsets = rng.normal(0.0, misaligned * 3, len(elevations))
    elevations = np.sort(elevations + rng.normal(0.0, misaligned, len(elevations)))
    steps = int(min(kind.azimuth_steps * rng.uniform(0.6, 1.5), MOST_POINTS // len(elevations)))
    weights = rng.dirichlet([2.0, 2.0, 2.0])
    position, angles_deg = _draw_mount(rng)
    return replace(
        kind,
        elevations_deg=tuple(elevations.tolist()),
        azimuth_steps=steps,
        offsets_deg=tuple(offsets.tolist()) if misaligned else (),
        min_range=float(rng.uniform(0.3, 1.5)),
        max_range=float(kind.max_range * rng.uniform(0.7, 1.2)),
        range_noise=float(rng.uniform(0.01, 0.05)),
        dropouts=float(rng.uniform(0.0, 0.15)),
        sensitivity=float(rng.uniform(0.6, 2.5)),
        weights=(float(weights[0]), float(weights[1]), float(weights[2])),
        intensity=_draw_intensity(rng),
        position=position,
        angles_deg=angles_deg,
    )


def _draw_elevations(kind: Lidar, rng: np.random.Generator) -> Float[np.ndarray, " beams"]:
    """Spread the beams of a kind wider or narrower; of some that have several, evenly."""
    elevations = np.array(kind.elevations_deg)
    if len(elevations) > 1 and rng.random() < 0.3:
        elevations = np.linspace(elevations[0], elevations[-1], len(elevations))
    return elevations * rng.uniform(0.8, 1.2) + rng.uniform(-2.0, 2.0)


def _draw_intensity(rng: np.random.Generator) -> Intensity:
    """Draw what a lidar says of strength; one of eight says nothing."""
    return Intensity(
        angle_share=float(rng.uniform(0.0, 1.0)),
        falloff=float(rng.uniform(0.3, 2.0)) if rng.random() < 0.5 else 0.0,
        gamma=float(rng.uniform(0.4, 2.0)),
        gain=float(rng.uniform(0.15, 3.0)) if rng.random() < 0.875 else 0.0,
        speckle=float(rng.uniform(0.02, 0.5)),
        mirrors=float(rng.uniform(1.0, 12.0)),
        levels=(0, 0, 255, 100, 16)[int(rng.integers(5))],
    )


def _draw_mount(
    rng: np.random.Generator,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Draw a place on a car, a low robot or a truck, and a tilt of up to a few degrees."""
    low, high = ((1.4, 2.1), (1.4, 2.1), (1.4, 2.1), (0.4, 0.9), (2.1, 2.6))[int(rng.integers(5))]
    roll, pitch, yaw = np.clip(rng.normal(0.0, 1.5, 3), -4.0, 4.0)
    position = float(rng.uniform(-0.5, 1.6)), 0.0, float(rng.uniform(low, high))
    return position, (float(roll), float(pitch), float(yaw))
