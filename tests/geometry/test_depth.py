import pytest
import torch

from clip2scene.geometry.depth import drop_unconfirmed
from clip2scene.geometry.projection import project_points
from clip2scene.types import Camera, DepthImage, Pairs


def camera(focal, width, height, shift=0.0):
    intrinsics = torch.tensor([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])
    motion = torch.eye(4)
    motion[0, 3] = shift
    return Camera("camera", intrinsics, motion, width, height)


COLOUR, OF_DEPTH = camera(60.0, 80, 60), camera(25.0, 40, 30)


def seen(positions, depths, of_depth=OF_DEPTH, **options):
    pairs = project_points(positions, [COLOUR], min_depth=0.1)
    return drop_unconfirmed(pairs, positions, lambda view: DepthImage(of_depth, depths), **options)


def test_a_point_behind_the_measured_surface_is_dropped_and_one_on_it_is_kept():
    positions = torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 3.0], [0.0, 0.0, 1.9]])
    assert seen(positions, torch.full((30, 40), 2.0)).points.tolist() == [0]


def test_the_difference_allowed_is_that_in_depth_of_five_centimetres():
    positions = torch.tensor([[0.3, 0.0, 2.0 + away] for away in (-0.06, -0.04, 0.0, 0.04, 0.06)])
    assert seen(positions, torch.full((30, 40), 2.0)).points.tolist() == [1, 2, 3]
    assert len(seen(positions, torch.full((30, 40), 2.0), tolerance=0.1)) == 5


def test_where_nothing_was_measured_nothing_is_seen():
    positions = torch.tensor([[0.0, 0.0, 2.0]])
    assert len(seen(positions, torch.zeros(30, 40))) == 0
    near = torch.tensor([[0.0, 0.0, 0.12]])  # nearer than the tolerance above 0 would hide
    assert len(seen(near, torch.zeros(30, 40), tolerance=0.2)) == 0


def test_a_point_outside_the_depth_image_is_not_seen():
    wide = torch.tensor([[1.2, 0.0, 2.0]])  # at u = 75.5 of 80 in the colour image
    assert len(seen(wide, torch.full((30, 40), 2.0))) == 1
    narrow = camera(60.0, 40, 30)
    assert len(seen(wide, torch.full((30, 40), 2.0), narrow)) == 0


def test_each_view_has_its_own_depth_image_and_order_is_kept():
    positions = torch.tensor([[0.0, 0.0, 2.0], [0.1, 0.0, 3.0], [0.2, 0.0, 2.0]])
    pairs = project_points(positions, [COLOUR, COLOUR], min_depth=0.1)
    found = drop_unconfirmed(
        pairs, positions, lambda view: DepthImage(OF_DEPTH, torch.full((30, 40), 2.0 + view))
    )
    assert list(zip(found.views.tolist(), found.points.tolist(), strict=True)) == [(0, 0), (0, 2), (1, 1)]
    assert torch.equal(found.depths, torch.tensor([2.0, 2.0, 3.0]))


def test_all_at_once_is_what_one_by_one_gives():
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(8000, 3, generator=generator) * torch.tensor([4.0, 3.0, 3.0])
    positions -= torch.tensor([2.0, 1.5, -0.5])
    depths = 1.5 + 0.8 * torch.rand(30, 40, generator=generator)
    depths[torch.rand(30, 40, generator=generator) < 0.2] = 0
    of_depth = camera(24.0, 40, 30, shift=0.07)
    pairs = project_points(positions, [COLOUR], min_depth=0.1)
    slow = []
    for point in pairs.points.tolist():
        x, y, z = positions[point].tolist()
        column, row = round(24.0 * (x + 0.07) / z + 19.5), round(24.0 * y / z + 14.5)
        if 0 <= column < 40 and 0 <= row < 30:
            measured = float(depths[row, column])
            if measured > 0 and abs(measured - z) <= 0.05:
                slow.append(point)
    fast = seen(positions, depths, of_depth)
    assert fast.points.tolist() == slow
    assert 50 < len(slow) < len(pairs) / 2


def test_no_pairs_stay_none_and_a_tolerance_of_zero_is_refused():
    none = torch.zeros(0, dtype=torch.long)
    empty = Pairs(none, none, torch.zeros(0, 2), torch.zeros(0))
    assert len(drop_unconfirmed(empty, torch.zeros(3, 3), lambda view: 1 / 0)) == 0
    with pytest.raises(ValueError, match="tolerance must be positive"):
        drop_unconfirmed(empty, torch.zeros(3, 3), lambda view: 1 / 0, tolerance=0.0)
