"""The best linear classifier on a frozen backbone, found at once in place of optimiser steps.

Where the backbone stays as it is, its features of a cloud are computed once, as inference has them, and the
cross-entropy of a linear classifier over them is convex: L-BFGS finds its least in seconds. Steps of gradient
descent would take thousands, since features differ in scale and go together.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from clip2scene.distill.batch import step_generator
from clip2scene.distill.items import TrainSet
from clip2scene.inference.predict import mean_features
from clip2scene.parallel import progress_bar
from clip2scene.student.inputs import prepare_cloud
from clip2scene.student.model import Embedder
from clip2scene.types import IGNORE_LABEL, PointCloud

POINTS = 2_000
"""Labelled points of each sample that are fitted to at most, drawn at random."""
MOST = 1_000_000
"""Points of all samples together at most, so of each fewer where samples are many."""
DECAY = 1e-4
"""Weight of the squared length of the weights, of features that are brought to unit variance. Chosen with
:data:`ITERATIONS` on streets that nothing is judged on; there, a tenth and ten times as much did worse."""
ITERATIONS = 80
"""Of L-BFGS at most."""


def fit_linear_probe(student: Embedder, train_items: TrainSet) -> Float[Tensor, ""]:
    """Put the classifier of a student where its cross-entropy is least.

    Args:
        student: With a classifier, which is changed; the rest is not.
        train_items: What it is fitted to; nothing of it is moved at random.

    Returns:
        The least of cross-entropy and decay.

    Raises:
        ValueError: If no point is labelled, a cloud is empty, or features are not finite.
    """
    classifier = student.classifier
    assert classifier is not None
    features, targets = _points_of(student, train_items)
    mean, scale = features.mean(0), features.std(0, correction=0).clamp(min=1e-3)
    weight, bias, loss = _least((features - mean) / scale, targets, classifier.out_features)
    with torch.no_grad():
        classifier.weight.copy_(weight / scale)
        classifier.bias.copy_(bias - (weight / scale) @ mean)
    return loss


def _points_of(
    student: Embedder, train_items: TrainSet
) -> tuple[Float[Tensor, "points hidden"], Int[Tensor, " points"]]:
    """Gather features and targets of labelled points, evenly over the samples."""
    count = len(train_items.paths)
    each, found = max(1, min(POINTS, MOST // count)), []
    for number in progress_bar(range(count), desc="features", unit="sample"):
        draw = step_generator(train_items.seed, number, purpose=8)
        item = train_items.read(number, draw)
        labelled = (item.targets != IGNORE_LABEL).nonzero()[:, 0]
        kept = labelled[torch.randperm(len(labelled), generator=draw)[:each]].sort().values
        if len(kept):
            hidden = _features_of(student, item.cloud, item.item_sizes)
            found.append((hidden[item.target_points[kept]], item.targets[kept]))
    if not found:
        raise ValueError("there is nothing to train on: no labelled point; label some, or name others")
    features, targets = (torch.cat(parts) for parts in zip(*found, strict=True))
    if not features.isfinite().all():
        raise ValueError("features of the start are not finite; restore its weights, or name another start")
    return features, targets


def _features_of(
    student: Embedder, cloud: PointCloud, sizes: tuple[int, ...]
) -> Float[Tensor, "points hidden"]:
    """Give the features of each point; sweeps that are items of their own are seen alone."""
    split = list(sizes) or [len(cloud)]
    sweeps = zip(cloud.positions.split(split), cloud.features.split(split), strict=True)
    seen = [mean_features(student, prepare_cloud(PointCloud(*sweep), student.inputs)) for sweep in sweeps]
    return torch.cat(seen)


def _least(
    features: Float[Tensor, "points hidden"], targets: Int[Tensor, " points"], classes: int
) -> tuple[Float[Tensor, "classes hidden"], Float[Tensor, " classes"], Float[Tensor, ""]]:
    """Find the weights and biases of the least regularised cross-entropy, and that."""
    weight, bias = (
        nn.Parameter(features.new_zeros(classes, features.shape[1])),
        nn.Parameter(features.new_zeros(classes)),
    )
    solver = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Float[Tensor, ""]:
        return F.cross_entropy(F.linear(features, weight, bias), targets) + DECAY * weight.square().sum()

    def closure() -> Float[Tensor, ""]:
        solver.zero_grad()
        value = loss()
        value.backward()
        return value

    solver.step(closure)
    with torch.no_grad():
        return weight.detach(), bias.detach(), loss()
