import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clip2scene.geometry.dynamic_points import seen_through
from clip2scene.toytown.sensors import ego_from_lidar, lidar_sweep
from clip2scene.toytown.town.world import build_town

HEIGHT = 1.8
ELEVATIONS = np.radians(np.linspace(-30, 10, 31))
AZIMUTHS = np.radians(np.arange(-180, 180, 0.5))


def scan(boxes, *, walls=20.0, origin=(0.0, 0.0, 0.0)):
    """Turn a lidar 1.8 m above a floor, within four walls, among boxes (low corner, high corner)."""
    around, up = (grid.ravel() for grid in np.meshgrid(AZIMUTHS, ELEVATIONS, indexing="ij"))
    beams = np.stack([np.cos(up) * np.cos(around), np.cos(up) * np.sin(around), np.sin(up)], 1)
    beams[np.abs(beams) < 1e-9] = 1e-9
    origin = np.array(origin)
    with np.errstate(divide="ignore"):
        ranges = np.minimum.reduce([(walls - o * s) / np.abs(b) for o, b, s in wall_terms(origin, beams)])
        ranges = np.minimum(ranges, np.where(beams[:, 2] < 0, -HEIGHT / beams[:, 2], np.inf))
    owner = np.full(len(beams), -1)
    for number, (low, high) in enumerate(boxes):
        near, far = (
            np.sort(np.stack([(low - origin) / beams, (high - origin) / beams]), 0)[i] for i in (0, 1)
        )
        enter, leave = near.max(1), far.min(1)
        hit = (enter < leave) & (enter > 0) & (enter < ranges)
        ranges[hit], owner[hit] = enter[hit], number
    points = origin + beams * ranges[:, None]
    return torch.from_numpy(points).float(), torch.from_numpy(owner)


def wall_terms(origin, beams):
    for axis in (0, 1):
        yield origin[axis], beams[:, axis], np.sign(beams[:, axis])


def car_at(x, y):
    return np.array([x - 2.0, y - 0.9, -HEIGHT]), np.array([x + 2.0, y + 0.9, -0.2])


def test_a_wall_seen_where_a_box_stood_tells_that_it_has_moved():
    earlier, owner = scan([car_at(8, 0)])
    keyframe, _ = scan([car_at(8, 12)])
    gone = seen_through(earlier, keyframe)
    assert not gone[owner < 0].any(), "floor and walls stay"
    assert gone[owner == 0].float().mean() > 0.6
    height = earlier[:, 2] + HEIGHT
    assert gone[(owner == 0) & (height > 0.5)].all(), "only the lowest strip stands before the road alone"


@given(x=st.floats(-15, 15), y=st.floats(4, 15), step=st.floats(-2, 2))
@settings(max_examples=15, deadline=None)
def test_a_box_that_stays_is_never_stale_however_the_vehicle_drives(x, y, step):
    earlier, _ = scan([car_at(x, y)], origin=(step, step / 5, 0.0))
    keyframe, _ = scan([car_at(x, y)])
    assert not seen_through(earlier, keyframe).any()


def test_nothing_of_the_keyframe_itself_is_stale():
    keyframe, _ = scan([car_at(8, 0), car_at(-6, 5), car_at(3, -12)])
    assert not seen_through(keyframe, keyframe).any()


def test_what_something_has_moved_in_front_of_is_kept():
    earlier, owner = scan([car_at(12, 0)])
    keyframe, _ = scan([car_at(6, 0)])
    assert (owner == 0).sum() > 100
    assert not seen_through(earlier, keyframe).any()


def test_a_car_that_slid_along_itself_loses_only_what_it_left():
    earlier, owner = scan([car_at(0, 6)])
    keyframe, _ = scan([car_at(2, 6)])
    gone = seen_through(earlier, keyframe)
    assert gone.any() and (owner[gone] == 0).all()
    assert (earlier[gone, 0] < 0).all(), "from -2 to 0 the car has gone, from 0 to 2 it still stands"


def test_without_a_return_nobody_knows():
    earlier, owner = scan([car_at(8, 0)])
    keyframe, _ = scan([car_at(8, 12)])
    ahead = torch.atan2(keyframe[:, 1], keyframe[:, 0]).abs() < 0.6
    assert not seen_through(earlier, keyframe[~ahead])[owner == 0].any()
    above = keyframe[:, 2] > 0
    assert not seen_through(earlier, keyframe[above])[owner == 0].any(), (
        "a beam that passes above says nothing"
    )
    assert not seen_through(earlier, torch.zeros(0, 3)).any()
    assert seen_through(torch.zeros(0, 3), keyframe).shape == (0,)


