"""SLIC superpixels (Achanta et al., TPAMI 2012) and the mean feature of each.

SLidR (Sautier et al., CVPR 2022, Sec. 3.2) contrasts the mean feature of a superpixel with that of the points
that project into it. They are stored with the pseudo-labels: see :mod:`clip2scene.distill.lift`.
"""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor


def slic_superpixels(
    image: UInt8[Tensor, "height width 3"],
    *,
    num_segments: int = 150,
    compactness: float = 6.0,
    sigma: float = 3.0,
) -> Int[Tensor, "height width"]:
    """Segment an image into SLIC superpixels.

    Args:
        image: RGB.
        num_segments: Approximate number of superpixels (SLidR: 150).
        compactness: Weight of distance in the image against distance in colour (SLidR: 6).
        sigma: Standard deviation of the Gaussian blur before, in pixels (SLidR: 3).

    Returns:
        Number of each pixel's superpixel; from 0, none left out, each one connected.

    Raises:
        ValueError: If a setting is out of range, or scikit-image is not installed.
    """
    if not 1 <= num_segments <= 2**15 or compactness <= 0 or sigma < 0:
        raise ValueError(
            f"superpixels need 1 to {2**15} segments, a positive compactness and a sigma of 0 or more, got "
            f"{num_segments}, {compactness} and {sigma}; SLidR's are 150, 6 and 3"
        )
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
    """Average pooling of a feature map within regions of the full-size image.

    Equal to upsampling the map to the image's size (bilinear, corners not aligned) and averaging there, at
    the cost of the image's pixels instead of pixels times channels: what each cell adds to a region is summed
    first.

    Args:
        regions: Number of each pixel's region, from 0, none left out.
        cells: The feature map, which covers the whole image.
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


def _neighbours(pixels: int, cells: int) -> list[tuple[Int[Tensor, " pixels"], Float[Tensor, " pixels"]]]:
    """Give the two cells around each pixel along one axis, and the share of each."""
    place = ((torch.arange(pixels, dtype=torch.float64) + 0.5) * cells / pixels - 0.5).clamp(0, cells - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=cells - 1)
    return [(below, 1 - (place - below)), (above, place - below)]
