"""Lidars: each sees what its data sheet promises, sits where it says, and no drawn one is like another."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch

from clip2scene.geometry.ground import estimate_ground
from clip2scene.toytown.lidars import LIDARS, MOST_POINTS, Intensity, draw_lidar, ego_from_lidar
from clip2scene.toytown.sensors import Sweep, lidar_sweep
from clip2scene.toytown.town.world import Town, build_town

VIEWS = {"livox": (35, -35, 35), "solid-state": (60, -14.5, 10.5)}
"""Half the width of the view, and the lowest and highest beam of those that do not go round, in degrees."""


@lru_cache
def town() -> Town:
    return build_town(2)


@lru_cache
def sweep(name: str) -> Sweep:
    lidar = LIDARS[name]
    if lidar.pattern == "lines":  # swift, or the vehicle's own motion bends the beams
        lidar = replace(lidar, revolution_s=1e-4)
    return lidar_sweep(town(), 1.0, np.random.default_rng(0), lidar=lidar)


@pytest.mark.parametrize("name", LIDARS)
def test_a_lidar_sees_its_view_and_most_of_its_beams_come_back(name):
    lidar, points = LIDARS[name], sweep(name)
    around = np.degrees(np.arctan2(points.positions[:, 1], points.positions[:, 0]))
    away = np.linalg.norm(points.positions, axis=1)
    up = np.degrees(np.arcsin(points.positions[:, 2] / away))
    half, low, high = VIEWS.get(name, (180, lidar.elevations_deg[0], lidar.elevations_deg[-1]))
    assert -half - 4 < around.min() < -half * 0.9 and half * 0.9 < around.max() < half + 4
    assert low - 4 < up.min() < low + 8 and up.max() < high + 4
    asked = lidar.azimuth_steps * len(lidar.elevations_deg)
    assert asked <= MOST_POINTS and 0.35 * asked < len(away) < asked
    assert away.max() < lidar.max_range + 1
    if lidar.pattern == "lines":
        assert set(np.unique(points.rings)) <= set(range(len(lidar.elevations_deg)))
        error = np.abs(up - np.array(lidar.elevations_deg)[points.rings])
        assert np.quantile(error, 0.99) < 0.3  # from the noise of near returns alone


def test_beams_of_sixty_four_are_dense_about_the_horizon():
    gaps = np.diff(LIDARS["spinning-64"].elevations_deg)
    assert (gaps > 0).all() and gaps.min() < 0.2 and gaps.max() >= 4
    names = ("spinning-16", "spinning-32", "spinning-40", "spinning-64", "spinning-64-down", "spinning-128")
    assert [len(LIDARS[name].elevations_deg) for name in names] == [16, 32, 40, 64, 64, 128]


def test_a_rosette_is_dense_in_the_middle_round_and_never_the_same():
    lidar = LIDARS["livox"]
    around, up = (np.degrees(angles.ravel()) for angles in lidar.firings(1.0, 20_000))
    ahead = np.cos(np.radians(up)) * np.cos(np.radians(around))
    away = np.degrees(np.arccos(ahead))
    assert 34 < away.max() < 35.01
    density = [((away >= low) & (away < low + 5)).sum() / (2 * low + 5) for low in (0, 15)]
    assert density[0] > 2 * density[1]
    later = np.degrees(lidar.firings(1.05, 20_000)[0].ravel())
    assert np.abs(later - around).mean() > 5


@pytest.mark.parametrize("name", ["spinning-16", "spinning-64", "solid-state"])
def test_mount_and_tilt_come_back_from_the_ground(name):
    roll, pitch, height = 4.0, -3.0, 1.3
    lidar = replace(LIDARS[name], position=(0.2, 0.0, height), angles_deg=(roll, pitch, 20.0))
    points = lidar_sweep(build_town(4), 1.0, np.random.default_rng(0), lidar=lidar)
    ground = estimate_ground(torch.tensor(points.positions))
    slope = np.cos(np.radians(roll)) * np.cos(np.radians(pitch))
    assert ground.height == pytest.approx(-height / slope, abs=0.06)
    assert ground.pitch_deg == pytest.approx(pitch, abs=0.5)
    assert ground.roll_deg == pytest.approx(-roll, abs=0.8)  # the sidewalk counts a little


def test_the_pose_of_a_lidar_turns_as_its_angles_say():
    def axes(*angles):
        return ego_from_lidar(replace(LIDARS["livox"], angles_deg=angles))[:3, :3].T

    sin, cos = np.sin(np.radians(10)), np.cos(np.radians(10))
    assert np.allclose(axes(0.0, 0.0, 10.0)[0], [cos, sin, 0])  # ahead turns to the left
    assert np.allclose(axes(0.0, 10.0, 0.0)[0], [cos, 0, -sin])  # ahead turns down
    assert np.allclose(axes(10.0, 0.0, 0.0)[1], [0, cos, sin])  # the left turns up
    assert np.array_equal(axes(0.0, 0.0, 0.0), np.eye(3))


def test_drawn_lidars_follow_from_the_generator_and_cover_what_is_promised():
    drawn = [draw_lidar(np.random.default_rng(seed)) for seed in range(120)]
    assert drawn[5] == draw_lidar(np.random.default_rng(5))
    assert {lidar.name for lidar in drawn} == set(LIDARS)
    heights, tilts = np.array([x.position[2] for x in drawn]), np.array([x.angles_deg for x in drawn])
    assert 0.4 <= heights.min() < 0.7 and 2.3 < heights.max() <= 2.6
    assert 2 < np.abs(tilts).max() <= 4
    noise = np.array([lidar.range_noise for lidar in drawn])
    assert 0.01 <= noise.min() and noise.max() <= 0.05
    assert all(lidar.azimuth_steps * len(lidar.elevations_deg) <= MOST_POINTS for lidar in drawn)
    assert any(lidar.intensity.gain == 0 for lidar in drawn)
    assert all(np.all(np.diff(lidar.elevations_deg) >= 0) for lidar in drawn)


def test_intensity_is_what_its_settings_make_of_a_return():
    strength, facing = np.full(4, 0.25, np.float32), np.array([1.0, 1.0, 0.0, 1.0], np.float32)
    distances, mirrored = np.array([10, 20, 10, 10], np.float32), np.array([False, False, False, True])

    def told(**settings: float | int) -> np.ndarray:
        model = Intensity(**{"speckle": 0.0, "angle_share": 0.0, **settings})
        return model.record(strength, facing, distances, mirrored, np.random.default_rng(0))

    assert np.allclose(told(), 0.25)
    assert np.allclose(told(falloff=2.0), [0.25, 0.0625, 0.25, 0.25])
    assert np.allclose(told(angle_share=0.8), [0.25, 0.25, 0.05, 0.25])
    assert np.allclose(told(mirrors=3.0), [0.25, 0.25, 0.25, 0.75])
    assert np.allclose(told(mirrors=9.0), [0.25, 0.25, 0.25, 1.0])
    assert np.allclose(told(gamma=0.5, gain=0.5), 0.25)
    assert np.allclose(told(levels=3), 1 / 3)
    assert (told(gain=0.0) == 0).all()
