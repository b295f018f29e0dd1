"""Where everything goes: the plan of a street, in the street's own coordinates.

Street coordinates are (s, d): metres along the main road's middle line and metres to its left. The world
bends them by one curvature, so that straight plans make curved streets.
"""

from dataclasses import dataclass, field

import numpy as np

from clip2scene.toytown import things
from clip2scene.toytown.shapes import Mesh
from clip2scene.toytown.textures import Texture
from clip2scene.toytown.things import Colour, Part, Thing

START, END = -100.0, 190.0
"""The street's extent along s, in metres; the drive starts at s = 0."""
REACH = 110.0
"""The street's extent on either side, in metres."""
KERB = 0.15
EGO_CLEARANCE = 12.0


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


def plan_street(rng: np.random.Generator) -> Plan:
    """Plan a whole street."""
    lanes, lane, parking = (
        int(rng.integers(1, 3)),
        rng.uniform(3.0, 3.6),
        rng.uniform(2.0, 2.4) * (rng.random() < 0.8),
    )
    plan = Plan(
        rng=rng,
        curvature=rng.uniform(-1, 1) / 160.0 if rng.random() < 0.6 else 0.0,
        half_width=lanes * lane + parking + 0.3,
        lanes=lanes,
        lane=lane,
        crossings=_draw_crossings(rng),
        cross_half=rng.uniform(3.5, 5.0),
        ego_speed=rng.uniform(4.5, 9.5),
    )
    _lay_roads(plan)
    edges = sorted([START, END, *(m + side * plan.cross_half for m in plan.crossings for side in (-1, 1))])
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        for side in (-1, 1):
            _lay_block(plan, low, high, side)
    _put_work_sites(plan)
    _put_traffic(plan)
    if parking > 0:
        _put_parked(plan)
    _put_small_things(plan)
    return plan


def _draw_crossings(rng: np.random.Generator) -> tuple[float, ...]:
    first = rng.uniform(-35, 45)
    return (first,) if rng.random() < 0.5 else (first, first + rng.uniform(55, 90))


def patch(low: tuple[float, float], high: tuple[float, float], height: float, step: float = 5.0) -> Mesh:
    """Level rectangle of street coordinates, fine enough along s to follow the curve."""
    num_s = max(1, int(np.ceil((high[0] - low[0]) / step)))
    num_d = max(1, int(np.ceil((high[1] - low[1]) / 40.0)))
    s, d = np.meshgrid(
        np.linspace(low[0], high[0], num_s + 1), np.linspace(low[1], high[1], num_d + 1), indexing="ij"
    )
    vertices = np.stack([s, d, np.full_like(s, height)], -1).reshape(-1, 3).astype(np.float32)
    row, column = (g.ravel() for g in np.meshgrid(np.arange(num_s), np.arange(num_d), indexing="ij"))
    corner = row * (num_d + 1) + column
    a, b, c, d_ = corner, corner + 1, corner + num_d + 1, corner + num_d + 2
    return Mesh(vertices, np.concatenate([np.stack([a, b, d_], 1), np.stack([a, d_, c], 1)]).astype(np.int32))


def _kerb(low: tuple[float, float], high: tuple[float, float], height: float, step: float = 5.0) -> Mesh:
    """Upright strip along one side of a block, from the road up to ``height``."""
    num = max(1, int(np.ceil(max(high[0] - low[0], high[1] - low[1]) / step)))
    line = np.linspace(low, high, num + 1)
    bottom, top = np.insert(line, 2, -0.05, axis=1), np.insert(line, 2, height, axis=1)
    here = np.arange(num)
    faces = [
        np.stack([here, here + 1, here + num + 2], 1),
        np.stack([here, here + num + 2, here + num + 1], 1),
    ]
    return Mesh(np.concatenate([bottom, top]).astype(np.float32), np.concatenate(faces).astype(np.int32))


