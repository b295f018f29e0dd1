"""What lines a varied street: fences, rails, lights, gantries, shelters, cabinets, heaps and bridges.

Shapes are new, patterns are those of a plain street, so that a teacher that knows one knows the other.
"""

import numpy as np

from clip2scene.toytown.town.scenery import building
from clip2scene.toytown.town.shapes import Mesh, box, cone, crumple, join, tube
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.things import (
    DARK,
    MANMADE,
    PALETTE,
    STEEL,
    TERRAIN,
    Colour,
    Part,
    Thing,
    pick_colour,
    triple,
)


def _bricks(rng: np.random.Generator, mesh: Mesh, paint: Colour) -> Part:
    mortar = triple(np.array(paint) * (0.45 if np.mean(paint) > 0.35 else 1.9))
    return Part(
        mesh, Texture.BRICKS, paint, mortar, (rng.uniform(0.4, 0.8), rng.uniform(0.15, 0.34), 0.0, 0.0)
    )


def low_wall(rng: np.random.Generator, length: float) -> Thing:
    """Piece of a wall of bricks, from knee height to above a person's, along y."""
    word, paint = pick_colour(rng, ("red", "brown", "white", "grey", "beige", "orange"))
    half, high = length / 2 + 0.02, rng.uniform(0.4, 3.0)
    return Thing(MANMADE, "wall", word, (_bricks(rng, box((-0.15, -half, -0.2), (0.15, half, high)), paint),))


def fence(rng: np.random.Generator, length: float) -> Thing:
    """Piece of a fence along y: boards with gaps, level rails, or bars of steel; rays go through."""
    word, paint = pick_colour(rng, ("brown", "white", "grey", "green", "beige", "black"))
    half, high, style = length / 2, rng.uniform(0.8, 2.2), int(rng.integers(3))
    posts = [box((-0.05, y - 0.05, -0.2), (0.05, y + 0.05, high + 0.05)) for y in (-half, half)]
    rails = [box((-0.03, -half, z), (0.03, half, z + 0.07)) for z in (0.2 * high, 0.85 * high)]
    if style == 0:
        starts = np.arange(-half, half, rng.uniform(0.14, 0.24))
        rails += [box((0.03, y, 0.05), (0.05, y + 0.1, high)) for y in starts.tolist()]
    elif style == 1:
        rails += [box((-0.03, -half, z), (0.03, half, z + 0.1)) for z in (0.4 * high, 0.62 * high)]
    else:
        rails += [
            tube((0.0, y, 0.1), (0.0, y, high), 0.012, sides=4) for y in np.arange(-half, half, 0.13).tolist()
        ]
    parts = (Part(join([*posts, *rails]), Texture.PLANKS, paint, DARK, (0.3, 0.0, 0.0, 0.0)),)
    return Thing(MANMADE, "wall", word, parts)


def guard_rail(rng: np.random.Generator, length: float) -> Thing:
    """Piece of a crash barrier along y: a rail of steel on posts."""
    half, high = length / 2, rng.uniform(0.65, 0.85)
    rail = box((-0.05, -half - 0.02, high - 0.3), (0.05, half + 0.02, high))
    posts = [box((-0.04, y - 0.04, -0.2), (0.04, y + 0.04, high - 0.1)) for y in (-half, 0.0)]
    tone = triple(np.array(STEEL) * rng.uniform(0.6, 1.2))
    return Thing(MANMADE, "wall", "grey", (Part(join([rail, *posts]), Texture.PLAIN, tone),))


def bollard(rng: np.random.Generator) -> Thing:
    """Short post."""
    word, paint = pick_colour(rng, ("grey", "black", "white", "red", "green"))
    thick = rng.uniform(0.05, 0.15)
    post = cone((0.0, 0.0, 0.0), (0.0, 0.0, rng.uniform(0.6, 1.1)), thick, thick * 0.9)
    return Thing(MANMADE, "pole", word, (Part(post, Texture.PLAIN, paint),))


