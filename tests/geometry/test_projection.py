import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from clip2scene.geometry.projection import (
    check_intrinsics,
    check_rigid,
    drop_occluded,
    invert_rigid,
    pixels_of,
    project_points,
    rigid_from_quaternion,
    transform_points,
    voxelize,
)
from clip2scene.types import Camera, Pairs

seeds = st.integers(0, 10_000)
quick = settings(deadline=None, max_examples=40)  # the first call of a function is slow


def random_rigid(seed, spread=1000.0):
    rng = np.random.default_rng(seed)
    quaternion = rng.normal(size=4)
    quaternion /= np.linalg.norm(quaternion)
    return rigid_from_quaternion(quaternion.tolist(), (rng.normal(size=3) * spread).tolist())


def camera(camera_from_lidar=None, width=200, height=100, focal=120.0):
    if camera_from_lidar is None:  # x right, y down, z forward from x forward, y left, z up
        camera_from_lidar = torch.tensor([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    intrinsics = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera("front", intrinsics, camera_from_lidar.float(), width, height)


@given(seeds)
@quick
def test_a_quaternion_becomes_the_same_rotation_as_in_scipy(seed):
    rng = np.random.default_rng(seed)
    w, x, y, z = quaternion = rng.normal(size=4) / 1.0
    quaternion = quaternion / np.linalg.norm(quaternion)
    rigid = rigid_from_quaternion(quaternion.tolist(), [1.0, 2.0, 3.0])
    expected = Rotation.from_quat(np.roll(quaternion, -1)).as_matrix()
    np.testing.assert_allclose(rigid[:3, :3].numpy(), expected, atol=1e-12)
    assert rigid[:3, 3].tolist() == [1.0, 2.0, 3.0]


def test_intrinsics_of_a_pinhole_camera_pass():
    fine = torch.tensor([[120.0, 0.3, 99.5], [0, 121.0, 49.5], [0, 0, 1]])
    for matrix in (fine, fine.double()):
        check_intrinsics(matrix, "front")


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [(1, 0, 0.01), (2, 0, -0.01), (2, 1, 0.01), (2, 2, 5.0), (2, 2, 0.0), (0, 0, 0.0), (1, 1, -120.0)]
    + [(0, 0, 1e308), (0, 2, math.nan), (1, 2, -math.inf), (0, 0, 1e-60)],
)
def test_one_wrong_number_makes_intrinsics_unfit(row, column, value):
    matrix = torch.tensor([[120.0, 0, 99.5], [0, 120, 49.5], [0, 0, 1]]).double()
    matrix[row, column] = value
    with pytest.raises(ValueError, match="front: intrinsics are .*positive fx and fy in pixels"):
        check_intrinsics(matrix, "front")


def test_intrinsics_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="front: intrinsics are"):
        check_intrinsics(torch.eye(4), "front")


@given(seeds)
@quick
def test_a_rigid_motion_and_its_inverse_cancel(seed):
    motion = random_rigid(seed)
    torch.testing.assert_close(
        invert_rigid(motion) @ motion, torch.eye(4, dtype=torch.float64), atol=1e-9, rtol=0
    )


@given(seeds)
@quick
def test_moving_points_twice_equals_moving_them_by_the_product(seed):
    a_from_b, b_from_c = random_rigid(seed, 10), random_rigid(seed + 1, 10)
    points = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    twice = transform_points(a_from_b, transform_points(b_from_c, points))
    torch.testing.assert_close(twice, transform_points(a_from_b @ b_from_c, points))


@pytest.mark.parametrize(
    ("quaternion", "translation"),
    [([2.0, 0, 0, 0], [0.0, 0, 0]), ([0.0, 0, 0, 0], [0.0, 0, 0]), ([1.0, 0, 0, 0], [math.nan, 0, 0])],
)
def test_a_quaternion_that_is_no_rotation_is_refused(quaternion, translation):
    with pytest.raises(ValueError, match="not a rigid motion"):
        rigid_from_quaternion(quaternion, translation)


