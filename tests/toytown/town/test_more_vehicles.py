"""More vehicles: on their wheels, of their class, and of the size that their class has."""

import numpy as np
import pytest

from clip2scene.toytown.town import more_vehicles
from clip2scene.toytown.town.things import BICYCLE, BUS, CAR, TRUCK

SIZES = {
    more_vehicles.van: (CAR, (4.3, 6.2), (1.8, 2.6)),
    more_vehicles.pickup: (CAR, (4.7, 5.8), (1.5, 2.0)),
    more_vehicles.high_car: (CAR, (2.6, 5.2), (1.4, 2.1)),
    more_vehicles.trailer_truck: (TRUCK, (10.9, 15.7), (2.8, 4.1)),
    more_vehicles.small_bus: (BUS, (6.3, 8.6), (2.4, 3.0)),
    more_vehicles.rider: (BICYCLE, (1.5, 2.0), (1.65, 2.0)),
}


@pytest.mark.parametrize("maker", SIZES)
def test_a_vehicle_stands_on_its_wheels_and_has_its_size(maker):
    label, lengths, heights = SIZES[maker]
    for seed in range(8):
        thing = maker(np.random.default_rng(seed))
        places = np.concatenate([part.mesh.vertices for part in thing.parts])
        length, width, height = np.ptp(places, axis=0)
        assert thing.label == label and -0.03 < places[:, 2].min() < 0.12
        assert lengths[0] < length < lengths[1] and heights[0] < height < heights[1]
        assert width < 2.75
        assert abs(places[:, 0].max() + places[:, 0].min()) < 0.3


@pytest.mark.parametrize("maker", [more_vehicles.any_car, more_vehicles.any_truck, more_vehicles.any_bus])
def test_kinds_are_mixed_and_keep_their_class(maker):
    drawn = [maker(np.random.default_rng(seed)) for seed in range(24)]
    assert len({thing.label for thing in drawn}) == 1
    assert len({len(thing.parts) for thing in drawn}) > 1
