"""Several lessons side by side, as the student takes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.types import IGNORE_LABEL, PointCloud


@dataclass(frozen=True)
class Lesson:
    """What one sample teaches: its cloud, and what the pixels or the labels say of its points.

    Attributes:
        cloud: The points.
        taught: Index of the point of each target; a point seen by two cameras appears twice.
        targets: Train id asked for at each of them.
    """

    cloud: PointCloud
    taught: Int[Tensor, "targets"]
    targets: Int[Tensor, "targets"]


@dataclass(frozen=True)
class Batch:
    """The points of several samples in one list.

    Attributes:
        positions: Metres, each sample in its own sensor's frame.
        features: What the sensor measured beside the position.
        sample_of_point: Number of each point's sample in this batch, ascending.
        taught: Index into the points of each target.
        targets: Train id asked for.
    """

    positions: Float[Tensor, "points 3"]
    features: Float[Tensor, "points channels"]
    sample_of_point: Int[Tensor, "points"]
    taught: Int[Tensor, "targets"]
    targets: Int[Tensor, "targets"]

    def to(self, device: torch.device) -> "Batch":
        """Copy every tensor to ``device``."""
        return Batch(*(each.to(device, non_blocking=True) for each in vars(self).values()))


def collate(lessons: Sequence[Lesson]) -> Batch:
    """Put lessons side by side, dropping targets that teach nothing."""
    counts = torch.tensor([len(lesson.cloud) for lesson in lessons])
    starts = counts.cumsum(0) - counts
    taught = torch.cat([lesson.taught + start for lesson, start in zip(lessons, starts, strict=True)])
    targets = torch.cat([lesson.targets for lesson in lessons])
    useful = targets != IGNORE_LABEL
    return Batch(
        positions=torch.cat([lesson.cloud.positions for lesson in lessons]),
        features=torch.cat([lesson.cloud.features for lesson in lessons]),
        sample_of_point=torch.repeat_interleave(torch.arange(len(lessons)), counts),
        taught=taught[useful],
        targets=targets[useful],
    )


def sample_order(num_samples: int, batch_size: int, step: int, *, seed: int) -> list[int]:
    """Say which samples a step sees: every sample once an epoch, in an order drawn anew for each.

    The answer depends on nothing but its arguments, so a resumed run sees what an uninterrupted one would.

    Args:
        num_samples: Samples in the split.
        batch_size: Samples in a step; a batch may reach over the end of an epoch.
        step: Number of the step, from 0.
        seed: The run's seed.

    Returns:
        ``batch_size`` indices below ``num_samples``.

    Example:
        >>> sorted(sample_order(4, 2, 0, seed=7) + sample_order(4, 2, 1, seed=7))
        [0, 1, 2, 3]
    """
    places = range(step * batch_size, (step + 1) * batch_size)
    orders = {
        epoch: torch.randperm(num_samples, generator=step_generator(seed, epoch, purpose=1)).tolist()
        for epoch in {place // num_samples for place in places}
    }
    return [orders[place // num_samples][place % num_samples] for place in places]


def step_generator(seed: int, step: int, *, purpose: int) -> torch.Generator:
    """Make the random generator of one step and one purpose, independent of all others."""
    mixed = (seed * 1_000_003 + step) * 8 + purpose
    return torch.Generator().manual_seed(mixed % 2**63)
