"""The one door through which pictures are read: JPEG and PNG, told by their content.

Pillow knows dozens of formats, some of which start other programs: it has Ghostscript run PostScript,
whatever the file is called. Nothing else in this package may open a picture.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from clip2scene.io import in_a_sentence

SUFFIXES = (".png", ".jpg", ".jpeg")
"""Of the files that are taken for images; capital letters do as well."""

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_OTHERS = {
    **{b"%!": "PostScript", b"\xc5\xd0\xd3\xc6": "PostScript", b"%PDF": "PDF", b"II*\0": "TIFF"},
    **{b"MM\0*": "TIFF", b"GIF8": "GIF", b"BM": "BMP", b"RIFF": "WebP", b"P5": "PGM", b"P6": "PPM"},
}
_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")
_ORIENTATION, _EXIF = 0x0112, ("exif", "Raw profile type exif")  # the tag; where Pillow keeps what holds it


def suffix_of(content: bytes) -> str:
    """Name the suffix that encoded bytes should have: ``.png`` or ``.jpg``; empty for anything else."""
    return ".png" if content.startswith(_PNG) else ".jpg" if content.startswith(_JPEG) else ""


def read_size(path: Path, what: str) -> tuple[int, int]:
    """Read a picture's width and height in pixels from its header; errors as :func:`read_values`."""
    with _open(path, what, "restore it") as (image, _):
        return image.size


def read_colours(
    source: Path | bytes, what: str, size: tuple[int, int] | None = None, remedy: str = "restore it"
) -> UInt8[np.ndarray, "height width 3"]:
    """Read a picture of 8 bits a channel, or fewer, as RGB.

    One that viewers turn, as an EXIF tag tells them to, is refused: some programs calibrate the pixels as
    they are stored, others as they are shown, and nothing says which.

    Args:
        source: The file, or its bytes.
        what: What it is, and which one, for messages.
        size: Width and height that its calibration belongs to; None takes any.
        remedy: What to do about one that is broken or missing, for messages.

    Raises:
        ValueError: As :func:`read_values` does, and for another size, more bits, other pixels than colour or
            grey, or an EXIF orientation.
    """
    with _open(source, what, remedy) as (image, bits):
        found, mode, fits = image.size, image.mode, size in (None, image.size)
        pixels = np.array(image.convert("RGB")) if fits else np.zeros((0, 0, 3), np.uint8)
        has_tags = any(key in image.info for key in _EXIF)
        turned = image.getexif().get(_ORIENTATION, 1) if has_tags else 1
    if turned != 1:
        raise ValueError(
            f"{what} is stored turned or mirrored (EXIF orientation {turned}), and its calibration may be "
            "for the pixels as stored or as shown; write it anew as it was calibrated, without that tag"
        )
    if size is not None and not fits:
        raise ValueError(
            f"{what} is {found[0]}x{found[1]}, expected {size[0]}x{size[1]}; its calibration belongs to "
            "that size"
        )
    if mode not in _MODES or bits > 8:  # Pillow cuts 16 bits to the upper 8, or to white
        got = f"{bits} bits a channel" if bits > 8 else f"{mode} pixels"
        raise ValueError(
            f"{what} has {got}, expected 8 bits of colour or grey; write it anew, scaled to 0..255"
        )
    return pixels


def read_values(path: Path, what: str, remedy: str = "restore it") -> Shaped[np.ndarray, "*shape"]:
    """Read the numbers of a PNG as its file has them; of one with a palette, their places in it.

    Args:
        path: The file.
        what: What it is, and which one, for messages.
        remedy: What to do about one that is broken or missing, for messages.

    Raises:
        ValueError: If the file is missing, no regular file, no PNG by its content (the numbers of a JPEG are
            not those that were written), or broken; or grey of 2 or 4 bits, which Pillow scales.
    """
    with _open(path, what, remedy) as (image, bits):
        values, form, mode = np.array(image), image.format, image.mode
    if form != "PNG" or (mode == "L" and bits < 8):
        got = f"grey of {bits} bits" if form == "PNG" else f"{form} by its content"
        raise ValueError(f"{what} is {got}, expected a PNG of 8 or 16 bits; write it anew")
    return values


@contextmanager
def _open(source: Path | bytes, what: str, remedy: str) -> Iterator[tuple[Image.Image, int]]:
    """Lend an open picture and the bits of a channel; whatever fails within becomes one sentence."""
    head = b""
    try:
        if isinstance(source, Path):
            if source.exists() and not source.is_file():  # a pipe would be waited for, a device never ends
                raise OSError("it is no regular file")
            with source.open("rb") as file:
                head = file.read(32)
        else:
            head = source[:32]
        with Image.open(
            BytesIO(source) if isinstance(source, bytes) else source, formats=("JPEG", "PNG")
        ) as image:
            yield image, head[24] if head.startswith(_PNG) else 8
    except FileNotFoundError:
        assert isinstance(source, Path)
        beside = sorted(path.name for path in source.parent.glob(f"{escape(source.stem)}.*"))
        but = f" (beside it lies {beside[0]})" if beside else ""
        raise ValueError(f"{what} is missing{but}; {remedy}") from None
    except Exception as error:  # Pillow and its decoders have many
        other = next((kind for magic, kind in _OTHERS.items() if head.startswith(magic)), None)
        other = "HEIF" if head[4:8] == b"ftyp" else other
        if other is not None:
            raise ValueError(f"{what} is {other} by its content, expected JPEG or PNG; convert it") from None
        raise ValueError(f"{what} cannot be read as JPEG or PNG ({in_a_sentence(error)}); {remedy}") from None
