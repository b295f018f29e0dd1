"""Shapes of vehicles that a plain street does not have: vans, pickups, trailers, small buses, riders."""

import numpy as np

from clip2scene.toytown.town.shapes import Mesh, ball, box, cone, extrude, join, tube
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.things import BICYCLE, BUS, CAR, DARK, TRUCK, Part, Thing, pick_colour, triple
from clip2scene.toytown.town.vehicles import bicycle, bus, car, lamps, truck, wheels

_GLASS = (0.10, 0.13, 0.16)


def any_car(rng: np.random.Generator) -> Thing:
    """Car of a plain street, or a van, a pickup or a high car."""
    makers = (car, car, van, pickup, high_car)
    return makers[int(rng.integers(len(makers)))](rng)


def any_truck(rng: np.random.Generator) -> Thing:
    """Truck of a plain street, or a tractor with a trailer."""
    return (truck, trailer_truck)[int(rng.integers(2))](rng)


def any_bus(rng: np.random.Generator) -> Thing:
    """Bus of a plain street, or a small one."""
    return (bus, small_bus)[int(rng.integers(2))](rng)


def van(rng: np.random.Generator) -> Thing:
    """High box with a short slanted front, glazed all along or in front only."""
    word, paint = pick_colour(rng)
    length, half, high = rng.uniform(4.4, 6.0), rng.uniform(0.9, 1.05), rng.uniform(1.85, 2.5)
    front, back, waist = length / 2, -length / 2, rng.uniform(0.95, 1.15)
    nose = rng.uniform(0.5, 1.0)
    low = extrude(
        [(back, 0.25), (front, 0.25), (front, waist - 0.2), (front - nose, waist), (back, waist)], half
    )
    slant = rng.uniform(0.4, 0.8)
    top = box((back, -half + 0.03, waist - 0.02), (front - nose, half - 0.03, high), inset=(0.05, slant, 0.1))
    glazed = back if rng.random() < 0.5 else front - nose - 1.4
    cabin = box(
        (glazed, -half + 0.01, waist),
        (front - nose + 0.02, half - 0.01, high - 0.15),
        inset=(0.0, slant * 0.9, 0.09),
    )
    parts = (
        Part(join([low, top]), Texture.PAINT, paint),
        Part(cabin, Texture.CAR_GLASS, paint, _GLASS, ((glazed + front - nose) / 2, waist, high - 0.1, half)),
        *wheels((front - 0.85, back + 0.9), half + 0.03, rng.uniform(0.31, 0.37), rng),
        *lamps(front, back, half, 0.6),
    )
    return Thing(CAR, "car", word, parts)


def pickup(rng: np.random.Generator) -> Thing:
    """Car with a glazed cabin in the middle and an open bed behind, empty or loaded."""
    word, paint = pick_colour(rng)
    length, half, waist = rng.uniform(4.8, 5.7), rng.uniform(0.9, 1.02), rng.uniform(1.0, 1.15)
    front, back, high = length / 2, -length / 2, waist + rng.uniform(0.55, 0.75)
    bed = back + rng.uniform(1.4, 2.0)
    sides = [box((back, y - 0.05, 0.6), (bed, y + 0.05, waist)) for y in (-half + 0.05, half - 0.05)]
    sides.append(box((back, -half, 0.6), (back + 0.08, half, waist)))
    lower = box((back, -half, 0.4), (front, half, 0.7))
    upper = extrude(
        [(bed, 0.65), (front, 0.65), (front, waist - 0.15), (front - 1.3, waist), (bed, waist)], half
    )
    cabin = box((bed, -half + 0.04, waist - 0.02), (front - 1.2, half - 0.04, high), inset=(0.1, 0.6, 0.16))
    parts = [
        Part(join([lower, upper, *sides]), Texture.PAINT, paint),
        Part(cabin, Texture.CAR_GLASS, paint, _GLASS, ((bed + front - 1.2) / 2, waist, high, half)),
        *wheels((front - 0.9, back + 1.0), half + 0.03, rng.uniform(0.36, 0.42), rng),
        *lamps(front, back, half, 0.7),
    ]
    if rng.random() < 0.4:
        load = box((back + 0.2, -half + 0.15, 0.7), (bed - 0.1, half - 0.15, waist + rng.uniform(0.0, 0.5)))
        parts.append(Part(load, Texture.PLANKS, pick_colour(rng)[1], DARK, (0.3, 0.0, 0.0, 0.0)))
    return Thing(CAR, "car", word, tuple(parts))


def high_car(rng: np.random.Generator) -> Thing:
    """Tall car with a steep back and large wheels, or a very short one."""
    word, paint = pick_colour(rng)
    small = rng.random() < 0.4
    length, half = (rng.uniform(2.7, 3.4) if small else rng.uniform(4.3, 5.1)), rng.uniform(0.78, 1.0)
    waist, front, back = rng.uniform(0.9, 1.15), length / 2, -length / 2
    high = waist + rng.uniform(0.6, 0.8)
    bonnet = 0.55 if small else 1.2
    body = extrude(
        [(back, 0.3), (front, 0.3), (front, waist - 0.2), (front - bonnet, waist), (back, waist)], half
    )
    cabin = box(
        (back + 0.05, -half + 0.04, waist - 0.02),
        (front - bonnet + 0.1, half - 0.04, high),
        inset=(0.15, 0.5, 0.15),
    )
    roof = box((back + 0.2, -half + 0.2, high - 0.04), (front - bonnet - 0.4, half - 0.2, high + 0.06))
    parts = (
        Part(join([body, roof]), Texture.PAINT, paint),
        Part(cabin, Texture.CAR_GLASS, paint, _GLASS, ((back + front - bonnet) / 2, waist, high, half)),
        *wheels((front - 0.65, back + 0.6), half + 0.03, rng.uniform(0.3, 0.4), rng),
        *lamps(front, back, half, 0.6),
    )
    return Thing(CAR, "car", word, parts)


