"""Cameras and lidar: pictures, depths and points that agree with each other and with the town."""

from functools import lru_cache

import numpy as np
import pytest

from clip2scene.toytown.lidars import LIDARS
from clip2scene.toytown.sensors import (
    Render,
    Sweep,
    camera_rig,
    ego_from_lidar,
    lidar_sweep,
    look_at_heading,
    pinhole,
    render_camera,
    render_views,
)
from clip2scene.toytown.town.world import Town, build_town
from clip2scene.types import IGNORE_LABEL

TIME_S = 1.0
ELEVATIONS_DEG = np.array(LIDARS["spinning-32"].elevations_deg)
RINGS = len(ELEVATIONS_DEG)


@lru_cache
def town(seed: int = 2) -> Town:
    return build_town(seed)


@lru_cache
def pictures() -> tuple[Render, ...]:
    world, snapshot, rng = town().world_from_ego(TIME_S), town().at(TIME_S), np.random.default_rng(0)
    return tuple(
        render_camera(snapshot, world @ c.ego_from_camera, c.intrinsics, c.width, c.height, rng)
        for c in camera_rig(160, 90)
    )


@lru_cache
def sweep(seed: int = 0) -> Sweep:
    return lidar_sweep(town(), TIME_S, np.random.default_rng(seed), azimuth_steps=360)


def test_the_rig_has_nuscenes_six_cameras_looking_where_their_names_say():
    rig = {camera.name: camera for camera in camera_rig()}
    assert len(rig) == 6
    looks = {name: camera.ego_from_camera[:3, 2] for name, camera in rig.items()}
    assert looks["CAM_FRONT"][0] > 0.99 and looks["CAM_BACK"][0] < -0.99
    assert looks["CAM_FRONT_LEFT"][1] > 0.5 and looks["CAM_FRONT_RIGHT"][1] < -0.5
    assert looks["CAM_BACK_LEFT"][0] < 0 < looks["CAM_BACK_LEFT"][1]
    for camera in rig.values():
        rotation = camera.ego_from_camera[:3, :3]
        assert np.allclose(rotation @ rotation.T, np.eye(3)) and np.linalg.det(rotation) > 0
        assert camera.ego_from_camera[2, 1] < -0.99  # y looks down


def test_the_cameras_together_see_all_around():
    seen = np.zeros(3600, bool)
    for camera in camera_rig():
        angles = np.radians(np.arange(3600) / 10)
        directions = (
            np.stack([np.cos(angles), np.sin(angles), np.zeros(3600)], 1) @ camera.ego_from_camera[:3, :3]
        )
        u = camera.intrinsics[0, 0] * directions[:, 0] / directions[:, 2] + camera.intrinsics[0, 2]
        seen |= (directions[:, 2] > 0) & (u > -0.5) & (u < camera.width - 0.5)
    assert seen.all()


def test_a_picture_shows_what_its_labels_say_in_type_and_range():
    for picture in pictures():
        assert picture.rgb.shape == (90, 160, 3) and picture.rgb.dtype == np.uint8
        sky = picture.instances < 0
        assert np.array_equal(sky, picture.labels == IGNORE_LABEL) and np.array_equal(
            sky, np.isinf(picture.depth)
        )
        known = town().instances.labels[picture.instances[~sky]]
        assert np.array_equal(known, picture.labels[~sky])
        assert 20 < picture.rgb.mean() < 235 and picture.rgb.std() > 15


def test_unprojected_pixels_lie_on_the_things_they_show():
    camera, picture = camera_rig(160, 90)[0], pictures()[0]
    world_from_camera = town().world_from_ego(TIME_S) @ camera.ego_from_camera
    boxes = town().boxes(TIME_S)
    checked = 0
    for row, instance in enumerate(boxes.instances):
        v, u = np.nonzero(picture.instances == instance)
        depth = picture.depth[v, u]
        pixels = np.stack([u, v, np.ones_like(u)]).astype(float)
        local = (np.linalg.inv(camera.intrinsics) @ pixels) * depth
        world = (world_from_camera[:3, :3] @ local).T + world_from_camera[:3, 3] - boxes.centres[row]
        cos, sin = np.cos(boxes.yaws[row]), np.sin(boxes.yaws[row])
        inside = np.abs(world @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]))
        assert (inside <= boxes.sizes[row] / 2 + 0.02).all()
        checked += len(u)
    assert checked > 100


