"""Where everything goes: roads and blocks first, then work sites, traffic, parked vehicles and people."""

import numpy as np

from clip2scene.toytown.town import roadside, scenery, vehicles
from clip2scene.toytown.town.blocks import lay_block, lay_roads
from clip2scene.toytown.town.extent import END, START
from clip2scene.toytown.town.plan import EGO_CLEARANCE, Placed, Plan


def plan_street(rng: np.random.Generator) -> Plan:
    """Plan a whole plain street."""
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
        crossings=draw_crossings(rng),
        cross_half=rng.uniform(3.5, 5.0),
        ego_speed=rng.uniform(4.5, 9.5),
        parking=parking > 0,
    )
    lay_out(plan)
    return plan


def lay_out(plan: Plan) -> None:
    """Put ground, buildings, greens, vehicles and people where they go."""
    lay_roads(plan)
    edges = sorted([START, END, *(m + side * plan.cross_half for m in plan.crossings for side in (-1, 1))])
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        for side in (-1, 1):
            lay_block(plan, low, high, side)
    _put_work_sites(plan)
    _put_traffic(plan)
    if plan.parking:
        _put_parked(plan)
    _put_small_things(plan)


def draw_crossings(rng: np.random.Generator) -> tuple[float, ...]:
    """Draw where one or two roads cross."""
    first = rng.uniform(-35, 45)
    return (first,) if rng.random() < 0.5 else (first, first + rng.uniform(55, 90))


def _put_work_sites(plan: Plan) -> None:
    """Building sites at the roadside: a row of barriers with a taper of cones."""
    rng = plan.rng
    for start in rng.uniform(-40, 110, 3):
        side = 1 if rng.random() < 0.5 else -1
        row = side * (plan.half_width - rng.uniform(0.4, 1.6))
        alike = int(rng.integers(1 << 30))
        for i in range(int(rng.integers(3, 7))):
            thing = roadside.barrier(np.random.default_rng(alike if rng.random() < 0.7 else i))
            s = start + i * 2.6
            if plan.clear_of_crossings(s):
                plan.put(Placed(thing, s, row, np.pi / 2 + rng.normal(0.0, 0.08)), 1.15)
        for i in range(int(rng.integers(3, 6))):
            s, d = start - 2.5 - i * 1.8, row + side * i * 0.25
            plan.put(
                Placed(roadside.traffic_cone(np.random.default_rng(alike)), s, d, rng.uniform(0.0, 6.28)), 0.4
            )


def _put_traffic(plan: Plan) -> None:
    """Vehicles in every lane, all of a lane at one speed; the ego's lane is kept clear around it."""
    rng = plan.rng
    makers = plan.makers.traffic
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
                    Placed(thing, s, d + rng.normal(0.0, 0.1), 0.0 if ahead else np.pi, 0.0, speed)
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
        s = START + rng.uniform(0.0, 8)
        while s < END - 5:
            draw = rng.random()
            maker, gap = plan.makers.parked[0 if draw < 0.7 else 1 if draw < 0.88 else 2]
            spot = s + gap / 2
            if rng.random() < 0.5 and plan.clear_of_crossings(spot, gap / 2 + 3):
                d = side * (plan.half_width - 1.2)
                heading = (0.0 if side < 0 else np.pi) + rng.normal(0.0, 0.03)
                probes = [plan.is_free(spot + o, d, 1.3) for o in np.arange(-gap / 2 + 1, gap / 2, 1.5)]
                if all(probes):
                    plan.placed.append(Placed(maker(rng), spot, d, heading))
                    plan.taken.extend((spot + o, d, 1.2) for o in np.arange(-gap / 2 + 1, gap / 2, 1.5))
            s += gap + rng.uniform(0.0, 6)


def _put_small_things(plan: Plan) -> None:
    """People, bicycles, cones, barriers, lamps and signs along the sidewalks and on the grass."""
    _put_lamps_and_signs(plan)
    _put_bicycles(plan)
    _put_cones_and_barriers(plan)
    _put_people(plan)


