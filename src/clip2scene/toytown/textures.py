"""The patterns painted on a town: colour of a surface from where a ray hit it.

A pattern is a function of the hit's position and normal in the thing's own frame (for the ground: along the
street, across it, up), so it moves with the thing. Its contrast fades where one pixel covers a whole period,
which keeps distant patterns from flickering.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int


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
    chance: Float[np.ndarray, "hits"]
    footprint: Float[np.ndarray, "hits"]


Values = Float[np.ndarray, "hits"]
Colours = Float[np.ndarray, "hits 3"]

_VOLUME = 64


def _noise_volume() -> Float[np.ndarray, "cells"]:
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


def hashed(first: Int[np.ndarray, "hits"], second: Int[np.ndarray, "hits"], chance: Values) -> Values:
    """A number in 0..1 that looks random, for each cell of a grid."""
    mixed = first.astype(np.uint32) * np.uint32(374761393) + second.astype(np.uint32) * np.uint32(668265263)
    mixed += (chance * np.float32(1 << 20)).astype(np.uint32)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    return ((mixed ^ (mixed >> np.uint32(16))) & np.uint32(0xFFFF)).astype(np.float32) / np.float32(65535)


def _fade(size: float | Values, footprint: Values) -> Values:
    """1 where a feature of ``size`` metres covers two pixels or more, down to 0."""
    return np.clip(size / (1.5 * footprint + np.float32(1e-6)) - 0.2, 0.0, 1.0).astype(np.float32)


def _mix(a: Colours, b: Colours, amount: Values) -> Colours:
    return a + (b - a) * amount.astype(np.float32)[:, None]


def _along(hits: Hits) -> tuple[Values, Values]:
    """Horizontal and vertical coordinate on an upright surface."""
    position, normal = hits.position, hits.normal
    return np.where(np.abs(normal[:, 0]) > np.abs(normal[:, 1]), position[:, 1], position[:, 0]), position[
        :, 2
    ]


def _cells(along: Values, size: Values | float) -> tuple[Int[np.ndarray, "hits"], Values]:
    """Which cell of a row, and where in it (0..1)."""
    scaled = along / size
    floor = np.floor(scaled)
    return floor.astype(np.int32), (scaled - floor).astype(np.float32)


def _tone(colour: Colours, factor: Values) -> Colours:
    return colour * factor.astype(np.float32)[:, None]


def plain(hits: Hits) -> Colours:
    """One colour."""
    return hits.colour


def wheel(hits: Hits) -> Colours:
    """Tyre with a bright hub; numbers: x and z of the axle, radius."""
    reach = np.hypot(hits.position[:, 0] - hits.numbers[:, 0], hits.position[:, 2] - hits.numbers[:, 1])
    share = reach / hits.numbers[:, 2]
    hub = (share < 0.62) & (np.abs(hits.normal[:, 1]) > 0.5) & (share > 0.16)
    return np.where(hub[:, None], hits.second, hits.colour)


def spokes(hits: Hits) -> Colours:
    """Thin tyre, bright rim and spokes on a darker disc; numbers: x and z of the axle, radius."""
    x, z = hits.position[:, 0] - hits.numbers[:, 0], hits.position[:, 2] - hits.numbers[:, 1]
    share = np.hypot(x, z) / hits.numbers[:, 2]
    side = np.abs(hits.normal[:, 1]) > 0.5
    spoke = np.abs(np.cos(np.arctan2(z, x) * 6.0)) > 0.72
    bright = side & (((share < 0.82) & spoke) | (share < 0.15))
    gap = side & (share < 0.82) & ~bright
    colour = np.where(bright[:, None], hits.second, hits.colour)
    colour[gap] = np.float32(0.62) * hits.second[gap] * np.float32(0.35) + np.float32(0.08)
    return colour


def car_glass(hits: Hits) -> Colours:
    """Cabin: dark glass between pillars of the body's colour; numbers: pillar's x, waist, top, half width."""
    x, z = hits.position[:, 0], hits.position[:, 2]
    low, high = hits.numbers[:, 1], hits.numbers[:, 2]
    level = (z - low) / (high - low)
    side = np.abs(hits.normal[:, 1]) > 0.75
    pillar = side & (np.abs(x - hits.numbers[:, 0]) < 0.07)
    edge = ~side & (np.abs(hits.position[:, 1]) > hits.numbers[:, 3] - 0.24 * level - 0.1)
    frame = (level > 0.9) | (level < 0.1) | pillar | edge
    return np.where(frame[:, None], hits.colour, hits.second)


def bus_side(hits: Hits) -> Colours:
    """Row of windows around a bus; numbers: window pitch, sill, lintel, x of the front."""
    across, z = _along(hits)
    end = np.abs(hits.normal[:, 0]) > 0.7
    front = end & (hits.normal[:, 0] > 0)
    cell, inside = _cells(across, hits.numbers[:, 0])
    pane = (z > hits.numbers[:, 1]) & (z < hits.numbers[:, 2]) & (np.abs(hits.normal[:, 2]) < 0.7)
    pane &= np.where(end, np.abs(hits.position[:, 1]) < 1.05, np.abs(inside - 0.5) < 0.44)
    pane |= (
        front
        & (z > hits.numbers[:, 1] - 0.3)
        & (z < hits.numbers[:, 2])
        & (np.abs(hits.position[:, 1]) < 1.1)
    )
    glass = np.array([0.10, 0.14, 0.18], np.float32) * (0.7 + 0.9 * hashed(cell, cell, hits.chance))[:, None]
    band = (z < hits.numbers[:, 1] - 0.15) & (z > 0.7)
    colour = np.where(band[:, None], hits.second, hits.colour)
    return np.where(pane[:, None], glass.astype(np.float32), colour)


def cab(hits: Hits) -> Colours:
    """Truck's cab: windscreen and door windows; numbers: x of its back, sill, lintel, length."""
    x, y, z = hits.position.T
    front = np.abs(hits.normal[:, 0]) > 0.6
    ahead = x > hits.numbers[:, 0] + 0.1
    level = (z > hits.numbers[:, 1]) & (z < hits.numbers[:, 2])
    door = (x > hits.numbers[:, 0] + 0.45 * hits.numbers[:, 3]) & (
        x < hits.numbers[:, 0] + 0.86 * hits.numbers[:, 3]
    )
    pane = level & ahead & np.where(front, np.abs(y) < 0.95, door & (np.abs(hits.normal[:, 2]) < 0.7))
    grille = front & ahead & (z < 1.15) & (z > 0.75) & (np.abs(y) < 0.7) & (np.sin(z * 60.0) > 0.0)
    colour = np.where(grille[:, None], np.float32(0.08), hits.colour)
    return np.where(pane[:, None], hits.second, colour)


