"""The teacher's answers carried onto the points: worked out once a sample, kept on disk.

The teacher is frozen, so looking at the same image in every epoch would buy nothing. One file a sample
holds its cloud and, for each pixel-point pair, the teacher's logits over the classes.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clip2scene.distill.batch import Superpixels
from clip2scene.distill.lifted import LiftedSample, TeacherFeatures, load_lifted, save_lifted
from clip2scene.geometry.depth import drop_unconfirmed
from clip2scene.geometry.dynamic_points import seen_through
from clip2scene.geometry.projection import drop_occluded, project_points
from clip2scene.geometry.superpoints import find_superpoints
from clip2scene.io import write_json
from clip2scene.parallel import file_lock, parallel_for
from clip2scene.teacher.backbone import ImageBackbone
from clip2scene.teacher.maskclip import DenseEmbeddings
from clip2scene.teacher.superpixels import region_means, slic_superpixels
from clip2scene.types import IGNORE_LABEL, Pairs, PointCloud, Prompts, Sample, Samples

FORMAT = 1
"""Of the files that are carried; to be raised whenever other code would carry something else."""


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


def find_pairs(positions: Float[Tensor, "points 3"], sample: Sample, settings: dict[str, Any]) -> Pairs:
    """Pair points with the pixels that see them, under the ``min_depth`` and ``occlusion_test`` settings.

    Where depth was measured, it says what is seen; elsewhere the points themselves hide each other.
    """
    pairs = project_points(positions, sample.cameras, min_depth=settings["min_depth"])
    if not settings["occlusion_test"]:
        return pairs
    if sample.read_depth is not None:
        return drop_unconfirmed(pairs, positions, sample.read_depth)
    return drop_occluded(pairs, sample.cameras)


def lift_split(
    dataset: Samples,
    teacher: Teacher | None,
    prompts: Prompts,
    folder: Path,
    *,
    settings: dict[str, Any],
    backbone: ImageBackbone | None = None,
) -> list[Path]:
    """Carry the teacher's answers onto every sample of a split.

    Files that an earlier call left behind are kept when they were made the same way, so an interrupted
    call goes on where it stopped, and runs that share a folder share the answers. Several processes share the
    samples (:func:`~clip2scene.parallel.parallel_for`).

    Args:
        dataset: The samples.
        teacher: The image model; None carries clouds and labels alone.
        prompts: The classes' names in the teacher's text space.
        folder: Where the files go, into a subfolder named by how they are made.
        settings: Everything that decides the answers: ``min_depth``, ``occlusion_test``, ``moved_test``,
            ``merge_sweeps``, ``viewpoint`` (where the lidar stands), ``superpoint_vote``, ``keep``, and what
            names the data and the teacher. ``keep`` says what else is kept of the teacher: "classes" nothing,
            "maps" its own features, "superpixels" these and the regions of the images.
        backbone: An image model whose features are kept in place of the teacher's own.

    Returns:
        One path a sample, in the data set's order.

    Raises:
        ValueError: If a sample is bad, or no camera sees any point of the whole split.
    """
    digest = hashlib.sha256(prompts.embeddings.numpy().tobytes()).hexdigest()
    settings = {
        **settings,
        "format": [FORMAT, "keyframe told"] if settings["merge_sweeps"] else FORMAT,
        "classes": list(prompts.classes),
        "names": list(prompts.names),
        "text": digest,
    }
    folder /= hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
    write_json(folder / "manifest.json", settings)
    paths = [folder / f"{token}.safetensors" for token in dataset.tokens]
    work = partial(_lift_one, dataset, teacher, prompts, paths, settings, backbone)
    with file_lock(folder / "lock"):
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        parallel_for(work, missing, title="teacher looks", unit="sample")
    if teacher is not None and not any(len(load_lifted(path).pair_points) for path in paths):
        raise ValueError(
            "no camera sees any point of the split, so the teacher can teach nothing; "
            "check the calibration (camera_from_lidar) and the image sizes"
        )
    return paths


def _lift_one(
    dataset: Samples,
    teacher: Teacher | None,
    prompts: Prompts,
    paths: Sequence[Path],
    settings: dict[str, Any],
    backbone: ImageBackbone | None,
    number: int,
) -> None:
    """Carry the sample of a number, and save it."""
    save_lifted(paths[number], _lift_sample(dataset[number], teacher, prompts, settings, backbone))


def _lift_sample(
    sample: Sample,
    teacher: Teacher | None,
    prompts: Prompts,
    settings: dict[str, Any],
    backbone: ImageBackbone | None,
) -> LiftedSample:
    """Gather a sample's sweeps, pair their points with pixels, and ask the teacher there."""
    cloud, labels, sizes, still = gather_sweeps(sample, settings)
    keyframe = len(sample.cloud) if settings["merge_sweeps"] else None
    if teacher is None or not sample.cameras:
        no_pairs, no_logits = torch.zeros(0, dtype=torch.long), torch.zeros(0, len(prompts.classes))
        return LiftedSample(cloud, no_pairs, no_logits, labels, sweep_sizes=sizes, keyframe_size=keyframe)
    pairs = find_pairs(cloud.positions[still], sample, settings)
    pairs = replace(pairs, points=still.nonzero()[:, 0][pairs.points])
    seen = teacher(sample)
    logits = prompts.best_name(seen.logits_at(pairs, prompts.embeddings))
    answered = logits.any(1)
    pairs = Pairs(*(each[answered] for each in vars(pairs).values()))
    superpoints = _superpoints_of_items(cloud, sizes) if settings["superpoint_vote"] else None
    teacher_features = None
    looked = seen if backbone is None else _features_with(backbone, sample)
    if settings["keep"] != "classes" and isinstance(looked, DenseEmbeddings):
        superpixels = _find_superpixels(sample, looked, pairs) if settings["keep"] == "superpixels" else None
        teacher_features = TeacherFeatures(replace(looked, keys=None), pairs, superpixels)
    return LiftedSample(
        cloud, pairs.points, logits[answered], labels, superpoints, sizes, teacher_features, keyframe
    )


