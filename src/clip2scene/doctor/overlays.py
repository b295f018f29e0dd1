"""Pictures for ``doctor``: where the points of a sample fall in its images."""

import math
from pathlib import Path

import numpy as np
import torch

from clip2scene import build
from clip2scene.config import DataConfig
from clip2scene.distill.lift import find_pairs
from clip2scene.viz import raster as pictures


def draw_overlays(data: DataConfig, root: Path, *, split: str, folder: Path) -> list[Path]:
    """Draw the points that each camera sees over its image, for the sample in the middle of a split.

    Near points are pale, far ones violet; the scale is the same for all cameras. Ends of things in the cloud
    should lie on ends of things in the image.

    Args:
        data: How the data set lies on the disk, and how points meet pixels.
        root: Where it lies.
        split: The split.
        folder: For the pictures.

    Returns:
        ``TOKEN-CAMERA.png`` of each camera.

    Raises:
        ValueError: If the data set or the sample cannot be read, or there is no image.
    """
    dataset = build.open_dataset(data, root, split=split, sweeps=1, need_images=True)
    sample = dataset[len(dataset.tokens) // 2]
    settings = {"min_depth": data.min_depth, "occlusion_test": data.occlusion_test}
    pairs = find_pairs(sample.cloud.positions, sample, settings)
    far = torch.log(pairs.depths)
    low, high = np.quantile(far.numpy(), [0.02, 0.98]).tolist() if len(far) else (0.0, 1.0)
    high = max(high, low + 1e-3)
    legend = pictures.heat_legend(f"{math.exp(high):.1f} m", f"{math.exp(low):.1f} m")
    drawn = []
    for view, camera in enumerate(sample.cameras):
        mine = pairs.views == view
        colours = pictures.heat_colours(low + high - far[mine], low=low, high=high)
        overlay = pictures.camera_overlay(
            sample.read_image(view), pairs.pixels[mine], pairs.depths[mine], colours
        )
        title = f"{camera.name}: {int(mine.sum()):,} points"
        sheet = pictures.panel([overlay], [title], legend=legend, heading=f"sample {sample.token}")
        drawn.append(Path(folder) / f"{sample.token}-{camera.name}.png")
        pictures.save_png(drawn[-1], sheet)
    return drawn