def ribs(hits: Hits) -> Colours:
    """Cargo: upright ribs and a lower edge (or hoops of a tank); numbers: pitch, 1 for a tank."""
    x, _, z = hits.position.T
    across = np.where(np.abs(hits.normal[:, 0]) > 0.7, hits.position[:, 1], x)
    _, inside = _cells(across, hits.numbers[:, 0])
    tank = hits.numbers[:, 1] > 0.5
    fade = _fade(hits.numbers[:, 0] * 0.25, hits.footprint)
    line = np.where(tank, inside < 0.12, inside < 0.2)
    shade = 1.0 - 0.45 * fade * line
    stripe = ~tank & (z > 1.9) & (z < 2.35) & (hits.chance < 0.4)
    return _tone(np.where(stripe[:, None], hits.second, hits.colour), shade)


def planks(hits: Hits) -> Colours:
    """Level boards; numbers: board height."""
    _, inside = _cells(hits.position[:, 2], hits.numbers[:, 0])
    amount = (inside < 0.22) * _fade(hits.numbers[:, 0] * 0.4, hits.footprint)
    return _mix(hits.colour, hits.second, amount)


def cloth(hits: Hits) -> Colours:
    """Folds; numbers: 1 for level stripes of the second colour."""
    fold = 1.0 + 0.12 * noise(hits.position * np.array([1, 1, 0.4], np.float32), 0.16, hits.chance)
    stripe = (hits.numbers[:, 0] == 1) & (np.sin(hits.position[:, 2] * 42.0) > 0.2)
    return _tone(np.where(stripe[:, None], hits.second, hits.colour), fold)