def gather_sweeps(
    sample: Sample, settings: dict[str, Any]
) -> tuple[PointCloud, Int[Tensor, " points"] | None, tuple[int, ...], Bool[Tensor, " points"]]:
    """Put a sample's sweeps in one list, the keyframe's first, and say which points have not moved away.

    Returns:
        The cloud; its labels, none for earlier sweeps; points of each sweep, empty for a merged cloud; and
        where the world of the keyframe still is as the point saw it. A merged cloud has those points only.
    """
    keyframe, viewpoint = sample.cloud, settings["viewpoint"]
    gone = [
        seen_through(sweep.positions, keyframe.positions, viewpoint=viewpoint)
        if settings["moved_test"]
        else torch.zeros(len(sweep), dtype=torch.bool)
        for sweep in sample.sweeps
    ]
    still = ~torch.cat([torch.zeros(len(keyframe), dtype=torch.bool), *gone])
    clouds = [keyframe, *sample.sweeps]
    cloud = PointCloud(torch.cat([c.positions for c in clouds]), torch.cat([c.features for c in clouds]))
    labels = None
    if sample.labels is not None:
        unknown = torch.full((len(cloud) - len(keyframe),), IGNORE_LABEL)
        labels = torch.cat([sample.labels, unknown])
    if settings["merge_sweeps"]:
        merged = PointCloud(cloud.positions[still], cloud.features[still])
        return merged, None if labels is None else labels[still], (), still[still]
    return cloud, labels, tuple(len(c) for c in clouds) if sample.sweeps else (), still


def _features_with(backbone: ImageBackbone, sample: Sample) -> DenseEmbeddings:
    """Look at every image of a sample with another model than the teacher."""
    images = [sample.read_image(view) for view in range(len(sample.cameras))]
    sizes = tuple((camera.height, camera.width) for camera in sample.cameras)
    return DenseEmbeddings(backbone.maps(images), None, sizes)


def _superpoints_of_items(cloud: PointCloud, sizes: tuple[int, ...]) -> Int[Tensor, " points"]:
    """Find the pieces of each item of a batch; no two items share one."""
    found, start = [], 0
    for positions in cloud.positions.split(sizes or (len(cloud),)):
        pieces = find_superpoints(positions)
        found.append(torch.where(pieces < 0, pieces, pieces + start))
        start += int(pieces.max()) + 1
    return torch.cat(found)


def _find_superpixels(sample: Sample, seen: DenseEmbeddings, pairs: Pairs) -> Superpixels:
    """Cut every image into regions, and average the teacher's embeddings in each."""
    of_pair, embeddings, start = torch.zeros_like(pairs.points), [], 0
    for view, (cells, (height, width)) in enumerate(zip(seen.embeddings, seen.sizes, strict=True)):
        regions = slic_superpixels(sample.read_image(view))
        means = region_means(regions, cells)
        mine = pairs.views == view
        column, row = pairs.pixels[mine].round().long().unbind(1)
        of_pair[mine] = regions[row.clamp(0, height - 1), column.clamp(0, width - 1)] + start
        embeddings.append(means)
        start += len(means)
    return Superpixels(of_pair, torch.cat(embeddings))
