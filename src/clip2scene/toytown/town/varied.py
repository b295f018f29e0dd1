"""A varied street: the plan of a plain one with other widths, on a relief, and much more along it."""

from collections.abc import Callable

import numpy as np

from clip2scene.toytown.town import roadside, street_furniture, trees
from clip2scene.toytown.town.extent import END, START
from clip2scene.toytown.town.layout import draw_crossings, lay_out
from clip2scene.toytown.town.makers import VARIED
from clip2scene.toytown.town.plan import STYLES, Placed, Plan
from clip2scene.toytown.town.relief import draw_relief
from clip2scene.toytown.town.things import Thing

Piece = Callable[[np.random.Generator, float], Thing]
"""Draws a piece, of a length, of what runs along the street."""

_PIECE = 2.5
"""Length of such a piece, metres."""


def plan_varied_street(rng: np.random.Generator) -> Plan:
    """Plan a whole varied street."""
    lanes, parking = int(rng.integers(1, 4)), rng.uniform(2.0, 3.0) * (rng.random() < 0.6)
    lane = rng.uniform(2.8, 3.9)
    half_width = lanes * lane + parking + rng.uniform(0.2, 1.5)
    plan = Plan(
        rng=rng,
        curvature=rng.uniform(-1, 1) / 150.0 if rng.random() < 0.6 else 0.0,
        half_width=half_width,
        lanes=lanes,
        lane=lane,
        crossings=draw_crossings(rng),
        cross_half=rng.uniform(3.2, 7.0),
        ego_speed=rng.uniform(1.0, 10.0),
        kerb=float(rng.uniform(0.0, 0.2)),
        grain=4.0,
        relief=draw_relief(rng, half_width),
        parking=parking > 0,
        makers=VARIED,
        styles=(*STYLES, "car park"),
    )
    if rng.random() < 0.2:
        _put_bridge(plan)
    lay_out(plan)
    _line_the_street(plan)
    _put_posts(plan)
    _put_obstacles(plan)
    _put_groups(plan)
    return plan


def _put_bridge(plan: Plan) -> None:
    """A bridge across the road, somewhere ahead, before anything takes its place."""
    s, width = plan.rng.uniform(25.0, 120.0), 2 * plan.half_width + 1.6
    if plan.clear_of_crossings(s, 9.0):
        plan.placed.append(Placed(street_furniture.bridge(plan.rng, width), s, 0.0))
        for side in (-1, 1):
            plan.taken.extend((s + x, side * width / 2, 0.5) for x in np.arange(-4.0, 4.5))


def _line_the_street(plan: Plan) -> None:
    """Fences, hedges, walls and crash barriers along both sides, close to the road or behind the sidewalk."""
    rng = plan.rng
    pieces = (street_furniture.fence, street_furniture.low_wall, street_furniture.guard_rail, trees.hedge)
    for _ in range(int(rng.integers(3, 9))):
        side = 1 if rng.random() < 0.5 else -1
        start, length = rng.uniform(START + 10, END - 40), rng.uniform(8.0, 45.0)
        away = 0.45 if rng.random() < 0.3 else rng.uniform(2.3, 8.0)
        _put_line(
            plan, pieces[int(rng.integers(len(pieces)))], (start, length), side * (plan.half_width + away)
        )
    if plan.lanes > 1 and plan.lane > 3.4 and rng.random() < 0.5:
        _put_line(plan, street_furniture.guard_rail, (START + 5, END - START - 10), 0.0)


def _put_line(plan: Plan, piece: Piece, along: tuple[float, float], d: float) -> None:
    """Put pieces that look alike one after another, wherever nothing else stands."""
    alike = int(plan.rng.integers(1 << 30))
    taken: list[tuple[float, float, float]] = []  # of this line, whose own pieces may touch
    for s in np.arange(along[0], along[0] + along[1], _PIECE):
        spot = float(s) + _PIECE / 2
        free = all(plan.is_free(spot + offset, d, 0.5) for offset in (-0.9, 0.0, 0.9))
        if free and plan.clear_of_crossings(spot, _PIECE):
            thing = piece(np.random.default_rng(alike), _PIECE)
            plan.placed.append(Placed(thing, spot, d, np.pi / 2, plan.kerb if d else 0.0))
            taken.extend((spot + offset, d, 0.4) for offset in (-0.9, 0.0, 0.9))
    plan.taken.extend(taken)


