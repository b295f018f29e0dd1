"""Plants of a varied street: crowns of many shapes, some of which let rays through, and what grows low."""

import numpy as np

from clip2scene.toytown.town.scenery import bush, leaf_colour, tree
from clip2scene.toytown.town.shapes import Mesh, Vector, ball, box, cone, crumple, join
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.things import VEGETATION, Colour, Part, Thing, triple


def any_tree(rng: np.random.Generator) -> Thing:
    """Tree of a plain street, or a bare, airy, low, slender or palm-like one."""
    makers = (tree, tree, bare_tree, airy_tree, airy_tree, low_tree, slender_tree, palm)
    return makers[int(rng.integers(len(makers)))](rng)


def any_bush(rng: np.random.Generator) -> Thing:
    """Bush of a plain street, a tuft of high grass, or a loose bush."""
    makers = (bush, bush, high_grass, loose_bush)
    return makers[int(rng.integers(len(makers)))](rng)


def _bark(rng: np.random.Generator, *meshes: Mesh) -> Part:
    colour = triple(np.array([0.34, 0.25, 0.17]) * rng.uniform(0.5, 1.5))
    return Part(join(meshes), Texture.BARK, colour, triple(np.array(colour) * 0.5))


def _foliage(rng: np.random.Generator, leaf: Colour, meshes: list[Mesh]) -> Part:
    clump = (rng.uniform(0.25, 0.5), 0.0, 0.0, 0.0)
    return Part(join(meshes), Texture.LEAVES, leaf, triple(np.array(leaf) * 0.3), clump)


def _scattered(
    rng: np.random.Generator, centre: Vector, radii: Vector, number: int, size: float
) -> list[Mesh]:
    """Clumps of leaves all over an ellipsoid, with air between them."""
    ways = rng.normal(size=(number, 3))
    ways *= (rng.random(number) ** (1 / 3) / np.linalg.norm(ways, axis=1))[:, None]
    spots = np.array(centre) + ways * np.array(radii)
    sizes = size * rng.uniform(0.5, 1.3, (number, 3))
    return [
        crumple(ball(_vector(spot), _vector(radius), rows=3, columns=5), 0.3, rng)
        for spot, radius in zip(spots, sizes, strict=True)
    ]


def _vector(values: np.ndarray) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])


def _branches(rng: np.random.Generator, trunk: float, reach: float, number: int) -> list[Mesh]:
    """Limbs from the upper half of a trunk, up and outwards, each with a twig."""
    meshes = []
    for angle in rng.uniform(0.0, 2 * np.pi, number):
        start = np.array([0.0, 0.0, trunk * rng.uniform(0.5, 1.0)])
        way = np.array([np.cos(angle), np.sin(angle), rng.uniform(0.4, 1.6)]) * reach * rng.uniform(0.5, 1.0)
        fork = start + way * 0.55
        twig = fork + way * rng.uniform(0.3, 0.6) * np.array([1.0, 1.0, 0.4]) + rng.normal(0, 0.3, 3) * reach
        thick = rng.uniform(0.04, 0.09)
        meshes.append(cone(_vector(start), _vector(start + way), thick, 0.015, sides=5))
        meshes.append(cone(_vector(fork), _vector(twig), thick * 0.5, 0.01, sides=4))
    return meshes


def bare_tree(rng: np.random.Generator) -> Thing:
    """Trunk with bare limbs, as in winter."""
    trunk, thick = rng.uniform(2.5, 6.0), rng.uniform(0.1, 0.3)
    stem = cone((0.0, 0.0, 0.0), (0.0, 0.0, trunk), thick, thick * 0.4)
    limbs = _branches(rng, trunk, rng.uniform(1.2, 2.6), int(rng.integers(10, 22)))
    return Thing(VEGETATION, "tree", "brown", (_bark(rng, stem, *limbs),))


def airy_tree(rng: np.random.Generator) -> Thing:
    """Trunk, limbs and scattered clumps of leaves that let rays through, large or small."""
    word, leaf = leaf_colour(rng)
    trunk, crown = rng.uniform(1.8, 5.0), rng.uniform(1.2, 3.6)
    tall = crown * rng.uniform(0.7, 1.4)
    middle = (0.0, 0.0, float(trunk + tall * 0.6))
    clumps = _scattered(rng, middle, (crown, crown, tall), int(rng.integers(25, 60)), crown * 0.2)
    thick = rng.uniform(0.1, 0.35)
    stem = cone((0.0, 0.0, 0.0), middle, thick, thick * 0.4)
    limbs = _branches(rng, trunk, crown * 0.6, 5)
    return Thing(VEGETATION, "tree", word, (_foliage(rng, leaf, clumps), _bark(rng, stem, *limbs)))