def _road_colour(rng: np.random.Generator) -> tuple[str, Colour]:
    word = ("grey", "grey", "grey", "black", "brown", "red")[int(rng.integers(6))]
    tones = {
        "grey": (0.36, 0.36, 0.37),
        "black": (0.15, 0.15, 0.16),
        "brown": (0.38, 0.30, 0.24),
        "red": (0.48, 0.25, 0.21),
    }
    r, g, b = np.array(tones[word]) * rng.uniform(0.8, 1.25)
    return word, (float(r), float(g), float(b))


def _lay_roads(plan: Plan) -> None:
    rng, half = plan.rng, plan.half_width
    word, tone = _road_colour(rng)
    mark = things.PALETTE["white"] if rng.random() < 0.75 else things.PALETTE["yellow"]
    sign = 1.0 if rng.random() < 0.6 else -1.0

    def add(mesh: Mesh, texture: Texture, numbers: tuple[float, float, float, float]) -> None:
        part = Part(mesh, texture, tone, mark, numbers)
        plan.grounds.append(Ground(things.ROAD, "road", word, part))

    edges = sorted([START, END, *(m + side * plan.cross_half for m in plan.crossings for side in (-1, 1))])
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        zebra_low = 3.0 if low > START and rng.random() < 0.7 else 0.0
        zebra_high = 3.0 if high < END and rng.random() < 0.7 else 0.0
        numbers = (0.0, 0.0, half, sign * plan.lane)
        add(patch((low + zebra_low, -half), (high - zebra_high, half), 0.0), Texture.ASPHALT, numbers)
        if zebra_low:
            add(
                patch((low, -half), (low + zebra_low, half), 0.0),
                Texture.ZEBRA,
                (1.0, 0, 0, 0)[:0] + (0.0, 0, 0, 0),
            )
        if zebra_high:
            add(patch((high - zebra_high, -half), (high, half), 0.0), Texture.ZEBRA, (0.0, 0, 0, 0))
    for middle in plan.crossings:
        cross = plan.cross_half
        add(
            patch((middle - cross, -half), (middle + cross, half), 0.0),
            Texture.ASPHALT,
            (1.0, middle, cross, 0.0),
        )
        for side in (-1, 1):
            low, high = sorted((side * half, side * REACH))
            mesh = patch((middle - cross, low), (middle + cross, high), 0.0)
            add(mesh, Texture.ASPHALT, (1.0, middle, cross, sign * cross))


def _sidewalk_part(
    plan: Plan, mesh: Mesh, look: tuple[str, Colour, Colour, tuple[float, float, float, float]]
) -> None:
    word, tone, joint, numbers = look
    plan.grounds.append(
        Ground(things.SIDEWALK, "sidewalk", word, Part(mesh, Texture.TILES, tone, joint, numbers))
    )


def _grass_part(plan: Plan, mesh: Mesh, look: tuple[str, Colour, Colour]) -> None:
    word, tone, other = look
    plan.grounds.append(Ground(things.TERRAIN, "grass", word, Part(mesh, Texture.GRASS, tone, other)))


def _sidewalk_look(rng: np.random.Generator) -> tuple[str, Colour, Colour, tuple[float, float, float, float]]:
    word = ("grey", "grey", "red", "beige", "beige", "brown")[int(rng.integers(6))]
    tones = {
        "grey": (0.52, 0.52, 0.53),
        "red": (0.58, 0.30, 0.25),
        "beige": (0.68, 0.60, 0.48),
        "brown": (0.42, 0.32, 0.24),
    }
    r, g, b = np.array(tones[word]) * rng.uniform(0.75, 1.25)
    long = rng.uniform(0.5, 1.3)
    numbers = (long, long * rng.uniform(0.5, 1.0), float(rng.integers(2)), 0.0)
    return word, (float(r), float(g), float(b)), (float(r) * 0.45, float(g) * 0.45, float(b) * 0.45), numbers


def _grass_look(rng: np.random.Generator) -> tuple[str, Colour, Colour]:
    word = ("green", "green", "green", "yellow", "brown")[int(rng.integers(5))]
    tones = {"green": (0.20, 0.40, 0.10), "yellow": (0.62, 0.55, 0.22), "brown": (0.42, 0.32, 0.17)}
    r, g, b = np.array(tones[word]) * rng.uniform(0.75, 1.3)
    return word, (float(r), float(g), float(b)), (float(r) * 0.6, float(g) * 0.7, float(b) * 0.6)


