"""Which shapes the things of a street have: those of a plain one, or of a varied one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from clip2scene.toytown.town import more_vehicles, roadside, scenery, street_furniture, trees, vehicles
from clip2scene.toytown.town.things import Thing

Maker = Callable[[np.random.Generator], Thing]
"""Draws a thing."""


@dataclass(frozen=True)
class Makers:
    """What draws each kind of thing.

    Attributes:
        traffic: Vehicles on the road, each as often as it stands here.
        parked: Cars, trucks and buses at the kerb, and the metres that each takes.
        rider: What rides along the sidewalk.
        pedestrian: People.
        tree: Trees.
        bush: What grows low.
        building: Takes width, depth and height too.
    """

    traffic: tuple[Maker, ...]
    parked: tuple[tuple[Maker, float], tuple[Maker, float], tuple[Maker, float]]
    rider: Maker
    pedestrian: Maker
    tree: Maker
    bush: Maker
    building: Callable[[np.random.Generator, float, float, float], Thing]


PLAIN = Makers(
    traffic=(vehicles.car, vehicles.car, vehicles.car, vehicles.bus, vehicles.truck, vehicles.truck),
    parked=((vehicles.car, 5.6), (vehicles.truck, 10.0), (vehicles.bus, 13.8)),
    rider=vehicles.bicycle,
    pedestrian=roadside.pedestrian,
    tree=scenery.tree,
    bush=scenery.bush,
    building=scenery.building,
)


VARIED = Makers(
    traffic=(
        *(more_vehicles.any_car,) * 4,
        *(more_vehicles.any_bus, more_vehicles.any_truck, more_vehicles.any_truck),
    ),
    parked=((more_vehicles.any_car, 6.4), (vehicles.truck, 10.0), (more_vehicles.any_bus, 13.8)),
    rider=more_vehicles.rider,
    pedestrian=roadside.pedestrian,
    tree=trees.any_tree,
    bush=trees.any_bush,
    building=street_furniture.fronted_building,
)
