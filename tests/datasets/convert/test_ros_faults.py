"""Bags with faults: one clear sentence each, and nothing half-written."""

from dataclasses import replace

import numpy as np
import pytest
from tests.datasets.convert.conftest import all_nan, convert
from tests.ros_bags import (
    RIG,
    START_US,
    SWEEPS_US,
    header,
    kind,
    transform_message,
)

from clip2scene.datasets.convert import ros_to_log
from clip2scene.datasets.convert.ros_messages import stamp_us


def moved_to(time_us):
    return lambda message: replace(message, header=header(time_us, message.header.frame_id))


def without_child(name):
    def change(message):
        return replace(message, transforms=[t for t in message.transforms if t.child_frame_id != name])

    return change


def lens(**changes):
    return lambda message: replace(message, **changes)


def shifted(drive, topics, by_us):
    """Let sensors have another clock."""
    for topic in topics:
        drive = drive.changed(
            topic,
            lambda message, topic=topic: replace(
                message, header=header(stamp_us(message, topic) + by_us, message.header.frame_id)
            ),
        )
    return drive


FAULTS = {
    "no clouds": (lambda d: d.without("/points"), r"no message of sensor_msgs/msg/PointCloud2"),
    "no messages": (lambda d: replace(d, messages=()), r"no message of sensor_msgs/msg/PointCloud2"),
    "no transform": (
        lambda d: d.changed("/tf_static", without_child("rear_optical"), 0),
        r"no transform joins the frames lidar and rear_optical: .*map.*rear_optical",
    ),
    "only NaN": (
        lambda d: d.changed("/points", all_nan),
        r"none of the 3 clouds .*: 3 clouds without a point",
    ),
    "encoding": (
        lambda d: d.changed("/front/image_raw", lens(encoding="yuv422")),
        r"/front/image_raw has images of the unknown encoding 'yuv422', expected one of rgb8",
    ),
    "bayer": (lambda d: d.changed("/front/image_raw", lens(encoding="bayer_rggb8")), r"debayer the images"),
    "broken jpeg": (
        lambda d: d.changed("/rear/image_raw/compressed", lens(data=np.arange(99, dtype=np.uint8)), 1),
        r"/rear/image_raw/compressed: a compressed image \('png'\) cannot be read",
    ),
    "cut image": (
        lambda d: d.changed("/front/image_raw", lens(data=np.zeros(100, np.uint8)), 0),
        r"/front/image_raw: an image of 96x64 rgb8 pixels .* cut short",
    ),
    "backwards": (
        lambda d: d.changed("/points", moved_to(START_US + 450_000), 1),
        r"the time of /points jumps backwards, from \d+ us to \d+ us",
    ),
    "poses backwards": (
        lambda d: d.changed("/odometry", moved_to(START_US), 5),
        r"the time of /odometry jumps backwards",
    ),
    "no stamp": (lambda d: d.changed("/points", moved_to(0)), r"/points has a message whose stamp is 0 us"),
    "big-endian": (
        lambda d: d.changed("/points", lens(is_bigendian=True)),
        r"/points: a cloud is big-endian",
    ),
    "distorted in an unknown way": (
        lambda d: d.changed("/front/camera_info", lens(distortion_model="fov", d=np.array([0.9]))),
        r"/front/camera_info: unknown distortion model 'fov', expected one of .*image_rect",
    ),
    "too few coefficients": (
        lambda d: d.changed("/front/camera_info", lens(d=np.array([0.1, 0.1]))),
        r"/front/camera_info: distortion plumb_bob has the coefficients .* expected 4 or 5 finite numbers",
    ),
    "recalibrated": (
        lambda d: d.changed("/front/camera_info", lens(k=np.eye(3).reshape(-1)), 2),
        r"/front/camera_info changes its calibration",
    ),
    "not calibrated": (
        lambda d: d.changed("/front/camera_info", lens(k=np.zeros(9))),
        r"/front/camera_info: .* is not calibrated",
    ),
    "other size": (
        lambda d: d.changed("/front/camera_info", lens(width=192)),
        r"/front/image_raw has images of 96x64, but they are calibrated for 192x64",
    ),
    "two clouds": (
        lambda d: replace(
            d, messages=(*d.messages, *(("/other", *m[1:]) for m in d.messages if m[0] == "/points"))
        ),
        r"has 2 topics of sensor_msgs/msg/PointCloud2; name one with clouds",
    ),
    "two topics of a camera": (
        lambda d: replace(
            d,
            messages=(
                *d.messages,
                *(("/front/image_color", *m[1:]) for m in d.messages if m[0] == "/front/image_raw"),
            ),
        ),
        r"the images of one camera in /front/image_color and /front/image_raw",
    ),
    "two frames": (
        lambda d: d.changed("/points", lens(header=header(START_US + SWEEPS_US[2], "roof")), 2),
        r"/points has messages of the frames lidar and roof",
    ),
    "two parents": (
        lambda d: replace(
            d,
            messages=(
                *d.messages,
                ("/tf", START_US, transform_message([(START_US, "x", "lidar", np.eye(4))])),
            ),
        ),
        r"frame lidar has the parents base_link and x",
    ),
    "moving camera": (
        lambda d: replace(
            d.changed("/tf_static", without_child("front_optical"), 0),
            messages=(
                *d.changed("/tf_static", without_child("front_optical"), 0).messages,
                *(
                    ("/tf", START_US + n, transform_message([(START_US + n, "mast", "front_optical", way)]))
                    for n, way in ((1, np.eye(4)), (2, RIG["front"].ego_from_camera))
                ),
            ),
        ),
        r"the transform from front_optical to mast moves",
    ),
    "a camera's name that leads out": (
        lambda d: replace(
            d,
            messages=tuple((topic.replace("/front/", "/../"), *rest) for topic, *rest in d.messages),
        ),
        r"bag has the name '\.\.', expected a file's name",
    ),
    "calibrated at twice the size": (
        lambda d: d.changed("/front/camera_info", lens(k=np.array([180.0, 0, 96, 0, 180, 64, 0, 0, 1]))),
        r"bag: calibration.json: cameras\[0\], front: the principal point .* about 193x129, got 96x64",
    ),
    "camera an hour ahead": (
        lambda d: shifted(d, ("/front/image_raw", "/rear/image_raw/compressed"), 3_600_000_000),
        r"bag: nothing could be learnt from the log: 0 of 3 images of /front/image_raw fit a cloud: they are "
        r"3600 s later than their clouds \(median\); are the clocks the same\? A time zone",
    ),
    "poses an hour behind": (
        lambda d: shifted(d, ("/odometry",), -3_600_000_000),
        r"bag: poses are 3600 s earlier than their clouds .* A time zone",
    ),
    "no rotation": (
        lambda d: d.changed(
            "/tf_static",
            lambda message: replace(
                message,
                transforms=[
                    replace(
                        each,
                        transform=replace(
                            each.transform, rotation=kind("geometry_msgs/Quaternion")(0.0, 0.0, 0.0, 0.0)
                        ),
                    )
                    for each in message.transforms
                ],
            ),
            0,
        ),
        r"the transform from lidar to base_link holds .* quaternion x y z w of length 1",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_sentence_and_leaves_nothing(fault, drive, tmp_path):
    spoil, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words):
        convert(spoil(drive), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_an_interrupted_conversion_leaves_nothing(drive, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(ros_to_log, "write_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(drive, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]
