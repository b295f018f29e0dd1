import struct
from dataclasses import replace

import numpy as np
import pytest
from tests.ros_bags import STORE, cloud_message, compressed_message, image_message, info_message

from clip2scene.datasets.convert.ros_messages import read_lens, read_picture, read_points
from clip2scene.geometry.distortion import Distortion

FORMATS = {1: "<b", 2: "<B", 3: "<h", 4: "<H", 5: "<i", 6: "<I", 7: "<f", 8: "<d"}


def slow_points(message):
    """Read every point by itself, as the message's description says."""
    fields = {each.name: each for each in message.fields}
    rows = []
    for row in range(message.height):
        for column in range(message.width):
            start = row * message.row_step + column * message.point_step
            rows.append(
                [
                    struct.unpack_from(
                        FORMATS[fields[name].datatype], message.data.tobytes(), start + fields[name].offset
                    )[0]
                    for name in ("x", "y", "z", "intensity")
                ]
            )
    return np.array(rows)


@pytest.mark.parametrize("number", FORMATS)
@pytest.mark.parametrize("height", [1, 4])
def test_any_layout_of_fields_is_read(number, height):
    rng = np.random.default_rng(number)
    columns = {
        "intensity": (1, number, rng.integers(1, 100, 12)),
        "z": (10, 7, rng.normal(size=12)),
        "x": (17, 8, rng.normal(size=12)),
        "y": (26, number, rng.integers(1, 100, 12)),
    }
    message = cloud_message(5_000_000, columns, step=41, height=height, padding=7 if height > 1 else 0)
    points = read_points(message, "/points")
    slow = slow_points(message).astype(np.float32)
    assert np.array_equal(np.column_stack([points.positions, points.intensity]), slow)
    assert not points.dropped and points.times is None


def test_points_that_are_no_points_are_dropped_and_counted():
    x = np.array([1, np.nan, 0, np.inf, 0, 3.0])
    columns = {"x": (0, 7, x), "y": (4, 7, [0, 0, 0, 0, -0.0, 0]), "z": (8, 7, [0, 0, 0, 0, 2, 0])}
    columns["intensity"] = (12, 7, [5, 1, 1, 1, 2, -3])
    points = read_points(cloud_message(1, columns), "/points")
    assert points.positions.tolist() == [[1, 0, 0], [0, 0, 2], [3, 0, 0]]
    assert points.intensity.tolist() == [5, 2, 0] and points.dropped == 3
    for strange in (np.nan, np.inf, -np.inf):
        columns["intensity"] = (12, 7, [strange, 1, 1, 1, 2, strange])
        points = read_points(cloud_message(1, columns), "/points")
        assert points.positions.tolist() == [[0, 0, 2]] and points.intensity.tolist() == [2]
        assert points.dropped == 5
    columns["intensity"] = (12, 7, np.ones(6))
    columns["x"] = (0, 8, [1e300, 1, 1, 1, 1, 1])  # more than float32 holds
    columns["y"], columns["z"] = (8, 7, np.zeros(6)), (16, 7, np.zeros(6))
    assert read_points(cloud_message(1, columns), "/points").dropped == 1
    nothing = replace(cloud_message(1, columns), width=0, point_step=0, row_step=0, fields=[], data=x[:0])
    assert len(read_points(nothing, "/points").positions) == 0
    del columns["intensity"]
    assert read_points(cloud_message(1, columns), "/points").intensity.tolist() == [0] * 5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"width": 7}, "cut short"),
        ({"row_step": 3, "height": 2, "width": 3}, "cut short"),
        ({"point_step": 6}, "field y of a cloud has the type 7 at byte 4 of 6"),
        ({"fields": []}, r"a cloud has the fields none, it lacks \['x', 'y', 'z'\]"),
    ],
)
def test_clouds_that_contradict_themselves_are_refused(change, words):
    columns = {axis: (4 * number, 7, np.ones(6)) for number, axis in enumerate("xyz")}
    with pytest.raises(ValueError, match=words):
        read_points(replace(cloud_message(1, columns, step=12), **change), "/points")


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_images_become_rgb_whatever_their_encoding(encoding):
    rng = np.random.default_rng(0)
    channels = {"mono8": 1, "rgb8": 3, "bgr8": 3}.get(encoding, 4)
    raw = rng.integers(0, 255, (5, 7, channels), dtype=np.uint8)
    picture = read_picture(image_message(1, raw, frame="f", encoding=encoding, padding=3), "/image")
    slow = np.zeros((5, 7, 3), np.uint8)
    for row in range(5):
        for column in range(7):
            for channel, letter in enumerate("rgb"):
                place = 0 if encoding == "mono8" else encoding.index(letter)
                slow[row, column, channel] = raw[row, column, place]
    assert np.array_equal(decode(picture), slow)
    assert (picture.suffix, picture.width, picture.height) == (".png", 7, 5)


