"""The teacher's answers carried onto the points: worked out once a sample, kept on disk.

The teacher is frozen, so looking at the same image in every epoch would buy nothing. One file a sample
holds its cloud and, for each pixel-point pair, the teacher's logits over the classes.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from clip2scene.batch import Lesson
from clip2scene.files import read_json, write_atomically, write_json
from clip2scene.geometry import drop_occluded, project_points
from clip2scene.superpoints import find_superpoints, vote
from clip2scene.types import Camera, Pairs, PointCloud, Prompts, Sample


@runtime_checkable
class Dataset(Protocol):
    """What every loader offers."""

    @property
    def tokens(self) -> Sequence[str]:
        """Name the samples, each fit for a file name."""

    def __getitem__(self, index: int) -> Sample:
        """Read one sample."""


@runtime_checkable
class PixelAnswers(Protocol):
    """What a teacher says of one sample's images."""

    def logits_at(self, pairs: Pairs, text: Float[Tensor, "names channels"]) -> Float[Tensor, "pairs names"]:
        """Answer at the pixels of ``pairs``; zeros where nothing can be said."""


@runtime_checkable
class Teacher(Protocol):
    """A frozen image model that knows words."""

    def __call__(self, sample: Sample) -> PixelAnswers:
        """Look at every image of a sample."""


@dataclass(frozen=True)
class Carried:
    """One sample with its teacher's answers.

    Attributes:
        cloud: The points.
        pair_points: Index of the point of each pixel-point pair.
        pair_logits: The teacher's logit of each class at each pair.
        labels: True train ids, where the data set was opened with them; label-free learning never does.
        superpoints: Number of the piece each point belongs to, -1 for the ground; None if nobody votes.
    """

    cloud: PointCloud
    pair_points: Int[Tensor, "pairs"]
    pair_logits: Float[Tensor, "pairs classes"]
    labels: Int[Tensor, "points"] | None
    superpoints: Int[Tensor, "points"] | None = None

    def seen(self) -> Bool[Tensor, "points"]:
        """Tell which points at least one camera sees."""
        seen = torch.zeros(len(self.cloud), dtype=torch.bool)
        seen[self.pair_points] = True
        return seen

    def teacher_labels(self) -> Int[Tensor, "points"]:
        """Give each seen point the class with the highest summed logit over its pairs, others -1."""
        summed = torch.zeros(len(self.cloud), self.pair_logits.shape[1])
        summed.index_add_(0, self.pair_points, self.pair_logits)
        return torch.where(self.seen(), summed.argmax(1), -1)

    def voted_labels(self) -> Int[Tensor, "points"]:
        """Let the teacher's answers be voted on within superpoints; -1 where nobody can vote."""
        if self.superpoints is None:
            return self.teacher_labels()
        logits = torch.zeros(len(self.cloud), self.pair_logits.shape[1])
        logits.index_add_(0, self.pair_points, self.pair_logits)
        logits /= torch.bincount(self.pair_points, minlength=len(self.cloud)).clamp(min=1)[:, None]
        return vote(self.superpoints, logits, self.seen())

    def lesson_of_teacher(self) -> Lesson:
        """Ask for what the teacher says.

        That is its class at every pair (released code: the argmax of the paired pixel); or, with superpoints,
        what they voted for at every point.
        """
        if self.superpoints is None:
            return Lesson(self.cloud, self.pair_points, self.pair_logits.argmax(1))
        return Lesson(self.cloud, torch.arange(len(self.cloud)), self.voted_labels())

    def lesson_of_labels(self) -> Lesson:
        """Ask for the true label at every point.

        Raises:
            ValueError: If the sample was read without labels.
        """
        if self.labels is None:
            raise ValueError("learning from labels needs a data set with labels; this one was read without")
        return Lesson(self.cloud, torch.arange(len(self.cloud)), self.labels)


