"""What a thing of a town is: parts with a mesh and a pattern each, a class, a noun and a colour.

A thing's frame has x forward, y left, z up and its origin on the ground under its middle. Each kind has a
function that takes a random generator and returns a :class:`Thing` with its own shape, colours and textures:
see ``vehicles.py``, ``roadside.py`` and ``scenery.py``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clip2scene.classes.tables import NUSCENES
from clip2scene.toytown.town.shapes import Mesh
from clip2scene.toytown.town.textures import Texture

Colour = tuple[float, float, float]


BARRIER, BICYCLE, BUS, CAR, PEDESTRIAN, CONE, TRUCK = map(
    NUSCENES.classes.index, ("barrier", "bicycle", "bus", "car", "pedestrian", "traffic cone", "truck")
)
ROAD, SIDEWALK, TERRAIN, MANMADE, VEGETATION = map(
    NUSCENES.classes.index, ("driveable surface", "sidewalk", "terrain", "manmade", "vegetation")
)
"""Train ids of nuScenes."""

COUNTABLE = frozenset({BARRIER, BICYCLE, BUS, CAR, PEDESTRIAN, CONE, TRUCK})
"""Train ids of the things that have boxes."""


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
    return word, triple(np.clip(shade, 0.02, 0.97))


def triple(values: np.ndarray) -> Colour:
    """Turn an array of three into a colour."""
    return float(values[0]), float(values[1]), float(values[2])
