"""The one inference loop: what a trained student predicts for a cloud, and for a split.

Where a student votes within superpoints, the logits of the names are averaged, not the embeddings. That is
the same: a logit is the dot product of an embedding and a text embedding, so the mean of the logits is the
logit of the mean. With a cosine temperature the unit length is given to each point's embedding before the
mean, and not again to the mean, so this holds there too. The best name of a class is chosen after the mean.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clip2scene import build
from clip2scene.datasets import Dataset
from clip2scene.distill.lift import gather_sweeps
from clip2scene.geometry.ground import Ground
from clip2scene.geometry.superpoints import average_within, find_superpoints
from clip2scene.runs.run import Run
from clip2scene.student.inputs import prepare_cloud
from clip2scene.student.model import Embedder
from clip2scene.types import IGNORE_LABEL, PointCloud, Prompts, Sample

Quality = Literal["low", "medium", "high"]
"""How much work a cloud is worth: one turn; what the run was made for; six turns."""

TURNS: dict[Quality, tuple[float, ...] | None] = {
    "low": (22.5,),
    "medium": None,
    "high": (7.5, 22.5, 37.5, 52.5, 67.5, 82.5),
}
"""Yaws, in degrees, at which a cloud is seen; None for the student's own. A quarter turn is another look at
the same voxels, so these lie within one. Mirrored copies beside them cost twice as much, and gained nothing.
"""


_Head = Callable[[Float[Tensor, "rows hidden"]], Float[Tensor, "rows outputs"]]


class Part(NamedTuple):
    """What is known of a part of a cloud.

    Attributes:
        own: How many points, the first, are predicted; the others are seen around them.
        superpoints: Number of each point's superpoint, -1 for none; None finds them as in a sweep.
    """

    own: int
    superpoints: Int[Tensor, " points"] | None = None


@dataclass(frozen=True)
class Prediction:
    """What a student predicts for each point of a cloud.

    Attributes:
        text_logits: Logit of each class by the text head: that of the best of the class's names.
        classifier_logits: The same by the linear classifier; None for a student without.
        embeddings: Every point in the text space; None unless wanted.
        raw: The same before superpoint means; None unless wanted.
    """

    text_logits: Float[Tensor, "points classes"]
    classifier_logits: Float[Tensor, "points trained"] | None = None
    embeddings: Float[Tensor, "points text"] | None = None
    raw: "Prediction | None" = None

    @property
    def logits(self) -> Float[Tensor, "points classes"]:
        """The classifier's logits where there is one, else those of the text head."""
        return self.text_logits if self.classifier_logits is None else self.classifier_logits


@torch.inference_mode()
def predict(
    student: Embedder,
    prompts: Prompts,
    cloud: PointCloud,
    *,
    ground: Ground | None = None,
    with_embeddings: bool = False,
    quality: Quality = "medium",
    keep_raw: bool = False,
) -> Prediction:
    """Predict every point of one cloud.

    The student is put into evaluation mode: batch statistics are frozen.

    Args:
        student: A trained network, on any device.
        prompts: The names to compare with, in the student's text space.
        cloud: At least one point.
        ground: The plane of the ground where it is known; a student that needs it estimates it otherwise.
        with_embeddings: Whether the points' embeddings are wanted too; they take far more memory than logits.
        quality: At how many turns the cloud is seen (:data:`TURNS`).
        keep_raw: Whether what the network says before superpoint means is wanted too.

    Returns:
        Logits, in the order of the points, on the CPU.

    Raises:
        ValueError: If the cloud is empty, or a position is not finite or too far away.
    """
    given = prepare_cloud(cloud, student.inputs, ground=ground)
    return predict_prepared(
        student,
        prompts,
        given,
        cloud.positions,
        with_embeddings=with_embeddings,
        quality=quality,
        keep_raw=keep_raw,
    )


