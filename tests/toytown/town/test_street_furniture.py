"""What lines a street: of its length, standing, and with room for traffic beneath."""

import numpy as np
import pytest

from clip2scene.toytown.town import street_furniture as furniture
from clip2scene.toytown.town.things import MANMADE, TERRAIN, Thing

SINGLE = {
    furniture.bollard: (0.5, 1.2),
    furniture.mast: (3.9, 11.1),
    furniture.traffic_light: (2.3, 6.4),
    furniture.billboard: (2.1, 6.2),
    furniture.shelter: (2.2, 2.8),
    furniture.cabinet: (0.4, 6.5),
    furniture.heap: (0.3, 1.8),
}
PIECES = (furniture.low_wall, furniture.fence, furniture.guard_rail)


def corners(thing: Thing) -> np.ndarray:
    return np.concatenate([part.mesh.vertices for part in thing.parts])


@pytest.mark.parametrize("maker", SINGLE)
def test_single_things_stand_on_the_ground_and_have_their_size(maker):
    low, high = SINGLE[maker]
    for seed in range(8):
        thing = maker(np.random.default_rng(seed))
        heights = corners(thing)[:, 2]
        assert thing.label in (MANMADE, TERRAIN)
        assert -0.4 < heights.min() <= 0.0 and low < heights.max() < high


@pytest.mark.parametrize("maker", PIECES)
def test_pieces_meet_their_neighbours(maker):
    for seed in range(6):
        y = corners(maker(np.random.default_rng(seed), 2.5))[:, 1]
        assert 2.49 < np.ptp(y) < 2.75 and abs(y.max() + y.min()) < 0.2


@pytest.mark.parametrize("maker", [furniture.bridge, furniture.gantry])
def test_traffic_has_room_under_what_spans_the_road(maker):
    for seed in range(6):
        places = corners(maker(np.random.default_rng(seed), 16.0))
        over_road = places[np.abs(np.abs(places[:, 1]) - 8.0) > 0.45]  # all but the feet
        assert over_road[:, 2].min() > 4.4
        assert places[:, 2].min() < 0.05


def test_a_front_reaches_over_the_sidewalk_and_not_behind():
    for seed in range(12):
        places = corners(furniture.fronted_building(np.random.default_rng(seed), 10.0, 8.0, 9.0))
        assert -6.5 < places[:, 0].min() and places[:, 0].max() < 4.6
        low = places[(places[:, 0] < -4.5) & (places[:, 2] < 2.4)]
        assert (np.abs(low[:, 1]) < 1.6).all()  # only a porch has posts
