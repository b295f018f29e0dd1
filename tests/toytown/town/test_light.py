import numpy as np
import pytest

from clip2scene.toytown.town.light import draw_light


@pytest.mark.parametrize("seed", range(20))
def test_every_day_has_a_sun_above_the_horizon_and_light_in_range(seed):
    light = draw_light(np.random.default_rng(seed))
    assert np.linalg.norm(light.to_sun) == pytest.approx(1)
    assert np.sin(np.radians(18)) <= light.to_sun[2] <= np.sin(np.radians(70))
    assert all(
        (0 < colour).all() and (colour < 1).all() for colour in (light.sun, light.zenith, light.horizon)
    )
    assert light.lamp is None


def test_under_cloud_the_sun_is_weaker_than_the_light_from_everywhere():
    lights = [draw_light(np.random.default_rng(seed)) for seed in range(50)]
    overcast = [light for light in lights if light.sun.max() < 0.3]
    assert 5 < len(overcast) < 35
    assert all(light.ambient.min() > light.sun.max() for light in overcast)