def trailer_truck(rng: np.random.Generator) -> Thing:
    """Tractor with a long box, tank or open frame of containers behind it."""
    word, paint = pick_colour(rng)
    length, half, cab = rng.uniform(11.0, 15.5), rng.uniform(1.2, 1.28), rng.uniform(2.0, 2.4)
    front, back, cab_height = length / 2, -length / 2, rng.uniform(2.9, 3.6)
    cab_mesh = box(
        (front - cab, -half, 0.5), (front, half, cab_height), inset=(0.0, rng.uniform(0.05, 0.4), 0.1)
    )
    frame = box((back, -half * 0.5, 0.75), (front - cab, half * 0.5, 1.1))
    load_front, load = front - cab - rng.uniform(0.6, 1.0), pick_colour(rng)[1]
    if rng.random() < 0.7:
        cargo, turn = box((back, -half, 1.1), (load_front, half, rng.uniform(3.4, 4.0))), 0.0
    else:
        cargo, turn = tube((back, 0.0, 1.1 + half), (load_front, 0.0, 1.1 + half), half, sides=16), 1.0
    ribs = (rng.uniform(0.4, 1.4), turn, 0.0, 0.0)
    axles = (front - 1.2, front - cab - 1.2, back + 1.0, back + 2.2, back + 3.4)
    parts = (
        Part(cab_mesh, Texture.CAB, paint, _GLASS, (front - cab, 1.5, cab_height - 0.4, cab)),
        Part(frame, Texture.PLAIN, DARK),
        Part(cargo, Texture.RIBS, load, pick_colour(rng)[1], ribs),
        *wheels(axles, half + 0.01, 0.5, rng),
        *lamps(front + 0.01, back - 0.01, half, 0.7),
    )
    return Thing(TRUCK, "truck", word, parts)


def small_bus(rng: np.random.Generator) -> Thing:
    """Bus of half the length, lower, with a slanted front."""
    word, paint = pick_colour(rng)
    front, half, high = rng.uniform(3.2, 4.2), rng.uniform(1.05, 1.2), rng.uniform(2.5, 2.9)
    band = pick_colour(rng)[1] if rng.random() < 0.5 else paint
    numbers = (rng.uniform(0.9, 1.3), rng.uniform(1.15, 1.3), high - rng.uniform(0.4, 0.5), front)
    body = box((-front, -half, 0.3), (front, half, high), inset=(0.05, rng.uniform(0.2, 0.7), 0.08))
    parts = (
        Part(body, Texture.BUS_SIDE, paint, band, numbers),
        *wheels((front - 1.1, -front + 1.5), half + 0.02, 0.42, rng),
        *lamps(front + 0.01, -front - 0.01, half, 0.6),
    )
    return Thing(BUS, "bus", word, parts)


def rider(rng: np.random.Generator) -> Thing:
    """Bicycle with somebody on it, upright or bent over the handlebar; one thing, as nuScenes counts it."""
    machine, lean, wide = bicycle(rng), rng.uniform(0.1, 0.5), rng.uniform(0.9, 1.25)
    hip = np.array([-0.27, 0.0, 0.98])
    chest = hip + [np.sin(lean) * 0.52, 0.0, np.cos(lean) * 0.52]
    head = chest + [0.08 + 0.05 * lean, 0.0, 0.22]
    shirt, trousers = pick_colour(rng)[1], pick_colour(rng)[1]
    skin = triple(np.array([0.80, 0.58, 0.44]) * rng.uniform(0.35, 1.1))
    lifts = rng.uniform(0.0, 0.3)
    limbs: list[Mesh] = []
    for side, foot in ((-1, 0.15 + lifts), (1, 0.45 - lifts)):
        knee = (0.1, side * 0.12, 0.62 + foot * 0.4)
        limbs.append(cone(_at(hip, side * 0.09), knee, 0.09, 0.06))
        limbs.append(cone(knee, (-0.05, side * 0.12, foot), 0.06, 0.045))
    arms = [cone(_at(chest, side * 0.2), (0.42, side * 0.24, 1.02), 0.055, 0.04) for side in (-1, 1)]
    torso = cone(_at(hip, 0.0), _at(chest, 0.0), 0.15 * wide, 0.2 * wide)
    parts = (
        Part(join(limbs), Texture.CLOTH, trousers),
        Part(
            join([torso, *arms]),
            Texture.CLOTH,
            shirt,
            pick_colour(rng)[1],
            (float(rng.integers(3)), 0.0, 0.0, 0.0),
        ),
        Part(ball(_at(head, 0.0), (0.1, 0.09, 0.13)), Texture.PLAIN, skin),
        Part(
            ball((head[0] - 0.02, 0.0, head[2] + 0.05), (0.115, 0.105, 0.1)),
            Texture.PLAIN,
            pick_colour(rng)[1],
        ),
    )
    return Thing(BICYCLE, "bicycle", machine.colour, (*machine.parts, *parts))


def _at(place: np.ndarray, aside: float) -> tuple[float, float, float]:
    return float(place[0]), float(place[1] + aside), float(place[2])
