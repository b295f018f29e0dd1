"""Things with wheels: cars, buses, trucks and bicycles, each drawn anew."""

from collections.abc import Sequence

import numpy as np

from clip2scene.toytown.town.shapes import Mesh, ball, box, extrude, join, tube, wheel
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.things import (
    BICYCLE,
    BUS,
    CAR,
    DARK,
    STEEL,
    TRUCK,
    Part,
    Thing,
    pick_colour,
    triple,
)


def wheels(
    positions: Sequence[float], half_width: float, radius: float, rng: np.random.Generator
) -> list[Part]:
    """Make a pair of wheels at each of some axles' x, ``half_width`` from the middle."""
    hub = triple(np.full(3, rng.uniform(0.35, 0.85)))
    meshes = [
        wheel((x, side * (half_width - 0.08), radius), radius, 0.26) for x in positions for side in (-1, 1)
    ]
    spots = zip([x for x in positions for _ in (0, 1)], meshes, strict=True)
    return [Part(mesh, Texture.WHEEL, DARK, hub, (x, radius, radius, 0.0)) for x, mesh in spots]


def lamps(front: float, back: float, half_width: float, height: float) -> list[Part]:
    """Make two white lamps in front and two red ones behind."""

    def pair(x: float) -> Mesh:
        inner, outer = half_width * 0.55, half_width * 0.95
        boxes = [box((x - 0.03, s * inner, height), (x + 0.03, s * outer, height + 0.16)) for s in (-1, 1)]
        return join(boxes)

    return [
        Part(pair(front), Texture.LAMP, (1.0, 0.98, 0.85)),
        Part(pair(back), Texture.LAMP, (0.8, 0.03, 0.03)),
    ]


def car(rng: np.random.Generator) -> Thing:
    """Low body with bonnet and a glazed cabin: saloon, hatchback, estate, van-like or pickup."""
    word, paint = pick_colour(rng)
    length, width = rng.uniform(3.6, 4.9), rng.uniform(1.65, 1.95)
    height, waist, clear = rng.uniform(1.38, 1.75), rng.uniform(0.80, 0.95), rng.uniform(0.18, 0.28)
    style = int(rng.integers(4))
    front, back, half = length / 2, -length / 2, width / 2
    bonnet = waist - rng.uniform(0.05, 0.18)
    boot = waist - (0.04 if style == 0 else 0.0)
    body = [
        (back, clear),
        (front, clear),
        (front, clear + 0.35),
        (front - 0.12, bonnet),
        (front - 1.15, waist),
    ]
    body += [(back + 0.1, boot), (back, clear + 0.4)]
    cabin_front = front - rng.uniform(0.9, 1.3)
    cabin_back = back + (0.75, 0.15, 0.08, 1.5)[style]
    slope_front, slope_back = rng.uniform(0.55, 0.85), (0.65, 0.4, 0.12, 0.25)[style]
    pillars = (cabin_front + cabin_back) / 2
    cabin = box(
        (cabin_back, -half + 0.04, waist - 0.02),
        (cabin_front, half - 0.04, height),
        inset=(slope_back, slope_front, 0.2),
    )
    roof = box(
        (cabin_back + slope_back * 0.9, -half + 0.23, height - 0.04),
        (cabin_front - slope_front * 0.9, half - 0.23, height + 0.05),
    )
    radius = rng.uniform(0.30, 0.36)
    axles = (front - 0.78, back + 0.75)
    parts = [
        Part(extrude(body, half), Texture.PAINT, paint),
        Part(cabin, Texture.CAR_GLASS, paint, (0.10, 0.13, 0.16), (pillars, waist, height, half)),
        Part(roof, Texture.PAINT, paint),
        *wheels(axles, half + 0.03, radius, rng),
        *lamps(front, back, half, clear + 0.32),
    ]
    return Thing(CAR, "car", word, tuple(parts))


def bus(rng: np.random.Generator) -> Thing:
    """Long tall box with one row of many large windows, sometimes a coloured band."""
    word, paint = pick_colour(rng)
    length, width, height = rng.uniform(9.5, 13.0), rng.uniform(2.45, 2.6), rng.uniform(2.9, 3.3)
    front, half = length / 2, width / 2
    band = pick_colour(rng)[1] if rng.random() < 0.5 else paint
    numbers = (rng.uniform(1.1, 1.7), rng.uniform(1.25, 1.45), height - rng.uniform(0.5, 0.7), front)
    body = box((-front, -half, 0.32), (front, half, height), inset=(0.08, 0.2, 0.06))
    sign = box((front - 0.2, -half * 0.7, height - 0.4), (front + 0.02, half * 0.7, height - 0.1))
    parts = [
        Part(body, Texture.BUS_SIDE, paint, band, numbers),
        Part(sign, Texture.LAMP, (0.95, 0.65, 0.1)),
        *wheels((front - 2.4, -front + 2.6), half + 0.02, 0.48, rng),
        *lamps(front + 0.01, -front - 0.01, half, 0.6),
    ]
    return Thing(BUS, "bus", word, tuple(parts))