def _lay_block(plan: Plan, low: float, high: float, side: int) -> None:
    """Fill one side of the street between two crossing roads: kerbs, then stretches of different make."""
    rng, half = plan.rng, plan.half_width
    look = _sidewalk_look(rng)
    kerbs = [_kerb((low, side * half), (high, side * half), KERB)]
    ends = []
    for edge, inward in ((low, 1), (high, -1)):
        if edge in (START, END):
            continue
        d_low, d_high = sorted((side * half, side * REACH))
        kerbs.append(_kerb((edge, d_low), (edge, d_high), KERB))
        s_low, s_high = sorted((edge, edge + inward * 2.6))
        ends.append(patch((s_low, d_low), (s_high, d_high), KERB))
    for mesh in [*kerbs, *ends]:
        _sidewalk_part(plan, mesh, look)
    start, stop = low + (2.6 if low > START else 0), high - (2.6 if high < END else 0)
    bounds = np.linspace(start, stop, max(1, round((stop - start) / rng.uniform(28, 45))) + 1)
    for first, last in zip(bounds[:-1], bounds[1:], strict=True):
        _lay_stretch(plan, float(first), float(last), side, look)


def _lay_stretch(
    plan: Plan,
    low: float,
    high: float,
    side: int,
    look: tuple[str, Colour, Colour, tuple[float, float, float, float]],
) -> None:
    """One stretch beside the road: sidewalk, maybe a verge, then houses, gardens, a square or a park."""
    rng, edge = plan.rng, plan.half_width
    style = ("urban", "suburban", "suburban", "park", "square", "urban")[int(rng.integers(6))]
    grass = _grass_look(rng)
    verge = rng.uniform(1.2, 2.5) if style in ("suburban", "park") and rng.random() < 0.6 else 0.0
    walk = rng.uniform(2.2, 4.5)

    def strip(near: float, far: float, on_grass: bool) -> None:
        d_low, d_high = sorted((side * near, side * far))
        mesh = patch((low, d_low), (high, d_high), KERB)
        if on_grass:
            _grass_part(plan, mesh, grass)
        else:
            _sidewalk_part(plan, mesh, look)

    if verge:
        strip(edge, edge + verge, True)
    inner = edge + verge + walk
    strip(edge + verge, inner, False)
    set_back = {
        "urban": rng.uniform(0, 1.5),
        "suburban": rng.uniform(4, 9),
        "park": 60.0,
        "square": rng.uniform(8, 16),
    }[style]
    paved = inner + set_back if style in ("urban", "square") else inner
    if paved > inner:
        strip(inner, paved, False)
    strip(paved, REACH, True)
    if style != "park":
        _put_buildings(plan, low, high, side, inner + set_back, style)
    else:
        _put_buildings(plan, low, high, side, inner + rng.uniform(45, 65), "urban")
    _put_greens(plan, low, high, side, (edge, edge + verge, inner, inner + set_back), style)


def _put_buildings(plan: Plan, low: float, high: float, side: int, front: float, style: str) -> None:
    rng = plan.rng
    s = low + rng.uniform(0, 3)
    while s < high - 6:
        width = min(rng.uniform(7, 20) if style != "suburban" else rng.uniform(7, 12), high - s)
        depth = rng.uniform(8, 13)
        tall = rng.uniform(4.5, 8) if style == "suburban" or rng.random() < 0.3 else rng.uniform(8, 24)
        thing = things.building(rng, width, depth, tall)
        d = side * (front + depth / 2 + rng.uniform(0, 1.2))
        plan.placed.append(Placed(thing, s + width / 2, d, np.pi / 2 * side, KERB - 0.1))
        for offset in np.arange(-width / 2 + 2, width / 2, 4.0):
            plan.taken.append((s + width / 2 + offset, d, depth / 2 + 0.3))
        s += width + (rng.uniform(0.0, 2.0) if style == "urban" else rng.uniform(2.0, 9.0))