def low_tree(rng: np.random.Generator) -> Thing:
    """Broad crown that begins at a person's height or hangs to the ground."""
    word, leaf = leaf_colour(rng)
    crown, low = rng.uniform(1.2, 2.8), rng.uniform(0.2, 1.5)
    tall = crown * rng.uniform(0.6, 1.0)
    middle = (0.0, 0.0, float(low + tall))
    lumps = [crumple(ball(middle, (crown, crown, tall), rows=7, columns=11), 0.2, rng)]
    lumps += _scattered(rng, middle, (crown, crown, tall), 14, crown * 0.3)
    stem = cone((0.0, 0.0, 0.0), middle, rng.uniform(0.1, 0.2), 0.08)
    return Thing(VEGETATION, "tree", word, (_foliage(rng, leaf, lumps), _bark(rng, stem)))


def slender_tree(rng: np.random.Generator) -> Thing:
    """High and narrow, as a poplar or a cypress."""
    word, leaf = leaf_colour(rng)
    tall, wide, low = rng.uniform(5.0, 11.0), rng.uniform(0.5, 1.1), rng.uniform(0.3, 1.5)
    middle = (0.0, 0.0, float(low + tall / 2))
    body = crumple(ball(middle, (wide, wide, tall / 2), rows=9, columns=8), 0.18, rng)
    stem = cone((0.0, 0.0, 0.0), middle, rng.uniform(0.1, 0.2), 0.08)
    return Thing(VEGETATION, "tree", word, (_foliage(rng, leaf, [body]), _bark(rng, stem)))


def palm(rng: np.random.Generator) -> Thing:
    """Long leaning trunk with hanging leaves at its top."""
    word, leaf = leaf_colour(rng)
    tall, lean = rng.uniform(3.5, 9.0), rng.normal(0.0, 0.05, 2)
    top = np.array([tall * lean[0], tall * lean[1], tall])
    fronds = []
    for angle in np.arange(0.0, 2 * np.pi, 2 * np.pi / int(rng.integers(8, 14))) + rng.uniform(0.0, 1.0):
        way, reach = np.array([np.cos(angle), np.sin(angle), 0.0]), rng.uniform(1.2, 2.2)
        knee = top + way * reach * 0.55 + [0.0, 0.0, rng.uniform(0.1, 0.5)]
        tip = top + way * reach - [0.0, 0.0, rng.uniform(0.2, 1.1)]
        fronds.append(cone(_vector(top), _vector(knee), 0.06, 0.2, sides=4))
        fronds.append(cone(_vector(knee), _vector(tip), 0.2, 0.03, sides=4))
    stem = cone((0.0, 0.0, 0.0), _vector(top), rng.uniform(0.14, 0.24), 0.12)
    return Thing(VEGETATION, "tree", word, (_foliage(rng, leaf, fronds), _bark(rng, stem)))


def loose_bush(rng: np.random.Generator) -> Thing:
    """Low bush of scattered clumps that let rays through."""
    word, leaf = leaf_colour(rng)
    wide, high = rng.uniform(0.4, 1.3), rng.uniform(0.25, 0.9)
    clumps = _scattered(rng, (0.0, 0.0, high), (wide, wide, high), int(rng.integers(12, 30)), high * 0.35)
    return Thing(VEGETATION, "bush", word, (_foliage(rng, leaf, clumps),))


def high_grass(rng: np.random.Generator) -> Thing:
    """Blades as high as a knee or a waist, leaning all ways."""
    word, leaf = leaf_colour(rng)
    wide, high = rng.uniform(0.4, 1.2), rng.uniform(0.3, 1.0)
    blades = []
    for x, y in rng.uniform(-wide, wide, (30, 2)):
        lean = rng.normal(0.0, 0.2, 2) * high
        tip = (float(x + lean[0]), float(y + lean[1]), float(high * rng.uniform(0.6, 1.0)))
        blades.append(cone((float(x), float(y), 0.0), tip, 0.05, 0.01, sides=3))
    return Thing(VEGETATION, "bush", word, (_foliage(rng, leaf, blades),))


def hedge(rng: np.random.Generator, length: float) -> Thing:
    """Piece of a clipped or a ragged hedge, along y."""
    word, leaf = leaf_colour(rng)
    high, thick, ragged = rng.uniform(0.6, 2.2), rng.uniform(0.25, 0.7), rng.uniform(0.0, 0.1)
    cuts = np.linspace(-length / 2, length / 2, max(2, round(length / 0.6) + 1))
    blocks = [
        crumple(box((-thick, low, 0.0), (thick, top, high), inset=(0.06, 0.06, 0.0)), ragged, rng)
        for low, top in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
    ]
    return Thing(VEGETATION, "bush", word, (_foliage(rng, leaf, blocks),))