def test_directions_are_those_from_the_lidars_place():
    origin = (5.0, -8.0, 1.0)
    shift = torch.tensor(origin)
    (earlier, _), (keyframe, _) = scan([car_at(8, 0)]), scan([car_at(8, 12)])
    expected = seen_through(earlier, keyframe)
    assert torch.equal(seen_through(earlier + shift, keyframe + shift, viewpoint=origin), expected)
    assert not torch.equal(seen_through(earlier + shift, keyframe + shift), expected)


def slow_seen_through(earlier, keyframe, *, cell=0.25, across=0.75, down=1.5, tolerance=0.02, slack=0.2):
    """Look at every return for every point."""

    def cell_of(point):
        x, y, z = point.tolist()
        up, around = np.arctan2(z, np.hypot(x, y)), np.arctan2(y, x)
        rows, columns = round(180 / cell), round(360 / cell)
        row = min(int((up / np.pi + 0.5) * rows), rows - 1)
        return row, int((around / (2 * np.pi) + 0.5) * columns) % columns, columns

    answers = []
    for point in earlier:
        row, column, columns = cell_of(point)
        clear, evidence = True, False
        for other in keyframe:
            its_row, its_column, _ = cell_of(other)
            apart = abs(column - its_column)
            if abs(row - its_row) > round(down / cell) or min(apart, columns - apart) > round(across / cell):
                continue
            clear &= float(other.norm()) > float(point.norm()) * (1 + tolerance) + slack
            evidence |= its_row <= row
        answers.append(clear and evidence)
    return torch.tensor(answers, dtype=torch.bool)


near_the_seam = hnp.arrays(
    np.float64,
    st.tuples(st.integers(0, 10), st.just(3)),
    elements=st.integers(0, 40).map(lambda k: k / 40 + 0.003),
)


@given(near_the_seam, near_the_seam)
@settings(max_examples=50, deadline=None)
def test_windows_and_margins_are_those_of_a_slow_search(earlier, keyframe):
    def spread(unit):
        """Put points behind the vehicle, where the azimuth jumps from 180 to -180 degrees."""
        azimuth, elevation = np.radians(178 + 4 * unit[:, 0]), np.radians(-3 + 6 * unit[:, 1])
        flat = (5 + 5 * unit[:, 2]) * np.cos(elevation)
        z = (5 + 5 * unit[:, 2]) * np.sin(elevation)
        points = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), z], 1)
        return torch.from_numpy(points.reshape(-1, 3))

    earlier, keyframe = spread(earlier), spread(keyframe)
    assert torch.equal(seen_through(earlier, keyframe), slow_seen_through(earlier, keyframe))


@pytest.mark.parametrize("seed", [1_200_100, 1_200_101])
def test_on_a_street_few_still_points_and_many_moved_ones_are_called(seed):
    town = build_town(seed)
    rng = np.random.default_rng(0)
    keyframe, sweep = lidar_sweep(town, 2.0, rng), lidar_sweep(town, 1.6, rng)
    key_from_sweep = np.linalg.inv(town.world_from_ego(2.0) @ ego_from_lidar()) @ (
        town.world_from_ego(1.6) @ ego_from_lidar()
    )
    earlier = sweep.positions @ key_from_sweep[:3, :3].T + key_from_sweep[:3, 3]
    moves = town.instances.starts[sweep.instances, 4] > 1.0
    gone = seen_through(torch.from_numpy(earlier).float(), torch.from_numpy(keyframe.positions)).numpy()
    assert moves.sum() > 300
    assert gone[moves].mean() > 0.25
    assert gone[~moves].mean() < 0.003


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"cell": 0.0}, "a cell in 0..10"),
        ({"across": 60.0}, "reaches in 0..45"),
        ({"down": -1.0}, "reaches in 0..45"),
        ({"tolerance": -0.1}, "tolerance and slack of 0 or more"),
        ({"slack": -0.1}, "tolerance and slack of 0 or more"),
    ],
)
def test_impossible_settings_are_refused(change, fault):
    with pytest.raises(ValueError, match=fault):
        seen_through(torch.ones(1, 3), torch.ones(1, 3), **change)


def test_positions_that_are_not_finite_are_refused():
    for earlier, keyframe in ((torch.nan, 1.0), (1.0, torch.inf)):
        with pytest.raises(ValueError, match="not finite"):
            seen_through(torch.full((1, 3), earlier), torch.full((1, 3), keyframe))