def _put_posts(plan: Plan) -> None:
    """Traffic lights at the crossings, masts, bollards, large signs and a gantry."""
    rng, edge = plan.rng, plan.half_width + 0.4
    for middle in plan.crossings:
        for side in (-1, 1):
            s = middle + side * (plan.cross_half + 3.4)
            light = street_furniture.traffic_light(rng)
            plan.put(Placed(light, s, side * edge, -side * np.pi / 2, plan.kerb), 0.2)
    for side in (-1, 1):
        step, lean = rng.uniform(12.0, 40.0), 0.0 if side < 0 else np.pi
        for s in np.arange(START + 8, END, step):
            maker = street_furniture.mast if rng.random() < 0.8 else street_furniture.billboard
            d, radius = side * (edge + rng.uniform(0.0, 6.0)), 0.3 if maker is street_furniture.mast else 1.9
            if plan.clear_of_crossings(float(s), 2.0):
                plan.put(Placed(maker(rng), float(s), d, lean, plan.kerb), radius)
        if rng.random() < 0.5:
            first = rng.uniform(START + 10, END - 40)
            for s in np.arange(first, first + rng.uniform(5, 30), rng.uniform(1.2, 2.5)):
                if plan.clear_of_crossings(float(s), 0.5):
                    plan.put(
                        Placed(street_furniture.bollard(rng), float(s), side * edge, 0.0, plan.kerb), 0.2
                    )
    s = rng.uniform(15.0, 120.0)
    if rng.random() < 0.35 and plan.clear_of_crossings(s, 3.0):
        plan.placed.append(Placed(street_furniture.gantry(rng, 2 * edge), s, 0.0, 0.0, 0.0))


def _put_obstacles(plan: Plan) -> None:
    """Cabinets, shelters, heaps, low plants and lone trees, on the sidewalk and beyond it."""
    rng, half = plan.rng, plan.half_width
    kinds = (
        (street_furniture.cabinet, 1.3, 18),
        (street_furniture.shelter, 2.2, 3),
        (street_furniture.heap, 2.0, 4),
        (trees.high_grass, 0.9, 30),
        (trees.loose_bush, 0.9, 14),
        (trees.any_tree, 0.6, 16),
    )
    for maker, radius, number in kinds:
        for _ in range(int(rng.integers(number // 3, number + 1))):
            side = 1 if rng.random() < 0.5 else -1
            s, d = rng.uniform(START + 5, END - 5), side * (half + radius + rng.uniform(2.2, 14.0))
            if plan.clear_of_crossings(s, radius + 0.3):
                plan.put(Placed(maker(rng), s, d, -side * np.pi / 2, plan.kerb), radius)


def _put_groups(plan: Plan) -> None:
    """People who stand together, and a work site with a heap on the sidewalk."""
    rng = plan.rng
    for _ in range(int(rng.integers(2, 8))):
        side = 1 if rng.random() < 0.5 else -1
        s, d = rng.uniform(-50.0, 130.0), side * (plan.half_width + rng.uniform(1.2, 6.0))
        for _ in range(int(rng.integers(2, 7))):
            x, y = rng.normal(0.0, 0.7, 2)
            if abs(d + y) > plan.half_width + 0.3 and plan.clear_of_crossings(s + x, 0.5):
                person = plan.makers.pedestrian(rng)
                plan.put(Placed(person, s + x, d + y, rng.uniform(0.0, 6.28), plan.kerb), 0.22)
    for start in rng.uniform(-30.0, 110.0, int(rng.integers(0, 3))):
        side = 1 if rng.random() < 0.5 else -1
        d = side * (plan.half_width + 4.0)
        if plan.clear_of_crossings(start, 6.0):
            plan.put(Placed(street_furniture.heap(rng), start, d, 0.0, plan.kerb), 1.9)
            for angle in np.arange(0.0, 6.28, 0.9):
                spot = start + 3.2 * np.cos(angle), d + 2.6 * np.sin(angle)
                maker = roadside.barrier if rng.random() < 0.4 else roadside.traffic_cone
                plan.put(Placed(maker(rng), *spot, angle, plan.kerb), 0.5)
