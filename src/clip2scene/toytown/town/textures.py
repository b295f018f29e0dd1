"""The patterns painted on a town: colour of a surface from where a ray hit it.

A pattern is a function of the hit's position and normal in the thing's own frame (for the ground: along the
street, across it, up), so it moves with the thing. Its contrast fades where one pixel covers a whole period,
which keeps distant patterns from flickering.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int


class Texture(IntEnum):
    """Names of the patterns; ``numbers`` of a part are explained at each pattern's function."""

    PLAIN = 0
    PAINT = 1
    LAMP = 2
    WHEEL = 3
    SPOKES = 4
    CAR_GLASS = 5
    BUS_SIDE = 6
    CAB = 7
    RIBS = 8
    PLANKS = 9
    CLOTH = 10
    RINGS = 11
    CONCRETE = 12
    BLOCKS = 13
    SLANTED = 14
    FACADE = 15
    ROOF = 16
    BRICKS = 17
    PLATE = 18
    LEAVES = 19
    BARK = 20
    GRASS = 21
    ASPHALT = 22
    ZEBRA = 23
    TILES = 24


GLOSSY = frozenset({Texture.PAINT, Texture.CAR_GLASS, Texture.BUS_SIDE, Texture.CAB})
"""Patterns of lacquer and glass, which mirror some of the sky."""


@dataclass(frozen=True)
class Hits:
    """What a pattern is told about a group of hits.

    Attributes:
        position: In the thing's frame, metres.
        normal: Unit length, same frame.
        colour: The part's base colour.
        second: The part's other colour.
        numbers: The part's four numbers.
        chance: A number in 0..1 of the thing's own.
        footprint: Width of the surface one pixel covers, metres.
    """

    position: Float[np.ndarray, "hits 3"]
    normal: Float[np.ndarray, "hits 3"]
    colour: Float[np.ndarray, "hits 3"]
    second: Float[np.ndarray, "hits 3"]
    numbers: Float[np.ndarray, "hits 4"]
    chance: Float[np.ndarray, " hits"]
    footprint: Float[np.ndarray, " hits"]


Values = Float[np.ndarray, " hits"]


Colours = Float[np.ndarray, "hits 3"]


_VOLUME = 64


def _noise_volume() -> Float[np.ndarray, " cells"]:
    """Periodic smooth noise of unit deviation with four cells to a feature, flattened."""
    rough = np.random.default_rng(7).normal(size=(_VOLUME,) * 3)
    frequency = np.fft.fftfreq(_VOLUME)
    square = frequency[:, None, None] ** 2 + frequency[None, :, None] ** 2 + frequency[None, None, :] ** 2
    smooth = np.fft.ifftn(np.fft.fftn(rough) * np.exp(-square / (2 * 0.11**2))).real
    return (smooth / smooth.std()).astype(np.float32).ravel()


_NOISE = _noise_volume()


def noise(position: Float[np.ndarray, "hits 3"], size: float | Values, chance: Values) -> Values:
    """Smooth noise of unit deviation whose blobs are about ``size`` metres wide."""
    scale = (
        (np.float32(4.0) / size).astype(np.float32)[:, None] if isinstance(size, np.ndarray) else 4.0 / size
    )
    cell = (position * scale + chance[:, None] * 977.0).astype(np.int32) & (_VOLUME - 1)
    return _NOISE[(cell[:, 0] * _VOLUME + cell[:, 1]) * _VOLUME + cell[:, 2]]


def hashed(first: Int[np.ndarray, " hits"], second: Int[np.ndarray, " hits"], chance: Values) -> Values:
    """A number in 0..1 that looks random, for each cell of a grid."""
    mixed = first.astype(np.uint32) * np.uint32(374761393) + second.astype(np.uint32) * np.uint32(668265263)
    mixed += (chance * np.float32(1 << 20)).astype(np.uint32)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    return ((mixed ^ (mixed >> np.uint32(16))) & np.uint32(0xFFFF)).astype(np.float32) / np.float32(65535)


def visibility(size: float | Values, footprint: Values) -> Values:
    """1 where a feature of ``size`` metres covers two pixels or more, down to 0."""
    return np.clip(size / (1.5 * footprint + np.float32(1e-6)) - 0.2, 0.0, 1.0).astype(np.float32)


def blend(a: Colours, b: Colours, amount: Values) -> Colours:
    """Go from one colour to another."""
    return a + (b - a) * amount.astype(np.float32)[:, None]


def along_and_up(hits: Hits) -> tuple[Values, Values]:
    """Horizontal and vertical coordinate on an upright surface."""
    position, normal = hits.position, hits.normal
    return np.where(np.abs(normal[:, 0]) > np.abs(normal[:, 1]), position[:, 1], position[:, 0]), position[
        :, 2
    ]


def cells(along: Values, size: Values | float) -> tuple[Int[np.ndarray, " hits"], Values]:
    """Which cell of a row, and where in it (0..1)."""
    scaled = along / size
    floor = np.floor(scaled)
    return floor.astype(np.int32), (scaled - floor).astype(np.float32)


def toned(colour: Colours, factor: Values) -> Colours:
    """Make colours darker or lighter."""
    return colour * factor.astype(np.float32)[:, None]