def find_pairs(
    positions: Float[Tensor, "points 3"], cameras: Sequence[Camera], settings: dict[str, Any]
) -> Pairs:
    """Pair points with the pixels that see them, under the ``min_depth`` and ``occlusion_test`` settings."""
    pairs = project_points(positions, cameras, min_depth=settings["min_depth"])
    return drop_occluded(pairs, cameras) if settings["occlusion_test"] else pairs


def carry_split(
    dataset: Dataset,
    teacher: Teacher | None,
    prompts: Prompts,
    folder: Path,
    *,
    settings: dict[str, Any],
) -> list[Path]:
    """Carry the teacher's answers onto every sample of a split.

    Files that an earlier call left behind are kept when they were made the same way, so an interrupted
    call goes on where it stopped; otherwise the folder is emptied first.

    Args:
        dataset: The samples.
        teacher: The image model; None carries clouds and labels alone.
        prompts: The classes' names in the teacher's text space.
        folder: Where the files go.
        settings: Everything that decides the answers: ``min_depth``, ``occlusion_test``, ``superpoint_vote``,
            and what names the data and the teacher. Compared with what the folder was made with.

    Returns:
        One path a sample, in the data set's order.

    Raises:
        ValueError: If a sample is bad, or no camera sees any point of the whole split.
    """
    digest = hashlib.sha256(prompts.embeddings.numpy().tobytes()).hexdigest()
    settings = {**settings, "classes": list(prompts.classes), "names": list(prompts.names), "text": digest}
    settings = json.loads(json.dumps(settings))
    manifest = folder / "manifest.json"
    if folder.exists() and (not manifest.exists() or read_json(manifest) != settings):
        shutil.rmtree(folder)
    write_json(manifest, settings)
    paths = [folder / f"{token}.safetensors" for token in dataset.tokens]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    for number in tqdm(missing, desc="teacher looks", unit="sample", disable=not missing):
        _save(paths[number], _carry_sample(dataset[number], teacher, prompts, settings))
    if teacher is not None and not any(len(load_carried(path).pair_points) for path in paths):
        raise ValueError(
            "no camera sees any point of the split, so the teacher can teach nothing; "
            "check the calibration (camera_from_lidar) and the image sizes"
        )
    return paths


def _carry_sample(
    sample: Sample, teacher: Teacher | None, prompts: Prompts, settings: dict[str, Any]
) -> Carried:
    if teacher is None:
        no_pairs = torch.zeros(0, dtype=torch.long)
        return Carried(sample.cloud, no_pairs, torch.zeros(0, len(prompts.classes)), sample.labels)
    pairs = find_pairs(sample.cloud.positions, sample.cameras, settings)
    logits = prompts.best_name(teacher(sample).logits_at(pairs, prompts.embeddings))
    answered = logits.any(1)
    superpoints = find_superpoints(sample.cloud.positions) if settings["superpoint_vote"] else None
    return Carried(sample.cloud, pairs.points[answered], logits[answered], sample.labels, superpoints)


def _save(path: Path, carried: Carried) -> None:
    tensors = {
        "positions": carried.cloud.positions,
        "features": carried.cloud.features,
        "pair_points": carried.pair_points.int(),
        "pair_logits": carried.pair_logits.half(),
    }
    if carried.labels is not None:
        tensors["labels"] = carried.labels.short()
    if carried.superpoints is not None:
        tensors["superpoints"] = carried.superpoints.int()
    with write_atomically(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)


def load_carried(path: Path) -> Carried:
    """Read one file of :func:`carry_split`.

    Raises:
        ValueError: If the file is missing or damaged.
    """
    try:
        tensors = load_file(path)
        return Carried(
            PointCloud(tensors["positions"], tensors["features"]),
            tensors["pair_points"].long(),
            tensors["pair_logits"].float(),
            tensors["labels"].long() if "labels" in tensors else None,
            tensors["superpoints"].long() if "superpoints" in tensors else None,
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise ValueError(f"{path} cannot be read ({error}); delete it and run again") from None