@torch.inference_mode()
def predict_prepared(
    student: Embedder,
    prompts: Prompts,
    given: PointCloud,
    positions: Float[Tensor, "points 3"],
    *,
    part: Part | None = None,
    with_embeddings: bool = False,
    quality: Quality = "medium",
    keep_raw: bool = False,
) -> Prediction:
    """Predict points that were made into what the student is given; :func:`predict` has the rest.

    Args:
        student: A trained network.
        prompts: The names to compare with.
        given: What :func:`~clip2scene.student.inputs.prepare_cloud` gives.
        positions: The points as they were before, in which superpoints are found.
        part: What is known where these are a part of a cloud.
        with_embeddings: Whether the points' embeddings are wanted too.
        quality: At how many turns the cloud is seen.
        keep_raw: Whether what the network says before superpoint means is wanted too.
    """
    if student.training:
        student.eval()
    text = prompts.embeddings.to(student.head.weight.device)
    heads: list[_Head] = [lambda hidden: student.compare(hidden, text)]
    if student.classifier is not None:
        heads.append(student.classifier)
    if with_embeddings:
        heads.append(student.embed)
    values, sizes = _apply(student, heads, given, TURNS[quality] or student.inputs.turns)
    means, own = values, len(values) if part is None else part.own
    if student.superpoint_mean:
        known = None if part is None else part.superpoints
        found = find_superpoints(positions, viewpoint=student.viewpoint) if known is None else known
        means = average_within(found, values)
    name_logits, *others = means[:own].split(sizes, 1)
    if not name_logits.isfinite().all():
        raise ValueError(
            "the student's logits are not finite; its features should be in the unit that it was trained on, "
            "and its weights whole: restore them, or train anew"
        )
    trained, raw = student.classifier is not None, None
    if keep_raw:
        of_names, *of_classes = values[:own].split(sizes, 1)
        raw = Prediction(prompts.best_name(of_names), of_classes[0] if trained else None)
    return Prediction(
        prompts.best_name(name_logits),
        others[0] if trained else None,
        others[-1] if with_embeddings else None,
        raw,
    )