def _put_greens(
    plan: Plan, low: float, high: float, side: int, lines: tuple[float, float, float, float], style: str
) -> None:
    """Trees along the kerb and in gardens, bushes, garden walls."""
    rng = plan.rng
    edge, walk_start, inner, front = lines
    if rng.random() < 0.55:
        d = edge + 0.7 if walk_start == edge else (edge + walk_start) / 2
        for s in np.arange(low + 3, high - 2, rng.uniform(8, 14)):
            plan.put(
                Placed(things.tree(rng), s + rng.uniform(-1, 1), side * d, rng.uniform(0, 6.28), KERB), 0.4
            )
    if style in ("suburban", "park"):
        far = front - 0.5 if style == "suburban" else inner + 35
        for _ in range(int((high - low) * (0.12 if style == "suburban" else 0.35))):
            maker = things.tree if rng.random() < (0.35 if style == "suburban" else 0.65) else things.bush
            spot = (rng.uniform(low + 1, high - 1), side * rng.uniform(inner + 0.8, far))
            plan.put(Placed(maker(rng), *spot, rng.uniform(0, 6.28), KERB), 1.2)
        if style == "suburban" and rng.random() < 0.5:
            length = (high - low) * rng.uniform(0.3, 0.7)
            spot = (low + rng.uniform(0.0, 1.0) * (high - low - length) + length / 2, side * (inner + 0.35))
            plan.placed.append(Placed(things.wall(rng, length), *spot, np.pi / 2, KERB))


def _put_work_sites(plan: Plan) -> None:
    """Building sites at the roadside: a row of barriers with a taper of cones."""
    rng = plan.rng
    for start in rng.uniform(-40, 110, 3):
        side = 1 if rng.random() < 0.5 else -1
        row = side * (plan.half_width - rng.uniform(0.4, 1.6))
        alike = int(rng.integers(1 << 30))
        for i in range(int(rng.integers(3, 7))):
            thing = things.barrier(np.random.default_rng(alike if rng.random() < 0.7 else i))
            s = start + i * 2.6
            if plan.clear_of_crossings(s):
                plan.put(Placed(thing, s, row, np.pi / 2 + rng.normal(0, 0.08)), 1.15)
        for i in range(int(rng.integers(3, 6))):
            s, d = start - 2.5 - i * 1.8, row + side * i * 0.25
            plan.put(
                Placed(things.traffic_cone(np.random.default_rng(alike)), s, d, rng.uniform(0, 6.28)), 0.4
            )


def _put_traffic(plan: Plan) -> None:
    """Vehicles in every lane, all of a lane at one speed; the ego's lane is kept clear around it."""
    rng = plan.rng
    makers = (things.car, things.car, things.car, things.bus, things.truck, things.truck)
    for lane in range(-plan.lanes, plan.lanes):
        d = (lane + 0.5) * plan.lane
        ahead = d < 0
        own = abs(d - plan.ego_lane) < 0.1
        speed = plan.ego_speed if own else rng.uniform(5, 11)
        s = START + rng.uniform(5, 30)
        while s < END + (0 if ahead else 60):
            if not own or abs(s) > EGO_CLEARANCE + 4:
                thing = makers[int(rng.integers(len(makers)))](rng)
                plan.placed.append(
                    Placed(thing, s, d + rng.normal(0, 0.1), 0.0 if ahead else np.pi, 0.0, speed)
                )
            s += rng.uniform(18, 45)
    for middle in plan.crossings:
        for side in (-1, 1):
            thing = makers[int(rng.integers(len(makers)))](rng)
            s = middle - side * plan.cross_half / 2
            d = side * (plan.half_width + rng.uniform(8, 30))
            moving = rng.random() < 0.5
            plan.placed.append(
                Placed(thing, s, d, side * np.pi / 2, 0.0, rng.uniform(3, 8) if moving else 0.0)
            )
            plan.taken.append((s, d, 5.0))