def rings(hits: Hits) -> Colours:
    """Bands of the second colour around a cone; numbers: height, count, share of the height they cover."""
    level = hits.position[:, 2] / hits.numbers[:, 0]
    _, inside = _cells(level * (hits.numbers[:, 1] + 0.5), 1.0)
    return np.where((inside > hits.numbers[:, 2])[:, None], hits.second, hits.colour)


def concrete(hits: Hits) -> Colours:
    """Stained block with two bands of the second colour; numbers: -, height."""
    stain = 1.0 + 0.10 * noise(hits.position, 0.5, hits.chance)
    level = hits.position[:, 2] / hits.numbers[:, 1]
    _, inside = _cells(hits.position[:, 1], 0.8)
    band = (level > 0.62) & (level < 0.85) & (inside < 0.5)
    return _tone(np.where(band[:, None], hits.second, hits.colour), stain)


def blocks(hits: Hits) -> Colours:
    """Alternating lengths of both colours; numbers: length of one."""
    cell, _ = _cells(hits.position[:, 1], hits.numbers[:, 0])
    return np.where((cell & 1 == 0)[:, None], hits.colour, hits.second)


def slanted(hits: Hits) -> Colours:
    """Slanted stripes; numbers: width of a pair of stripes."""
    across, z = _along(hits)
    _, inside = _cells(across + z, hits.numbers[:, 0])
    return np.where((inside < 0.5)[:, None], hits.colour, hits.second)


def facade(hits: Hits) -> Colours:
    """Grid of framed windows over a plain or boarded wall; numbers: pitch, storey, window share, style."""
    across, z = _along(hits)
    pitch, storey, share, style = hits.numbers.T
    column, inside = _cells(across, pitch)
    row, level = _cells(z, storey)
    half = share / 2
    from_side, from_middle = np.abs(inside - 0.5), np.abs(level - 0.52)
    upright = np.abs(hits.normal[:, 2]) < 0.5
    pane = (from_side < half) & (from_middle < 0.30)
    frame = (from_side < half + 0.06) & (from_middle < 0.35) & ~pane
    pane &= ~((from_side < 0.02) | (np.abs(level - 0.6) < 0.02))
    fade = _fade(0.5, hits.footprint)
    look = hashed(column, row, hits.chance)[:, None]
    glass = np.where(
        look > 0.85,
        np.array([0.75, 0.66, 0.42], np.float32),
        np.array([0.10, 0.14, 0.19], np.float32) * (0.6 + look * 1.2),
    )
    course = (np.floor(z * 5.0) % 2 == 0) & (style >= 5)
    ledge = (level < 0.06) & (style < 3)
    surface = 1.0 + 0.05 * noise(hits.position, 0.8, hits.chance) - 0.16 * course * _fade(0.2, hits.footprint)
    colour = _tone(hits.colour, surface - 0.25 * ledge)
    colour = np.where((frame & upright)[:, None], hits.second, colour)
    return _mix(colour, glass.astype(np.float32), pane * upright * fade)


