"""The patterns themselves: one function per :class:`~clip2scene.toytown.town.textures.Texture`."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int

from clip2scene.toytown.town.textures import (
    Colours,
    Hits,
    Texture,
    along_and_up,
    blend,
    cells,
    hashed,
    noise,
    toned,
    visibility,
)


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
    across, z = along_and_up(hits)
    end = np.abs(hits.normal[:, 0]) > 0.7
    front = end & (hits.normal[:, 0] > 0)
    cell, inside = cells(across, hits.numbers[:, 0])
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
    _, inside = cells(across, hits.numbers[:, 0])
    tank = hits.numbers[:, 1] > 0.5
    fade = visibility(hits.numbers[:, 0] * 0.25, hits.footprint)
    line = np.where(tank, inside < 0.12, inside < 0.2)
    shade = 1.0 - 0.45 * fade * line
    stripe = ~tank & (z > 1.9) & (z < 2.35) & (hits.chance < 0.4)
    return toned(np.where(stripe[:, None], hits.second, hits.colour), shade)


def planks(hits: Hits) -> Colours:
    """Level boards; numbers: board height."""
    _, inside = cells(hits.position[:, 2], hits.numbers[:, 0])
    amount = (inside < 0.22) * visibility(hits.numbers[:, 0] * 0.4, hits.footprint)
    return blend(hits.colour, hits.second, amount)


def cloth(hits: Hits) -> Colours:
    """Folds; numbers: 1 for level stripes of the second colour."""
    fold = 1.0 + 0.12 * noise(hits.position * np.array([1, 1, 0.4], np.float32), 0.16, hits.chance)
    stripe = (hits.numbers[:, 0] == 1) & (np.sin(hits.position[:, 2] * 42.0) > 0.2)
    return toned(np.where(stripe[:, None], hits.second, hits.colour), fold)


def rings(hits: Hits) -> Colours:
    """Bands of the second colour around a cone; numbers: height, count, share of the height they cover."""
    level = hits.position[:, 2] / hits.numbers[:, 0]
    _, inside = cells(level * (hits.numbers[:, 1] + 0.5), 1.0)
    return np.where((inside > hits.numbers[:, 2])[:, None], hits.second, hits.colour)


def concrete(hits: Hits) -> Colours:
    """Stained block with two bands of the second colour; numbers: -, height."""
    stain = 1.0 + 0.10 * noise(hits.position, 0.5, hits.chance)
    level = hits.position[:, 2] / hits.numbers[:, 1]
    _, inside = cells(hits.position[:, 1], 0.8)
    band = (level > 0.62) & (level < 0.85) & (inside < 0.5)
    return toned(np.where(band[:, None], hits.second, hits.colour), stain)


def blocks(hits: Hits) -> Colours:
    """Alternating lengths of both colours; numbers: length of one."""
    cell, _ = cells(hits.position[:, 1], hits.numbers[:, 0])
    return np.where((cell & 1 == 0)[:, None], hits.colour, hits.second)


def slanted(hits: Hits) -> Colours:
    """Slanted stripes; numbers: width of a pair of stripes."""
    across, z = along_and_up(hits)
    _, inside = cells(across + z, hits.numbers[:, 0])
    return np.where((inside < 0.5)[:, None], hits.colour, hits.second)


def facade(hits: Hits) -> Colours:
    """Grid of framed windows over a plain or boarded wall; numbers: pitch, storey, window share, style."""
    across, z = along_and_up(hits)
    pitch, storey, share, style = hits.numbers.T
    column, inside = cells(across, pitch)
    row, level = cells(z, storey)
    half = share / 2
    from_side, from_middle = np.abs(inside - 0.5), np.abs(level - 0.52)
    upright = np.abs(hits.normal[:, 2]) < 0.5
    pane = (from_side < half) & (from_middle < 0.30)
    frame = (from_side < half + 0.06) & (from_middle < 0.35) & ~pane
    pane &= ~((from_side < 0.02) | (np.abs(level - 0.6) < 0.02))
    fade = visibility(0.5, hits.footprint)
    look = hashed(column, row, hits.chance)[:, None]
    glass = np.where(
        look > 0.85,
        np.array([0.75, 0.66, 0.42], np.float32),
        np.array([0.10, 0.14, 0.19], np.float32) * (0.6 + look * 1.2),
    )
    course = (np.floor(z * 5.0) % 2 == 0) * (style >= 5) * visibility(0.2, hits.footprint)
    ledge = (level < 0.06) & (style < 3)
    surface = 1.0 + 0.05 * noise(hits.position, 0.8, hits.chance) - 0.16 * course
    colour = toned(hits.colour, surface - 0.25 * ledge)
    colour = np.where((frame & upright)[:, None], hits.second, colour)
    return blend(colour, glass.astype(np.float32), pane * upright * fade)


def roof(hits: Hits) -> Colours:
    """Rows of roof tiles; numbers: row height."""
    _, inside = cells(hits.position[:, 2], hits.numbers[:, 0])
    column, _ = cells(hits.position[:, 1], 0.5)
    row, _ = cells(hits.position[:, 2], hits.numbers[:, 0])
    amount = visibility(hits.numbers[:, 0] * 0.5, hits.footprint)
    return toned(
        hits.colour, 1.0 - amount * (0.45 * (inside < 0.3) - 0.25 * (hashed(row, column, hits.chance) - 0.5))
    )


def bricks(hits: Hits) -> Colours:
    """Bricks and mortar; numbers: length, height of a brick."""
    across, z = along_and_up(hits)
    row, level = cells(z, hits.numbers[:, 1])
    column, inside = cells(across + (row & 1) * hits.numbers[:, 0] * 0.5, hits.numbers[:, 0])
    joint = (level < 0.18) | (inside < 0.09)
    tone = toned(hits.colour, 0.8 + 0.4 * hashed(row, column, hits.chance))
    return blend(tone, hits.second, joint * visibility(hits.numbers[:, 1] * 0.6, hits.footprint))


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
    amount = 0.6 * clump * visibility(size, hits.footprint) + 0.5 * leaf * visibility(
        size * 0.5, hits.footprint
    )
    colour = toned(hits.colour, np.clip(1.0 + 0.45 * amount, 0.4, 2.2))
    return blend(colour, hits.second, np.clip(-amount, 0.0, 1.0) * 0.8)


def bark(hits: Hits) -> Colours:
    """Upright grooves."""
    groove = noise(hits.position * np.array([1, 1, 0.15], np.float32), 0.12, hits.chance) * visibility(
        0.08, hits.footprint
    )
    return blend(hits.colour, hits.second, np.clip(0.4 + 0.5 * groove, 0.0, 1.0))


def grass(hits: Hits) -> Colours:
    """Blades over patches of two tones."""
    patch = noise(hits.position, 2.5, hits.chance)
    tuft = noise(hits.position, 0.35, hits.chance) * visibility(0.3, hits.footprint)
    blade = noise(hits.position * np.array([1.0, 1.0, 3.0], np.float32), 0.12, hits.chance) * visibility(
        0.1, hits.footprint
    )
    colour = blend(hits.colour, hits.second, np.clip(0.45 + 0.3 * patch, 0.0, 1.0))
    return toned(colour, np.clip(1.0 + 0.25 * tuft + 0.25 * blade, 0.3, 1.8))


def asphalt(hits: Hits) -> Colours:
    """Worn road with lane marks; numbers: 1 if it runs across the street, middle, half width, lane width.

    The second colour is that of the marks; the lane width's sign says whether edges are marked too.
    """
    across = np.where(hits.numbers[:, 0] > 0.5, hits.position[:, 0], hits.position[:, 1]) - hits.numbers[:, 1]
    along = np.where(hits.numbers[:, 0] > 0.5, hits.position[:, 1], hits.position[:, 0])
    half, lane = hits.numbers[:, 2], np.abs(hits.numbers[:, 3])
    worn = 0.05 * noise(hits.position, 3.0, hits.chance) + 0.04 * noise(hits.position, 0.3, hits.chance)
    patch = hashed(cells(along, 5.0)[0], cells(across, 1.7)[0], hits.chance) > 0.93
    colour = toned(hits.colour, 1.0 + worn - 0.15 * patch)
    to_edge = half - np.abs(across)
    from_line = np.abs(across - np.round(across / np.maximum(lane, 0.1)) * lane)
    dashed = (from_line < 0.09) & (cells(along, 6.0)[1] < 0.5) & (lane > 0.1) & (to_edge > 1.2)
    edge = (np.abs(to_edge - 0.35) < 0.08) & (hits.numbers[:, 3] > 0)
    return blend(colour, hits.second, 0.85 * (dashed | edge) * visibility(0.25, hits.footprint))


def zebra(hits: Hits) -> Colours:
    """Crossing: bars of the second colour; numbers: 1 where it lies on a road that runs across the street."""
    across = np.where(hits.numbers[:, 0] > 0.5, hits.position[:, 0], hits.position[:, 1])
    _, inside = cells(across, 1.0)
    worn = 1.0 + 0.05 * noise(hits.position, 0.6, hits.chance)
    return toned(blend(hits.colour, hits.second, 0.85 * (inside < 0.5)), worn)


def tiles(hits: Hits) -> Colours:
    """Slabs of their own tones with dark joints; numbers: length, width of a slab, 1 for a running bond."""
    x, y, _ = hits.position.T
    row, level = cells(y, hits.numbers[:, 1])
    column, inside = cells(x + (row & 1) * hits.numbers[:, 2] * hits.numbers[:, 0] * 0.5, hits.numbers[:, 0])
    fade = visibility(hits.numbers[:, 1] * 0.4, hits.footprint)
    joint = (level * hits.numbers[:, 1] < 0.06) | (inside * hits.numbers[:, 0] < 0.06)
    tone = (
        1.0
        + fade * 0.4 * (hashed(row, column, hits.chance) - 0.5)
        + 0.03 * noise(hits.position, 0.5, hits.chance)
    )
    return blend(toned(hits.colour, tone), hits.second, 0.75 * joint * fade)


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


def paint(textures: Int[np.ndarray, " hits"], hits: Hits) -> Colours:
    """Colour every hit with its own pattern."""
    colours = np.empty_like(hits.colour)
    for texture in np.unique(textures):
        chosen: Bool[np.ndarray, " hits"] = textures == texture
        where = np.flatnonzero(chosen)
        group = Hits(*(getattr(hits, name)[where] for name in Hits.__dataclass_fields__))
        colours[where] = PATTERNS[Texture(int(texture))](group)
    return colours