def decode(picture):
    import io

    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(picture.content)).convert("RGB"))


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", ".jpg"), ("PNG", ".png")])
def test_compressed_images_are_kept_byte_for_byte(form, suffix):
    pixels = np.random.default_rng(0).integers(0, 255, (8, 16, 3), dtype=np.uint8)
    message = compressed_message(1, pixels, frame="f", form=form)
    picture = read_picture(message, "/image/compressed")
    assert picture.content == message.data.tobytes() and picture.suffix == suffix
    with pytest.raises(ValueError, match="holds depths"):
        read_picture(replace(message, format="16UC1; compressedDepth png"), "/depth")
    with pytest.raises(ValueError, match="cannot be read as JPEG or PNG"):
        read_picture(replace(message, data=message.data[:40]), "/image/compressed")
    with pytest.raises(ValueError, match="expected 8 bits"):
        read_picture(compressed_message(1, pixels[..., 0].astype(np.uint16), frame="f"), "/depth")


def test_rectified_images_are_described_by_p_and_r():
    k = np.array([[100.0, 0, 48], [0, 101, 32], [0, 0, 1]])
    p = np.column_stack([k + [[5.0, 0, 1], [0, 4, 2], [0, 0, 0]], np.zeros(3)])
    r = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    info = info_message(1, k, frame="f", d=[0.1, 0.2], r=r, p=p)
    lens = read_lens(info, "/info", rectified=True)
    assert lens.intrinsics.tolist() == p[:, :3].tolist()
    assert lens.camera_from_optical[:3, :3].tolist() == r.tolist()
    assert lens.distortion is None
    with pytest.raises(ValueError, match="/info: distortion plumb_bob .* or name the topic of the rectified"):
        read_lens(info, "/info", rectified=False)
    raw = read_lens(replace(info, d=np.array([0.1, 0.2, 0, 0, 0])), "/info", rectified=False)
    assert raw.intrinsics.tolist() == k.tolist()
    assert raw.distortion == Distortion("plumb_bob", (0.1, 0.2, 0, 0, 0))
    plain = read_lens(replace(info, d=np.zeros(5)), "/info", rectified=False)
    assert (
        plain.intrinsics.tolist() == k.tolist() and plain.camera_from_optical.tolist() == np.eye(4).tolist()
    )
    p[0, 3] = -30
    with pytest.raises(ValueError, match="right camera of a stereo pair"):
        read_lens(info_message(1, k, frame="f", p=p), "/info", rectified=True)
    with pytest.raises(ValueError, match="binned or cut"):
        read_lens(info_message(1, k, frame="f", binning=2), "/info", rectified=False)


def test_messages_survive_writing():
    """The tests' own writer is right: what it serialises is what is read."""
    message = cloud_message(
        7_000_001, {axis: (4 * n, 7, np.ones(2)) for n, axis in enumerate("xyz")}, step=12
    )
    content = STORE.serialize_cdr(message, message.__msgtype__)
    again = STORE.deserialize_cdr(content, message.__msgtype__)
    assert (again.header.stamp.sec, again.header.stamp.nanosec) == (7, 1000)
    assert np.array_equal(again.data, message.data)
