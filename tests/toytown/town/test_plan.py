import numpy as np
import pytest

from clip2scene.toytown.town.plan import Placed, Plan
from clip2scene.toytown.town.things import Thing

THING = Thing(0, "barrier", "red", ())


def plan(**changes):
    fields = {"curvature": 0.0, "half_width": 7.0, "lanes": 2, "lane": 3.0, "crossings": (50.0,)}
    fields |= {"cross_half": 4.0, "ego_speed": 5.0}
    return Plan(np.random.default_rng(0), **fields | changes)


def test_things_do_not_overlap():
    street = plan()
    assert street.put(Placed(THING, 0.0, 0.0), 1.0)
    assert not street.put(Placed(THING, 1.5, 0.0), 1.0)
    assert street.put(Placed(THING, 2.5, 0.0), 1.0)
    assert [item.s for item in street.placed] == [0.0, 2.5]


def test_crossings_are_kept_clear_with_a_margin():
    assert not plan().clear_of_crossings(55.0, 2.0)
    assert plan().clear_of_crossings(55.0, 0.5)


def test_the_ego_drives_in_the_middle_of_the_rightmost_lane():
    assert plan().ego_lane == -4.5
    assert plan(lanes=1).ego_lane == -1.5


def test_a_patch_covers_its_rectangle_once():
    mesh = plan().patch((0.0, -2.0), (12.0, 60.0), 0.1)
    a, b, c = mesh.vertices[mesh.faces].astype(np.float64).transpose(1, 0, 2)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(12 * 62)
    assert (mesh.vertices[:, 2] == np.float32(0.1)).all()
    assert np.diff(np.unique(mesh.vertices[:, 0])).max() <= 5.0  # fine enough for a curve


def test_a_kerb_stands_upright_along_its_line():
    mesh = plan(kerb=0.12).kerb_along((0.0, 3.0), (12.0, 3.0))
    assert (mesh.vertices[:, 1] == 3.0).all()
    assert (mesh.vertices[:, 2].min(), mesh.vertices[:, 2].max()) == pytest.approx((-0.05, 0.12))


def test_ground_with_a_grain_shares_its_corners_with_its_neighbours():
    street = plan(grain=4.0)
    near, far = street.patch((1.0, -9.0), (23.0, 5.0), 0.0), street.patch((-3.0, 5.0), (30.0, 41.0), 0.0)
    shared = [mesh.vertices[mesh.vertices[:, 1] == 5.0] for mesh in (near, far)]
    inner = [set(line[(line[:, 0] > 1) & (line[:, 0] < 23), 0].tolist()) for line in shared]
    assert inner[0] == inner[1] == {4.0, 8.0, 12.0, 16.0, 20.0}
