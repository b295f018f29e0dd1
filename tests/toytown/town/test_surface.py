"""Surfaces: street coordinates and the world's, there and back."""

import numpy as np
import pytest

from clip2scene.toytown.town.relief import draw_relief
from clip2scene.toytown.town.surface import Surface

RELIEF = draw_relief(np.random.default_rng(2), 7.0)


@pytest.mark.parametrize("curvature", [0.0, 1 / 150, -1 / 200])
@pytest.mark.parametrize("relief", [None, RELIEF])
def test_street_coordinates_come_back_from_the_world(curvature, relief):
    surface = Surface(curvature, relief)
    street = np.random.default_rng(0).uniform([-90, -100, 0], [180, 100, 5], (200, 3))
    world = surface.world_from_street(street)
    assert np.allclose(surface.street_from_world(world), street)
    assert np.allclose(surface.ground_height(world), world[:, 2] - street[:, 2])
    assert (np.ptp(surface.ground_height(world)) > 1) == (relief is not None)


def test_wheels_of_a_tilted_pose_stand_on_the_ground():
    surface, yaw = Surface(0.0, RELIEF), 0.7
    level = np.eye(4)
    level[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    level[:3, 3] = surface.world_from_street(np.array([[60.0, -20.0, 0.0]]))[0]
    pose = surface.on_wheels(level)
    wheels = np.array([[1.3, 0.8, 0], [1.3, -0.8, 0], [-1.3, 0.8, 0], [-1.3, -0.8, 0]])
    places = wheels @ pose[:3, :3].T + pose[:3, 3]
    assert np.abs(places[:, 2] - surface.ground_height(places)).max() < 0.01
    assert np.linalg.norm(pose[:3, 2] - [0, 0, 1]) > 0.01
    assert np.allclose(np.arctan2(pose[1, 0], pose[0, 0]), yaw)
    assert Surface(0.0).on_wheels(level) is level
