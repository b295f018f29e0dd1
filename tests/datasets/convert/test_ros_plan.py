from dataclasses import replace

import numpy as np
from tests.datasets.convert.conftest import all_nan, convert, opened
from tests.ros_bags import (
    START_US,
    SWEEPS_US,
)

from clip2scene.datasets.drive_log.files import read_calibration


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


def test_images_that_are_undistorted_already_are_not_undistorted_again(drive, tmp_path):
    names = {"/front/image_raw": "/front/image_undistorted"}
    names["/rear/image_raw/compressed"] = "/rear/rect/image/compressed"
    messages = [(names.get(topic, topic), *rest) for topic, *rest in drive.messages]
    messages = [
        (topic.replace("/rear/camera_info", "/rear/rect/camera_info"), *rest) for topic, *rest in messages
    ]
    renamed = replace(drive, messages=tuple(messages))
    for topic in ("/front/camera_info", "/rear/rect/camera_info"):
        renamed = renamed.changed(topic, lambda message: replace(message, d=np.array([-0.2, 0.05, 0, 0, 0])))
    made = convert(renamed, tmp_path)
    assert not any("are distorted" in note for note in made.notes)
    for topic in names.values():
        assert any(
            note.startswith(f"images of {topic} are undistorted, as its name says") for note in made.notes
        )
    assert not read_calibration(tmp_path / "log" / "calibration.json").views