@pytest.mark.parametrize(
    ("row", "column", "value", "fault"),
    [
        (0, 0, 1.1, "not a rotation"),
        (2, 2, -1.0, "not a rotation"),
        (3, 0, 0.5, "last row"),
        (1, 3, math.inf, "finite"),
    ],
)
def test_a_matrix_that_is_no_rotation_is_refused_by_name(row, column, value, fault):
    matrix = torch.eye(4)
    check_rigid(matrix, "camera_from_lidar")
    matrix[row, column] = value
    with pytest.raises(ValueError, match=f"camera_from_lidar.*{fault}|{fault}.*camera_from_lidar"):
        check_rigid(matrix, "camera_from_lidar")


def test_a_known_point_falls_on_its_pixel():
    # 10 m ahead, 2 m to the left, 1 m up; focal length 120 px: 24 px left and 12 px up of the centre
    pairs = project_points(torch.tensor([[10.0, 2.0, 1.0]]), [camera()])
    torch.testing.assert_close(pairs.pixels, torch.tensor([[99.5 - 24, 49.5 - 12]]))
    assert pairs.depths.tolist() == [10.0]


@given(seeds, st.floats(0.5, 5.0), st.floats(-0.5, 10.0))
@quick
def test_projection_equals_a_loop_over_points_and_cameras(seed, min_depth, border):
    generator = torch.Generator().manual_seed(seed)
    positions = torch.randn(60, 3, generator=generator) * 10
    cameras = [camera(), camera(random_rigid(seed, 2.0), 90, 160, 60.0)]
    pairs = project_points(positions, cameras, min_depth=min_depth, border=border)
    expected = []
    for view, one in enumerate(cameras):
        for index, position in enumerate(positions.tolist()):
            x, y, z = (one.camera_from_lidar @ torch.tensor([*position, 1.0]))[:3].tolist()
            if z < min_depth:
                continue
            u = one.intrinsics[0, 0].item() * x / z + one.intrinsics[0, 2].item()
            v = one.intrinsics[1, 1].item() * y / z + one.intrinsics[1, 2].item()
            if border <= u <= one.width - 1 - border and border <= v <= one.height - 1 - border:
                expected.append((view, index, u, v, z))
    got = list(zip(pairs.views.tolist(), pairs.points.tolist(), strict=True))
    assert got == [row[:2] for row in expected]
    numbers = torch.cat([pairs.pixels, pairs.depths[:, None]], dim=1)
    torch.testing.assert_close(
        numbers, torch.tensor([row[2:] for row in expected]).view(-1, 3), atol=1e-2, rtol=1e-4
    )


@given(seeds)
@quick
def test_points_behind_the_camera_are_never_paired(seed):
    positions = torch.randn(100, 3, generator=torch.Generator().manual_seed(seed)) * 20
    pairs = project_points(positions, [camera()], min_depth=0.01, border=-0.5)
    assert (positions[pairs.points, 0] > 0).all()


def test_a_camera_that_sees_nothing_has_no_pairs():
    pairs = project_points(torch.tensor([[-5.0, 0, 0], [-9.0, 1, 0]]), [camera(), camera()])
    assert len(pairs) == 0 and pairs.pixels.shape == (0, 2)
    assert len(drop_occluded(pairs, [camera(), camera()])) == 0


def test_no_cameras_and_no_points_give_no_pairs():
    assert len(project_points(torch.zeros(5, 3), [])) == 0
    assert len(project_points(torch.zeros(0, 3), [camera()])) == 0


def test_projection_refuses_a_depth_that_would_mirror_points():
    with pytest.raises(ValueError, match="min_depth must be positive"):
        project_points(torch.zeros(1, 3), [camera()], min_depth=0.0)
    with pytest.raises(ValueError, match="border"):
        project_points(torch.zeros(1, 3), [camera()], border=-2.0)


def wall(distance, half_width, half_height, step):
    y, z = torch.meshgrid(
        torch.arange(-half_width, half_width + 1e-6, step),
        torch.arange(-half_height, half_height + 1e-6, step),
        indexing="ij",
    )
    return torch.stack([torch.full_like(y, distance), y, z], dim=-1).reshape(-1, 3)


def test_points_behind_a_wall_are_dropped_and_those_beside_it_stay():
    near, far = wall(8.0, 1.0, 1.0, 0.1), wall(20.0, 6.0, 3.0, 0.4)
    pairs = project_points(torch.cat([near, far]), [camera()])
    left = set(drop_occluded(pairs, [camera()]).points.tolist())
    shadow = {
        len(near) + i
        for i, (_, y, z) in enumerate(far.tolist())
        if abs(y) < 0.9 * 20 / 8 and abs(z) < 0.9 * 20 / 8
    }
    beside = {
        i for i in pairs.points.tolist() if i >= len(near) and abs(far[i - len(near), 1]) > 1.2 * 20 / 8
    }
    assert shadow and beside
    assert not shadow & left, "points behind the wall must be dropped"
    assert beside <= left, "points beside the wall must stay"
    assert set(range(len(near))) <= left, "the wall itself must stay"