def _roadside_spot(plan: Plan, near: float, far: float) -> tuple[float, float]:
    """Draw a spot (s, d) on either side, ``near`` to ``far`` metres beside the road."""
    side = 1 if plan.rng.random() < 0.5 else -1
    return plan.rng.uniform(-60, 140), side * (plan.half_width + plan.rng.uniform(near, far))


def _put_lamps_and_signs(plan: Plan) -> None:
    rng, half = plan.rng, plan.half_width
    for side in (-1, 1):
        for s in np.arange(START + rng.uniform(0.0, 20), END, rng.uniform(22, 35)):
            heading = np.pi / 2 * -side
            plan.put(Placed(scenery.pole(rng), float(s), side * (half + 0.35), heading, plan.kerb), 0.3)
            facing = 0.0 if side < 0 else np.pi
            plan.put(
                Placed(
                    scenery.sign(rng), float(s) + rng.uniform(4, 12), side * (half + 0.4), facing, plan.kerb
                ),
                0.3,
            )


def _put_bicycles(plan: Plan) -> None:
    """Parked bicycles, in rows of up to three."""
    rng = plan.rng
    for _ in range(16):
        s, d = _roadside_spot(plan, 0.6, 6.0)
        if plan.clear_of_crossings(s, 0.5):
            turn = np.pi / 2 if rng.random() < 0.4 else 0.0
            maker_seed = int(rng.integers(1 << 30))
            for i in range(int(rng.integers(1, 4))):
                thing = vehicles.bicycle(np.random.default_rng(maker_seed + i))
                offset = (0.9 * i, 0.0) if turn else (2.2 * i, 0.0)
                plan.put(
                    Placed(thing, s + offset[0], d + offset[1], turn + rng.normal(0.0, 0.15), plan.kerb), 0.45
                )


def _put_cones_and_barriers(plan: Plan) -> None:
    """Single ones and short rows, apart from the work sites."""
    rng = plan.rng
    for _ in range(14):
        s, d = _roadside_spot(plan, 0.4, 7.0)
        if plan.clear_of_crossings(s, 0.5):
            maker_seed = int(rng.integers(1 << 30))
            for i in range(int(rng.integers(1, 4))):
                thing = roadside.traffic_cone(
                    np.random.default_rng(maker_seed + (i if rng.random() < 0.3 else 0))
                )
                plan.put(
                    Placed(thing, s + 1.1 * i, d + rng.normal(0.0, 0.2), rng.uniform(0.0, 6.28), plan.kerb),
                    0.35,
                )
    for _ in range(8):
        s, d = _roadside_spot(plan, 0.8, 7.0)
        if plan.clear_of_crossings(s, 1.5):
            plan.put(Placed(roadside.barrier(rng), s, d, rng.uniform(0.0, np.pi), plan.kerb), 1.0)


def _put_people(plan: Plan) -> None:
    """People who stand, and people who walk or ride along the sidewalk."""
    rng = plan.rng
    for _ in range(34):
        s, d = _roadside_spot(plan, 0.8, 6.0)
        if plan.clear_of_crossings(s, 0.5):
            plan.put(Placed(plan.makers.pedestrian(rng), s, d, rng.uniform(0.0, 6.28), plan.kerb), 0.4)
    for _ in range(22):
        s, d = _roadside_spot(plan, 1.4, 1.8)
        walks = rng.random() < 0.7
        thing = plan.makers.pedestrian(rng) if walks else plan.makers.rider(rng)
        heading = 0.0 if rng.random() < 0.5 else np.pi
        speed = rng.uniform(0.8, 1.7) if walks else rng.uniform(2.5, 4.5)
        if plan.clear_of_crossings(s, 0.5) and plan.is_free(s, d, 0.6):
            plan.placed.append(Placed(thing, s, d, heading, plan.kerb, speed))
