"""Messages of ROS sensors as arrays: clouds, images and camera calibrations."""

import io
import re
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Shaped, UInt8
from PIL import Image
from torch import Tensor

from clip2scene.datasets.clouds import find_axes, find_intensity
from clip2scene.datasets.convert.point_times import find_time
from clip2scene.datasets.convert.ros_bag import Message
from clip2scene.geometry.distortion import Distortion, read_distortion
from clip2scene.geometry.projection import check_rigid
from clip2scene.images import read_colours, suffix_of

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 8: "f8"}
"""Types of a cloud's fields, by the numbers of PointField."""

_WIDEST_POINT = 1 << 16
"""Bytes; points of lidars have some tens."""

_CHANNELS = {
    **{"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0)},
    **{"mono8": (0, 0, 0), "8UC1": (0, 0, 0)},
}
"""Where red, green and blue stand in a pixel, by encoding."""

_WIDTHS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1}
"""Bytes of a pixel, by encoding."""


@dataclass(frozen=True)
class Picture:
    """An encoded image.

    Attributes:
        suffix: ``.png`` or ``.jpg``.
        content: The file's bytes.
        width: In pixels.
        height: In pixels.
    """

    suffix: str
    content: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Lens:
    """What a ``CameraInfo`` says of a camera's images.

    Attributes:
        width: In pixels.
        height: In pixels.
        intrinsics: For these images.
        camera_from_optical: From the frame that the message names; they differ where images are rectified.
        distortion: What the lens does to these images; None where nothing.
    """

    width: int
    height: int
    intrinsics: Float[Tensor, "3 3"]
    camera_from_optical: Float[Tensor, "4 4"]
    distortion: Distortion | None = None


def stamp_us(message: Message, topic: str) -> int:
    """Give the moment of a message by its sensor's own clock, in whole microseconds.

    Raises:
        ValueError: If it has none.
    """
    stamp = message.header.stamp
    time_us = (stamp.sec * 1_000_000_000 + stamp.nanosec + 500) // 1000
    if time_us <= 0:
        raise ValueError(f"{topic} has a message whose stamp is {time_us} us; expected when it was measured")
    return time_us


def frame_name(name: str) -> str:
    """Name a frame as everybody does now, without ROS 1's leading slash."""
    return name.removeprefix("/")


@dataclass(frozen=True)
class Points:
    """What a ``PointCloud2`` holds.

    Attributes:
        positions: As they are, in metres.
        intensity: As it is, 0 where the cloud has none or a negative one.
        kept: Which of the message's points these are: those that are finite, as their intensities are, and
            do not lie exactly at the sensor, which is how drivers write beams without an echo.
        times: When each was measured, as the driver counts
            (:class:`~clip2scene.datasets.convert.point_times.PointClock`); None where that is not told.
    """

    positions: Float32[np.ndarray, "points 3"]
    intensity: Float32[np.ndarray, " points"]
    kept: Bool[np.ndarray, " all"]
    times: Float64[np.ndarray, " points"] | None = None

    @property
    def dropped(self) -> int:
        """How many points of the message were left out."""
        return int((~self.kept).sum())


def read_points(message: Message, topic: str) -> Points:
    """Read a ``PointCloud2``, whatever the order, types and gaps of its fields.

    Raises:
        ValueError: If it is big-endian, has no x, y or z, or its sizes do not fit together.
    """
    if message.is_bigendian:
        raise ValueError(f"{topic}: a cloud is big-endian, expected little-endian; record it anew")
    if not message.width * message.height:
        return Points(np.zeros((0, 3), np.float32), np.zeros(0, np.float32), np.zeros(0, bool))
    fields = [each.name for each in message.fields]
    axes, found = find_axes(fields), find_intensity(fields)[:1]
    time = find_time(fields)
    names = (*(axes.get(axis, axis) for axis in "xyz"), *found)
    records = columns_of(message, names if time is None else (*names, time), topic)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is dropped
        columns = np.stack([records[number].astype(np.float32) for number in range(len(names))], axis=1)
    kept = np.isfinite(columns).all(1) & (columns[:, :3] != 0).any(1)
    columns = columns[kept]
    intensity = columns[:, 3].clip(min=0) if found else np.zeros(len(columns), np.float32)
    times = None if time is None else records[-1][kept].astype(np.float64)
    return Points(columns[:, :3], intensity, kept, times)


def columns_of(message: Message, names: tuple[str, ...], topic: str) -> list[Shaped[np.ndarray, " points"]]:
    """Read some fields of a cloud, in their own types."""
    fields = {each.name: each for each in message.fields}
    lacking = [axis for axis in names if axis not in fields]
    if lacking:
        raise ValueError(f"{topic}: a cloud has the fields {', '.join(fields) or 'none'}, it lacks {lacking}")
    step = int(message.point_step)
    chosen = [fields[name] for name in names]
    for each in chosen:
        kind = _NUMBERS.get(each.datatype)
        if kind is None or each.offset + np.dtype(kind).itemsize > step:
            raise ValueError(
                f"{topic}: field {each.name} of a cloud has the type {each.datatype} at byte {each.offset} "
                f"of {step}; expected a number (types 1 to 8) within the point"
            )
    dtype = np.dtype(
        {
            "names": [f"f{number}" for number in range(len(chosen))],
            "formats": ["<" + _NUMBERS[each.datatype] for each in chosen],
            "offsets": [each.offset for each in chosen],
            "itemsize": max(step, 1),
        }
    )
    records = np.frombuffer(rows_of(message, topic), dtype=dtype)
    return [records[name] for name in records.dtype.names or ()]


