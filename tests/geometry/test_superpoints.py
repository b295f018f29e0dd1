import pytest
import torch

from clip2scene.geometry.superpoints import (
    average_within,
    cut_rest,
    find_superpoints,
    height_above_ground,
    vote,
)


def plane(slope=0.0, size=20.0, step=0.25):
    x, y = torch.meshgrid(torch.arange(-size, size, step), torch.arange(-size, size, step), indexing="ij")
    x, y = x.reshape(-1), y.reshape(-1)
    return torch.stack([x, y, slope * x - 1.8], dim=1)


def box(x, y, z, size=1.5, step=0.1):
    """Points on the side of a cube that faces the sensor."""
    across, up = torch.meshgrid(torch.arange(0, size, step), torch.arange(0, size, step), indexing="ij")
    across, up = across.reshape(-1), up.reshape(-1)
    return torch.stack([torch.full_like(across, x), y + across, z + up], dim=1)


@pytest.mark.parametrize("slope", [0.0, 0.05])
def test_a_road_is_ground_and_what_stands_on_it_is_not(slope):
    road, thing = plane(slope), box(8.0, 2.0, 8.0 * slope - 1.8)
    heights = height_above_ground(torch.cat([road, thing]))
    assert heights[: len(road)].max() < 0.3
    expected = thing[:, 2] - (slope * thing[:, 0] - 1.8)
    assert torch.allclose(heights[len(road) :], expected, atol=0.2)


def test_things_that_stand_apart_are_pieces_of_their_own():
    road, near, far = plane(), box(8.0, 2.0, -1.8), box(14.0, -6.0, -1.8)
    pieces = find_superpoints(torch.cat([road, near, far]))
    first, second = pieces[len(road) : len(road) + len(near)], pieces[len(road) + len(near) :]
    assert (pieces[: len(road)] == -1).all()
    tops = [each[each >= 0].unique() for each in (first, second)]
    assert [len(top) for top in tops] == [1, 1]
    assert tops[0] != tops[1]


def ground(free=0.0, rise=0.0, half=30.0, width=0.0):
    """A road of four points a square metre, level at 0: without its middle, or with a plateau there."""
    steps = torch.arange(-half, half, 0.5) + 0.25
    x, y = (each.reshape(-1) for each in torch.meshgrid(steps, steps, indexing="ij"))
    from_middle = torch.maximum(x.abs(), y.abs())
    points = torch.stack([x, y, torch.where(from_middle < width / 2, rise, 0.0)], dim=1)
    return points[from_middle >= free / 2], from_middle[from_middle >= free / 2]


@pytest.mark.parametrize(("width", "height"), [(4, 1.0), (8, 1.0), (11, 0.0), (16, 0.0)])
def test_what_is_narrower_than_nine_metres_stands_on_the_ground_and_what_is_wider_is_ground(width, height):
    points, from_middle = ground(rise=1.0, width=width)
    heights = height_above_ground(points)
    on_top, beside = from_middle < width / 2 - 1, from_middle > width / 2  # a map cell may hold the edge
    torch.testing.assert_close(heights[on_top], torch.full_like(heights[on_top], height))
    torch.testing.assert_close(heights[beside], torch.zeros_like(heights[beside]))


@pytest.mark.parametrize(("free", "height"), [(8, 1.0), (14, 1.0), (30, 0.0)])
def test_where_nothing_was_measured_the_ground_is_that_of_the_nearest_place(free, height):
    """A roof of two metres, and no ground around it but from afar.

    Half of the gap counts as the roof's height, half as the road's: nine metres of roof are ground.
    """
    road, _ = ground(free=free)
    roof = torch.tensor([[x, y, 1.0] for x in (-0.75, -0.25, 0.25, 0.75) for y in (-0.75, -0.25, 0.25, 0.75)])
    heights = height_above_ground(torch.cat([road, roof]))
    torch.testing.assert_close(heights[len(road) :], torch.full((16,), height))
    assert heights[: len(road)].abs().max() < 1e-6


@pytest.mark.parametrize("distance", [6.0, 20.0, 60.0])
@pytest.mark.parametrize(("behind", "pieces"), [(0.008, 1), (0.05, 2), (0.2, 2)])
def test_gaps_along_the_range_are_fractions_of_it(distance, behind, pieces):
    """Two walls, one behind the other and higher: 5 % apart are two pieces, 0.8 % are one, near and far."""
    degrees = torch.deg2rad(torch.arange(-3, 3.01, 0.3))
    across = torch.stack([degrees.cos(), degrees.sin()], dim=1)
    walls = torch.cat(
        [
            torch.cat([across * reach, torch.full((len(across), 1), slope * distance)], dim=1)
            for reach, slope in ((distance, 0.1), (distance, 0.12), (distance * (1 + behind), 0.14))
        ]
    )
    road = walls * torch.tensor([1.0, 1.0, 0.0]) - torch.tensor([0.0, 0.0, 2.0])
    found = find_superpoints(torch.cat([road, walls])).split(len(walls))
    assert (found[0] == -1).all() and (found[1] >= 0).all()
    assert len(found[1].unique()) == pieces


def test_a_piece_settles_on_the_class_with_most_votes_and_the_ground_does_not_vote():
    superpoints = torch.tensor([0, 0, 0, 0, -1, -1, 1])
    shares = torch.eye(3)[[1, 1, 2, 0, 2, 0, 0]]
    seen = torch.tensor([True, True, True, False, True, False, False])
    assert vote(superpoints, shares, seen).tolist() == [1, 1, 1, 1, 2, -1, -1]


