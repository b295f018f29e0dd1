"""Teachers by construction: what they say of points whose class is known."""

import torch

from clip2scene.distill.lifted import LiftedSample
from clip2scene.types import PointCloud

SHARES = torch.tensor([0.5, 0.3, 0.15, 0.05])
"""Of the classes among the points."""
CLASSES = len(SHARES)


def points_with_classes(count=20_000, seed=0):
    """Draw the true class of each point."""
    draw = torch.Generator().manual_seed(seed)
    return torch.multinomial(SHARES, count, replacement=True, generator=draw)


def teacher_with(accuracy, truth, seed, *, views=2, sureness=0.3):
    """Say the true class of a point with the probability of that class, from each of its views anew.

    Other classes are equally likely; ``sureness`` is the logit of what is said, those of others are 0.
    """
    draw = torch.Generator().manual_seed(seed)
    points = torch.arange(len(truth)).repeat(views)
    classes = truth[points]
    right = torch.rand(len(points), generator=draw) < torch.tensor(accuracy)[classes]
    others = (classes + torch.randint(1, CLASSES, (len(points),), generator=draw)) % CLASSES
    said = torch.where(right, classes, others)
    cloud = PointCloud(torch.arange(len(truth)).float()[:, None].expand(-1, 3), torch.zeros(len(truth), 1))
    return LiftedSample(cloud, points, sureness * torch.eye(CLASSES)[said], None)


def noise(truth, seed, *, views=2):
    """Say any class, as often as it occurs and whatever is there."""
    draw = torch.Generator().manual_seed(seed)
    sample = teacher_with((1.0,) * CLASSES, truth, seed, views=views)
    said = torch.multinomial(SHARES, len(sample.pair_points), replacement=True, generator=draw)
    return LiftedSample(sample.cloud, sample.pair_points, 0.3 * torch.eye(CLASSES)[said], None)
