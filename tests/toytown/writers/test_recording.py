import numpy as np
import pytest

from clip2scene.toytown.lidars import LIDARS
from clip2scene.toytown.sensors import camera_rig
from clip2scene.toytown.town.world import build_town
from clip2scene.toytown.writers.recording import Recording, take_image, take_sweep


@pytest.mark.parametrize(
    "numbers",
    [{"sweeps_per_keyframe": 11}, {"keyframes_per_scene": 21}, {"sweeps_per_keyframe": 0}, {"width": 0}],
)
def test_impossible_recordings_are_refused(numbers):
    with pytest.raises(ValueError, match="must"):
        Recording(**numbers)


def test_a_chance_above_one_is_refused():
    with pytest.raises(ValueError, match=r"missing_kinds must lie in 0\.\.1, got 1\.5"):
        Recording(missing_kinds=1.5)


def test_noise_follows_from_town_and_time_alone():
    town, recording = build_town(1), Recording(azimuth_steps=40)
    first, again, later = (take_sweep(town, time, recording) for time in (500_000, 500_000, 550_000))
    assert np.array_equal(first.positions, again.positions)
    assert not np.array_equal(first.positions[:50], later.positions[:50])
    camera = camera_rig(32, 16)[0]
    first, again, later = (take_image(town, time, camera) for time in (500_000, 500_000, 550_000))
    assert np.array_equal(first.rgb, again.rgb) and not np.array_equal(first.rgb, later.rgb)


def test_plain_drives_share_a_lidar_and_varied_ones_have_each_their_own():
    assert {Recording().lidar_of(seed).name for seed in range(5)} == {"spinning-32"}
    varied = Recording(varied=True, azimuth_steps=36)
    lidars = [varied.lidar_of(seed) for seed in range(5)]
    assert len(set(lidars)) == 5 and lidars[3] == varied.lidar_of(3)
    assert Recording(varied=True, lidar=LIDARS["livox"]).lidar_of(3) is LIDARS["livox"]
    town = build_town(1)
    steps = round(lidars[1].azimuth_steps / 20)
    assert len(take_sweep(town, 500_000, varied).positions) <= steps * len(lidars[1].elevations_deg)
