"""The one inference loop: what a trained student predicts for a cloud, and for a split.

Where a student votes within superpoints, the logits of the names are averaged, not the embeddings. That is
the same: a logit is the dot product of an embedding and a text embedding, so the mean of the logits is the
logit of the mean. With a cosine temperature the unit length is given to each point's embedding before the
mean, and not again to the mean, so this holds there too. The best name of a class is chosen after the mean.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene import build
from clip2scene.datasets import Dataset
from clip2scene.distill.lift import gather_sweeps
from clip2scene.geometry.ground import Ground
from clip2scene.geometry.superpoints import average_within, find_superpoints
from clip2scene.runs.run import Run
from clip2scene.student.inputs import prepare_cloud
from clip2scene.student.model import Embedder
from clip2scene.types import PointCloud, Prompts, Sample

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
    return _predict(student, prompts, given, cloud.positions, with_embeddings, quality, keep_raw)


@torch.inference_mode()
def predict_prepared(
    student: Embedder,
    prompts: Prompts,
    given: PointCloud,
    positions: Float[Tensor, "points 3"],
    *,
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
        with_embeddings: Whether the points' embeddings are wanted too.
        quality: At how many turns the cloud is seen.
        keep_raw: Whether what the network says before superpoint means is wanted too.
    """
    return _predict(student, prompts, given, positions, with_embeddings, quality, keep_raw)


def _predict(  # noqa: PLR0913 - what the two above are asked for
    student: Embedder,
    prompts: Prompts,
    given: PointCloud,
    positions: Float[Tensor, "points 3"],
    with_embeddings: bool,
    quality: Quality,
    keep_raw: bool,
) -> Prediction:
    """Predict points, whatever torch's mode is."""
    device = student.eval().head.weight.device
    turns = TURNS[quality] or student.inputs.turns
    hidden = _features(student, given, turns, device)
    superpoints = None
    if student.superpoint_mean:
        superpoints = find_superpoints(positions, viewpoint=student.viewpoint)

    def vote(values: Float[Tensor, "points channels"]) -> Float[Tensor, "points channels"]:
        return values.cpu() if superpoints is None else average_within(superpoints, values.cpu())

    of_names = student.compare(hidden, prompts.embeddings.to(device))
    of_classes = None if student.classifier is None else student.classifier(hidden)
    name_logits = vote(of_names)
    if not name_logits.isfinite().all():
        raise ValueError(
            "the student's logits are not finite; its features should be in the unit that it was trained on, "
            "and its weights whole: restore them, or train anew"
        )
    return Prediction(
        prompts.best_name(name_logits),
        None if of_classes is None else vote(of_classes),
        vote(student.embed(hidden)) if with_embeddings else None,
        Prediction(prompts.best_name(of_names.cpu()), None if of_classes is None else of_classes.cpu())
        if keep_raw
        else None,
    )


def _features(
    student: Embedder, given: PointCloud, turns: Sequence[float], device: torch.device
) -> Float[Tensor, "points hidden"]:
    """Give the backbone's features of each point, their mean over the turns at which the cloud is seen.

    Streets run along x and y, and walls along the borders of voxels; in training, where clouds are turned at
    random, they hardly ever do.
    """
    batch_of_point = torch.zeros(len(given), dtype=torch.long, device=device)
    positions, features = given.positions.to(device), given.features.to(device)
    total: Float[Tensor, "points hidden"] | None = None
    for degrees in turns:
        seen = student(turn_about_z(positions, degrees), features, batch_of_point)
        total = seen if total is None else total + seen
    assert total is not None
    return total if len(turns) == 1 else total / len(turns)


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
) -> Labelled:
    """Give each point its best class.

    Args:
        student: A trained network.
        prompts: The names to compare with.
        cloud: The points.
        sweep_sizes: Points of each sweep, where sweeps are items of their own: each is predicted alone.
        temperature: What logits are divided by to make scores.
    """
    sizes = list(sweep_sizes) or [len(cloud)]
    items = zip(cloud.positions.split(sizes), cloud.features.split(sizes), strict=True)
    found = [predict(student, prompts, PointCloud(*item)) for item in items]
    by_text = torch.cat([each.text_logits.argmax(1) for each in found])
    best = [(each.logits / temperature).softmax(1).max(1) for each in found]
    return Labelled(
        torch.cat([each.indices for each in best]), by_text, torch.cat([each.values for each in best])
    )


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
    sweeps = data.sweeps if data.merge_sweeps else 1
    return build.open_dataset(data, data_root, split=split, sweeps=sweeps)


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
