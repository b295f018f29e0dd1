"""Towns: the same from the same seed, whole in all their tables, and true to the rays cast into them."""

from functools import lru_cache

import numpy as np
import pytest

from clip2scene.classes.tables import NUSCENES, TOYTOWN
from clip2scene.toytown.town import things
from clip2scene.toytown.town.things import PALETTE
from clip2scene.toytown.town.world import Town, build_town

PROMISED = {NUSCENES.classes.index(name) for name in TOYTOWN.classes}


@lru_cache
def town(seed: int = 3) -> Town:
    return build_town(seed)


def rays(number: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    origins = np.stack(
        [rng.uniform(-10, 60, number), rng.uniform(-4, 4, number), rng.uniform(1, 2, number)], 1
    )
    directions = rng.normal(size=(number, 3)) * [1, 1, 0.2]
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return origins.astype(np.float32), directions.astype(np.float32)


def moved_vertices(world: Town, time_s: float) -> np.ndarray:
    """Slow and plain: each vertex turned and shifted by its instance's pose."""
    poses = world.poses(time_s)
    result = np.empty((len(world.geometry.vertices), 3))
    for number, pose in enumerate(poses):
        mine = world.geometry.vertex_instances == number
        cos, sin = np.cos(pose[3]), np.sin(pose[3])
        turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        result[mine] = world.geometry.vertices[mine] @ turn.T + pose[:3]
    return result


def first_hit(origin: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> float:
    """Slow and plain: distance to the nearest triangle, by solving for the crossing with each one's plane."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    matrix = np.stack([b - a, c - a, np.broadcast_to(-direction, a.shape)], -1)
    fine = np.abs(np.linalg.det(matrix)) > 1e-9
    u, v, t = np.linalg.solve(matrix[fine], (origin - a[fine])[..., None])[..., 0].T
    inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 1e-5)
    return float(t[inside].min()) if inside.any() else np.inf


def test_the_same_seed_gives_the_same_town_and_another_seed_another():
    first, again, other = build_town(5).geometry, build_town(5).geometry, build_town(6).geometry
    assert np.array_equal(first.vertices, again.vertices)
    assert np.array_equal(first.part_numbers, again.part_numbers)
    assert first.vertices.shape != other.vertices.shape


@pytest.mark.parametrize(
    ("seed", "vertices", "faces", "reach", "tone"),
    [(0, 57390, 89612, 2.074219, 0.253060), (3, 53968, 83934, 2.359409, 0.267841)],
)
def test_plain_towns_are_those_that_the_small_clip_learnt_from(seed, vertices, faces, reach, tone):
    geometry = build_town(seed).geometry
    assert (len(geometry.vertices), len(geometry.faces)) == (vertices, faces)
    assert np.abs(geometry.vertices.astype(np.float64)).mean() == pytest.approx(reach, abs=1e-5)
    assert geometry.part_numbers.astype(np.float64).mean() == pytest.approx(tone, abs=1e-5)


def test_every_promised_class_stands_in_every_town_or_nearly():
    missing = [PROMISED - set(build_town(seed).instances.labels.tolist()) for seed in range(20, 26)]
    assert set.union(*missing) <= {things.BUS, things.TERRAIN}
    assert sum(len(absent) for absent in missing) <= 2


def test_kinds_are_missing_from_a_town_as_often_as_asked_and_nothing_else_moves():
    whole = [build_town(seed).instances for seed in range(20, 28)]
    sparse = [build_town(seed, missing_kinds=0.7).instances for seed in range(20, 28)]
    absent = 0
    for full, few in zip(whole, sparse, strict=True):
        kinds = set(few.labels.tolist())
        kept = np.isin(full.labels, list(kinds))
        assert set(full.labels.tolist()) - kinds <= things.COUNTABLE
        assert np.array_equal(full.starts[kept], few.starts)
        absent += len(set(full.labels.tolist()) - kinds)
    assert 0.5 < absent / (8 * len(things.COUNTABLE)) < 0.9
    assert set(build_town(20, missing_kinds=1.0).instances.labels.tolist()).isdisjoint(things.COUNTABLE)


def test_rays_meet_what_a_search_through_all_triangles_finds():
    snapshot = town().at(2.0)
    origins, directions = rays(40)
    ray_hits = snapshot.cast(origins, directions)
    corners = moved_vertices(town(), 2.0)[town().geometry.faces]
    for ray in range(len(origins)):
        expected = first_hit(origins[ray].astype(float), directions[ray].astype(float), corners)
        assert ray_hits.distances[ray] == pytest.approx(expected, rel=1e-3, abs=2e-3)


def test_rays_that_meet_nothing_say_so():
    up = np.tile(np.float32([[0, 0, 1]]), (3, 1))
    ray_hits = town().at(0.0).cast(up * 100, up)
    assert (ray_hits.triangles == -1).all() and np.isinf(ray_hits.distances).all()
    assert (town().at(0.0).instances_of(ray_hits.triangles) == -1).all()
    assert not town().at(0.0).is_blocked(up * 100, up).any()


def test_a_ray_is_blocked_exactly_when_it_meets_something():
    origins, directions = rays(500, seed=1)
    snapshot = town().at(1.0)
    assert np.array_equal(
        snapshot.is_blocked(origins, directions), snapshot.cast(origins, directions).triangles >= 0
    )


def test_normals_face_the_ray():
    origins, directions = rays(500)
    ray_hits = town().at(0.0).cast(origins, directions)
    met = ray_hits.triangles >= 0
    assert met.any()
    assert np.allclose(np.linalg.norm(ray_hits.normals[met], axis=1), 1, atol=1e-4)
    assert (np.einsum("ij,ij->i", ray_hits.normals, directions)[met] <= 1e-6).all()


def test_street_coordinates_come_back_from_the_world():
    curved = next(build_town(seed) for seed in range(30, 60) if build_town(seed).curvature)
    points = np.random.default_rng(0).uniform([-90, -100, 0], [180, 100, 5], (200, 3))
    assert np.allclose(curved.street_from_world(curved.world_from_street(points)), points)


def test_moving_things_move_as_their_velocity_says_and_the_others_stay():
    now, later = town().boxes(1.0), town().boxes(1.5)
    assert np.array_equal(now.instances, later.instances)
    shift = later.centres - now.centres
    speed = np.linalg.norm(now.velocities, axis=1)
    assert np.allclose(shift[now.moving], now.velocities[now.moving] * 0.5, atol=0.12)
    assert (shift[~now.moving] == 0).all() and (speed[~now.moving] == 0).all()
    assert (speed[now.moving] > 0.5).all() and now.moving.sum() > 10
    assert {things.CAR, things.PEDESTRIAN} <= set(now.labels[now.moving].tolist())


def test_boxes_hold_their_things_tightly():
    boxes, vertices = town().boxes(0.7), moved_vertices(town(), 0.7)
    for row in range(0, len(boxes.instances), 7):
        mine = vertices[town().geometry.vertex_instances == boxes.instances[row]] - boxes.centres[row]
        cos, sin = np.cos(boxes.yaws[row]), np.sin(boxes.yaws[row])
        local = mine @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        assert np.allclose(local.max(0), boxes.sizes[row] / 2, atol=2e-3)
        assert np.allclose(local.min(0), -boxes.sizes[row] / 2, atol=2e-3)


def test_sizes_of_things_are_those_of_real_ones():
    boxes = [build_town(seed).boxes(0.0) for seed in (3, 4, 5)]
    labels, sizes = np.concatenate([b.labels for b in boxes]), np.concatenate([b.sizes for b in boxes])
    lengths = {label: np.median(sizes[labels == label, 0]) for label in np.unique(labels)}
    assert 3.5 < lengths[things.CAR] < 5 < lengths[things.TRUCK] < 9.6 < lengths[things.BUS] < 13.2
    assert 1.4 < np.median(sizes[labels == things.PEDESTRIAN, 2]) < 2.0
    assert 0.5 < np.median(sizes[labels == things.CONE, 2]) < 1.1


def test_the_ego_drives_forward_and_meets_nothing():
    for seed in (3, 4, 7):
        world = build_town(seed)
        for time_s in (0.0, 3.0, 6.0):
            pose, ahead = world.world_from_ego(time_s), world.world_from_ego(time_s + 0.5)
            step = np.linalg.inv(pose) @ ahead
            assert 2.0 < step[0, 3] < 5.5 and abs(step[1, 3]) < 0.3
            boxes = world.boxes(time_s)
            offsets = (boxes.centres[:, :2] - pose[:2, 3]) @ pose[:2, :2]
            reach = boxes.sizes[:, 0] / 2
            in_the_way = (np.abs(offsets[:, 0]) < 2 + reach) & (np.abs(offsets[:, 1]) < 1.2)
            assert not in_the_way[boxes.sizes[:, 0] > 3].any()


def test_vehicles_and_buildings_share_the_whole_range_of_colours():
    tables = [build_town(seed).instances for seed in range(40, 48)]
    for noun in ("car", "house", "building", "person"):
        seen = {c for table in tables for c, n in zip(table.colours, table.nouns, strict=True) if n == noun}
        assert len(seen) >= len(PALETTE) - 4


def test_each_thing_alone_stands_on_bare_ground():
    table = town().instances
    bicycle = int(np.flatnonzero(table.labels == things.BICYCLE)[0])
    snapshot = town().alone(bicycle, 0.0)
    origins, directions = rays(4000)
    met = snapshot.instances_of(snapshot.cast(origins, directions).triangles)
    met = met[met >= 0]
    assert (table.on_ground[met] | (met == bicycle)).all()


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        build_town(-1)
