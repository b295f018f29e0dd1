import numpy as np
import pytest

from clip2scene.inference.tile_store import FOUND, TileStore


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.uniform([-40, -30, -2, 0], [40, 30, 5, 1], (4000, 4)).astype(np.float32)


def filled(rows, folder, bin_size):
    found = TileStore(folder, bin_size, 4)
    for part in np.split(rows, [1, 1700]):
        found.add(part)
    found.finish("key")
    return found


@pytest.fixture
def store(rows, tmp_path):
    return filled(rows, tmp_path, 5.0)


def as_set(rows):
    return set(map(tuple, rows.tolist()))


def test_a_tile_is_read_with_what_lies_around_it(rows, store):
    around = store.around(np.array([-2, 0]), 2, 3.0)
    x, y = rows[:, 0], rows[:, 1]
    inside = (x >= -10) & (x < 0) & (y >= 0) & (y < 10)
    near = (x >= -13) & (x < 3) & (y >= -3) & (y < 13)
    assert around.own == inside.sum() and len(around.rows) == near.sum()
    assert as_set(around.rows[: around.own]) == as_set(rows[inside])
    assert as_set(around.rows) == as_set(rows[near])


def test_what_was_found_comes_back_in_the_order_of_the_cloud(rows, store):
    bins, counts = store.bins()
    assert counts.sum() == len(rows)
    for low in bins:
        around = store.around(low, 1, 0.0)
        found = np.zeros(around.own, FOUND)
        found["confidence"] = around.rows[:, 3]
        store.put_found(around.runs, found)
    assert store.done == len(bins)
    for start, stop in ((0, len(rows)), (1600, 1800), (5, 5)):
        assert np.array_equal(store.found(start, stop)["confidence"], rows[start:stop, 3])


@pytest.mark.parametrize("bin_size", [5.0, 5.5, 15.0])
def test_lowest_points_are_those_of_cells_of_a_metre(rows, tmp_path, bin_size):
    store = filled(rows, tmp_path, bin_size)
    low, high = np.array([-12.0, -7.0]), np.array([4.0, 9.0])
    lowest = store.lowest_in(low, high)
    assert as_set(lowest.astype(np.float32)) <= as_set(rows[:, :3])
    best = {}
    for x, y, z in rows[:, :3].tolist():
        cell = (np.floor(x), np.floor(y))
        best[cell] = min(best.get(cell, np.inf), z)
    told = {}
    for x, y, z in lowest.tolist():
        cell = (np.floor(x), np.floor(y))
        told[cell] = min(told.get(cell, np.inf), z)
    inside = {c: z for c, z in best.items() if -12 <= c[0] < 4 and -7 <= c[1] < 9}
    assert told == pytest.approx(inside)


def test_a_store_is_gone_on_with_under_its_own_key_alone(rows, store, tmp_path):
    around = store.around(np.array([0, 0]), 1, 0.0)
    store.put_found(around.runs, np.full(around.own, 7, FOUND))
    again = TileStore(tmp_path, 5.0, 4)
    assert again.reopen("key") and again.done == 1 and len(again) == len(rows)
    assert np.array_equal(again.found(0, 4000), store.found(0, 4000))
    other = TileStore(tmp_path, 5.0, 4)
    assert not other.reopen("another") and not any(tmp_path.iterdir())


def test_a_store_that_was_never_finished_is_begun_anew(rows, tmp_path):
    broken = TileStore(tmp_path, 5.0, 4)
    broken.add(rows)
    assert not TileStore(tmp_path, 5.0, 4).reopen("")
    assert not any(tmp_path.iterdir())
