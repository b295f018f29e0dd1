"""Varied towns: the same from the same seed, whole, on a relief that everything stands on."""

from functools import lru_cache

import numpy as np
import pytest

from clip2scene.classes.tables import NUSCENES, TOYTOWN
from clip2scene.toytown.clip.captions import SYNONYMS
from clip2scene.toytown.sensors import lidar_sweep
from clip2scene.toytown.town import things
from clip2scene.toytown.town.world import Town, build_town
from clip2scene.toytown.writers.kitti_drive import RAW_OF_NOUN

HILLY = (3, 4, 8)
PROMISED = {NUSCENES.classes.index(name) for name in TOYTOWN.classes}


@lru_cache
def town(seed: int) -> Town:
    return build_town(seed, varied=True)


def under(world: Town, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height and class of what a ray from 60 m above first meets of the bare ground, per place (x, y)."""
    from_above = np.column_stack([places, np.full(len(places), 60.0)]).astype(np.float32)
    down = np.tile(np.float32([[0, 0, -1]]), (len(places), 1))
    nothing = len(world.instances.labels)
    hits = world.alone(nothing, 0.0).cast(from_above, down)
    instances = world.at(0.0).instances_of(hits.triangles)
    return 60.0 - hits.distances, world.instances.labels[instances]


def test_the_same_seed_gives_the_same_town_and_the_plain_one_is_another():
    first, again = town(5).geometry, build_town(5, varied=True).geometry
    assert np.array_equal(first.vertices, again.vertices)
    assert np.array_equal(first.part_numbers, again.part_numbers)
    assert (
        build_town(5).surface.relief is None and build_town(5).geometry.vertices.shape != first.vertices.shape
    )


@pytest.mark.parametrize("seed", HILLY)
def test_the_ground_has_no_holes_and_lies_as_the_relief_says(seed):
    world, rng = town(seed), np.random.default_rng(0)
    street = np.column_stack([rng.uniform(-90, 180, 3000), rng.uniform(-100, 100, 3000), np.zeros(3000)])
    places = world.world_from_street(street)
    height, _ = under(world, places[:, :2])
    above = height - places[:, 2]
    assert above.min() > -0.06 and above.max() < 0.26  # kerbs are at most 0.2 m high


@pytest.mark.parametrize("seed", HILLY)
def test_everything_stands_on_the_ground(seed):
    world, chosen = town(seed), np.arange(len(town(seed).geometry.vertices))
    vertices, owners = world.place_vertices(chosen, 0.0), world.geometry.vertex_instances
    above = vertices[:, 2] - world.surface.ground_height(vertices.astype(np.float64))
    lowest = np.full(len(world.instances.labels), np.inf)
    np.minimum.at(lowest, owners, above)
    standing = lowest[~world.instances.on_ground]
    assert standing.min() > -0.6 and standing.max() < 0.45


def test_wheels_of_moving_things_stay_on_the_ground():
    world = town(4)
    moving = np.flatnonzero(world.instances.starts[:, 4] != 0)
    chosen = np.flatnonzero(np.isin(world.geometry.vertex_instances, moving))
    for time_s in (0.0, 4.0):
        vertices = world.place_vertices(chosen, time_s)
        above = vertices[:, 2] - world.surface.ground_height(vertices.astype(np.float64))
        lowest = np.full(len(world.instances.labels), np.inf)
        np.minimum.at(lowest, world.geometry.vertex_instances[chosen], above)
        assert np.abs(lowest[moving]).max() < 0.45


@pytest.mark.parametrize("seed", HILLY)
def test_the_ego_pose_is_tangent_to_the_road(seed):
    world = town(seed)
    for time_s in (0.0, 3.0, 7.0):
        pose = world.world_from_ego(time_s)
        assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3)) and np.linalg.det(pose) > 0.999
        wheels = np.array([[1.3, 0.8, 0], [1.3, -0.8, 0], [-1.3, 0.8, 0], [-1.3, -0.8, 0]])
        places = wheels @ pose[:3, :3].T + pose[:3, 3]
        height, labels = under(world, places[:, :2])
        assert (labels == things.ROAD).all()
        assert np.abs(height - places[:, 2]).max() < 0.06
    tilts = [np.degrees(np.arccos(world.world_from_ego(t)[2, 2])) for t in np.arange(0.0, 10.0)]
    assert max(tilts) > 0.5


def test_a_varied_town_has_every_class_and_more_things_than_a_plain_one():
    worlds = [town(seed) for seed in (*HILLY, 5, 6)]
    for world in worlds:
        assert PROMISED - set(world.instances.labels.tolist()) <= {things.BUS, things.TERRAIN}
    varied = np.mean([len(world.instances.labels) for world in worlds])
    plain = np.mean([len(build_town(seed).instances.labels) for seed in (*HILLY, 5, 6)])
    assert varied > 1.2 * plain


def test_the_nouns_are_those_that_the_small_clip_and_every_layout_know():
    nouns = {noun for seed in (*HILLY, 5, 6, 7) for noun in town(seed).instances.nouns}
    assert nouns <= set(SYNONYMS) and nouns <= set(RAW_OF_NOUN)


def test_nothing_high_stands_in_the_egos_way():
    for seed in (*HILLY, 5, 6):
        world = town(seed)
        for time_s in (0.0, 3.0, 6.0, 9.5):
            pose = world.world_from_ego(time_s)
            sweep = lidar_sweep(world, time_s, np.random.default_rng(0), azimuth_steps=360, range_noise=0.0)
            positions = sweep.positions + [0.9, 0.0, 1.84]
            own = (np.abs(positions[:, 1]) < 0.9) & (positions[:, 0] > -2) & (positions[:, 0] < 4)
            assert (positions[own & (sweep.labels >= 0), 2] < 0.3).all(), (seed, time_s, pose[:3, 3])


def test_hits_on_draped_things_are_coloured_where_they_were_built():
    world = town(4)
    chosen = np.flatnonzero(world.instances.labels[world.geometry.vertex_instances] == things.CAR)[::50]
    placed = world.place_vertices(chosen, 0.0)
    owners, poses = world.geometry.vertex_instances[chosen], world.poses(0.0).astype(np.float32)
    local_height = placed[:, 2] - poses[owners, 2] - world.drape(placed, owners, poses)
    assert np.allclose(local_height, world.geometry.vertices[chosen, 2], atol=1e-3)
