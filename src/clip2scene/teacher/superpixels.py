"""Superpixels: pieces of an image that are alike in place and colour (SLIC, Achanta et al. 2012).

SLidR contrasts the mean feature of a superpixel with that of the points that fall into it.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image, PngImagePlugin
from torch import Tensor

from clip2scene.files import write_atomically

_NOTE = "clip2scene-superpixels"


def slic_superpixels(
    image: UInt8[Tensor, "height width 3"],
    *,
    num_segments: int = 150,
    compactness: float = 6.0,
    sigma: float = 3.0,
) -> Int[Tensor, "height width"]:
    """Cut an image into superpixels.

    Args:
        image: RGB.
        num_segments: About how many pieces there should be (SLidR: 150).
        compactness: How much nearness in the image weighs against likeness of colour (SLidR: 6).
        sigma: Width of the blur before, in pixels (SLidR: 3).

    Returns:
        Number of each pixel's superpixel; from 0, none left out, each one connected.

    Raises:
        ValueError: If a setting is out of range, or scikit-image is not installed.
    """
    _check(num_segments, compactness, sigma)
    try:
        from skimage.segmentation import slic  # late: an optional dependency, and slow to import
    except ImportError:
        raise ValueError(
            "superpixels need scikit-image, which is not installed; install clip2scene[rivals]"
        ) from None
    found = slic(
        image.numpy(),
        n_segments=num_segments,
        compactness=compactness,
        sigma=sigma,
        start_label=0,
    )
    numbers = np.unique(found, return_inverse=True)[1].reshape(found.shape)
    return torch.from_numpy(numbers.astype(np.int64))


def region_means(
    regions: Int[Tensor, "height width"], cells: Float[Tensor, "channels rows cols"]
) -> Float[Tensor, "regions channels"]:
    """Average a feature map within regions of the image that it is stretched over.

    Equal to upsampling the map to the image's size (bilinear, corners not aligned) and averaging there, at
    the cost of the image's pixels instead of pixels times channels: what each cell adds to a region is summed
    first.

    Args:
        regions: Number of each pixel's region, from 0, none left out.
        cells: The map.
    """
    (height, width), (channels, rows, cols) = regions.shape, cells.shape
    number = int(regions.max()) + 1
    shares = torch.zeros(number * rows * cols, dtype=torch.float64)
    for row, of_row in _neighbours(height, rows):
        for col, of_col in _neighbours(width, cols):
            cell = row[:, None] * cols + col[None]
            shares.index_add_(
                0, (regions * rows * cols + cell).flatten(), torch.outer(of_row, of_col).flatten()
            )
    shares = shares.view(number, rows * cols)
    return (shares / shares.sum(1, keepdim=True)).to(cells.dtype) @ cells.reshape(channels, -1).T


def _neighbours(pixels: int, cells: int) -> list[tuple[Int[Tensor, "pixels"], Float[Tensor, "pixels"]]]:
    """Give the two cells around each pixel along one axis, and the share of each."""
    place = ((torch.arange(pixels, dtype=torch.float64) + 0.5) * cells / pixels - 0.5).clamp(0, cells - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=cells - 1)
    return [(below, 1 - (place - below)), (above, place - below)]


def cached_superpixels(
    path: Path,
    image: UInt8[Tensor, "height width 3"],
    *,
    num_segments: int = 150,
    compactness: float = 6.0,
    sigma: float = 3.0,
) -> Int[Tensor, "height width"]:
    """Read the superpixels of an image from a file; cut and keep them where there are none that fit.

    The file is a PNG of one channel (8 or 16 bit) that says which settings and which image it was made for. A
    file of others, or one that is damaged, is made anew.

    Args:
        path: The file, one for each image.
        image: RGB.
        num_segments: See :func:`slic_superpixels`, as the others.
        compactness: See there.
        sigma: See there.

    Raises:
        ValueError: As :func:`slic_superpixels`.
    """
    _check(num_segments, compactness, sigma)
    made_for = {"num_segments": num_segments, "compactness": compactness, "sigma": sigma}
    note = json.dumps({**made_for, "image": f"{zlib.crc32(image.numpy().tobytes()):08x}"})
    kept = _read(path, note, (image.shape[0], image.shape[1]))
    if kept is not None:
        return kept
    made = slic_superpixels(image, num_segments=num_segments, compactness=compactness, sigma=sigma)
    _write(path, made, note)
    return made


def _check(num_segments: int, compactness: float, sigma: float) -> None:
    if not 1 <= num_segments <= 2**15 or compactness <= 0 or sigma < 0:
        raise ValueError(
            f"superpixels need 1 to {2**15} segments, a positive compactness and a sigma of 0 or more, got "
            f"{num_segments}, {compactness} and {sigma}; SLidR's are 150, 6 and 3"
        )


def _write(path: Path, numbers: Int[Tensor, "height width"], note: str) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text(_NOTE, note)
    kind = np.uint8 if int(numbers.max()) < 256 else np.uint16
    with write_atomically(path) as temporary:
        Image.fromarray(numbers.numpy().astype(kind)).save(temporary, format="PNG", pnginfo=info)


def _read(path: Path, note: str, size: tuple[int, int]) -> Int[Tensor, "height width"] | None:
    """Read what :func:`_write` wrote; None if it is absent, damaged or made for something else."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            values = np.array(picture)
            # The text of a PNG is read before the pixels or after them, so it is asked for last.
            said = getattr(picture, "text", {}).get(_NOTE)
    except (OSError, SyntaxError, ValueError):
        return None
    return torch.from_numpy(values.astype(np.int64)) if said == note and values.shape == size else None
