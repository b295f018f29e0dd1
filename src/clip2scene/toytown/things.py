"""The things that stand, drive and walk in a town: each drawn anew, in its own frame.

A thing's frame has x forward, y left, z up and its origin on the ground under its middle. Every function
takes a random generator and returns a :class:`Thing` with its own shape, colours and textures.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from clip2scene.toytown.shapes import Mesh, ball, box, cone, crumple, extrude, join, tube, wheel
from clip2scene.toytown.textures import Texture

Colour = tuple[float, float, float]

BARRIER, BICYCLE, BUS, CAR, PEDESTRIAN, CONE, TRUCK = 0, 1, 2, 3, 6, 7, 9
ROAD, SIDEWALK, TERRAIN, MANMADE, VEGETATION = 10, 12, 13, 14, 15

PALETTE: dict[str, Colour] = {
    "red": (0.74, 0.07, 0.07),
    "orange": (0.92, 0.40, 0.04),
    "yellow": (0.92, 0.80, 0.10),
    "green": (0.10, 0.48, 0.14),
    "blue": (0.07, 0.18, 0.70),
    "purple": (0.42, 0.12, 0.56),
    "pink": (0.92, 0.50, 0.66),
    "brown": (0.36, 0.20, 0.10),
    "black": (0.05, 0.05, 0.06),
    "white": (0.92, 0.92, 0.92),
    "grey": (0.45, 0.45, 0.46),
    "beige": (0.78, 0.68, 0.50),
}
"""Base colours by the word a caption may use for them."""

DARK: Colour = (0.05, 0.05, 0.055)
STEEL: Colour = (0.55, 0.56, 0.58)


@dataclass(frozen=True)
class Part:
    """A mesh with one texture.

    Attributes:
        mesh: In the thing's frame.
        texture: Which pattern is painted on it.
        colour: Base colour, reflectance 0..1.
        second: The pattern's other colour.
        numbers: The pattern's own four numbers, see ``textures.py``.
    """

    mesh: Mesh
    texture: Texture
    colour: Colour
    second: Colour = DARK
    numbers: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Thing:
    """One object of the town.

    Attributes:
        label: Train id.
        noun: The kind of thing, in one plain word of the captions.
        colour: The word of :data:`PALETTE` that is true of it, empty where none is.
        parts: What it is put together from.
    """

    label: int
    noun: str
    colour: str
    parts: tuple[Part, ...]


def pick_colour(rng: np.random.Generator, words: Sequence[str] = tuple(PALETTE)) -> tuple[str, Colour]:
    """Draw a colour word and a shade that it is true of."""
    word = words[int(rng.integers(len(words)))]
    shade = np.array(PALETTE[word]) * rng.uniform(0.8, 1.15) + rng.normal(0, 0.02, 3)
    return word, _triple(np.clip(shade, 0.02, 0.97))


def _triple(values: np.ndarray) -> Colour:
    return float(values[0]), float(values[1]), float(values[2])


def _wheels(
    positions: Sequence[float], half_width: float, radius: float, rng: np.random.Generator
) -> list[Part]:
    hub = _triple(np.full(3, rng.uniform(0.35, 0.85)))
    meshes = [
        wheel((x, side * (half_width - 0.08), radius), radius, 0.26) for x in positions for side in (-1, 1)
    ]
    spots = zip([x for x in positions for _ in (0, 1)], meshes, strict=True)
    return [Part(mesh, Texture.WHEEL, DARK, hub, (x, radius, radius, 0.0)) for x, mesh in spots]


def _lamps(front: float, back: float, half_width: float, height: float) -> list[Part]:
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
        *_wheels(axles, half + 0.03, radius, rng),
        *_lamps(front, back, half, clear + 0.32),
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
        *_wheels((front - 2.4, -front + 2.6), half + 0.02, 0.48, rng),
        *_lamps(front + 0.01, -front - 0.01, half, 0.6),
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
        *_wheels((front - 1.0, cargo_back + 1.1, cargo_back + 2.2), half + 0.02, 0.5, rng),
        *_lamps(front + 0.01, cargo_back - 0.01, half, 0.65),
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
        tank = tube((cargo_back, 0, bed + radius), (cargo_front, 0, bed + radius), radius, sides=16)
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


def pedestrian(rng: np.random.Generator) -> Thing:
    """Person standing or in mid-stride: head, hair, torso, arms, legs; sometimes a skirt or a bag."""
    word, shirt = pick_colour(rng)
    trousers = pick_colour(rng)[1]
    skin = _triple(np.array([0.80, 0.58, 0.44]) * rng.uniform(0.35, 1.1))
    hair = _triple(np.array([0.25, 0.17, 0.10]) * rng.uniform(0.2, 2.5))
    tall = rng.uniform(1.5, 1.92)
    hip, shoulder, stout = 0.49 * tall, 0.81 * tall, rng.uniform(0.9, 1.3)
    stride, swing = rng.uniform(0.0, 0.32), rng.uniform(-0.25, 0.25)
    thick = 0.085 * stout
    legs = [
        cone((0, s * 0.1, hip), (s * stride, s * 0.11, 0.08), thick * 1.15, thick * 0.75) for s in (-1, 1)
    ]
    shoes = [
        ball((s * stride + 0.06, s * 0.11, 0.06), (0.15, 0.06, 0.06), rows=4, columns=6) for s in (-1, 1)
    ]
    arms = [
        cone((0, s * 0.22 * stout, shoulder - 0.04), (-s * swing, s * 0.27 * stout, hip - 0.05), 0.06, 0.045)
        for s in (-1, 1)
    ]
    hands = [
        ball((-s * swing, s * 0.27 * stout, hip - 0.08), (0.05,) * 3, rows=4, columns=6) for s in (-1, 1)
    ]
    torso = Mesh(*_flattened(cone((0, 0, hip - 0.08), (0, 0, shoulder), 0.17 * stout, 0.22 * stout), 0.65))
    parts = [
        Part(join(legs), Texture.CLOTH, trousers),
        Part(join(shoes), Texture.PLAIN, DARK),
        Part(
            join([torso, *arms]),
            Texture.CLOTH,
            shirt,
            pick_colour(rng)[1],
            (float(rng.integers(3)), 0.0, 0.0, 0.0),
        ),
        Part(join([tube((0, 0, shoulder), (0, 0, shoulder + 0.1), 0.06), *hands]), Texture.PLAIN, skin),
        Part(ball((0.01, 0, tall - 0.13), (0.105, 0.09, 0.13)), Texture.PLAIN, skin),
        Part(ball((-0.025, 0, tall - 0.085), (0.105, 0.1, 0.105)), Texture.PLAIN, hair),
    ]
    extra = rng.random()
    if extra < 0.25:
        skirt = Mesh(*_flattened(cone((0, 0, hip + 0.1), (0, 0, 0.25 * tall), 0.17 * stout, 0.3), 0.8))
        parts.append(Part(skirt, Texture.CLOTH, shirt))
    elif extra < 0.5:
        bag = box((-0.32, -0.15, shoulder - 0.5), (-0.12, 0.15, shoulder - 0.02), inset=(0.05, 0.0, 0.04))
        parts.append(Part(bag, Texture.CLOTH, pick_colour(rng)[1]))
    return Thing(PEDESTRIAN, "person", word, tuple(parts))


def _flattened(mesh: Mesh, factor: float) -> tuple[np.ndarray, np.ndarray]:
    return mesh.vertices * np.array([factor, 1, 1], np.float32), mesh.faces


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
            wheel((x, 0, radius), radius, 0.05, sides=16), Texture.SPOKES, DARK, rim, (x, radius, radius, 0.0)
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


def traffic_cone(rng: np.random.Generator) -> Thing:
    """Cone on a square plate, plain or with rings of another colour."""
    word, paint = pick_colour(rng, ("orange", "orange", "orange", "yellow", "red", "blue", "green"))
    height, radius = rng.uniform(0.6, 1.05), rng.uniform(0.17, 0.25)
    ring = pick_colour(rng, ("white", "white", "white", "yellow", "grey", "black"))[1]
    if ring == paint:
        ring = PALETTE["white"]
    numbers = (height, float(rng.integers(1, 4)), rng.uniform(0.4, 0.6), 0.0)
    plate = box((-radius * 1.35, -radius * 1.35, 0), (radius * 1.35, radius * 1.35, 0.06))
    body = cone((0, 0, 0.04), (0, 0, height), radius, 0.035, sides=12)
    foot = paint if rng.random() < 0.5 else DARK
    return Thing(
        CONE,
        "cone",
        word,
        (Part(body, Texture.RINGS, paint, ring, numbers), Part(plate, Texture.PLAIN, foot)),
    )


def barrier(rng: np.random.Generator) -> Thing:
    """Concrete or plastic block with a wide foot, striped boards on legs, or a fence panel."""
    word, paint = pick_colour(rng)
    other = pick_colour(rng, ("white", "white", "yellow", "black", "red"))[1]
    length, style = rng.uniform(1.5, 2.4), int(rng.integers(4))
    half, height = length / 2, rng.uniform(0.85, 1.15)
    slant = (rng.uniform(0.35, 0.5), 0.0, 0.0, 0.0)
    if style <= 1:
        foot = rng.uniform(0.24, 0.32)
        profile = [(-foot, 0), (foot, 0), (foot * 0.85, 0.16), (0.11, 0.42), (0.08, height), (-0.08, height)]
        profile += [(-0.11, 0.42), (-foot * 0.85, 0.16)]
        block = extrude(profile, half).moved((0, 0, 0))
        texture = Texture.CONCRETE if style == 0 else Texture.BLOCKS
        parts = [Part(block, texture, paint, other, (rng.uniform(0.5, 0.9), height, 0.0, 0.0))]
    else:
        boards = [box((-0.04, -half, height - 0.32), (0.04, half, height))]
        if style == 3 or rng.random() < 0.5:
            boards.append(box((-0.04, -half, height - 0.78), (0.04, half, height - 0.46)))
        legs = [box((-0.3, y - 0.04, 0), (0.3, y + 0.04, 0.1)) for y in (-half * 0.8, half * 0.8)]
        legs += [box((-0.03, y - 0.05, 0), (0.03, y + 0.05, height)) for y in (-half * 0.8, half * 0.8)]
        parts = [
            Part(join(boards), Texture.SLANTED, paint, other, slant),
            Part(join(legs), Texture.PLAIN, STEEL),
        ]
    return Thing(BARRIER, "barrier", word, tuple(parts))


def building(rng: np.random.Generator, width: float, depth: float, height: float) -> Thing:
    """Block or gabled house of ``width`` (along y) by ``depth`` (along x), windows on all sides."""
    word, paint = pick_colour(rng)
    trim = pick_colour(rng)[1] if rng.random() < 0.35 else PALETTE["white"]
    cell = (rng.uniform(1.9, 3.2), rng.uniform(2.7, 3.4), rng.uniform(0.42, 0.7), float(rng.integers(8)))
    half, side = depth / 2, width / 2
    parts = [Part(box((-half, -side, 0), (half, side, height)), Texture.FACADE, paint, trim, cell)]
    if height < 9.5 and rng.random() < 0.75:
        roof = pick_colour(rng, ("red", "brown", "grey", "black", "orange", "green", "blue"))[1]
        ridge = rng.uniform(1.5, 3.5)
        profile = [(-half - 0.4, height - 0.1), (half + 0.4, height - 0.1), (0.0, height + ridge)]
        parts.append(
            Part(extrude(profile, side + 0.3), Texture.ROOF, roof, DARK, (rng.uniform(0.4, 0.7), 0, 0, 0))
        )
        if rng.random() < 0.6:
            stack = box((-1.6, side * 0.4, height), (-0.9, side * 0.4 + 0.7, height + ridge + 0.6))
            parts.append(Part(stack, Texture.BRICKS, (0.5, 0.2, 0.15), (0.7, 0.7, 0.65), (0.3, 0.12, 0, 0)))
    else:
        crown = box((-half - 0.2, -side - 0.2, height - 0.3), (half + 0.2, side + 0.2, height + 0.5))
        parts.append(Part(crown, Texture.PLAIN, trim))
    noun = "house" if height < 9.5 else "building"
    return Thing(MANMADE, noun, word, tuple(parts))


def wall(rng: np.random.Generator, length: float) -> Thing:
    """Garden wall of bricks, along y."""
    word, paint = pick_colour(rng, ("red", "brown", "white", "grey", "beige", "orange"))
    height = rng.uniform(1.0, 2.2)
    mortar = _triple(np.array(paint) * (0.45 if np.mean(paint) > 0.35 else 1.9))
    body = box((-0.15, -length / 2, 0), (0.15, length / 2, height))
    parts = (
        Part(body, Texture.BRICKS, paint, mortar, (rng.uniform(0.5, 0.8), rng.uniform(0.22, 0.34), 0.0, 0.0)),
    )
    return Thing(MANMADE, "wall", word, parts)


def pole(rng: np.random.Generator) -> Thing:
    """Street lamp: a tall post with an arm."""
    word, paint = pick_colour(rng, ("grey", "black", "green", "brown", "white"))
    height, arm = rng.uniform(5.0, 8.0), rng.uniform(0.8, 1.8)
    post = cone((0, 0, 0), (0, 0, height), rng.uniform(0.1, 0.15), 0.07)
    head = box((arm - 0.3, -0.14, height - 0.1), (arm + 0.35, 0.14, height + 0.06))
    arms = tube((0, 0, height - 0.05), (arm, 0, height), 0.05)
    return Thing(
        MANMADE,
        "pole",
        word,
        (Part(join([post, arms]), Texture.PLAIN, paint), Part(head, Texture.PLAIN, STEEL)),
    )


def sign(rng: np.random.Generator) -> Thing:
    """Traffic sign: a round, square or pointed plate with a border, on a post; its face looks along -x."""
    word, paint = pick_colour(rng, ("red", "blue", "yellow", "white", "green"))
    height, half = rng.uniform(2.2, 2.9), rng.uniform(0.3, 0.45)
    post = tube((0, 0, 0), (0, 0, height + half * 0.9), 0.045)
    sides = (16, 4, 3, 8)[int(rng.integers(4))]
    plate = tube((-0.08, 0, height), (-0.05, 0, height), half, sides=sides)
    edge = PALETTE["white"] if word != "white" else PALETTE["red"]
    face = Part(plate, Texture.PLATE, paint, edge, (height, half, float(rng.integers(3)), 0.0))
    return Thing(MANMADE, "sign", word, (face, Part(post, Texture.PLAIN, STEEL)))


LEAVES: dict[str, Colour] = {
    "green": (0.13, 0.36, 0.09),
    "yellow": (0.66, 0.56, 0.10),
    "red": (0.52, 0.13, 0.08),
    "orange": (0.68, 0.33, 0.07),
    "brown": (0.34, 0.23, 0.11),
}


def _leaf_colour(rng: np.random.Generator) -> tuple[str, Colour]:
    words = ("green", "green", "green", "green", "yellow", "red", "orange", "brown")
    word = words[int(rng.integers(len(words)))]
    shade = np.array(LEAVES[word]) * rng.uniform(0.75, 1.3) + rng.normal(0, 0.015, 3)
    return word, _triple(np.clip(shade, 0.02, 0.97))


def tree(rng: np.random.Generator) -> Thing:
    """Trunk and a crown of crumpled balls, or a conifer's stacked cones."""
    word, leaf = _leaf_colour(rng)
    trunk, crown = rng.uniform(1.6, 3.2), rng.uniform(1.3, 2.6)
    bark = _triple(np.array([0.34, 0.25, 0.17]) * rng.uniform(0.5, 1.5))
    if rng.random() < 0.25:
        tall = rng.uniform(4.0, 8.0)
        levels = np.linspace(0.6, tall, 4)
        tiers = [
            cone((0, 0, low), (0, 0, low + tall * 0.45), crown * (1.0 - 0.24 * i), 0.05, sides=9)
            for i, low in enumerate(levels)
        ]
        foliage = join([crumple(tier, 0.12, rng) for tier in tiers])
        top = 1.0
    else:
        top = trunk + crown * 0.6
        lumps = [ball((0, 0, trunk + crown * 0.9), (crown, crown, crown * rng.uniform(0.8, 1.2)))]
        for _ in range(int(rng.integers(2, 6))):
            x, y, z = rng.uniform(-0.7, 0.7, 3) * crown
            size = crown * rng.uniform(0.45, 0.75)
            lumps.append(ball((x, y, trunk + crown * 0.9 + z * 0.8), (size,) * 3))
        foliage = join([crumple(lump, 0.15, rng) for lump in lumps])
    stem = cone((0, 0, 0), (0, 0, top), rng.uniform(0.15, 0.28), 0.1)
    parts = (
        Part(foliage, Texture.LEAVES, leaf, _triple(np.array(leaf) * 0.3), (rng.uniform(0.3, 0.5), 0, 0, 0)),
        Part(stem, Texture.BARK, bark, _triple(np.array(bark) * 0.5)),
    )
    return Thing(VEGETATION, "tree", word, parts)


