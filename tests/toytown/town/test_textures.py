import numpy as np

from clip2scene.toytown.town.textures import cells, hashed, noise, visibility

RNG = np.random.default_rng(0)
ANYWHERE = RNG.uniform(-50, 50, (5000, 3)).astype(np.float32)


def same_chance(number=5000):
    return np.full(number, 0.3, np.float32)


def test_noise_is_smooth_over_its_size_and_of_unit_deviation_and_each_thing_has_its_own():
    values = noise(ANYWHERE, 1.0, same_chance())
    assert abs(values.mean()) < 0.1 and abs(values.std() - 1) < 0.1
    step = np.array([0.1, 0, 0], np.float32)  # metres
    near, far = (
        np.abs(noise(ANYWHERE + size * step, 1.0, same_chance()) - values).mean() for size in (1, 30)
    )
    assert near < 0.5 * far
    assert not np.allclose(values, noise(ANYWHERE, 1.0, same_chance() + np.float32(0.1)))


def test_the_number_of_a_cell_looks_random_but_is_the_same_each_time():
    first, second = (each.ravel() for each in np.meshgrid(np.arange(-35, 35), np.arange(70)))
    values = hashed(first, second, same_chance(4900))
    assert np.array_equal(values, hashed(first, second, same_chance(4900)))
    assert values.min() >= 0 and values.max() <= 1
    assert abs(values.mean() - 0.5) < 0.03 and len(np.unique(values)) > 4000


def test_a_cell_of_a_row_and_the_place_in_it_make_up_the_way_along_it():
    along = np.array([-0.5, 0.0, 2.75], np.float32)
    number, place = cells(along, 0.5)
    assert number.tolist() == [-1, 0, 5]
    assert place.tolist() == [0, 0, 0.5]


def test_a_pattern_fades_as_a_pixel_comes_to_cover_its_period():
    seen = visibility(1.0, np.array([0.0, 0.1, 0.5, 1.0, 5.0], np.float32))
    assert seen[:3].tolist() == [1, 1, 1]
    assert 0 < seen[3] < 1 and seen[4] == 0
