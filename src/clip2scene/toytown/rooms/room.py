"""A furnished room: a studio flat with everything in it, ready for rays as a town is.

World axes: the room's corner is the origin, x along its length, y along its width, z up; metres. Labels are
NYU40's ids. Everything is drawn from one seed.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from clip2scene.toytown.rooms import furniture
from clip2scene.toytown.town.light import Light
from clip2scene.toytown.town.plan import Placed, Plan
from clip2scene.toytown.town.things import Thing
from clip2scene.toytown.town.world import Town

HEIGHT = 2.6
"""From the floor to the ceiling, in metres."""

_TRIES = 120

Maker = Callable[[np.random.Generator], Thing]

AT_THE_WALL: tuple[tuple[Maker, float], ...] = (
    (furniture.bathtub, 0.3),
    (furniture.bed, 0.2),
    (furniture.door, 0.9),
    (furniture.couch, 0.3),
    (furniture.counter, 0.4),
    (furniture.wardrobe, 0.3),
    (furniture.desk, 0.5),
    (furniture.bookshelf, 0.2),
    (furniture.refrigerator, 0.3),
    (furniture.cabinet, 0.2),
    (furniture.toilet, 0.3),
    (furniture.washbasin, 0.3),
    (furniture.window, 0.05),
    (furniture.curtain, 0.05),
    (furniture.curtain, 0.05),
    (furniture.lamp, 0.0),
    (furniture.picture, 0.02),
    (furniture.picture, 0.02),
    (furniture.picture, 0.02),
    (furniture.window, 0.05),
)
"""What stands or hangs at a wall, in that order, and the room kept free before it, in metres."""


class Room:
    """A furnished room.

    Attributes:
        length: Along x, metres.
        width: Along y, metres.
        town: Its things and triangles. The labels are NYU40's ids; thing 0 is land outside that nobody sees.
    """

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 40])
        self.length, self.width = rng.uniform(5.8, 7.0), rng.uniform(4.8, 5.6)
        self._rng = rng
        self._taken: list[Float[np.ndarray, "2 3"]] = []
        self._placed = [
            Placed(thing, 0.0, 0.0) for thing in furniture.shell(rng, self.length, self.width, HEIGHT)
        ]
        for maker, clearance in AT_THE_WALL:
            placed = self._put_at_wall(maker(rng), clearance)
            if placed is not None:
                self._add_what_belongs(placed)
        self._put_table()
        plan = Plan(rng, 0.0, 0.0, 1, 0.0, (), 0.0, 1.0, placed=self._placed)
        self.town = Town(seed, plan, _lamplight(rng, self.length, self.width))

    def _put_at_wall(self, thing: Thing, clearance: float) -> Placed | None:
        """Put a thing with its back to a wall, where nothing else is; nowhere if no place is found."""
        rng, (low, high) = self._rng, _extent(thing)
        half = max(-low[1], high[1])
        for _ in range(_TRIES):
            wall = int(rng.integers(4))
            along = (self.width, self.length)[wall % 2]
            spot, back = rng.uniform(half + 0.03, along - half - 0.03), 0.01 - low[0]
            x, y = ((back, spot), (spot, back), (self.length - back, spot), (spot, self.width - back))[wall]
            placed = Placed(thing, float(x), float(y), wall * np.pi / 2)
            if self._take(placed, clearance):
                return placed
        return None

    def _add_what_belongs(self, host: Placed) -> None:
        """Lay a pillow on a bed, a sink on a counter, a curtain over a bathtub, and put a chair to a desk."""
        rng, (low, high) = self._rng, _extent(host.thing)
        if host.thing.noun == "bed":
            self._put_on(host, furniture.pillow(rng), (low[0] + 0.35, 0.0), 0.52)
        elif host.thing.noun == "counter":
            self._put_on(host, furniture.sink(rng), (0.0, rng.uniform(-0.3, 0.3)), 0.90)
        elif host.thing.noun == "bathtub":
            sheet = furniture.shower_curtain(rng)
            self._put_on(host, sheet, (high[0] + 0.05, high[1] - _extent(sheet)[1][1]), 0.0)
        elif host.thing.noun == "desk":
            self._put_on(host, furniture.chair(rng), (high[0] + 0.15, -0.1), 0.0, np.pi + rng.normal(0, 0.2))

    def _put_on(
        self, host: Placed, thing: Thing, offset: tuple[float, float], height: float, turn: float = 0.0
    ) -> None:
        """Place a thing where it stands in its host's frame."""
        cos, sin = np.cos(host.heading), np.sin(host.heading)
        x, y = offset
        heading = host.heading + turn
        self._placed.append(
            Placed(thing, host.s + cos * x - sin * y, host.d + sin * x + cos * y, heading, height)
        )

    def _put_table(self) -> None:
        """Put a table somewhere in the middle, with chairs around it."""
        rng = self._rng
        for _ in range(_TRIES):
            x = rng.uniform(1.6, self.length - 1.6)
            y = rng.uniform(1.4, self.width - 1.4)
            host = Placed(furniture.table(rng), x, y, rng.uniform(0, np.pi))
            if not self._take(host, 0.1):
                continue
            high = _extent(host.thing)[1]
            for side in (-1, 1):
                for place in (-0.3, 0.3):
                    if rng.random() < 0.8:
                        turn = -side * np.pi / 2 + rng.normal(0, 0.15)
                        spot = (place, side * (high[1] + rng.uniform(0.0, 0.2)))
                        self._put_on(host, furniture.chair(rng), spot, 0.0, turn)
            return

    def _take(self, placed: Placed, clearance: float) -> bool:
        """Keep a thing's place, and some room before it, unless somebody has it."""
        low, high = _extent(placed.thing)
        high = high + [clearance, 0.0, 0.0]
        corners = np.array([[x, y] for x in (low[0], high[0]) for y in (low[1], high[1])])
        cos, sin = np.cos(placed.heading), np.sin(placed.heading)
        turned = corners @ np.array([[cos, sin], [-sin, cos]]) + [placed.s, placed.d]
        place = np.array([[*turned.min(0), low[2]], [*turned.max(0), high[2]]])
        for other in self._taken:
            if (place[0] < other[1]).all() and (other[0] < place[1]).all():
                return False
        self._taken.append(place)
        self._placed.append(placed)
        return True


def _extent(thing: Thing) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Corners of the box around a thing, in its frame."""
    vertices = np.concatenate([part.mesh.vertices for part in thing.parts]).astype(np.float64)
    return vertices.min(0), vertices.max(0)


def _lamplight(rng: np.random.Generator, length: float, width: float) -> Light:
    """Light from under the ceiling's middle, and some from everywhere."""
    warmth = np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.75, 1.0)], np.float32)
    grey = np.full(3, 0.6, np.float32)
    return Light(
        to_sun=np.array([0.0, 0.0, 1.0], np.float32),
        sun=np.float32(rng.uniform(0.45, 0.6)) * warmth,
        ambient=np.float32(rng.uniform(0.4, 0.5)) * np.ones(3, np.float32),
        zenith=grey,
        horizon=grey,
        haze=0.0,
        exposure=float(rng.uniform(0.9, 1.1)),
        clouds=0.0,
        lamp=np.array([length / 2, width / 2, HEIGHT - 0.1], np.float32),
    )
