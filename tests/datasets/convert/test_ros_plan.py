from dataclasses import replace

import numpy as np
from tests.datasets.convert.conftest import all_nan, convert, opened
from tests.ros_bags import (
    START_US,
    SWEEPS_US,
)

from clip2scene.datasets.convert.ros_plan import nearest_clouds


def test_clouds_without_points_and_moments_without_pose_are_counted(drive, tmp_path):
    late = [m for m in drive.messages if m[0] == "/odometry" and m[1] > START_US + 560_000]
    fewer = replace(drive, messages=tuple(m for m in drive.messages if not any(m is each for each in late)))
    made = convert(fewer.changed("/points", all_nan, 1), tmp_path)
    assert (made.clouds, made.images) == (1, 2)
    notes = " ".join(made.notes)
    assert "1 clouds without a point" in notes and "1 clouds taken when no pose is known" in notes
    assert f"dropped {len(drive.sweeps[START_US + SWEEPS_US[1]].positions)} points" in notes
    assert opened(tmp_path).tokens == ("000000",)
    assert sorted(path.name for path in (tmp_path / "log" / "images" / "rear").iterdir()) == ["000000.png"]


def test_pairing_is_that_of_trying_all():
    rng = np.random.default_rng(0)
    for most in (0, 7, 50, 10**6):
        clouds, images = (sorted(rng.choice(1000, count, replace=False).tolist()) for count in (12, 40))
        came, slow = {}, {}
        for image in images:
            cloud = min(clouds, key=lambda each: (abs(each - image), each))
            came.setdefault(cloud, []).append(image)
        for cloud, given in came.items():
            image = min(given, key=lambda each: (abs(each - cloud), each))
            if abs(cloud - image) <= most:
                slow[image] = cloud
        assert nearest_clouds(clouds, images, most) == slow
    assert nearest_clouds([0, 60], [-40, 32], 50) == {-40: 0, 32: 60}, "32 is nearer to 0, but went to 60"
    assert nearest_clouds([], [1], 5) == nearest_clouds([1], [], 5) == {}
    assert nearest_clouds([3], [1, 2, 9], 5) == {2: 3}
