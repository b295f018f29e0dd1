import numpy as np

from clip2scene.toytown.clip.views import FOCAL_CLASSES, aim, aim_at_classes
from clip2scene.toytown.sensors import render_views
from clip2scene.toytown.town.world import build_town


def test_cameras_see_what_they_are_pointed_at():
    snapshot = build_town(11).at(0.0)
    rng = np.random.default_rng(0)
    poses, intrinsics, targets = aim_at_classes(snapshot, np.repeat(FOCAL_CLASSES, 3), 32, rng, close=True)
    assert len(targets) >= 20
    pictures = render_views(snapshot, poses, intrinsics, (32, 32), rng)
    visible = [(picture.instances == target).any() for picture, target in zip(pictures, targets, strict=True)]
    assert np.mean(visible) > 0.9


def test_two_of_three_cameras_are_pointed_at_a_thing_and_none_is_lost():
    poses, intrinsics, targets = aim(build_town(11).at(0.0), 40, 32, np.random.default_rng(0))
    assert len(poses) == len(intrinsics) == len(targets) == 40
    assert 20 <= (targets >= 0).sum() <= 26
    np.testing.assert_allclose(
        poses[:, :3, :3] @ poses[:, :3, :3].swapaxes(1, 2), np.tile(np.eye(3), (40, 1, 1)), atol=1e-9
    )