def truck(rng: np.random.Generator) -> Thing:
    """Cab in front, a gap, and behind it a box, a tank or a flatbed with its load."""
    word, paint = pick_colour(rng)
    length, width, cab = rng.uniform(6.0, 9.5), rng.uniform(2.2, 2.5), rng.uniform(1.6, 2.1)
    front, half, cab_height = length / 2, width / 2, rng.uniform(2.3, 2.9)
    cargo_front, cargo_back, bed = front - cab - rng.uniform(0.3, 0.6), -front, rng.uniform(0.95, 1.15)
    parts = [
        Part(
            box(
                (front - cab, -half, 0.45),
                (front, half, cab_height),
                inset=(0.0, rng.uniform(0.15, 0.5), 0.08),
            ),
            Texture.CAB,
            paint,
            (0.10, 0.13, 0.16),
            (front - cab, 1.35, cab_height - 0.3, cab),
        ),
        Part(box((cargo_back, -half * 0.75, 0.6), (front - cab, half * 0.75, bed)), Texture.PLAIN, DARK),
        *wheels((front - 1.0, cargo_back + 1.1, cargo_back + 2.2), half + 0.02, 0.5, rng),
        *lamps(front + 0.01, cargo_back - 0.01, half, 0.65),
    ]
    style, load = int(rng.integers(3)), pick_colour(rng)[1]
    if rng.random() < 0.6:
        load = paint
    if style == 0:
        cargo = box((cargo_back, -half - 0.05, bed), (cargo_front, half + 0.05, rng.uniform(3.0, 3.7)))
        parts.append(
            Part(cargo, Texture.RIBS, load, pick_colour(rng)[1], (rng.uniform(0.6, 1.0), 0.0, 0.0, 0.0))
        )
    elif style == 1:
        radius = half * rng.uniform(0.85, 1.0)
        tank = tube((cargo_back, 0.0, bed + radius), (cargo_front, 0.0, bed + radius), radius, sides=16)
        parts.append(Part(tank, Texture.RIBS, load, STEEL, (rng.uniform(1.2, 2.2), 1.0, 0.0, 0.0)))
    else:
        deck = box((cargo_back, -half, bed), (cargo_front, half, bed + 0.15))
        parts.append(Part(deck, Texture.PLANKS, load, DARK, (0.3, 0.0, 0.0, 0.0)))
        parts.extend(_flatbed_load(rng, cargo_back, cargo_front, half, bed + 0.15))
    return Thing(TRUCK, "truck", word, tuple(parts))


def _flatbed_load(
    rng: np.random.Generator, back: float, front: float, half: float, floor: float
) -> list[Part]:
    if rng.random() < 0.5:
        rows = [(y, z) for z in (0.0, 0.5) for y in np.linspace(-half + 0.35, half - 0.35, 4)]
        logs = [
            tube((back + 0.1, y, floor + z + 0.26), (front - 0.2, y, floor + z + 0.26), 0.26) for y, z in rows
        ]
        return [Part(join(logs), Texture.BARK, (0.42, 0.28, 0.16), (0.2, 0.12, 0.07))]
    walls = [
        box((back, side * half - 0.04, floor), (front, side * half + 0.04, floor + 0.7)) for side in (-1, 1)
    ]
    heap = box(
        (back + 0.1, -half + 0.1, floor),
        (front - 0.1, half - 0.1, floor + rng.uniform(0.7, 1.1)),
        inset=(0.8,) * 3,
    )
    sand = Part(heap, Texture.GRASS, (0.62, 0.50, 0.32), (0.45, 0.36, 0.22))
    return [sand, Part(join(walls), Texture.PLANKS, pick_colour(rng)[1], DARK, (0.35, 0.0, 0.0, 0.0))]


def bicycle(rng: np.random.Generator) -> Thing:
    """Two spoked wheels, a frame of tubes, saddle and handlebar; sometimes mudguards, basket or bags."""
    word, paint = pick_colour(rng)
    radius, base = rng.uniform(0.31, 0.36), rng.uniform(0.98, 1.12)
    rear, fore, thick = -base / 2, base / 2, rng.uniform(0.024, 0.034)
    crank, seat = (rear + 0.42, 0.0, radius - 0.05), (rear + 0.24, 0.0, radius + 0.55)
    head = (fore - 0.16, 0.0, radius + 0.52)
    tubes = [
        (seat, head),
        (crank, head),
        (crank, seat),
        (crank, (rear, 0.0, radius)),
        (seat, (rear, 0.0, radius)),
    ]
    tubes.append((head, (fore, 0.0, radius)))
    bar, saddle = (head[0] + 0.02, 0.0, head[2] + 0.16), (seat[0] - 0.03, 0.0, seat[2] + 0.13)
    rim = pick_colour(rng, ("black", "white", "grey", "red", "beige", "yellow"))[1]
    parts = [
        Part(
            wheel((x, 0.0, radius), radius, 0.05, sides=16),
            Texture.SPOKES,
            DARK,
            rim,
            (x, radius, radius, 0.0),
        )
        for x in (rear, fore)
    ]
    parts += [
        Part(join([tube(a, b, thick) for a, b in tubes]), Texture.PAINT, paint),
        Part(tube((bar[0], -0.28, bar[2]), (bar[0], 0.28, bar[2]), 0.025), Texture.PLAIN, DARK),
        Part(join([tube(head, bar, 0.025), tube(seat, saddle, 0.025)]), Texture.PLAIN, STEEL),
        Part(ball(saddle, (0.16, 0.09, 0.05), rows=4), Texture.PLAIN, DARK),
    ]
    if rng.random() < 0.35:
        low = (fore - 0.05, -0.16, radius + 0.42)
        basket = box(low, (fore + 0.27, 0.16, radius + 0.68))
        parts.append(Part(basket, Texture.PLANKS, (0.5, 0.36, 0.2), DARK, (0.08, 0.0, 0.0, 0.0)))
    if rng.random() < 0.3:
        bags = [
            box((rear - 0.2, s * 0.12 - 0.06, radius), (rear + 0.16, s * 0.12 + 0.06, radius + 0.34))
            for s in (-1, 1)
        ]
        parts.append(Part(join(bags), Texture.CLOTH, pick_colour(rng)[1]))
    return Thing(BICYCLE, "bicycle", word, tuple(parts))
