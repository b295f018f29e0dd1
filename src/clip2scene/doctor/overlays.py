"""Pictures for ``doctor``: where the points of a sample fall in its images."""

import math
from pathlib import Path

import numpy as np
import torch

from clip2scene.datasets import Dataset
from clip2scene.distill.lift import PairingOptions, find_pairs
from clip2scene.viz import raster


def draw_overlays(dataset: Dataset, pairing: PairingOptions, *, folder: Path) -> list[Path]:
    """Draw the points that each camera sees over its image, for the middle one of the samples with images.

    Near points are pale, far ones violet; the scale is the same for all cameras. Ends of things in the cloud
    should lie on ends of things in the image.

    Args:
        dataset: The samples.
        pairing: What decides which points a camera sees, as for :func:`clip2scene.distill.lift.find_pairs`.
        folder: For the raster.

    Returns:
        ``TOKEN-CAMERA.png`` of each camera.

    Raises:
        ValueError: If the sample cannot be read, or no sample has an image.
    """
    numbers = [number for number, token in enumerate(dataset.tokens) if dataset.has_image(token)]
    if not numbers:
        raise ValueError(f"none of the {len(dataset.tokens)} samples has an image; restore the images")
    sample = dataset[numbers[len(numbers) // 2]]
    pairs = find_pairs(sample.cloud.positions, sample, pairing)
    far = torch.log(pairs.depths)
    low, high = np.quantile(far.numpy(), [0.02, 0.98]).tolist() if len(far) else (0.0, 1.0)
    high = max(high, low + 1e-3)
    legend = raster.heat_legend(f"{math.exp(high):.1f} m", f"{math.exp(low):.1f} m")
    drawn = []
    for view, camera in enumerate(sample.cameras):
        mine = pairs.views == view
        colours = raster.heat_colours(low + high - far[mine], low=low, high=high)
        overlay = raster.camera_overlay(
            sample.read_image(view), pairs.pixels[mine], pairs.depths[mine], colours
        )
        title = f"{camera.name}: {int(mine.sum()):,} points"
        sheet = raster.panel([overlay], [title], legend=legend, heading=f"sample {sample.token}")
        drawn.append(Path(folder) / f"{sample.token}-{camera.name}.png")
        raster.save_png(drawn[-1], sheet)
    return drawn
