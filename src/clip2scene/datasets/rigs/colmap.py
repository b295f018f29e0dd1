"""COLMAP's ``cameras`` and ``images``, as ``.txt`` or ``.bin``: cameras placed in a world.

An image's quaternion (w first) and translation take points of the world to its camera (x right, y down, z
forward). The centre of the first pixel is 0.5, 0.5 there, so the principal point is half a pixel less here.
https://colmap.github.io/format.html
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from clip2scene.datasets.rigs.rig import (
    Rig,
    RigCamera,
    camera_name,
    check_distinct,
    distortion_of,
    numbers,
    pinhole,
    whole,
)
from clip2scene.geometry.distortion import Distortion
from clip2scene.geometry.projection import rigid_from_quaternion
from clip2scene.io import in_a_sentence, regular_file

_MODELS = (
    *(("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8)),
    *(("OPENCV_FISHEYE", 8), ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4)),
    *(("RADIAL_FISHEYE", 5), ("THIN_PRISM_FISHEYE", 12)),
)
"""Names by COLMAP's number, and how many parameters each has."""

_MOST_IMAGES, _MOST_ROW, _MOST_LINE = 10_000, 1 << 12, 1 << 24
"""Cameras or images, and characters of a row of theirs and of a line of an image's points."""


@dataclass(frozen=True)
class _Lens:
    """A row of ``cameras``: a model's name, the size of the images, and its parameters."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class _Image:
    """A row of ``images``: quaternion and translation, the camera's number, and the file's name."""

    pose: tuple[float, ...]
    camera: int
    name: str


def read_colmap(folder: Path) -> Rig:
    """Read a camera for each image, named by it; the reference is the reconstruction's world.

    Raises:
        ValueError: If a file is missing or broken, a camera is of an unknown model, or there are over
            10,000 cameras or images.
    """
    binary = (folder / "cameras.bin").exists()
    suffix = ".bin" if binary else ".txt"
    paths = [regular_file(folder / f"{name}{suffix}") for name in ("cameras", "images")]
    try:
        lenses = dict((_lenses_in_bytes if binary else _lenses_in_text)(paths[0]))
        images = list((_images_in_bytes if binary else _images_in_text)(paths[1]))
    except (ValueError, struct.error, IndexError, UnicodeDecodeError, OSError) as error:
        raise ValueError(
            f"{paths[0]} and {paths[1].name} cannot be read as COLMAP's ({in_a_sentence(error)[:200]}); "
            "restore them"
        ) from None
    cameras = []
    for image in images:
        what = f"{image.name} of {paths[1]}"
        if image.camera not in lenses:
            raise ValueError(f"{what} is of camera {image.camera}, which {paths[0]} lacks; restore it")
        lens = lenses[image.camera]
        intrinsics, distortion = _split(lens, f"camera {image.camera} of {paths[0]}")
        try:
            place = rigid_from_quaternion(image.pose[:4], image.pose[4:])
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
        size = whole(lens.width, f"the width of {what}"), whole(lens.height, f"the height of {what}")
        cameras.append(
            RigCamera(camera_name(image.name, folder), *size, pinhole(*intrinsics), place, distortion)
        )
    return Rig(check_distinct(cameras, folder), "its world", has_lidar=False)


def _split(lens: _Lens, what: str) -> tuple[tuple[float, float, float, float], Distortion | None]:
    """Split parameters into fx, fy, cx, cy (whole numbers at pixel centres) and the distortion."""
    counts = dict(_MODELS)
    if lens.model not in counts or lens.model in ("FOV", "THIN_PRISM_FISHEYE"):
        known = ", ".join(name for name in counts if name not in ("FOV", "THIN_PRISM_FISHEYE"))
        raise ValueError(
            f"{what} is of the model {lens.model}, expected one of {known}; undistort its images"
        )
    values = numbers(lens.parameters, counts[lens.model], f"{lens.model} of {what}")
    one_focal = lens.model.startswith(("SIMPLE", "RADIAL"))
    focal, rest = (values[:1] * 2, values[1:]) if one_focal else (values[:2], values[2:])
    (cx, cy), terms = rest[:2], rest[2:]
    if lens.model.endswith("FISHEYE"):
        distortion = distortion_of("equidistant", (*terms, *[0.0] * (4 - len(terms))), what)
    elif lens.model == "FULL_OPENCV":
        distortion = distortion_of("rational_polynomial", terms, what)
    else:
        distortion = distortion_of("plumb_bob", (*terms, *[0.0] * (4 - len(terms))), what)
    return (focal[0], focal[1], cx - 0.5, cy - 0.5), distortion


def _lines(path: Path) -> Iterator[str]:
    """Read lines that are not comments."""
    with path.open(encoding="utf-8") as stream:
        while line := stream.readline(_MOST_LINE + 1):
            _refuse_long(line, _MOST_LINE)
            if not line.startswith("#"):
                yield line.rstrip("\n")


def _refuse_long(line: str, most: int) -> None:
    if len(line) > most:
        raise ValueError(f"a line that begins with {line[:20]!r} has more than {most} characters")


def _rows(lines: Iterator[str]) -> Iterator[str]:
    """Pick the lines of cameras or images, which are short; empty ones are passed over."""
    for number, line in enumerate(line for line in lines if line.strip()):
        _refuse_long(line, _MOST_ROW)
        _refuse_many(number)
        yield line


def _lenses_in_text(path: Path) -> Iterator[tuple[int, _Lens]]:
    for line in _rows(_lines(path)):
        words = line.split()
        parameters = tuple(float(word) for word in words[4:])
        yield int(words[0]), _Lens(words[1], int(words[2]), int(words[3]), parameters)


def _images_in_text(path: Path) -> Iterator[_Image]:
    """Read every other line; those between list points, and may be empty."""
    lines = _lines(path)
    for line in _rows(lines):
        words = line.split(maxsplit=9)
        yield _Image(tuple(float(word) for word in words[1:8]), int(words[8]), words[9])
        next(lines, None)


def _take(stream: BinaryIO, form: str) -> tuple[int | float, ...]:
    return struct.unpack(f"<{form}", stream.read(struct.calcsize(f"<{form}")))


def _lenses_in_bytes(path: Path) -> Iterator[tuple[int, _Lens]]:
    with path.open("rb") as stream:
        (count,) = _take(stream, "Q")
        for number in range(int(count)):
            _refuse_many(number)
            camera, model, width, height = (int(each) for each in _take(stream, "iiQQ"))
            name, parameters = _MODELS[model] if 0 <= model < len(_MODELS) else (str(model), 0)
            if not parameters:
                raise ValueError(f"model {model} of camera {camera} is unknown")
            yield camera, _Lens(name, width, height, _take(stream, f"{parameters}d"))


def _images_in_bytes(path: Path) -> Iterator[_Image]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        (count,) = _take(stream, "Q")
        for number in range(int(count)):
            _refuse_many(number)
            _, *pose, camera = _take(stream, "i7di")
            name = bytearray()
            while (letter := stream.read(1)) != b"\0":
                if not letter or len(name) > 1000:
                    raise ValueError("the name of an image does not end")
                name += letter
            (points,) = _take(stream, "Q")
            if stream.tell() + 24 * int(points) > size:
                raise ValueError(f"{path.name} is cut short")
            stream.seek(24 * int(points), 1)
            yield _Image(tuple(pose), int(camera), name.decode("utf-8"))


def _refuse_many(number: int) -> None:
    if number >= _MOST_IMAGES:
        raise ValueError(f"there are over {_MOST_IMAGES} of them, expected those of one rig")