def mast(rng: np.random.Generator) -> Thing:
    """High post of wood or steel, sometimes with a cross bar, thin or thick."""
    word, paint = pick_colour(rng, ("grey", "brown", "white", "black"))
    high, thick = rng.uniform(4.0, 11.0), rng.uniform(0.04, 0.2)
    meshes = [cone((0.0, 0.0, 0.0), (0.0, 0.0, high), thick, thick * 0.7)]
    if rng.random() < 0.5:
        wide = rng.uniform(0.5, 1.3)
        meshes.append(box((-0.06, -wide, high - 0.7), (0.06, wide, high - 0.58)))
    return Thing(MANMADE, "pole", word, (Part(join(meshes), Texture.PLAIN, paint),))


def traffic_light(rng: np.random.Generator) -> Thing:
    """Post with a box of three lamps, or an arm (along x) with one over the road; lamps look along y."""
    word, paint = pick_colour(rng, ("grey", "black", "yellow", "green"))
    arm = rng.uniform(2.5, 5.5) if rng.random() < 0.5 else 0.0
    high = rng.uniform(5.3, 6.2) if arm else rng.uniform(2.4, 3.2)
    meshes = [cone((0.0, 0.0, 0.0), (0.0, 0.0, high), 0.1, 0.07)]
    if arm:
        meshes.append(tube((0.0, 0.0, high - 0.1), (arm, 0.0, high - 0.1), 0.06))
    case = box((arm - 0.16, -0.12, high - 0.9), (arm + 0.16, 0.16, high))
    tones = ((0.8, 0.03, 0.03), (0.9, 0.6, 0.05), (0.05, 0.7, 0.2))
    lamps = [
        Part(
            box((arm - 0.1, 0.15, high - 0.25 - 0.28 * i), (arm + 0.1, 0.19, high - 0.05 - 0.28 * i)),
            Texture.LAMP,
            tone,
        )
        for i, tone in enumerate(tones)
    ]
    parts = (Part(join(meshes), Texture.PLAIN, paint), Part(case, Texture.PLAIN, DARK), *lamps)
    return Thing(MANMADE, "pole", word, parts)


def _plate(rng: np.random.Generator, paint: Colour, middle: tuple[float, float], half: float) -> Part:
    """Square of a sign around (y, z), whose face looks along -x."""
    y, z = middle
    mesh = box((-0.1, y - half, z - half), (-0.05, y + half, z + half))
    return Part(mesh, Texture.PLATE, paint, PALETTE["white"], (z, half, float(rng.integers(3)), 0.0))


def billboard(rng: np.random.Generator) -> Thing:
    """Large sign on two posts, across the street's direction; its face looks along -x."""
    word, paint = pick_colour(rng, ("red", "blue", "yellow", "green"))
    half, low = rng.uniform(0.7, 1.8), rng.uniform(0.8, 2.5)
    posts = [tube((0.0, y, 0.0), (0.0, y, low + half), 0.07) for y in (-half * 0.7, half * 0.7)]
    parts = (_plate(rng, paint, (0.0, low + half), half), Part(join(posts), Texture.PLAIN, STEEL))
    return Thing(MANMADE, "sign", word, parts)


def gantry(rng: np.random.Generator, width: float) -> Thing:
    """Beam across a road of ``width`` on two posts, with signs that hang from it and look along -x."""
    word, paint = pick_colour(rng, ("blue", "green"))
    half, high = width / 2, rng.uniform(5.8, 6.6)
    beams = [box((-0.12, -half, high), (0.12, half, high + 0.35))]
    beams += [box((-0.14, y - 0.14, -0.2), (0.14, y + 0.14, high)) for y in (-half, half)]
    spots = np.linspace(-half * 0.6, half * 0.6, int(rng.integers(1, 4))).tolist()
    signs = [_plate(rng, paint, (y, high - 0.3), 0.65) for y in spots]
    return Thing(MANMADE, "sign", word, (*signs, Part(join(beams), Texture.PLAIN, STEEL)))