def test_lidar_points_land_on_pixels_of_their_own_class():
    points, agree, total = sweep(), 0, 0
    still = ~np.isin(points.instances, town().boxes(TIME_S).instances[town().boxes(TIME_S).moving])
    for camera, picture in zip(camera_rig(160, 90), pictures(), strict=True):
        camera_from_lidar = np.linalg.inv(camera.ego_from_camera) @ ego_from_lidar()
        local = points.positions[still] @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3]
        pixels = local @ camera.intrinsics.T
        u, v = np.round(pixels[:, :2] / pixels[:, 2:]).T
        seen = (local[:, 2] > 1) & (u >= 0) & (u < 160) & (v >= 0) & (v < 90)
        columns, rows = u[seen].astype(int), v[seen].astype(int)
        unhidden = np.abs(picture.depth[rows, columns] - local[seen, 2]) < 0.1 + 0.05 * local[seen, 2]
        agree += (picture.labels[rows, columns] == points.labels[still][seen])[unhidden].sum()
        total += unhidden.sum()
        assert unhidden.mean() > 0.7
    assert total > 2000 and agree / total > 0.95


def test_a_picture_is_the_same_again_with_the_same_generator():
    camera, world = camera_rig(64, 48)[0], town().world_from_ego(TIME_S)
    arguments = (town().at(TIME_S), world @ camera.ego_from_camera, camera.intrinsics, 64, 48)
    first, again = (render_camera(*arguments, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first.rgb, again.rgb) and np.array_equal(first.depth, again.depth)


def test_many_views_at_once_equal_single_views():
    snapshot = town().at(0.0)
    poses = np.stack([look_at_heading(yaw, (5.0, -1.0, 1.5)) for yaw in (0.0, 2.0)])
    matrices = np.stack([pinhole(60.0, 32, 32)] * 2)
    both = render_views(snapshot, poses, matrices, (32, 32), np.random.default_rng(0))
    for view, pose, matrix in zip(both, poses, matrices, strict=True):
        alone = render_camera(snapshot, pose, matrix, 32, 32, np.random.default_rng(1))
        assert np.array_equal(view.labels, alone.labels) and np.array_equal(view.depth, alone.depth)
        assert np.abs(view.rgb.astype(int) - alone.rgb).mean() < 8  # only the noise differs


def test_supersampling_smooths_the_picture_but_keeps_it():
    snapshot, pose = town().at(0.0), look_at_heading(0.0, (5.0, -1.0, 1.5))
    coarse, fine = (
        render_camera(snapshot, pose, pinhole(60.0, 48, 48), 48, 48, np.random.default_rng(0), supersample=s)
        for s in (1, 3)
    )
    assert np.array_equal(coarse.labels, fine.labels) and np.allclose(coarse.depth, fine.depth, rtol=1e-3)
    assert np.abs(coarse.rgb.astype(float) - fine.rgb).mean() < 15
    rough, smooth = (np.abs(np.diff(picture.rgb.astype(float), axis=1)).mean() for picture in (coarse, fine))
    assert smooth < rough


def test_colour_alone_does_not_tell_the_classes_apart():
    """Knowing every class's mean colour in these very pictures is far from enough."""
    colours, labels = [], []
    for seed in (2, 3, 4, 5):
        world = build_town(seed)
        for camera in camera_rig(80, 45):
            pose = world.world_from_ego(TIME_S) @ camera.ego_from_camera
            view = render_camera(world.at(TIME_S), pose, camera.intrinsics, 80, 45, np.random.default_rng(0))
            colours.append(view.rgb[view.labels >= 0])
            labels.append(view.labels[view.labels >= 0])
    colour, label = np.concatenate(colours).astype(float), np.concatenate(labels)
    classes = np.unique(label)
    means = np.stack([colour[label == one].mean(0) for one in classes])
    guess = classes[((colour[:, None] - means) ** 2).sum(-1).argmin(1)]
    ious = [((guess == c) & (label == c)).sum() / ((guess == c) | (label == c)).sum() for c in classes]
    assert len(classes) >= 11
    assert np.mean(ious) < 0.2


def test_points_lie_on_their_beams_within_range():
    points = sweep()
    ranges = np.linalg.norm(points.positions, axis=1)
    assert 0.8 < ranges.min() and ranges.max() < 70.5
    assert points.rings.min() >= 0 and points.rings.max() < RINGS
    elevation = np.degrees(np.arcsin(points.positions[:, 2] / ranges))
    error = np.abs(elevation - ELEVATIONS_DEG[points.rings])
    assert np.median(error) < 0.1  # the vehicle's own motion bends the beams a little
    assert (points.intensity >= 0).all() and (points.intensity <= 1).all() and points.intensity.std() > 0.05


def test_some_returns_are_lost_and_dark_surfaces_lose_more():
    points = sweep()
    assert 0.3 < len(points.positions) / (RINGS * 360) < 0.98
    ranges = np.linalg.norm(points.positions, axis=1)
    near, far = points.intensity[ranges < 15], points.intensity[ranges > 40]
    assert far.mean() > near.mean()  # only bright things come back from afar


def test_ranges_are_noisy_by_the_centimetres_asked_for():
    still_ground = []
    for noise in (0.0, 0.03):
        points = lidar_sweep(town(), 0.0, np.random.default_rng(0), azimuth_steps=180, range_noise=noise)
        road = (points.labels == 10) & (np.linalg.norm(points.positions, axis=1) < 12)
        still_ground.append(points.positions[road, 2])
    assert np.abs(still_ground[0] + 1.84).max() < 0.01
    assert 0.003 < (still_ground[1] + 1.84).std() < 0.03


def test_ego_motion_is_taken_out_so_still_things_stay_sharp():
    early, late = (lidar_sweep(town(), t, np.random.default_rng(0), range_noise=0.0) for t in (1.0, 1.4))
    clouds = []
    for points, time_s in ((early, 1.0), (late, 1.4)):
        pose = town().world_from_ego(time_s) @ ego_from_lidar()
        clouds.append(points.positions @ pose[:3, :3].T + pose[:3, 3])
    for points, cloud in zip((early, late), clouds, strict=True):
        road = points.labels == 10
        assert np.abs(cloud[road, 2]).max() < 0.01
    walls = [cloud[p.labels == 14] for p, cloud in zip((early, late), clouds, strict=True)]
    nearest = [np.linalg.norm(walls[1] - point, axis=1).min() for point in walls[0][::40]]
    assert np.median(nearest) < 0.5


def test_a_sweep_is_the_same_again_with_the_same_generator_and_different_with_another():
    again = lidar_sweep(town(), TIME_S, np.random.default_rng(0), azimuth_steps=360)
    assert np.array_equal(sweep().positions, again.positions)
    assert len(sweep(1).positions) != len(again.positions) or not np.array_equal(
        sweep(1).positions, again.positions
    )


def test_times_run_through_the_revolution():
    times = sweep().times_s
    assert -0.05 <= times.min() < -0.03 and -0.01 < times.max() <= 0
    assert len(np.unique(times)) >= 6


@pytest.mark.parametrize("angle", [40.0, 110.0])
def test_a_pinhole_sees_the_angle_asked_for(angle):
    matrix = pinhole(angle, 400, 224)
    edge = np.linalg.inv(matrix) @ [-0.5, 111.5, 1]
    assert 2 * np.degrees(np.arctan(-edge[0])) == pytest.approx(angle)