def bush(rng: np.random.Generator) -> Thing:
    """Low round bush or a length of hedge."""
    word, leaf = _leaf_colour(rng)
    dark = _triple(np.array(leaf) * 0.3)
    if rng.random() < 0.35:
        long, high, thick = rng.uniform(2, 6), rng.uniform(0.7, 1.6), rng.uniform(0.3, 0.6)
        body = box((-thick, -long / 2, 0), (thick, long / 2, high), inset=(0.1, 0.1, 0.1))
    else:
        size = rng.uniform(0.5, 1.1)
        body = join(
            [
                crumple(ball((x, y, size * 0.6), (size, size, size * 0.8)), 0.15, rng)
                for x, y in rng.uniform(-0.6, 0.6, (3, 2))
            ]
        )
    return Thing(
        VEGETATION,
        "bush",
        word,
        (Part(body, Texture.LEAVES, leaf, dark, (rng.uniform(0.22, 0.35), 0, 0, 0)),),
    )


MAKERS: dict[int, Callable[[np.random.Generator], Thing]] = {
    BARRIER: barrier,
    BICYCLE: bicycle,
    BUS: bus,
    CAR: car,
    PEDESTRIAN: pedestrian,
    CONE: traffic_cone,
    TRUCK: truck,
}
"""What makes a countable thing of each class."""