def rows_of(message: Message, topic: str) -> UInt8[np.ndarray, "points step"]:
    """Give the bytes of each point of a cloud, without what lies between its rows.

    Raises:
        ValueError: If its sizes do not fit together.
    """
    height, width, step = int(message.height), int(message.width), int(message.point_step)
    if step > _WIDEST_POINT:
        raise ValueError(f"{topic}: points of a cloud have {step} bytes, expected at most {_WIDEST_POINT}")
    if not height * width:
        return np.zeros((0, step), np.uint8)
    row = int(message.row_step) if height > 1 and message.row_step else width * step
    content = np.ascontiguousarray(message.data).view(np.uint8).reshape(-1)
    if row < width * step or len(content) < row * height:
        raise ValueError(
            f"{topic}: a cloud of {height} x {width} points of {step} bytes has rows of {row} and "
            f"{len(content)} bytes in all; it is cut short"
        )
    points = content[: row * height].reshape(height, row)[:, : width * step]
    return np.ascontiguousarray(points).reshape(height * width, step)


def read_picture(message: Message, topic: str) -> Picture:
    """Encode an ``Image`` as PNG, or take a ``CompressedImage`` as it is, JPEG or PNG.

    Raises:
        ValueError: If its encoding is unknown, or it is broken or cut short.
    """
    if hasattr(message, "format"):
        return _compressed(bytes(message.data), str(message.format), topic)
    pixels = _pixels(message, topic)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return Picture(".png", stream.getvalue(), pixels.shape[1], pixels.shape[0])


def read_lens(message: Message, topic: str, *, rectified: bool) -> Lens:
    """Read a ``CameraInfo``.

    Args:
        message: The message.
        topic: Where it came from, for messages.
        rectified: Whether ``p`` and ``r`` describe the images, not ``k`` and ``d``.

    Raises:
        ValueError: If the images are cut or binned, distorted in an unknown way, belong to the right camera
            of a stereo pair, or the numbers are no calibration.
    """
    width, height = int(message.width), int(message.height)
    roi = message.roi
    cut = (roi.x_offset, roi.y_offset, roi.width, roi.height)
    if max(message.binning_x, message.binning_y) > 1 or cut not in ((0, 0, 0, 0), (0, 0, width, height)):
        raise ValueError(
            f"{topic}: the images are binned or cut out of larger ones, which is not supported; record whole "
            "images"
        )
    motion, distortion = torch.eye(4, dtype=torch.float64), None
    if rectified:
        projection = torch.from_numpy(np.array(message.p, dtype=np.float64).reshape(3, 4))
        intrinsics = projection[:, :3]
        motion[:3, :3] = torch.from_numpy(np.array(message.r, dtype=np.float64).reshape(3, 3))
        if projection[:, 3].abs().max() > 1e-6:
            raise ValueError(
                f"{topic}: the last column of p is {projection[:, 3].tolist()}, so this is the right camera "
                "of a stereo pair; use the left one"
            )
    else:
        intrinsics = torch.from_numpy(np.array(message.k, dtype=np.float64).reshape(3, 3))
        try:
            distortion = read_distortion(str(message.distortion_model), message.d)
        except ValueError as error:
            raise ValueError(
                f"{topic}: {error} - or name the topic of the rectified images (image_rect, made by "
                "image_proc)"
            ) from None
    check_rigid(motion, f"r of {topic}")
    if not (width > 0 and height > 0 and intrinsics.isfinite().all() and intrinsics.diagonal().min() > 0):
        raise ValueError(
            f"{topic}: a camera of {width}x{height} with intrinsics {intrinsics.tolist()} is not calibrated; "
            "calibrate it"
        )
    return Lens(width, height, intrinsics, motion, distortion)


def _compressed(content: bytes, form: str, topic: str) -> Picture:
    """Decode a compressed image once, as broken ones are found only so."""
    if "compresseddepth" in form.lower():
        raise ValueError(f"{topic} holds depths, not colours ({form}); name a topic of colour images")
    pixels = read_colours(content, f"{topic}: a compressed image ({form!r})", remedy="restore the bag")
    return Picture(suffix_of(content), content, pixels.shape[1], pixels.shape[0])


def _pixels(message: Message, topic: str) -> UInt8[np.ndarray, "height width 3"]:
    """Bring an ``Image`` to RGB."""
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    if encoding not in _CHANNELS:
        hint = "; debayer the images first (image_proc)" if re.match("bayer", encoding) else ""
        raise ValueError(
            f"{topic} has images of the unknown encoding {encoding!r}, expected one of "
            f"{', '.join(_CHANNELS)}{hint}"
        )
    row, step = width * _WIDTHS[encoding], int(message.step)
    content = np.asarray(message.data, dtype=np.uint8)
    if not width or not height or step < row or len(content) < step * height:
        raise ValueError(
            f"{topic}: an image of {width}x{height} {encoding} pixels has rows of {step} and {len(content)} "
            "bytes in all; it is cut short"
        )
    pixels = content[: step * height].reshape(height, step)[:, :row].reshape(height, width, -1)
    return np.ascontiguousarray(pixels[:, :, list(_CHANNELS[encoding])])