def roof(hits: Hits) -> Colours:
    """Rows of roof tiles; numbers: row height."""
    _, inside = _cells(hits.position[:, 2], hits.numbers[:, 0])
    column, _ = _cells(hits.position[:, 1], 0.5)
    row, _ = _cells(hits.position[:, 2], hits.numbers[:, 0])
    amount = _fade(hits.numbers[:, 0] * 0.5, hits.footprint)
    return _tone(
        hits.colour, 1.0 - amount * (0.45 * (inside < 0.3) - 0.25 * (hashed(row, column, hits.chance) - 0.5))
    )


def bricks(hits: Hits) -> Colours:
    """Bricks and mortar; numbers: length, height of a brick."""
    across, z = _along(hits)
    row, level = _cells(z, hits.numbers[:, 1])
    column, inside = _cells(across + (row & 1) * hits.numbers[:, 0] * 0.5, hits.numbers[:, 0])
    joint = (level < 0.18) | (inside < 0.09)
    tone = _tone(hits.colour, 0.8 + 0.4 * hashed(row, column, hits.chance))
    return _mix(tone, hits.second, joint * _fade(hits.numbers[:, 1] * 0.6, hits.footprint))


def plate(hits: Hits) -> Colours:
    """Sign: a border and a bar or dot in the middle; numbers: height of its middle, half its size, style."""
    y, z = hits.position[:, 1], hits.position[:, 2] - hits.numbers[:, 0]
    share = np.hypot(y, z) / hits.numbers[:, 1]
    bar = np.where(hits.numbers[:, 2] < 0.5, (np.abs(z) < 0.08) & (np.abs(y) < 0.2), share < 0.35)
    mark = (share > 0.8) | ((hits.numbers[:, 2] < 1.5) & bar)
    front = hits.normal[:, 0] < -0.5
    return np.where(
        (mark & front)[:, None], hits.second, np.where(front[:, None], hits.colour, np.float32(0.5))
    )


def leaves(hits: Hits) -> Colours:
    """Clumps of leaves with dark gaps; numbers: size of a clump."""
    size = hits.numbers[:, 0]
    clump, leaf = noise(hits.position, size * 1.6, hits.chance), noise(hits.position, size * 0.6, hits.chance)
    amount = 0.6 * clump * _fade(size, hits.footprint) + 0.5 * leaf * _fade(size * 0.5, hits.footprint)
    colour = _tone(hits.colour, np.clip(1.0 + 0.45 * amount, 0.4, 2.2))
    return _mix(colour, hits.second, np.clip(-amount, 0.0, 1.0) * 0.8)


def bark(hits: Hits) -> Colours:
    """Upright grooves."""
    groove = noise(hits.position * np.array([1, 1, 0.15], np.float32), 0.12, hits.chance) * _fade(
        0.08, hits.footprint
    )
    return _mix(hits.colour, hits.second, np.clip(0.4 + 0.5 * groove, 0.0, 1.0))


def grass(hits: Hits) -> Colours:
    """Blades over patches of two tones."""
    patch = noise(hits.position, 2.5, hits.chance)
    tuft = noise(hits.position, 0.35, hits.chance) * _fade(0.3, hits.footprint)
    blade = noise(hits.position * np.array([1.0, 1.0, 3.0], np.float32), 0.12, hits.chance) * _fade(
        0.1, hits.footprint
    )
    colour = _mix(hits.colour, hits.second, np.clip(0.45 + 0.3 * patch, 0.0, 1.0))
    return _tone(colour, np.clip(1.0 + 0.25 * tuft + 0.25 * blade, 0.3, 1.8))


