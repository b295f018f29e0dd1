"""A street while it is being planned: what stands where, and patches of ground.

Street coordinates are (s, d): metres along the main road's middle line and metres to its left. The world
bends them by one curvature, so that straight plans make curved streets.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from clip2scene.toytown.town.makers import PLAIN, Makers
from clip2scene.toytown.town.relief import Relief
from clip2scene.toytown.town.shapes import Mesh
from clip2scene.toytown.town.things import Part, Thing

KERB = 0.15


EGO_CLEARANCE = 12.0


STYLES = ("urban", "suburban", "suburban", "park", "square", "urban")
"""What the stretches of a plain street are like."""


@dataclass(frozen=True)
class Placed:
    """A thing in the street.

    Attributes:
        thing: What it is.
        s: Metres along, at time 0.
        d: Metres to the left, at time 0.
        heading: Radians counter-clockwise from the street's direction.
        height: Of the ground it stands on, metres.
        speed: Along its heading, metres per second.
    """

    thing: Thing
    s: float
    d: float
    heading: float = 0.0
    height: float = 0.0
    speed: float = 0.0


@dataclass(frozen=True)
class Ground:
    """A patch of ground; its part's mesh is in street coordinates (s, d, height)."""

    label: int
    noun: str
    colour: str
    part: Part


@dataclass
class Plan:
    """A street while it is being planned.

    Attributes:
        rng: Draws everything.
        curvature: Of the main road, 1/metres, positive to the left.
        half_width: Of the main road, with its parking lanes.
        lanes: Number of lanes each way.
        lane: Lane width.
        crossings: s of the middle of each crossing road.
        cross_half: Half width of the crossing roads.
        ego_speed: Metres per second.
        kerb: Height of sidewalks and grass above the road, metres.
        grain: Edge of the ground's cells, metres; None where the ground is level and needs few.
        relief: The lie of the land; None where it is level.
        parking: Whether vehicles are parked at the kerbs.
        makers: What draws its things.
        styles: What the stretches beside the road may be like, each as often as it stands here.
        placed: Things so far.
        grounds: Ground so far.
        taken: (s, d, radius) of what must not be overlapped.
    """

    rng: np.random.Generator
    curvature: float
    half_width: float
    lanes: int
    lane: float
    crossings: tuple[float, ...]
    cross_half: float
    ego_speed: float
    kerb: float = KERB
    grain: float | None = None
    relief: Relief | None = None
    parking: bool = True
    makers: Makers = PLAIN
    styles: tuple[str, ...] = STYLES
    placed: list[Placed] = field(default_factory=list)
    grounds: list[Ground] = field(default_factory=list)
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    @property
    def ego_lane(self) -> float:
        """Where the ego drives: d of the middle of the rightmost lane."""
        return -self.lane * (self.lanes - 0.5)

    def is_free(self, s: float, d: float, radius: float) -> bool:
        """Tell whether nothing stands within ``radius`` of a spot."""
        if not self.taken:
            return True
        spots = np.array(self.taken)
        return bool((np.hypot(spots[:, 0] - s, spots[:, 1] - d) > spots[:, 2] + radius).all())

    def put(self, item: Placed, radius: float) -> bool:
        """Place a thing unless its spot is taken."""
        if not self.is_free(item.s, item.d, radius):
            return False
        self.placed.append(item)
        self.taken.append((item.s, item.d, radius))
        return True

    def clear_of_crossings(self, s: float, margin: float = 2.0) -> bool:
        """Tell whether a place along the street is not on a crossing road."""
        return all(abs(s - middle) > self.cross_half + margin for middle in self.crossings)

    def patch(self, low: tuple[float, float], high: tuple[float, float], height: float) -> Mesh:
        """Level rectangle of street coordinates, fine enough to follow the curve and the relief."""
        s, d = np.meshgrid(
            self._ticks(low[0], high[0], 5.0), self._ticks(low[1], high[1], 40.0), indexing="ij"
        )
        num_s, num_d = s.shape[0] - 1, s.shape[1] - 1
        vertices = np.stack([s, d, np.full_like(s, height)], -1).reshape(-1, 3).astype(np.float32)
        row, column = (g.ravel() for g in np.meshgrid(np.arange(num_s), np.arange(num_d), indexing="ij"))
        corner = row * (num_d + 1) + column
        a, b, c, d_ = corner, corner + 1, corner + num_d + 1, corner + num_d + 2
        faces = np.concatenate([np.stack([a, b, d_], 1), np.stack([a, d_, c], 1)]).astype(np.int32)
        return Mesh(vertices, faces)

    def kerb_along(self, low: tuple[float, float], high: tuple[float, float]) -> Mesh:
        """Upright strip along one side of a block, from the road up to the kerb's height."""
        axis = int(high[1] - low[1] > high[0] - low[0])
        ticks = self._ticks(low[axis], high[axis], 5.0)
        line = np.full((len(ticks), 2), low[1 - axis])
        line[:, axis] = ticks
        bottom, top = np.insert(line, 2, -0.05, axis=1), np.insert(line, 2, self.kerb, axis=1)
        num = len(ticks) - 1
        here = np.arange(num)
        faces = [
            np.stack([here, here + 1, here + num + 2], 1),
            np.stack([here, here + num + 2, here + num + 1], 1),
        ]
        return Mesh(np.concatenate([bottom, top]).astype(np.float32), np.concatenate(faces).astype(np.int32))

    def _ticks(self, low: float, high: float, step: float) -> Float[np.ndarray, " ticks"]:
        """Cut a stretch into even cells of at most ``step``; with a grain at its multiples, as neighbours."""
        if self.grain is None:
            return np.linspace(low, high, max(1, int(np.ceil((high - low) / step))) + 1)
        inner = self.grain * np.arange(np.floor(low / self.grain) + 1, np.ceil(high / self.grain))
        inner = inner[(inner > low + 0.01) & (inner < high - 0.01)]
        return np.concatenate([[low], inner, [high]])