def test_a_receding_road_never_hides_itself():
    angles = torch.arange(1.2, 30, 1.33)  # rings as far apart as those of a 32-beam lidar
    distances = 1.8 / torch.tan(torch.deg2rad(angles))
    road = torch.cat(
        [
            torch.stack([d.expand(81), torch.linspace(-0.6, 0.6, 81) * d, torch.full((81,), -1.8)], 1)
            for d in distances
        ]
    )
    pairs = project_points(road, [camera()])
    assert len(drop_occluded(pairs, [camera()])) == len(pairs) > 500


@given(seeds)
@quick
def test_the_occlusion_test_equals_a_loop_over_windows(seed):
    rng = np.random.default_rng(seed)
    one = camera(width=60, height=40, focal=300.0)
    count = 60
    pixels = torch.from_numpy(rng.uniform(0, [59, 39], (count, 2))).float()
    depths = torch.from_numpy(rng.choice([5.0, 6.0, 20.0, 21.0, 40.0], count)).float()
    pairs = Pairs(torch.arange(count), torch.zeros(count, dtype=torch.int64), pixels, depths)
    cell, across, down = 0.5, 1.0, 1.0  # windows of 3 x 3 cells
    fast = drop_occluded(pairs, [one], cell=cell, gap_across=across, gap_down=down).points.tolist()

    scale = math.degrees(math.atan(1 / 300.0)) / cell
    cells = [(int((v + 0.5) * scale), int((u + 0.5) * scale)) for u, v in pixels.tolist()]
    least = {}
    for place, depth in zip(cells, depths.tolist(), strict=True):
        least[place] = min(depth, least.get(place, math.inf))
    slow = []
    for index, (row, column) in enumerate(cells):
        covered = 0.0
        for middle_row in range(row - 1, row + 2):
            for middle_column in range(column - 1, column + 2):
                # a window outside the buffer counts as the buffer's own cells only
                if not (0 <= middle_row <= max(r for r, _ in cells)):
                    continue
                if not (0 <= middle_column <= max(c for _, c in cells)):
                    continue
                window = [
                    least.get((middle_row + i, middle_column + j), math.inf)
                    for i in (-1, 0, 1)
                    for j in (-1, 0, 1)
                ]
                covered = max(covered, min(window))
        if depths[index].item() <= covered * 1.05 + 0.4:
            slow.append(index)
    assert fast == slow


CELLWISE = camera(width=60, height=60, focal=1 / math.tan(math.radians(0.25)))
"""A camera whose pixels are as large as the cells of the occlusion test's buffer."""


def visible(*places, **settings):
    """Numbers of the (u, v, depth) that are not occluded."""
    numbers = torch.tensor(places, dtype=torch.float32)
    count = torch.arange(len(places))
    pairs = Pairs(count, torch.zeros_like(count), numbers[:, :2], numbers[:, 2])
    return drop_occluded(pairs, [CELLWISE], **settings).points.tolist()


@pytest.mark.parametrize("depth", [2.0, 10.0, 40.0])
def test_a_point_may_lie_as_much_deeper_than_its_cell_as_tolerance_and_slack_say(depth):
    behind = 0.05 * depth + 0.4
    assert visible((5, 5, depth), (5, 5, depth + behind - 0.01), (5, 5, depth + behind + 0.01)) == [0, 1]
    places = ((5, 5, depth), (5, 5, depth + 0.99), (5, 5, depth + 1.01))
    assert visible(*places, tolerance=0.0, slack=1.0) == [0, 1]
    places = ((5, 5, depth), (5, 5, 1.19 * depth), (5, 5, 1.21 * depth))
    assert visible(*places, tolerance=0.2, slack=0.0) == [0, 1]


