import numpy as np
import pytest

from clip2scene.geometry.beams import beam_spacing


def spin(elevations, step, lost=0.1, seed=0):
    """Azimuths and elevations of a turn, in any order, some returns lost."""
    generator = np.random.default_rng(seed)
    around, up = (each.ravel() for each in np.meshgrid(np.arange(-180, 180, step), elevations))
    kept = generator.permutation(len(up))[int(lost * len(up)) :]
    return around[kept], up[kept]


@pytest.mark.parametrize("rings", [8, 16, 32, 64, 128])
@pytest.mark.parametrize("step", [0.2, 0.5, 1.0])
def test_the_spacing_of_a_lidar_follows_from_its_returns(rings, step):
    elevations = np.linspace(-25, 15, rings)
    spacing = beam_spacing(*spin(elevations, step, lost=0.2))
    assert spacing.down == pytest.approx(40 / (rings - 1), rel=0.02)
    assert spacing.across == pytest.approx(step, rel=0.02)


def test_of_rings_that_are_unevenly_spaced_the_usual_gap_counts():
    elevations = [*np.arange(-6, 2, 1 / 6), 3, 5, 8, 11, 15]
    assert beam_spacing(*spin(elevations, 0.2)).down == pytest.approx(1 / 6, rel=0.02)


def test_it_is_the_same_of_a_cloud_of_any_size():
    elevations = np.linspace(-25, 15, 32)
    few, many = (beam_spacing(*spin(elevations, step)) for step in (0.4, 0.05))
    assert few.down == pytest.approx(many.down, rel=1e-3)
    assert many.across == pytest.approx(0.05, rel=0.02)


def test_too_few_returns_tell_nothing():
    assert beam_spacing(*spin([0.0], 0.2)) is None  # one ring
    assert beam_spacing(*spin(np.linspace(-25, 15, 32), 90.0)) is None
    assert beam_spacing(np.zeros(0), np.zeros(0)) is None