def asphalt(hits: Hits) -> Colours:
    """Worn road with lane marks; numbers: 1 if it runs across the street, middle, half width, lane width.

    The second colour is that of the marks; the lane width's sign says whether edges are marked too.
    """
    across = np.where(hits.numbers[:, 0] > 0.5, hits.position[:, 0], hits.position[:, 1]) - hits.numbers[:, 1]
    along = np.where(hits.numbers[:, 0] > 0.5, hits.position[:, 1], hits.position[:, 0])
    half, lane = hits.numbers[:, 2], np.abs(hits.numbers[:, 3])
    worn = 0.05 * noise(hits.position, 3.0, hits.chance) + 0.04 * noise(hits.position, 0.3, hits.chance)
    patch = hashed(_cells(along, 5.0)[0], _cells(across, 1.7)[0], hits.chance) > 0.93
    colour = _tone(hits.colour, 1.0 + worn - 0.15 * patch)
    to_edge = half - np.abs(across)
    from_line = np.abs(across - np.round(across / np.maximum(lane, 0.1)) * lane)
    dashed = (from_line < 0.09) & (_cells(along, 6.0)[1] < 0.5) & (lane > 0.1) & (to_edge > 1.2)
    edge = (np.abs(to_edge - 0.35) < 0.08) & (hits.numbers[:, 3] > 0)
    return _mix(colour, hits.second, 0.85 * (dashed | edge) * _fade(0.25, hits.footprint))


def zebra(hits: Hits) -> Colours:
    """Crossing: bars of the second colour; numbers: 1 where it lies on a road that runs across the street."""
    across = np.where(hits.numbers[:, 0] > 0.5, hits.position[:, 0], hits.position[:, 1])
    _, inside = _cells(across, 1.0)
    worn = 1.0 + 0.05 * noise(hits.position, 0.6, hits.chance)
    return _tone(_mix(hits.colour, hits.second, 0.85 * (inside < 0.5)), worn)


def tiles(hits: Hits) -> Colours:
    """Slabs of their own tones with dark joints; numbers: length, width of a slab, 1 for a running bond."""
    x, y, _ = hits.position.T
    row, level = _cells(y, hits.numbers[:, 1])
    column, inside = _cells(x + (row & 1) * hits.numbers[:, 2] * hits.numbers[:, 0] * 0.5, hits.numbers[:, 0])
    fade = _fade(hits.numbers[:, 1] * 0.4, hits.footprint)
    joint = (level * hits.numbers[:, 1] < 0.06) | (inside * hits.numbers[:, 0] < 0.06)
    tone = (
        1.0
        + fade * 0.4 * (hashed(row, column, hits.chance) - 0.5)
        + 0.03 * noise(hits.position, 0.5, hits.chance)
    )
    return _mix(_tone(hits.colour, tone), hits.second, 0.75 * joint * fade)


PATTERNS: dict[Texture, Callable[[Hits], Colours]] = {
    Texture.PLAIN: plain,
    Texture.PAINT: plain,
    Texture.LAMP: plain,
    Texture.WHEEL: wheel,
    Texture.SPOKES: spokes,
    Texture.CAR_GLASS: car_glass,
    Texture.BUS_SIDE: bus_side,
    Texture.CAB: cab,
    Texture.RIBS: ribs,
    Texture.PLANKS: planks,
    Texture.CLOTH: cloth,
    Texture.RINGS: rings,
    Texture.CONCRETE: concrete,
    Texture.BLOCKS: blocks,
    Texture.SLANTED: slanted,
    Texture.FACADE: facade,
    Texture.ROOF: roof,
    Texture.BRICKS: bricks,
    Texture.PLATE: plate,
    Texture.LEAVES: leaves,
    Texture.BARK: bark,
    Texture.GRASS: grass,
    Texture.ASPHALT: asphalt,
    Texture.ZEBRA: zebra,
    Texture.TILES: tiles,
}


def paint(textures: Int[np.ndarray, "hits"], hits: Hits) -> Colours:
    """Colour every hit with its own pattern."""
    colours = np.empty_like(hits.colour)
    for texture in np.unique(textures):
        chosen: Bool[np.ndarray, "hits"] = textures == texture
        where = np.flatnonzero(chosen)
        group = Hits(*(getattr(hits, name)[where] for name in Hits.__dataclass_fields__))
        colours[where] = PATTERNS[Texture(int(texture))](group)
    return colours