def test_points_without_a_vote_do_not_count():
    superpoints, seen = torch.zeros(3, dtype=torch.long), torch.tensor([True, False, False])
    shares = torch.tensor([[0.6, 0.4], [0.0, 1.0], [0.0, 1.0]])
    assert vote(superpoints, shares, seen).tolist() == [0, 0, 0]


def test_a_cloud_of_ground_alone_or_of_nothing_has_no_piece():
    assert (find_superpoints(plane()) == -1).all()
    assert find_superpoints(torch.zeros(0, 3)).shape == (0,)


def test_cells_without_size_are_refused():
    with pytest.raises(ValueError, match="positive sizes"):
        find_superpoints(plane(), across=0.0)


def sweep_of(rings, step, things, viewpoint=(0.0, 0.0, 0.0)):
    """What a lidar 1.8 m over the ground sees of flat boards: (azimuth, half width, range) of each."""
    around, up = torch.meshgrid(
        torch.arange(-180, 180, step).deg2rad(), torch.linspace(-25, 10, rings).deg2rad(), indexing="ij"
    )
    around, up = around.reshape(-1), up.reshape(-1)
    ranges = torch.where(up < 0, 1.8 / (-up.sin()).clamp(min=1e-3), torch.inf)
    thing = torch.full_like(up, -1).long()
    for number, (azimuth, half_width, distance) in enumerate(things):
        apart = (torch.rad2deg(around) - azimuth + 180) % 360 - 180
        hit = (apart.abs() <= half_width) & (ranges > distance / up.cos()) & (up < 0.12)
        ranges, thing = torch.where(hit, distance / up.cos(), ranges), torch.where(hit, number, thing)
    kept = ranges < 60
    beams = torch.stack([up.cos() * around.cos(), up.cos() * around.sin(), up.sin()], dim=1)
    return (beams * ranges[:, None])[kept] + torch.tensor(viewpoint), thing[kept]


def pieces_of(pieces, thing, number):
    inside = pieces[(thing == number) & (pieces >= 0)]
    return inside.unique().tolist()


THINGS = ((180.0, 5.0, 12.0), (60.0, 6.0, 10.0), (85.0, 5.0, 10.0))


@pytest.mark.parametrize(("rings", "step"), [(12, 1.0), (16, 0.4), (32, 0.5), (64, 0.2), (32, 2.0)])
def test_a_thing_is_one_piece_whatever_lidar_sees_it_and_behind_it_too(rings, step):
    cloud, thing = sweep_of(rings, step, THINGS)
    pieces = find_superpoints(cloud)
    found = [pieces_of(pieces, thing, number) for number in range(3)]
    assert [len(each) for each in found] == [1, 1, 1] and len({each[0] for each in found}) == 3
    assert (pieces[thing < 0] == -1).all()


@pytest.mark.parametrize("viewpoint", [(1.0, 0.0, 1.8), (-30.0, 12.0, 100.0)])
def test_pieces_are_the_same_in_any_frame_whose_viewpoint_is_known(viewpoint):
    cloud, _ = sweep_of(32, 0.5, THINGS)
    moved = cloud + torch.tensor(viewpoint)
    pieces = find_superpoints(moved, viewpoint=viewpoint)
    assert torch.equal(pieces, find_superpoints(cloud))
    assert not torch.equal(pieces, find_superpoints(moved))


def test_cells_of_a_size_that_is_asked_for_are_taken():
    cloud, thing = sweep_of(16, 0.4, THINGS)
    fine, coarse = find_superpoints(cloud, across=0.1, down=0.1), find_superpoints(cloud, across=20.0)
    assert len(pieces_of(fine, thing, 1)) > 5
    assert pieces_of(coarse, thing, 1) == pieces_of(coarse, thing, 2)


def test_a_stray_point_far_out_costs_no_memory():
    road, thing = plane(), box(8.0, 2.0, -1.8)
    cloud = torch.cat([road, thing, torch.tensor([[90_000.0, 0.0, 0.0]])])
    assert torch.equal(find_superpoints(cloud)[:-1], find_superpoints(cloud[:-1]))


def test_the_mean_of_a_piece_replaces_its_points_values():
    values = torch.tensor([[1.0], [3.0], [5.0], [7.0]])
    assert average_within(torch.tensor([0, 0, -1, 1]), values).flatten().tolist() == [2, 2, 5, 7]


def test_the_ground_is_cut_into_squares_and_superpoints_stay_as_they_are():
    positions = torch.tensor(
        [
            [0.1, 0.1, 0.0],
            [1.9, 0.1, 0.0],
            [2.1, 0.1, 0.0],
            [-0.1, 0.1, 0.0],
            [0.1, 0.1, 2.5],
            [0.2, 0.1, 0.1],
        ]
    )
    superpoints = torch.tensor([-1, -1, -1, -1, -1, 3])
    flat = cut_rest(superpoints, positions, edge=2.0)
    assert flat[5] == 3 and flat[0] == flat[1] == flat[4]
    assert sorted(flat.unique().tolist()) == [3, 4, 5, 6]
    upright = cut_rest(superpoints, positions, edge=2.0, upright=True)
    assert upright[4] != upright[0] and len(upright.unique()) == 5
    assert torch.equal(cut_rest(torch.zeros(6).long(), positions, edge=2.0), torch.zeros(6).long())
