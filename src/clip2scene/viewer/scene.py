"""One sample as it is looked at: at most so many of its points, and what is known of them without a run."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from torch import Tensor

from clip2scene.distill.lift import find_pairs, gather_sweeps
from clip2scene.types import Pairs, PointCloud, Sample
from clip2scene.viewer.selection import cut_cloud
from clip2scene.viewer.source import Source
from clip2scene.viz.raster import camera_overlay

IMAGE_WIDTH = 640
"""Camera images that are wider are scaled down to this, in pixels; those not half as wide are enlarged."""


@dataclass(frozen=True)
class Scene:
    """A sample, and which of its points are shown.

    Attributes:
        sample: As its data set gives it.
        source: Where it comes from.
        cloud: What a student is given: the sample's points, and behind them those of merged sweeps.
        shown: Numbers of the points that are shown, rising; all of the keyframe, unless they are too many.
        notes: What somebody who looks at it should know.
    """

    sample: Sample
    source: Source
    cloud: PointCloud
    shown: Int[Tensor, " shown"]
    notes: tuple[str, ...]

    @cached_property
    def positions(self) -> Float[Tensor, "shown 3"]:
        """Give the positions of the points that are shown, in metres."""
        return self.cloud.positions[self.shown]

    @cached_property
    def features(self) -> Float[Tensor, "shown channels"]:
        """Give what the sensor measured at them."""
        return self.cloud.features[self.shown]

    @cached_property
    def truth(self) -> Int[Tensor, " shown"] | None:
        """Give their true train ids; None without labels."""
        return None if self.sample.labels is None else self.sample.labels[self.shown]

    @cached_property
    def ranks(self) -> Int[Tensor, " shown"]:
        """Rank the points at random, the same each time: the first ones stand for all where few are drawn."""
        return torch.randperm(len(self.shown), generator=torch.Generator().manual_seed(1))

    @cached_property
    def pieces(self) -> Int[Tensor, " points"]:
        """Cut the keyframe into what a click selects, whether it is shown or not."""
        return cut_cloud(self.sample, viewpoint=self.source.viewpoint, indoors=self.source.indoors)

    @cached_property
    def pairs(self) -> Pairs:
        """Pair the points that are shown with pixels; all points of the sample may occlude them."""
        found = find_pairs(self.sample.cloud.positions, self.sample, self.source.pairing)
        place = torch.full((len(self.sample.cloud),), -1)
        place[self.shown] = torch.arange(len(self.shown))
        points = place[found.points]
        kept = points >= 0
        return Pairs(points[kept], found.views[kept], found.pixels[kept], found.depths[kept])

    @cached_property
    def _images(self) -> dict[int, UInt8[Tensor, "height width 3"]]:
        return {}

    def image(self, view: int) -> UInt8[Tensor, "height width 3"]:
        """Read a camera's image, at most :data:`IMAGE_WIDTH` wide; it is kept."""
        if view not in self._images:
            image = Image.fromarray(self.sample.read_image(view).numpy())
            if image.width > IMAGE_WIDTH:
                size = (IMAGE_WIDTH, max(1, round(image.height * IMAGE_WIDTH / image.width)))
                image = image.resize(size, Image.Resampling.BOX)
            self._images[view] = torch.from_numpy(np.array(image))
        return self._images[view]

    def draw_over_image(
        self, view: int, colours: UInt8[Tensor, "shown 3"], visible: Bool[Tensor, " shown"]
    ) -> Image.Image:
        """Draw points over a camera's image, nearer ones larger.

        Args:
            view: Number of the camera.
            colours: Of the points.
            visible: Which of them are drawn.
        """
        image, pairs = self.image(view), self.pairs
        mine = (pairs.views == view) & visible[pairs.points]
        scale = image.shape[1] / self.sample.cameras[view].width
        pixels = (pairs.pixels[mine] + 0.5) * scale - 0.5  # integers are pixel centres
        return camera_overlay(
            image, pixels, pairs.depths[mine], colours[pairs.points[mine]], min_width=IMAGE_WIDTH // 2
        )


def read_scene(source: Source, number: int, *, most: int) -> Scene:
    """Read a sample, and choose which of its points are shown.

    Args:
        source: The samples.
        number: Which.
        most: Points that are shown at most; of more, a random choice is, the same each time.

    Raises:
        ValueError: If the sample cannot be read, or a number in it is not finite.
    """
    sample, notes = source.read(number)
    cloud = sample.cloud
    if not cloud.positions.isfinite().all() or not cloud.features.isfinite().all():
        raise ValueError(f"{sample.token} holds NaN or infinite numbers; drop those points")
    if sample.sweeps:
        cloud = gather_sweeps(sample, source.viewpoint, source.pairing).cloud
    count = len(sample.cloud)
    shown = torch.arange(count)
    if count > most:
        shown = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].sort().values
        notes = (f"{most:,} of {count:,} points are shown, drawn at random; every count is of these", *notes)
    return Scene(sample, source, cloud, shown, notes)