@pytest.mark.parametrize(("cells", "closed"), [(5, True), (6, False)])
def test_gaps_of_a_degree_and_a_quarter_are_closed_across(cells, closed):
    """Five cells of 0.25 degrees; between two near points a far one is hidden, or seen through the gap."""
    left, right, between = (20, 20, 5.0), (20 + cells, 20, 5.0), (22, 20, 30.0)
    assert visible(left, right, between) == ([0, 1] if closed else [0, 1, 2])
    assert visible(left, right, between, gap_across=0.5) == [0, 1, 2]


@pytest.mark.parametrize(("cells", "closed"), [(11, True), (12, False)])
def test_gaps_of_two_degrees_and_a_half_are_closed_down(cells, closed):
    """Ten cells, and the next odd number; rings of a lidar are wider apart than its firings."""
    upper, lower, between = (20, 20, 5.0), (20, 20 + cells, 5.0), (20, 25, 30.0)
    assert visible(upper, lower, between) == ([0, 1] if closed else [0, 1, 2])
    assert visible(upper, lower, between, gap_down=1.0) == [0, 1, 2]


def test_each_camera_has_its_own_occlusion():
    # a plate hides a point from one camera; the other looks past it from the side
    plate, hidden = wall(5.0, 0.5, 0.5, 0.05), torch.tensor([[15.0, 0.0, 0.0]])
    turn = rigid_from_quaternion([math.cos(0.25), 0, 0, math.sin(0.25)], [3.0, 6.0, 0.0])
    first = camera()
    second = camera(camera().camera_from_lidar.double() @ turn)
    pairs = project_points(torch.cat([plate, hidden]), [first, second])
    last = len(plate)
    assert sorted(pairs.views[pairs.points == last].tolist()) == [0, 1]
    left = drop_occluded(pairs, [first, second])
    assert left.views[left.points == last].tolist() == [1]


@pytest.mark.parametrize("numbers", [{"cell": 0.0}, {"gap_down": -1.0}, {"tolerance": -0.1}])
def test_the_occlusion_test_refuses_impossible_settings(numbers):
    pairs = project_points(torch.tensor([[5.0, 0, 0]]), [camera()])
    with pytest.raises(ValueError, match="expected cell > 0"):
        drop_occluded(pairs, [camera()], **numbers)


@given(seeds, st.sampled_from([0.05, 0.1, 0.5, 3.0]))
@quick
def test_voxelising_equals_numpys_unique_rows(seed, voxel_size):
    positions = torch.randn(200, 3, generator=torch.Generator().manual_seed(seed)) * 3
    coordinates, voxel_of_point = voxelize(positions, voxel_size)
    cubes = np.floor(positions.numpy() / np.float32(voxel_size)).astype(np.int64)
    expected, inverse = np.unique(cubes, axis=0, return_inverse=True)
    assert coordinates.tolist() == expected.tolist()
    assert voxel_of_point.tolist() == inverse.reshape(-1).tolist()


def test_voxelising_nothing_gives_nothing():
    coordinates, voxel_of_point = voxelize(torch.zeros(0, 3), 0.1)
    assert coordinates.shape == (0, 3) and voxel_of_point.shape == (0,)


@pytest.mark.parametrize(
    ("positions", "size", "fault"),
    [
        ([[0.0, 0, 0]], 0.0, "must be positive"),
        ([[math.nan, 0, 0]], 0.1, "not finite"),
        ([[0.0, 0, 0], [2e5, 0, 0]], 0.1, "spans"),
    ],
)
def test_voxelising_refuses_what_it_cannot_count(positions, size, fault):
    with pytest.raises(ValueError, match=fault):
        voxelize(torch.tensor(positions), size)


def test_pixels_are_those_of_a_pinhole_camera_and_points_behind_it_stay_finite():
    intrinsics = torch.tensor([[100.0, 0.5, 50], [0, 90, 40], [0, 0, 1]])
    points = torch.tensor([[[1.0, -2.0, 10.0], [0.3, 0.2, 0.4]], [[0.0, 0.0, -5.0], [1.0, 1.0, 0.0]]])
    pixels = pixels_of(points, intrinsics)
    assert pixels.shape == (2, 2, 2) and pixels.isfinite().all()
    for point, pixel in zip(points[0], pixels[0], strict=True):
        x, y, z = point.tolist()
        assert pixel.tolist() == pytest.approx([(100 * x + 0.5 * y) / z + 50, 90 * y / z + 40])
    assert torch.equal(pixels_of(points[0], intrinsics.double()), pixels[0])
