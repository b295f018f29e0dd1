"""Rain and fog: what they swallow and what they show."""

import numpy as np

from clip2scene.toytown.lidars import LIDARS
from clip2scene.toytown.sensors import Sweep, lidar_sweep
from clip2scene.toytown.town.weather import CLEAR, Weather, draw_weather
from clip2scene.toytown.town.world import build_town
from clip2scene.types import IGNORE_LABEL


def swept(weather: Weather) -> Sweep:
    town = build_town(3)
    town.weather = weather
    lidar = LIDARS["spinning-16"]
    return lidar_sweep(town, 1.0, np.random.default_rng(0), lidar=lidar, azimuth_steps=180)


def test_fog_swallows_far_returns_and_shows_some_drops_near_by():
    clear, foggy = swept(CLEAR), swept(Weather(0.02, 0.2, 5.0))
    far = [np.mean(np.linalg.norm(points.positions, axis=1) > 30) for points in (clear, foggy)]
    assert far[1] < 0.6 * far[0]
    drops = foggy.labels == IGNORE_LABEL
    assert 0.005 < drops.mean() < 0.2 and (foggy.instances[drops] == -1).all()
    assert np.linalg.norm(foggy.positions[drops], axis=1).max() < 6
    assert (clear.labels >= 0).all()


def test_so_much_is_swallowed_as_the_way_there_and_back_takes():
    distances, rng = np.full(40_000, 20.0), np.random.default_rng(0)
    seen, back, drops = Weather(0.01, 0.0).pass_through(distances, rng)
    assert abs(back.mean() - np.exp(-0.4)) < 0.01
    assert not drops.any() and np.array_equal(seen, distances)


def test_clear_air_takes_nothing_and_draws_nothing():
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    seen, back, drops = CLEAR.pass_through(np.arange(3.0), rng)
    assert back.all() and not drops.any() and np.array_equal(seen, np.arange(3.0))
    assert rng.random() == untouched.random()


def test_most_towns_are_clear_and_some_are_not():
    weathers = [draw_weather(np.random.default_rng(seed)) for seed in range(60)]
    assert 10 < sum(weather != CLEAR for weather in weathers) < 30
    assert draw_weather(np.random.default_rng(3)) == draw_weather(np.random.default_rng(3))