def _put_parked(plan: Plan) -> None:
    rng = plan.rng
    for side in (-1, 1):
        s = START + rng.uniform(0, 8)
        while s < END - 5:
            draw = rng.random()
            maker = things.car if draw < 0.7 else things.truck if draw < 0.88 else things.bus
            gap = {things.car: 5.6, things.truck: 10.0, things.bus: 13.8}[maker]
            spot = s + gap / 2
            if rng.random() < 0.5 and plan.clear_of_crossings(spot, gap / 2 + 3):
                d = side * (plan.half_width - 1.2)
                heading = (0.0 if side < 0 else np.pi) + rng.normal(0, 0.03)
                probes = [plan.is_free(spot + o, d, 1.3) for o in np.arange(-gap / 2 + 1, gap / 2, 1.5)]
                if all(probes):
                    plan.placed.append(Placed(maker(rng), spot, d, heading))
                    plan.taken.extend((spot + o, d, 1.2) for o in np.arange(-gap / 2 + 1, gap / 2, 1.5))
            s += gap + rng.uniform(0, 6)


def _put_small_things(plan: Plan) -> None:
    """People, bicycles, cones, barriers, lamps and signs along the sidewalks and on the grass."""
    rng, half = plan.rng, plan.half_width

    def spot(near: float, far: float) -> tuple[float, float]:
        side = 1 if rng.random() < 0.5 else -1
        return rng.uniform(-60, 140), side * (half + rng.uniform(near, far))

    for side in (-1, 1):
        for s in np.arange(START + rng.uniform(0, 20), END, rng.uniform(22, 35)):
            heading = np.pi / 2 * -side
            plan.put(Placed(things.pole(rng), float(s), side * (half + 0.35), heading, KERB), 0.3)
            facing = 0.0 if side < 0 else np.pi
            plan.put(
                Placed(things.sign(rng), float(s) + rng.uniform(4, 12), side * (half + 0.4), facing, KERB),
                0.3,
            )
    for _ in range(16):
        s, d = spot(0.6, 6.0)
        if plan.clear_of_crossings(s, 0.5):
            turn = np.pi / 2 if rng.random() < 0.4 else 0.0
            maker_seed = int(rng.integers(1 << 30))
            for i in range(int(rng.integers(1, 4))):
                thing = things.bicycle(np.random.default_rng(maker_seed + i))
                offset = (0.9 * i, 0.0) if turn else (2.2 * i, 0.0)
                plan.put(Placed(thing, s + offset[0], d + offset[1], turn + rng.normal(0, 0.15), KERB), 0.45)
    for _ in range(14):
        s, d = spot(0.4, 7.0)
        if plan.clear_of_crossings(s, 0.5):
            maker_seed = int(rng.integers(1 << 30))
            for i in range(int(rng.integers(1, 4))):
                thing = things.traffic_cone(
                    np.random.default_rng(maker_seed + (i if rng.random() < 0.3 else 0))
                )
                plan.put(Placed(thing, s + 1.1 * i, d + rng.normal(0, 0.2), rng.uniform(0, 6.28), KERB), 0.35)
    for _ in range(8):
        s, d = spot(0.8, 7.0)
        if plan.clear_of_crossings(s, 1.5):
            plan.put(Placed(things.barrier(rng), s, d, rng.uniform(0, np.pi), KERB), 1.0)
    for _ in range(34):
        s, d = spot(0.8, 6.0)
        if plan.clear_of_crossings(s, 0.5):
            plan.put(Placed(things.pedestrian(rng), s, d, rng.uniform(0, 6.28), KERB), 0.4)
    for _ in range(22):
        s, d = spot(1.4, 1.8)
        walks = rng.random() < 0.7
        thing = things.pedestrian(rng) if walks else things.bicycle(rng)
        heading = 0.0 if rng.random() < 0.5 else np.pi
        speed = rng.uniform(0.8, 1.7) if walks else rng.uniform(2.5, 4.5)
        if plan.clear_of_crossings(s, 0.5) and plan.is_free(s, d, 0.6):
            plan.placed.append(Placed(thing, s, d, heading, KERB, speed))
