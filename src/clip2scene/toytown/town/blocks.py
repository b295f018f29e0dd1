"""The ground of a street and what is built on it: roads, and blocks of sidewalk, grass, houses and trees."""

import numpy as np

from clip2scene.toytown.town import scenery, things
from clip2scene.toytown.town.extent import END, REACH, START
from clip2scene.toytown.town.plan import Ground, Placed, Plan
from clip2scene.toytown.town.shapes import Mesh
from clip2scene.toytown.town.textures import Texture
from clip2scene.toytown.town.things import Colour, Part

CAR_PARK = 18.0
"""Depth of a car park, in metres: two rows of vehicles and the way between."""


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


def lay_roads(plan: Plan) -> None:
    """Lay the main road, the crossing roads and their zebra crossings."""
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
        add(plan.patch((low + zebra_low, -half), (high - zebra_high, half), 0.0), Texture.ASPHALT, numbers)
        if zebra_low:
            add(
                plan.patch((low, -half), (low + zebra_low, half), 0.0),
                Texture.ZEBRA,
                (0.0, 0.0, 0.0, 0.0),
            )
        if zebra_high:
            add(
                plan.patch((high - zebra_high, -half), (high, half), 0.0), Texture.ZEBRA, (0.0, 0.0, 0.0, 0.0)
            )
    for middle in plan.crossings:
        cross = plan.cross_half
        add(
            plan.patch((middle - cross, -half), (middle + cross, half), 0.0),
            Texture.ASPHALT,
            (1.0, middle, cross, 0.0),
        )
        for side in (-1, 1):
            low, high = sorted((side * half, side * REACH))
            mesh = plan.patch((middle - cross, low), (middle + cross, high), 0.0)
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


def lay_block(plan: Plan, low: float, high: float, side: int) -> None:
    """Fill one side of the street between two crossing roads: kerbs, then stretches of different make."""
    rng, half = plan.rng, plan.half_width
    look = _sidewalk_look(rng)
    kerbs = [plan.kerb_along((low, side * half), (high, side * half))]
    ends = []
    for edge, inward in ((low, 1), (high, -1)):
        if edge in (START, END):
            continue
        d_low, d_high = sorted((side * half, side * REACH))
        kerbs.append(plan.kerb_along((edge, d_low), (edge, d_high)))
        s_low, s_high = sorted((edge, edge + inward * 2.6))
        ends.append(plan.patch((s_low, d_low), (s_high, d_high), plan.kerb))
    for mesh in [*kerbs, *ends]:
        _sidewalk_part(plan, mesh, look)
    start, stop = low + (2.6 if low > START else 0.0), high - (2.6 if high < END else 0.0)
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
    style = plan.styles[int(rng.integers(len(plan.styles)))]
    grass = _grass_look(rng)
    verge = rng.uniform(1.2, 2.5) if style in ("suburban", "park") and rng.random() < 0.6 else 0.0
    walk = rng.uniform(2.2, 4.5)

    def strip(near: float, far: float) -> Mesh:
        d_low, d_high = sorted((side * near, side * far))
        return plan.patch((low, d_low), (high, d_high), plan.kerb)

    if verge:
        _grass_part(plan, strip(edge, edge + verge), grass)
    inner = edge + verge + walk
    _sidewalk_part(plan, strip(edge + verge, inner), look)
    set_back = {
        "urban": rng.uniform(0.0, 1.5),
        "suburban": rng.uniform(4, 9),
        "park": 60.0,
        "square": rng.uniform(8, 16),
        "car park": CAR_PARK,
    }[style]
    paved = inner + set_back if style in ("urban", "square", "car park") else inner
    if paved > inner and style == "car park":
        _lay_car_park(plan, strip(inner, paved), (low, high), side * inner)
    elif paved > inner:
        _sidewalk_part(plan, strip(inner, paved), look)
    _grass_part(plan, strip(paved, REACH), grass)
    if style != "park":
        _put_buildings(plan, low, high, side, inner + set_back, style)
    else:
        _put_buildings(plan, low, high, side, inner + rng.uniform(45, 65), "urban")
    _put_greens(plan, low, high, side, (edge, edge + verge, inner, inner + set_back), style)


def _lay_car_park(plan: Plan, mesh: Mesh, along: tuple[float, float], near: float) -> None:
    """Asphalt without marks, and two rows of vehicles that stand across the street's direction.

    Args:
        plan: The street.
        mesh: The ground.
        along: s of both ends.
        near: d of the edge towards the road.
    """
    rng, side = plan.rng, 1.0 if near > 0 else -1.0
    word, tone = _road_colour(rng)
    part = Part(mesh, Texture.ASPHALT, tone, things.PALETTE["white"], (1.0, 0.0, 1e6, 0.0))
    plan.grounds.append(Ground(things.ROAD, "road", word, part))
    share = rng.uniform(0.3, 0.9)
    for row in (3.5, CAR_PARK - 3.5):
        for s in np.arange(along[0] + 2.0, along[1] - 2.0, 2.8):
            if rng.random() < share:
                heading = np.pi / 2 * (1 if rng.random() < 0.5 else -1) + rng.normal(0.0, 0.03)
                place = (float(s), near + side * row)
                plan.placed.append(Placed(plan.makers.parked[0][0](rng), *place, heading, plan.kerb))
                plan.taken.extend((place[0], place[1] + offset, 1.3) for offset in (-1.4, 0.0, 1.4))


def _put_buildings(plan: Plan, low: float, high: float, side: int, front: float, style: str) -> None:
    rng = plan.rng
    s = low + rng.uniform(0.0, 3)
    while s < high - 6:
        width = min(rng.uniform(7, 20) if style != "suburban" else rng.uniform(7, 12), high - s)
        depth = rng.uniform(8, 13)
        tall = rng.uniform(4.5, 8) if style == "suburban" or rng.random() < 0.3 else rng.uniform(8, 24)
        thing = plan.makers.building(rng, width, depth, tall)
        d = side * (front + depth / 2 + rng.uniform(0.0, 1.2))
        plan.placed.append(Placed(thing, s + width / 2, d, np.pi / 2 * side, plan.kerb - 0.1))
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
                Placed(
                    plan.makers.tree(rng), s + rng.uniform(-1, 1), side * d, rng.uniform(0.0, 6.28), plan.kerb
                ),
                0.4,
            )
    if style in ("suburban", "park"):
        far = front - 0.5 if style == "suburban" else inner + 35
        for _ in range(int((high - low) * (0.12 if style == "suburban" else 0.35))):
            maker = (
                plan.makers.tree
                if rng.random() < (0.35 if style == "suburban" else 0.65)
                else plan.makers.bush
            )
            spot = (rng.uniform(low + 1, high - 1), side * rng.uniform(inner + 0.8, far))
            plan.put(Placed(maker(rng), *spot, rng.uniform(0.0, 6.28), plan.kerb), 1.2)
        if style == "suburban" and rng.random() < 0.5:
            length = (high - low) * rng.uniform(0.3, 0.7)
            spot = (low + rng.uniform(0.0, 1.0) * (high - low - length) + length / 2, side * (inner + 0.35))
            plan.placed.append(Placed(scenery.wall(rng, length), *spot, np.pi / 2, plan.kerb))
