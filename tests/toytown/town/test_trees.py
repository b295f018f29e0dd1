"""Plants: rooted in the ground, of a plant's size, and open to rays where they should be."""

import numpy as np
import pytest

from clip2scene.toytown.town import trees
from clip2scene.toytown.town.things import VEGETATION, Thing

MAKERS = {
    trees.bare_tree: (2.5, 10.0),
    trees.airy_tree: (3.0, 13.0),
    trees.low_tree: (1.4, 8.0),
    trees.slender_tree: (5.0, 14.0),
    trees.palm: (3.5, 10.5),
    trees.loose_bush: (0.3, 2.6),
    trees.high_grass: (0.2, 1.1),
    lambda rng: trees.hedge(rng, 2.5): (0.55, 2.5),
}


def corners(thing: Thing) -> np.ndarray:
    return np.concatenate([part.mesh.vertices for part in thing.parts])


@pytest.mark.parametrize("maker", MAKERS)
def test_a_plant_stands_on_the_ground_and_has_its_size(maker):
    low, high = MAKERS[maker]
    for seed in range(8):
        thing = maker(np.random.default_rng(seed))
        heights = corners(thing)[:, 2]
        assert thing.label == VEGETATION and thing.noun in ("tree", "bush")
        assert -0.7 < heights.min() < 0.3 and low < heights.max() < high


def test_an_airy_crown_is_made_of_many_lumps_with_air_between():
    leaves = trees.airy_tree(np.random.default_rng(0)).parts[0].mesh
    a, b, c = leaves.vertices[leaves.faces].astype(float).transpose(1, 0, 2)
    surface = np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2
    volume = np.abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
    extent = np.ptp(leaves.vertices, axis=0)
    assert surface > 10 and volume < 0.5 * np.prod(extent)
    assert len(leaves.faces) > 400


def test_trees_and_bushes_of_all_makes_are_drawn():
    drawn = [len(trees.any_tree(np.random.default_rng(seed)).parts[0].mesh.faces) for seed in range(40)]
    assert len(set(drawn)) > 10
    nouns = {trees.any_bush(np.random.default_rng(seed)).noun for seed in range(10)}
    assert nouns == {"bush"}