def shelter(rng: np.random.Generator) -> Thing:
    """Shelter where one waits for a bus: a back of bricks, a roof and two posts, open along x."""
    word, paint = pick_colour(rng, ("red", "brown", "grey", "beige"))
    half, high, deep = rng.uniform(1.2, 2.2), rng.uniform(2.2, 2.6), rng.uniform(1.0, 1.6)
    back = box((-deep / 2, -half, -0.1), (-deep / 2 + 0.12, half, high))
    roof = box((-deep / 2 - 0.1, -half - 0.1, high), (deep / 2 + 0.2, half + 0.1, high + 0.12))
    posts = [tube((deep / 2, y, 0.0), (deep / 2, y, high), 0.05) for y in (-half, half)]
    parts = (_bricks(rng, back, paint), Part(join([roof, *posts]), Texture.PLAIN, STEEL))
    return Thing(MANMADE, "wall", word, parts)


def cabinet(rng: np.random.Generator) -> Thing:
    """Box for cables or refuse, a crate or a pillar, of bricks or like a tiny house."""
    if rng.random() < 0.3:
        return building(rng, rng.uniform(1.8, 3.0), rng.uniform(1.5, 2.5), rng.uniform(2.2, 2.8))
    word, paint = pick_colour(rng, ("grey", "green", "white", "beige", "brown"))
    x, y = rng.uniform(0.15, 0.6, 2)
    mesh = box((-x, -y, -0.1), (x, y, rng.uniform(0.5, 1.9)))
    return Thing(MANMADE, "wall", word, (_bricks(rng, mesh, paint),))


def heap(rng: np.random.Generator) -> Thing:
    """Heap of earth or sand."""
    wide, high = rng.uniform(0.8, 2.2), rng.uniform(0.4, 1.4)
    mesh = crumple(cone((0.0, 0.0, -0.1), (0.0, 0.0, high), wide, wide * 0.15, sides=10), 0.12, rng)
    return Thing(
        TERRAIN, "grass", "brown", (Part(mesh, Texture.GRASS, (0.48, 0.37, 0.22), (0.36, 0.27, 0.16)),)
    )


def bridge(rng: np.random.Generator, width: float) -> Thing:
    """Bridge across a road of ``width``, along y: a deck on four pillars, with parapets."""
    word, paint = pick_colour(rng, ("grey", "beige", "red", "brown"))
    half, deep, high = width / 2, rng.uniform(1.2, 5.0), rng.uniform(5.2, 6.5)
    meshes = [box((-deep, -half - 1.0, high), (deep, half + 1.0, high + 0.9))]
    for side in (-1, 1):
        parapet = side * (deep - 0.15)
        meshes.append(
            box((parapet - 0.15, -half - 1.0, high + 0.9), (parapet + 0.15, half + 1.0, high + 1.9))
        )
        ends = ((side * deep * 0.7, y) for y in (-half, half))
        meshes += [tube((x, y, -0.3), (x, y, high), 0.35, sides=10) for x, y in ends]
    return Thing(MANMADE, "wall", word, (_bricks(rng, join(meshes), paint),))


def fronted_building(rng: np.random.Generator, width: float, depth: float, height: float) -> Thing:
    """Building of a plain street, or one with an awning, balconies or a porch over the sidewalk (at -x)."""
    plain, extra = building(rng, width, depth, height * rng.uniform(0.6, 1.3)), rng.random()
    front, half = -depth / 2, width / 2
    if extra < 0.4:
        return plain
    if extra < 0.65:
        meshes = [box((front - rng.uniform(0.8, 1.8), -half * 0.8, 2.7), (front, half * 0.8, 2.85))]
    elif extra < 0.85:
        levels = np.arange(3.2, max(3.5, height * 0.6), 3.0).tolist()
        meshes = [
            box((front - 1.0, y - 1.1, z), (front, y + 1.1, z + 1.0))
            for z in levels
            for y in (-half / 2, half / 2)
        ]
    else:
        reach = rng.uniform(1.2, 2.0)
        meshes = [box((front - reach, -1.5, 2.6), (front, 1.5, 2.8))]
        meshes += [
            tube((front - reach + 0.1, y, 0.0), (front - reach + 0.1, y, 2.6), 0.08) for y in (-1.4, 1.4)
        ]
    return Thing(
        plain.label,
        plain.noun,
        plain.colour,
        (*plain.parts, Part(join(meshes), Texture.PLAIN, pick_colour(rng)[1])),
    )
