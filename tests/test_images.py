import os
import re
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.ros_bags import compressed_message

from clip2scene.datasets.checks import read_image
from clip2scene.datasets.convert.ros_messages import read_picture
from clip2scene.datasets.kitti.files import colour_camera
from clip2scene.datasets.rooms.frames import Frame, Optics, read_depth_image
from clip2scene.images import read_colours, read_size, read_values, suffix_of
from clip2scene.teacher.label_maps import read_label_map

ROOT = Path(__file__).parents[1]
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 30\n%%EndComments\nshowpage\n%%EOF\n"
INTRINSICS = torch.tensor([[40.0, 0, 19.5], [0, 40, 14.5], [0, 0, 1]])


def a_picture(height=30, width=40, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)


def write_png(path, values, *, bits, colour, extra=b""):
    """Write a PNG of whole rows of numbers, as its header says; Pillow writes no colour of 16 bits."""

    def part(kind, content):
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    height, width = values.shape[:2]
    header = part(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    body = part(b"IDAT", zlib.compress(rows)) + extra + part(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
    return path


def test_only_the_door_opens_pictures():
    forbidden = re.compile(
        r"\bImage\.open\(|\bImageFile\b|PIL\.Image import|\bimread\b|imageio|\bcv2\b|torchvision"
    )
    files = [path for folder in ("src", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
    door = ROOT / "src" / "clip2scene" / "images.py"
    found = {
        path for path in files if forbidden.search(re.sub(r"\(with\s+OpenCV.*?\)", "", path.read_text()))
    }
    assert found - {ROOT / "src" / "clip2scene" / "datasets" / "drive_log" / "files.py"} == {door}
    assert door.read_text().count("Image.open(") == 1 and 'formats=("JPEG", "PNG")' in door.read_text()


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.eps"])
def test_postscript_is_refused_by_every_reader_and_no_process_is_started(tmp_path, monkeypatch, name):
    for module, function in ((subprocess, "Popen"), (os, "system"), (os, "posix_spawn"), (os, "fork")):
        monkeypatch.setattr(module, function, lambda *_, **__: pytest.fail("a process was started"))
    path = tmp_path / name
    path.write_bytes(POSTSCRIPT)
    frame = Frame("f", path, path, torch.eye(4).double(), torch.eye(4).double())
    message = compressed_message(1, a_picture(), frame="f", form="PNG")
    message.data = np.frombuffer(POSTSCRIPT, np.uint8)
    for read in (
        lambda: read_image(path, 40, 30),
        lambda: colour_camera(path, "front", INTRINSICS, torch.eye(4)),
        lambda: read_depth_image([frame], Optics(INTRINSICS, INTRINSICS, 1000.0), 0),
        lambda: read_label_map(path, 4),
        lambda: read_picture(message, "/image/compressed"),
    ):
        with pytest.raises(ValueError, match="is PostScript by its content, expected JPEG or PNG"):
            read()


@pytest.mark.parametrize(
    ("form", "what"), [("TIFF", "TIFF"), ("GIF", "GIF"), ("BMP", "BMP"), ("WEBP", "WebP")]
)
def test_other_formats_are_told_as_what_they_are_whatever_their_name(tmp_path, form, what):
    Image.fromarray(a_picture()).save(tmp_path / "a.jpg", form)
    with pytest.raises(
        ValueError, match=rf"a\.jpg is {what} by its content, expected JPEG or PNG; convert it"
    ):
        read_image(tmp_path / "a.jpg", 40, 30)


def test_a_phones_own_format_is_told_too(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x24ftypheic" + bytes(50))
    with pytest.raises(ValueError, match=r"a\.jpg is HEIF by its content"):
        read_image(tmp_path / "a.jpg", 40, 30)


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_content_decides_and_not_the_suffix(tmp_path, form):
    path = tmp_path / ("a.png" if form == "JPEG" else "a.jpg")
    Image.fromarray(a_picture()).save(path, form)
    assert read_size(path, "it") == (40, 30) and read_colours(path, "it").shape == (30, 40, 3)
    assert suffix_of(path.read_bytes()) == (".jpg" if form == "JPEG" else ".png")
    assert suffix_of(POSTSCRIPT) == ""


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_colour_and_grey_of_16_bits_are_refused_and_never_cut(tmp_path, channels):
    twelve = np.random.default_rng(0).integers(0, 4096, (30, 40, channels)).astype(">u2")
    path = write_png(tmp_path / "a.png", twelve, bits=16, colour={1: 0, 2: 4, 3: 2, 4: 6}[channels])
    with pytest.raises(
        ValueError, match=r"a\.png has 16 bits a channel, expected 8 bits .* scaled to 0\.\.255"
    ):
        read_image(path, 40, 30)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_pixels_of_8_bits_and_fewer_are_read_as_rgb(tmp_path, mode):
    picture = Image.fromarray(a_picture()).convert(mode)
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_colours(tmp_path / "a.png", "it"), np.array(picture.convert("RGB")))


def test_four_inks_are_refused(tmp_path):
    Image.fromarray(a_picture()).convert("CMYK").save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg has CMYK pixels, expected 8 bits of colour or grey"):
        read_image(tmp_path / "a.jpg", 40, 30)


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_a_picture_that_viewers_turn_is_refused_and_one_that_they_leave_is_read(tmp_path, name, orientation):
    """A quarter turn changes the size too; the tag is the likelier cause and is named."""
    exif, picture = Image.Exif(), Image.fromarray(a_picture(40, 30) if orientation == 6 else a_picture())
    exif[0x0112] = orientation
    picture.save(tmp_path / name, exif=exif)
    with pytest.raises(ValueError, match=rf"{name} is stored turned .*EXIF orientation {orientation}"):
        read_image(tmp_path / name, 40, 30)
    exif[0x0112] = 1
    Image.fromarray(a_picture()).save(tmp_path / name, exif=exif)
    assert read_image(tmp_path / name, 40, 30).shape == (30, 40, 3)


def test_an_orientation_that_stands_behind_the_pixels_is_seen_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(content)) + b"eXIf" + content
    chunk += struct.pack(">I", zlib.crc32(b"eXIf" + content))
    path = write_png(tmp_path / "a.png", a_picture(), bits=8, colour=2, extra=chunk)
    with pytest.raises(ValueError, match="EXIF orientation 3"):
        read_image(path, 40, 30)


def test_numbers_come_as_they_were_written_or_not_at_all(tmp_path):
    numbers = np.random.default_rng(0).integers(0, 65536, (30, 40))
    write_png(tmp_path / "a.png", numbers.astype(">u2"), bits=16, colour=0)
    assert np.array_equal(read_values(tmp_path / "a.png", "it"), numbers)
    nibbles = np.array([[0x01, 0x23]], np.uint8)
    path = write_png(tmp_path / "b.png", np.repeat(nibbles, 2, 1)[:, :4], bits=4, colour=0)
    with pytest.raises(ValueError, match=r"it is grey of 4 bits, expected a PNG of 8 or 16 bits"):
        read_values(path, "it")
    Image.fromarray(a_picture()).save(tmp_path / "c.png", "JPEG")
    with pytest.raises(ValueError, match=r"it is JPEG by its content, expected a PNG"):
        read_values(tmp_path / "c.png", "it")


def test_pipes_are_refused_and_missing_files_tell_what_lies_beside(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png cannot be read .*no regular file"):
        read_image(tmp_path / "pipe.png", 40, 30)
    (tmp_path / "a.webp").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"a\.jpg is missing \(beside it lies a\.webp\); restore it"):
        read_image(tmp_path / "a.jpg", 40, 30)
    with pytest.raises(ValueError, match=r"b\.jpg is missing; restore it"):
        read_image(tmp_path / "b.jpg", 40, 30)