def _apply(
    student: Embedder, heads: Sequence[_Head], given: PointCloud, turns: Sequence[float]
) -> tuple[Float[Tensor, "points outputs"], list[int]]:
    """Give what heads make of each point's features, side by side, and how many outputs each head has.

    It is the mean over the turns at which the cloud is seen.

    Streets run along x and y, and walls along the borders of voxels; in training, where clouds are turned at
    random, they hardly ever do. The mean of what a linear head gives is what it gives for the mean.
    """
    device, linear, sizes = student.head.weight.device, student.cosine_temperature is None, list[int]()

    def head(hidden: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows outputs"]:
        outputs = [each(hidden) for each in heads]
        sizes[:] = [each.shape[1] for each in outputs]
        return torch.cat(outputs, 1)

    batch_of_point = torch.zeros(len(given), dtype=torch.long, device=device)
    positions, features = given.positions.to(device), given.features.to(device)
    total: Float[Tensor, "points outputs"] | None = None
    for degrees in turns:
        turned = turn_about_z(positions, degrees)
        seen = student.forward_to(head if linear else _as_it_is, turned, features, batch_of_point)
        total = seen if total is None else total + seen
    assert total is not None
    mean = total if len(turns) == 1 else total / len(turns)
    return (mean if linear else head(mean)).cpu(), sizes


@torch.no_grad()
def mean_features(student: Embedder, given: PointCloud) -> Float[Tensor, "points hidden"]:
    """Give the backbone's features of each point, the mean over the turns at which inference sees a cloud.

    What a linear head makes of them is what it gives at inference, before superpoint means.

    Args:
        student: A trained network; it is put into evaluation mode.
        given: What :func:`~clip2scene.student.inputs.prepare_cloud` gives.

    Raises:
        ValueError: If the cloud is empty, or a position is too far away.
    """
    student.eval()
    return _apply(student, [_as_it_is], given, student.inputs.turns)[0]


def _as_it_is(hidden: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows hidden"]:
    return hidden


def turn_about_z(positions: Float[Tensor, "points 3"], degrees: float) -> Float[Tensor, "points 3"]:
    """Turn points about the vertical axis, to the left."""
    if not degrees:
        return positions
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = positions.new_tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return positions @ turn.T


class Labelled(NamedTuple):
    """What a student calls each point of a cloud.

    Attributes:
        labels: Its best class.
        by_text: Its best class by the text head; another one only where the student has a classifier.
        scores: Softmax of the best class, 0..1.
    """

    labels: Int[Tensor, " points"]
    by_text: Int[Tensor, " points"]
    scores: Float[Tensor, " points"]


def predict_labels(
    student: Embedder,
    prompts: Prompts,
    cloud: PointCloud,
    sweep_sizes: Sequence[int] = (),
    *,
    temperature: float = 1.0,
    allowed: Bool[Tensor, " classes"] | None = None,
) -> Labelled:
    """Give each point its best class.

    Args:
        student: A trained network.
        prompts: The names to compare with.
        cloud: The points.
        sweep_sizes: Points of each sweep, where sweeps are items of their own: each is predicted alone.
        temperature: What logits are divided by to make scores.
        allowed: Which classes are chosen among; None chooses among all.
    """
    sizes = list(sweep_sizes) or [len(cloud)]
    items = zip(cloud.positions.split(sizes), cloud.features.split(sizes), strict=True)
    found = [predict(student, prompts, PointCloud(*item)) for item in items]

    def among(logits: Float[Tensor, "points classes"]) -> Float[Tensor, "points classes"]:
        return logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)

    by_text = torch.cat([among(each.text_logits).argmax(1) for each in found])
    best = [(among(each.logits) / temperature).softmax(1).max(1) for each in found]
    return Labelled(
        torch.cat([each.indices for each in best]), by_text, torch.cat([each.values for each in best])
    )


def choose_own(
    logits: Float[Tensor, "points prompts"],
    of_prompts: Int[Tensor, " prompts"],
    *,
    temperature: float,
    abstain: float = 0.0,
) -> tuple[Int[Tensor, " points"], Float[Tensor, " points"]]:
    """Give each point the best of a data set's own classes; prompt classes that are none are left out.

    Args:
        logits: Of the prompt classes.
        of_prompts: The train id in the data set's classes of each of them, below 0 for none.
        temperature: What logits are divided by to make scores.
        abstain: Points whose best score is below this, 0..1, get ``IGNORE_LABEL``.

    Returns:
        The train ids; and the score of the best class, 0..1, be it below ``abstain``.
    """
    own = logits.masked_fill(of_prompts < 0, -torch.inf)
    scores, best = (own / temperature).softmax(1).max(1)
    return torch.where(scores >= abstain, of_prompts[best], IGNORE_LABEL), scores


def check_abstain(abstain: float) -> None:
    """Refuse a least score of labels that is no score.

    Raises:
        ValueError: If it is outside of 0..1.
    """
    if not 0 <= abstain <= 1:
        raise ValueError(f"--abstain is a score, expected 0 (never) to 1, got {abstain}; correct it")


def open_split(run: Run, data_root: Path, split: str) -> Dataset:
    """Open a split without labels, each sample with the points that the run's student takes at inference."""
    data = run.recipe.data
    return build.open_dataset(data, data_root, split=split, sweeps=data.seen_sweeps)


def predict_split(
    run: Run, dataset: Dataset, numbers: Sequence[int] | None = None
) -> Iterator[tuple[Sample, Prediction]]:
    """Predict one sample after another; no image is read.

    Args:
        run: Whose student predicts.
        dataset: The samples, as :func:`open_split` opens them.
        numbers: Which of them; all if left out.

    Yields:
        The sample, and the prediction for its cloud; where sweeps are merged, the keyframe's points come
        first.

    Raises:
        ValueError: If the run has no checkpoint, a sample cannot be read, or its logits are not finite.
    """
    student = run.student()
    pairing = build.pairing_options(run.recipe.data)
    for number in range(len(dataset.tokens)) if numbers is None else numbers:
        sample = dataset[number]
        cloud, *_ = gather_sweeps(sample, dataset.viewpoint, pairing)
        try:
            prediction = predict(student, run.prompts, cloud)
        except ValueError as error:
            raise ValueError(f"sample {sample.token}: {error}") from None
        yield sample, prediction
