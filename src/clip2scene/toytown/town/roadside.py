"""People, traffic cones and barriers, each drawn anew."""

import numpy as np

from clip2scene.toytown.town.shapes import Mesh, ball, box, cone, extrude, join, tube
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.things import (
    BARRIER,
    CONE,
    DARK,
    PALETTE,
    PEDESTRIAN,
    STEEL,
    Colour,
    Part,
    Thing,
    pick_colour,
    triple,
)


def pedestrian(rng: np.random.Generator) -> Thing:
    """Person standing or in mid-stride: head, hair, torso, arms, legs; sometimes a skirt or a bag."""
    word, shirt = pick_colour(rng)
    trousers = pick_colour(rng)[1]
    skin = triple(np.array([0.80, 0.58, 0.44]) * rng.uniform(0.35, 1.1))
    hair = triple(np.array([0.25, 0.17, 0.10]) * rng.uniform(0.2, 2.5))
    tall = rng.uniform(1.5, 1.92)
    hip, shoulder, stout = 0.49 * tall, 0.81 * tall, rng.uniform(0.9, 1.3)
    stride, swing = rng.uniform(0.0, 0.32), rng.uniform(-0.25, 0.25)
    thick = 0.085 * stout
    legs = [
        cone((0.0, s * 0.1, hip), (s * stride, s * 0.11, 0.08), thick * 1.15, thick * 0.75) for s in (-1, 1)
    ]
    shoes = [
        ball((s * stride + 0.06, s * 0.11, 0.06), (0.15, 0.06, 0.06), rows=4, columns=6) for s in (-1, 1)
    ]
    top, hand = shoulder - 0.04, hip - 0.05
    arms = [
        cone((0.0, s * 0.22 * stout, top), (-s * swing, s * 0.27 * stout, hand), 0.06, 0.045) for s in (-1, 1)
    ]
    hands = [
        ball((-s * swing, s * 0.27 * stout, hip - 0.08), (0.05,) * 3, rows=4, columns=6) for s in (-1, 1)
    ]
    torso = _flattened(cone((0.0, 0.0, hip - 0.08), (0.0, 0.0, shoulder), 0.17 * stout, 0.22 * stout), 0.65)
    stripes = pick_colour(rng)[1], (float(rng.integers(3)), 0.0, 0.0, 0.0)
    neck = tube((0.0, 0.0, shoulder), (0.0, 0.0, shoulder + 0.1), 0.06)
    parts = [
        Part(join(legs), Texture.CLOTH, trousers),
        Part(join(shoes), Texture.PLAIN, DARK),
        Part(join([torso, *arms]), Texture.CLOTH, shirt, *stripes),
        Part(join([neck, *hands]), Texture.PLAIN, skin),
        Part(ball((0.01, 0.0, tall - 0.13), (0.105, 0.09, 0.13)), Texture.PLAIN, skin),
        Part(ball((-0.025, 0.0, tall - 0.085), (0.105, 0.1, 0.105)), Texture.PLAIN, hair),
        *_skirt_or_bag(rng, hip, shoulder, tall, stout, shirt),
    ]
    return Thing(PEDESTRIAN, "person", word, tuple(parts))


def _skirt_or_bag(
    rng: np.random.Generator, hip: float, shoulder: float, tall: float, stout: float, shirt: Colour
) -> list[Part]:
    """Part of half of all people."""
    extra = rng.random()
    if extra < 0.25:
        skirt = cone((0.0, 0.0, hip + 0.1), (0.0, 0.0, 0.25 * tall), 0.17 * stout, 0.3)
        return [Part(_flattened(skirt, 0.8), Texture.CLOTH, shirt)]
    if extra < 0.5:
        bag = box((-0.32, -0.15, shoulder - 0.5), (-0.12, 0.15, shoulder - 0.02), inset=(0.05, 0.0, 0.04))
        return [Part(bag, Texture.CLOTH, pick_colour(rng)[1])]
    return []


def _flattened(mesh: Mesh, factor: float) -> Mesh:
    return Mesh(mesh.vertices * np.array([factor, 1, 1], np.float32), mesh.faces)


def traffic_cone(rng: np.random.Generator) -> Thing:
    """Cone on a square plate, plain or with rings of another colour."""
    word, paint = pick_colour(rng, ("orange", "orange", "orange", "yellow", "red", "blue", "green"))
    height, radius = rng.uniform(0.6, 1.05), rng.uniform(0.17, 0.25)
    ring = pick_colour(rng, ("white", "white", "white", "yellow", "grey", "black"))[1]
    if ring == paint:
        ring = PALETTE["white"]
    numbers = (height, float(rng.integers(1, 4)), rng.uniform(0.4, 0.6), 0.0)
    plate = box((-radius * 1.35, -radius * 1.35, 0.0), (radius * 1.35, radius * 1.35, 0.06))
    body = cone((0.0, 0.0, 0.04), (0.0, 0.0, height), radius, 0.035, sides=12)
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
        profile = [
            (-foot, 0.0),
            (foot, 0.0),
            (foot * 0.85, 0.16),
            (0.11, 0.42),
            (0.08, height),
            (-0.08, height),
        ]
        profile += [(-0.11, 0.42), (-foot * 0.85, 0.16)]
        block = extrude(profile, half).moved((0.0, 0.0, 0.0))
        texture = Texture.CONCRETE if style == 0 else Texture.BLOCKS
        parts = [Part(block, texture, paint, other, (rng.uniform(0.5, 0.9), height, 0.0, 0.0))]
    else:
        boards = [box((-0.04, -half, height - 0.32), (0.04, half, height))]
        if style == 3 or rng.random() < 0.5:
            boards.append(box((-0.04, -half, height - 0.78), (0.04, half, height - 0.46)))
        legs = [box((-0.3, y - 0.04, 0.0), (0.3, y + 0.04, 0.1)) for y in (-half * 0.8, half * 0.8)]
        legs += [box((-0.03, y - 0.05, 0.0), (0.03, y + 0.05, height)) for y in (-half * 0.8, half * 0.8)]
        parts = [
            Part(join(boards), Texture.SLANTED, paint, other, slant),
            Part(join(legs), Texture.PLAIN, STEEL),
        ]
    return Thing(BARRIER, "barrier", word, tuple(parts))
