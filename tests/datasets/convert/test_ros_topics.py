import sys

import pytest
from tests.datasets.convert.conftest import convert, opened
from tests.ros_bags import (
    write_bag,
)

from clip2scene import cli


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"clouds": "/nope"}, r"clouds: expected /nope .* no such topic\nmessages  type"),
        ({"clouds": "/tf"}, r"clouds: expected /tf .* messages of tf2_msgs"),
        ({"images": ("/points",)}, r"images: expected /points"),
        ({"camera_infos": ("/front/camera_info",)}, r"camera_infos are named but no images"),
        ({"images": ("/front/image_raw",) * 2}, r"expected different images"),
        (
            {"poses": "tf", "world_frame": "mars"},
            r"no transform leads from base_link up to mars, only to odom, map",
        ),
        ({"axes": "XYZ"}, r"axes is 'XYZ', expected three of the letters F, B, L, R, U, D"),
        ({"axes": "FRU"}, r"axes is 'FRU', expected three letters .* right-handed"),
        ({"ego_frame": "mars"}, r"no transform joins the frames mars and base_link"),
        ({"world_frame": "map"}, r"world_frame map goes with poses of transforms, .* those of /odometry"),
        ({"poses": "none", "world_frame": "map"}, r"world_frame map goes with .* those of none"),
    ],
)
def test_wrong_choices_are_told_what_there_is(wanted, words, drive, tmp_path):
    with pytest.raises(ValueError, match=words):
        convert(drive, tmp_path, **wanted)
    assert not (tmp_path / "log").exists()


def test_the_command_lists_and_converts(drive, tmp_path, monkeypatch, capsys):
    bag = write_bag(tmp_path / "bag", drive)
    monkeypatch.setattr(sys, "argv", ["clip2scene", "convert-recording", str(bag), "--list"])
    cli.main()
    printed = capsys.readouterr().out
    assert (
        "       3  sensor_msgs/msg/PointCloud2           /points" in printed
        and "/rear/camera_info" in printed
    )
    options = ["--out", str(tmp_path / "log"), "--images", "/front/image_raw", "--poses", "none"]
    monkeypatch.setattr(sys, "argv", ["clip2scene", "convert-recording", str(bag), *options])
    cli.main()
    assert "wrote 3 clouds and 3 images" in capsys.readouterr().out
    assert [camera.name for camera in opened(tmp_path)[0].cameras] == ["front"]
    monkeypatch.setattr(sys, "argv", ["clip2scene", "convert-recording", str(bag)])
    with pytest.raises(SystemExit):
        cli.main()
    assert "name a new folder with --out" in capsys.readouterr().err
