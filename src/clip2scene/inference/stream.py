"""Clouds of a drive as they come: what was seen a moment ago steadies what is said now.

Scores are remembered by place: in cubes of the world, as sums that fade. A point's score is the mean of what
the student says of it now and of what it said of its cube before. Whatever moves leaves its cubes behind, and
what comes there after it is outvoted only while that memory is fresh.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.geometry.ground import Ground
from clip2scene.geometry.projection import check_rigid, transform_points
from clip2scene.inference.predict import Quality
from clip2scene.inference.segmenter import Segmentation, Segmenter
from clip2scene.student.sparse import keys as packed
from clip2scene.types import PointCloud

_FORGOTTEN = 0.05
"""Weight of a cube's memory, in sweeps, below which it is dropped."""

_FARTHEST_M = 10_000.0
"""From where the memory began; beyond it, a new one begins, for cubes are numbered so far."""


@dataclass(frozen=True)
class StreamOptions:
    """How long, how finely and by what clouds of a drive are remembered.

    Attributes:
        seconds: After this long a memory counts a third (1 / e).
        cube_m: Edge of the cubes, in metres.
        abstain: Points whose best score is below this, 0..1, get no word.
        quality: How much work a cloud is worth.
        ground: The ground that follows from how the sensor is mounted, where that is known.
    """

    seconds: float = 1.0
    cube_m: float = 0.4
    abstain: float = 0.0
    quality: Quality = "medium"
    ground: Ground | None = None

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and self.cube_m > 0):
            raise ValueError(
                f"a memory of {self.seconds:g} seconds in cubes of {self.cube_m:g} m; expected both above 0"
            )


class SegmenterStream:
    """Labels the clouds of a drive one after the other.

    Args:
        segmenter: What labels them; its prompts stay as they are while the stream lasts.
        options: How they are remembered.

    Example:
        >>> stream = SegmenterStream(Segmenter.load("builtin"))  # doctest: +SKIP
        >>> for cloud, world_from_lidar, time_s in drive:  # doctest: +SKIP
        ...     labels = stream.push(cloud, world_from_lidar, time_s).labels
    """

    def __init__(self, segmenter: Segmenter, options: StreamOptions = StreamOptions()) -> None:  # noqa: B008
        self.segmenter, self.options = segmenter, options
        self.forget()

    def forget(self) -> None:
        """Begin anew, as after a jump of the poses."""
        self._keys: Int[Tensor, " cubes"] = torch.empty(0, dtype=torch.int64)
        self._sums: Float[Tensor, "cubes compared"] | None = None
        self._weights: Float[Tensor, " cubes"] = torch.empty(0)
        self._time_s = -math.inf
        self._origin = torch.zeros(3, dtype=torch.float64)

    def push(self, cloud: PointCloud, world_from_cloud: Float[Tensor, "4 4"], time_s: float) -> Segmentation:
        """Label a cloud, and remember what was said of it.

        Args:
            cloud: As :meth:`~clip2scene.inference.segmenter.Segmenter.segment` takes it.
            world_from_cloud: Where it was taken, in metres, in a frame that stays; odometry is enough.
            time_s: When, in seconds. A time before the last one, or a place 10 km off, begins anew.

        Returns:
            Labels and scores of its points.

        Raises:
            ValueError: If the pose is not rigid, or the cloud is unfit.
        """
        check_rigid(world_from_cloud, "world_from_cloud")
        scores = self.segmenter.all_scores(cloud, ground=self.options.ground, quality=self.options.quality)
        nearby = world_from_cloud.double().clone()  # the caller's own stays as it is
        stands = nearby[:3, 3].clone()
        if time_s < self._time_s or (stands - self._origin).norm() > _FARTHEST_M:
            self.forget()
        if self._sums is None:
            self._origin = stands
        self._fade(time_s)
        nearby[:3, 3] -= self._origin
        cells = torch.floor(transform_points(nearby, cloud.positions) / self.options.cube_m).long()
        keys, cube_of_point = packed.pack(F.pad(cells, (1, 0))).unique(return_inverse=True)
        mean = self._steadied(keys, cube_of_point, scores)
        self._remember(keys, cube_of_point, scores)
        names = self.segmenter.prompts.classes
        return Segmentation(names, self.segmenter.decide(mean, self.options.abstain), mean[:, : len(names)])

    def _fade(self, time_s: float) -> None:
        """Let memories fade until now, and drop those that hardly count."""
        if self._sums is not None:
            fading = math.exp((self._time_s - time_s) / self.options.seconds)
            kept = (weights := self._weights * fading) >= _FORGOTTEN
            self._keys, self._weights = self._keys[kept], weights[kept]
            self._sums = self._sums[kept] * fading
        self._time_s = time_s

    def _steadied(
        self,
        keys: Int[Tensor, " cubes"],
        cube_of_point: Int[Tensor, " points"],
        scores: Float[Tensor, "points compared"],
    ) -> Float[Tensor, "points compared"]:
        """Give the mean of each point's scores and of what is remembered of its cube."""
        if self._sums is None or not len(self._keys):
            return scores
        places = torch.searchsorted(self._keys, keys).clamp(max=len(self._keys) - 1)
        known = self._keys[places] == keys
        weights = torch.where(known, self._weights[places], 0.0)
        sums = torch.where(known[:, None], self._sums[places], 0.0)
        return (scores + sums[cube_of_point]) / (1 + weights[cube_of_point])[:, None]

    def _remember(
        self,
        keys: Int[Tensor, " cubes"],
        cube_of_point: Int[Tensor, " points"],
        scores: Float[Tensor, "points compared"],
    ) -> None:
        """Add the mean score of each cube's points."""
        counts = torch.bincount(cube_of_point, minlength=len(keys))
        means = scores.new_zeros(len(keys), scores.shape[1]).index_add_(0, cube_of_point, scores)
        means /= counts[:, None]
        if self._sums is None:
            self._keys, self._sums, self._weights = keys, means, torch.ones(len(keys))
            return
        every, place = torch.cat([self._keys, keys]).unique(return_inverse=True)
        sums, weights = means.new_zeros(len(every), means.shape[1]), torch.zeros(len(every))
        self._sums = sums.index_add_(0, place, torch.cat([self._sums, means]))
        self._weights = weights.index_add_(0, place, torch.cat([self._weights, torch.ones(len(keys))]))
        self._keys = every
