"""What stands along a street: buildings, walls, lamps, signs, trees and bushes, each drawn anew."""

import numpy as np

from clip2scene.toytown.town.shapes import ball, box, cone, crumple, extrude, join, tube
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.things import (
    DARK,
    MANMADE,
    PALETTE,
    STEEL,
    VEGETATION,
    Colour,
    Part,
    Thing,
    pick_colour,
    triple,
)


def building(rng: np.random.Generator, width: float, depth: float, height: float) -> Thing:
    """Block or gabled house of ``width`` (along y) by ``depth`` (along x), windows on all sides."""
    word, paint = pick_colour(rng)
    trim = pick_colour(rng)[1] if rng.random() < 0.35 else PALETTE["white"]
    cell = (rng.uniform(1.9, 3.2), rng.uniform(2.7, 3.4), rng.uniform(0.42, 0.7), float(rng.integers(8)))
    half, side = depth / 2, width / 2
    parts = [Part(box((-half, -side, 0.0), (half, side, height)), Texture.FACADE, paint, trim, cell)]
    if height < 9.5 and rng.random() < 0.75:
        roof = pick_colour(rng, ("red", "brown", "grey", "black", "orange", "green", "blue"))[1]
        ridge = rng.uniform(1.5, 3.5)
        profile = [(-half - 0.4, height - 0.1), (half + 0.4, height - 0.1), (0.0, height + ridge)]
        parts.append(
            Part(
                extrude(profile, side + 0.3), Texture.ROOF, roof, DARK, (rng.uniform(0.4, 0.7), 0.0, 0.0, 0.0)
            )
        )
        if rng.random() < 0.6:
            stack = box((-1.6, side * 0.4, height), (-0.9, side * 0.4 + 0.7, height + ridge + 0.6))
            parts.append(
                Part(stack, Texture.BRICKS, (0.5, 0.2, 0.15), (0.7, 0.7, 0.65), (0.3, 0.12, 0.0, 0.0))
            )
    else:
        crown = box((-half - 0.2, -side - 0.2, height - 0.3), (half + 0.2, side + 0.2, height + 0.5))
        parts.append(Part(crown, Texture.PLAIN, trim))
    noun = "house" if height < 9.5 else "building"
    return Thing(MANMADE, noun, word, tuple(parts))


def wall(rng: np.random.Generator, length: float) -> Thing:
    """Garden wall of bricks, along y."""
    word, paint = pick_colour(rng, ("red", "brown", "white", "grey", "beige", "orange"))
    height = rng.uniform(1.0, 2.2)
    mortar = triple(np.array(paint) * (0.45 if np.mean(paint) > 0.35 else 1.9))
    body = box((-0.15, -length / 2, 0.0), (0.15, length / 2, height))
    parts = (
        Part(body, Texture.BRICKS, paint, mortar, (rng.uniform(0.5, 0.8), rng.uniform(0.22, 0.34), 0.0, 0.0)),
    )
    return Thing(MANMADE, "wall", word, parts)


def pole(rng: np.random.Generator) -> Thing:
    """Street lamp: a tall post with an arm."""
    word, paint = pick_colour(rng, ("grey", "black", "green", "brown", "white"))
    height, arm = rng.uniform(5.0, 8.0), rng.uniform(0.8, 1.8)
    post = cone((0.0, 0.0, 0.0), (0.0, 0.0, height), rng.uniform(0.1, 0.15), 0.07)
    head = box((arm - 0.3, -0.14, height - 0.1), (arm + 0.35, 0.14, height + 0.06))
    arms = tube((0.0, 0.0, height - 0.05), (arm, 0.0, height), 0.05)
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
    post = tube((0.0, 0.0, 0.0), (0.0, 0.0, height + half * 0.9), 0.045)
    sides = (16, 4, 3, 8)[int(rng.integers(4))]
    plate = tube((-0.08, 0.0, height), (-0.05, 0.0, height), half, sides=sides)
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


def leaf_colour(rng: np.random.Generator) -> tuple[str, Colour]:
    """Draw a colour of leaves, and its word."""
    words = ("green", "green", "green", "green", "yellow", "red", "orange", "brown")
    word = words[int(rng.integers(len(words)))]
    shade = np.array(LEAVES[word]) * rng.uniform(0.75, 1.3) + rng.normal(0.0, 0.015, 3)
    return word, triple(np.clip(shade, 0.02, 0.97))


def tree(rng: np.random.Generator) -> Thing:
    """Trunk and a crown of crumpled balls, or a conifer's stacked cones."""
    word, leaf = leaf_colour(rng)
    trunk, crown = rng.uniform(1.6, 3.2), rng.uniform(1.3, 2.6)
    bark = triple(np.array([0.34, 0.25, 0.17]) * rng.uniform(0.5, 1.5))
    if rng.random() < 0.25:
        tall = rng.uniform(4.0, 8.0)
        levels = np.linspace(0.6, tall, 4)
        tiers = [
            cone((0.0, 0.0, low), (0.0, 0.0, low + tall * 0.45), crown * (1.0 - 0.24 * i), 0.05, sides=9)
            for i, low in enumerate(levels)
        ]
        foliage = join([crumple(tier, 0.12, rng) for tier in tiers])
        top = 1.0
    else:
        top = trunk + crown * 0.6
        lumps = [ball((0.0, 0.0, trunk + crown * 0.9), (crown, crown, crown * rng.uniform(0.8, 1.2)))]
        for _ in range(int(rng.integers(2, 6))):
            x, y, z = rng.uniform(-0.7, 0.7, 3) * crown
            size = crown * rng.uniform(0.45, 0.75)
            lumps.append(ball((x, y, trunk + crown * 0.9 + z * 0.8), (size,) * 3))
        foliage = join([crumple(lump, 0.15, rng) for lump in lumps])
    stem = cone((0.0, 0.0, 0.0), (0.0, 0.0, top), rng.uniform(0.15, 0.28), 0.1)
    parts = (
        Part(
            foliage,
            Texture.LEAVES,
            leaf,
            triple(np.array(leaf) * 0.3),
            (rng.uniform(0.3, 0.5), 0.0, 0.0, 0.0),
        ),
        Part(stem, Texture.BARK, bark, triple(np.array(bark) * 0.5)),
    )
    return Thing(VEGETATION, "tree", word, parts)


def bush(rng: np.random.Generator) -> Thing:
    """Low round bush or a length of hedge."""
    word, leaf = leaf_colour(rng)
    dark = triple(np.array(leaf) * 0.3)
    if rng.random() < 0.35:
        long, high, thick = rng.uniform(2, 6), rng.uniform(0.7, 1.6), rng.uniform(0.3, 0.6)
        body = box((-thick, -long / 2, 0.0), (thick, long / 2, high), inset=(0.1, 0.1, 0.1))
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
        (Part(body, Texture.LEAVES, leaf, dark, (rng.uniform(0.22, 0.35), 0.0, 0.0, 0.0)),),
    )
