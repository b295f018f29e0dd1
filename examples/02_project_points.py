"""Pair the points of a keyframe with the pixels that see them, and draw what the occlusion test drops.

    python examples/02_project_points.py DATA OUT.png

DATA is a data set in nuScenes' layout, for instance what ``clip2scene make-toytown`` wrote.
"""

import sys
from pathlib import Path

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.geometry.projection import drop_occluded, project_points
from clip2scene.viz.raster import camera_overlay, heat_colours, panel, save_png

data, out = sys.argv[1:]

sample = NuScenes(Path(data), split="val", labels=False)[0]
pairs = project_points(sample.cloud.positions, sample.cameras)
visible = drop_occluded(pairs, sample.cameras)

images, titles = [], []
for title, kept in (("all that fall into the image", pairs), ("not hidden", visible)):
    front = kept.views == 0
    near_to_far = heat_colours(kept.depths[front], low=0.0, high=40.0)
    images.append(camera_overlay(sample.read_image(0), kept.pixels[front], kept.depths[front], near_to_far))
    titles.append(f"{sample.cameras[0].name}, {title}: {int(front.sum())} pairs")
save_png(Path(out), panel(images, titles))
print(f"{len(pairs) - len(visible)} of {len(pairs)} pairs of all six cameras are hidden behind nearer points")
