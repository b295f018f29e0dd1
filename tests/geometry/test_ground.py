import numpy as np
import pytest
import torch

from clip2scene.geometry.ground import estimate_ground


def sheet(xs, ys, height, noise=0.01, seed=0):
    """Points on a surface over a grid, ``height`` a function of x and y."""
    x, y = np.meshgrid(xs, ys, indexing="ij")
    x, y = x.ravel(), y.ravel()
    z = height(x, y) + noise * np.random.default_rng(seed).standard_normal(len(x))
    return torch.from_numpy(np.column_stack([x, y, z])).float()


def wall(x, y0, y1, z0, z1, step=0.1):
    y, z = np.meshgrid(np.arange(y0, y1, step), np.arange(z0, z1, step), indexing="ij")
    return torch.from_numpy(np.column_stack([np.full(y.size, x), y.ravel(), z.ravel()])).float()


AROUND = np.arange(-24, 24, 0.4)


def street(slope_x=0.0, slope_y=0.0, height=-1.8):
    """A road of 8 m between houses, with lorries on it."""
    road = sheet(AROUND, np.arange(-4, 4, 0.2), lambda x, y: height + slope_x * x + slope_y * y)
    houses = [wall(side, -20, 20, -1.5, 6)[:, [1, 0, 2]] for side in (-9.0, 9.0)]
    lorries = [wall(x, -3, 0, -1.2, 2) for x in (-12.0, 7.0, 15.0)]
    return torch.cat([road, *houses, *lorries])


@pytest.mark.parametrize("slope_x, slope_y", [(0, 0), (0.1, 0), (-0.03, 0.05)])
def test_the_plane_of_a_street_is_found_whatever_stands_on_it(slope_x, slope_y):
    ground = estimate_ground(street(slope_x, slope_y))
    assert ground.height == pytest.approx(-1.8, abs=0.01)
    assert ground.slope_x == pytest.approx(slope_x, abs=0.002)
    assert ground.slope_y == pytest.approx(slope_y, abs=0.004)
    assert ground.pitch_deg == pytest.approx(np.degrees(np.arctan(slope_x)), abs=0.1)


def test_height_above_the_ground_is_measured_along_z():
    ground = estimate_ground(street(0.1))
    above = ground.height_above(torch.tensor([[10.0, 0.0, -0.8], [0.0, 0.0, 0.2]]))
    assert above.tolist() == pytest.approx([0.0, 2.0], abs=0.03)


def test_a_sidewalk_on_one_side_does_not_lift_or_tilt_a_road():
    road = sheet(AROUND, np.arange(-8, 4, 0.3), lambda x, y: -1.8 + 0 * x, noise=0.02)
    sidewalk = sheet(AROUND, np.arange(4, 9, 0.3), lambda x, y: -1.65 + 0 * x, noise=0.02)
    ground = estimate_ground(torch.cat([road, sidewalk]))
    assert ground.height == pytest.approx(-1.8, abs=0.02)
    assert abs(ground.roll_deg) < 0.4


def test_a_roof_and_a_table_are_not_the_ground_under_them():
    floor = sheet(AROUND, AROUND, lambda x, y: -1.8 + 0 * x)
    roofs = sheet(np.arange(-24, 0, 0.3), AROUND, lambda x, y: 3.0 + 0 * x)
    assert estimate_ground(torch.cat([floor, roofs])).height == pytest.approx(-1.8, abs=0.02)


def test_echoes_from_below_the_road_do_not_pull_it_down():
    below = torch.rand(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([40.0, 8, 3])
    below -= torch.tensor([20.0, 4, 5])
    assert estimate_ground(torch.cat([street(), below])).height == pytest.approx(-1.8, abs=0.02)


def test_a_ramp_ahead_does_not_tilt_the_level_ground_around_the_sensor():
    ramp = sheet(AROUND, AROUND, lambda x, y: -1.8 + 0.15 * np.maximum(x - 8, 0))
    ground = estimate_ground(ramp)
    assert ground.height == pytest.approx(-1.8, abs=0.03)
    assert abs(ground.pitch_deg) < 0.5


def test_where_there_is_no_ground_none_is_found():
    hanging = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0)) * 40 - 20
    assert estimate_ground(hanging) is None
    assert estimate_ground(torch.zeros(0, 3)) is None
    assert estimate_ground(street() + torch.tensor([1000.0, 0, 0])) is None
    steep = sheet(AROUND, AROUND, lambda x, y: 0.8 * x)
    assert estimate_ground(steep) is None


def test_the_floor_of_a_room_is_found_beside_its_middle():
    inside = np.arange(0, 5, 0.05)
    floor = sheet(inside, inside, lambda x, y: 0.02 + 0 * x, noise=0.004)
    table = sheet(np.arange(1, 3, 0.05), np.arange(1, 3, 0.05), lambda x, y: 0.75 + 0 * x)
    room = torch.cat([floor, table, wall(0, 0, 5, 0, 2.5)])
    found = estimate_ground(room, centre=(2.5, 2.5), reach=4.0, cell=0.2, band=0.06)
    assert found.height == pytest.approx(0.02, abs=0.01)


def test_the_same_points_give_the_same_plane():
    assert estimate_ground(street()) == estimate_ground(street())


def test_toytown_stands_on_a_flat_ground_under_its_lidar(tiny_toytown):
    from clip2scene.classes.tables import TOYTOWN
    from clip2scene.datasets.nuscenes.loader import NuScenes
    from clip2scene.toytown.lidars import LIDARS

    for sample in NuScenes(tiny_toytown, split="train", class_set=TOYTOWN):
        ground = estimate_ground(sample.cloud.positions)
        assert ground.height == pytest.approx(-LIDARS["spinning-32"].position[2], abs=0.05)
        assert abs(ground.pitch_deg) < 0.3


@pytest.mark.real_data
def test_real_streets_lie_where_cars_carry_their_lidars(real_data):
    from clip2scene.datasets.clouds import read_cloud

    for name in ("000000", "000001"):
        kitti = read_cloud(real_data / f"kitti-object/training/velodyne/{name}.bin")
        assert estimate_ground(kitti.positions).height == pytest.approx(-1.73, abs=0.06)
    (path,) = (real_data / "nuscenes-keyframe").glob("*.pcd.bin")
    assert estimate_ground(read_cloud(path).positions).height == pytest.approx(-1.84, abs=0.06)
