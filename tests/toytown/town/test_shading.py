from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from clip2scene.toytown.town.shading import shade, sky
from clip2scene.toytown.town.world import build_town


@pytest.fixture(scope="module")
def town():
    return build_town(3)


def looking(*directions):
    directions = np.array(directions, np.float32)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def seen_from(town, origin, directions):
    """The light along rays from one place, and how far they go."""
    snapshot = town.at(0.0)
    origins = np.tile(np.array(origin, np.float32), (len(directions), 1))
    hits = snapshot.cast(origins, directions)
    spread = np.full(len(directions), 1e-3, np.float32)
    return shade(snapshot, hits, origins, directions, spread), hits


def lit(town, **changes):
    other = copy(town)
    other.light = replace(town.light, **changes)
    return other


FAN = looking(*((np.cos(angle), np.sin(angle), -0.2) for angle in np.linspace(0, 2 * np.pi, 200)))


def test_the_sky_is_the_horizons_colour_or_a_clouds_where_it_begins(town):
    clear = lit(town, clouds=-9.0)
    found = sky(clear, looking((1, 0, 0), (0, 1, 0), (0, 0, 1)))
    np.testing.assert_allclose(found[:2], np.tile(town.light.horizon, (2, 1)), rtol=1e-5)
    nearly = town.light.horizon + 0.9 * (town.light.zenith - town.light.horizon)
    np.testing.assert_allclose(found[2], nearly, rtol=1e-5)


def test_a_ray_that_meets_nothing_shows_the_sky_as_it_is_exposed(town):
    up = looking((0, 0, 1), (0.1, 0.1, 1))
    light, hits = seen_from(town, (0, 0, 60), up)
    assert (hits.triangles < 0).all()
    np.testing.assert_allclose(light, sky(town, up) * town.light.exposure, rtol=1e-5)


def test_the_sun_makes_some_surfaces_lighter_and_leaves_the_shade_as_it_is(town):
    overcast, hits = seen_from(lit(town, sun=town.light.sun * 0), (0, 0, 1.7), FAN)
    sunny, _ = seen_from(town, (0, 0, 1.7), FAN)
    met = hits.triangles >= 0
    gain = (sunny - overcast)[met].sum(1)
    assert gain.min() > -1e-5
    assert (gain > 1e-3).any() and (gain < 1e-5).any()


def test_what_is_far_away_in_haze_has_the_colour_of_the_horizon(town):
    foggy = lit(town, haze=100.0)
    light, hits = seen_from(foggy, (0, 0, 1.7), FAN)
    met = light[hits.triangles >= 0]
    expected = town.light.horizon * town.light.exposure
    np.testing.assert_allclose(met, np.tile(expected, (len(met), 1)), rtol=1e-4)
