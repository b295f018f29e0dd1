"""Lifting: the teacher's pseudo-labels go from pixels onto points, once a sample, and are kept on disk.

The teacher is frozen, so a forward pass of the same image in every epoch would buy nothing. One file a sample
holds its cloud and, for each pixel-point pair, the teacher's logits over the classes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

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
from clip2scene.teacher.cache import Precision
from clip2scene.teacher.maskclip import DenseEmbeddings
from clip2scene.teacher.refine import LogitMaps, Refinement
from clip2scene.teacher.superpixels import region_means, slic_superpixels
from clip2scene.types import IGNORE_LABEL, Pairs, PointCloud, Prompts, Sample, Samples

FORMAT = 3
"""Of the files of pseudo-labels; to be raised whenever other code would make others."""


@runtime_checkable
class PixelLogits(Protocol):
    """A teacher's logits for one sample's images, readable at any pixel."""

    def logits_at(self, pairs: Pairs, text: Float[Tensor, "names channels"]) -> Float[Tensor, "pairs names"]:
        """Give the logit of each name at the pixels of ``pairs``; zeros where the teacher has no class."""


@runtime_checkable
class Teacher(Protocol):
    """A frozen image model that compares pixels with prompts."""

    def __call__(self, sample: Sample) -> PixelLogits:
        """Run the forward pass on every image of a sample, each ``UInt8[height width 3]``."""


@dataclass(frozen=True)
class PairingOptions:
    """Which points meet which pixels.

    Attributes:
        min_depth: Nearest depth at which a point is paired, in metres.
        occlusion_test: Whether pairs behind nearer points, or behind a measured depth, are dropped.
        moved_test: Whether points of earlier sweeps that have moved away since are left out.
        merge_sweeps: Whether the sweeps of a sample are one dense cloud, or an item of the batch each.
    """

    min_depth: float = 1.0
    occlusion_test: bool = True
    moved_test: bool = True
    merge_sweeps: bool = False


@dataclass(frozen=True)
class LiftOptions:
    """How pseudo-labels are made.

    Attributes:
        pairing: Which points meet which pixels.
        viewpoint: Where the lidar stands in the clouds' frame, in metres; None for rooms.
        superpoint_vote: Whether superpoints are found, within which pseudo-labels are voted on.
        keep: What is kept of the teacher beside its logits: "classes" nothing, "maps" its dense features,
            "superpixels" these and the regions of the images.
        precision: What is kept of its dense features is rounded to.
        sources: What else decides the result, as plain values: what names the data and the teacher.
        refinement: How the teacher's maps are refined in the image before they are lifted; None leaves them.
    """

    pairing: PairingOptions = PairingOptions()
    viewpoint: tuple[float, float, float] | None = (0.0, 0.0, 0.0)
    superpoint_vote: bool = False
    keep: Literal["classes", "maps", "superpixels"] = "classes"
    precision: Precision = "float16"
    sources: Mapping[str, Any] = field(default_factory=dict)
    refinement: Refinement | None = None

    def cache_key(self, prompts: Prompts) -> dict[str, Any]:
        """Gather as plain values everything that decides the result, so that stale files are never taken."""
        text = hashlib.sha256(prompts.embeddings.numpy().tobytes()).hexdigest()
        prompted = {"classes": list(prompts.classes), "names": list(prompts.names), "text": text}
        settings = asdict(replace(self, sources=dict(self.sources)))
        if self.refinement is None:  # so that files from before there was one are found
            del settings["refinement"]
        return {"format": FORMAT, **settings, "prompts": prompted}


class Sweeps(NamedTuple):
    """A sample's sweeps in one list.

    Attributes:
        cloud: The keyframe's points come first.
        labels: Their train ids; :data:`IGNORE_LABEL` for earlier sweeps; None without labels.
        sizes: Points of each sweep, where each is an item of its own; empty for one cloud.
        still: Whether each point is static: what it lies on is still there at the keyframe. In a merged
            cloud, all are.
    """

    cloud: PointCloud
    labels: Int[Tensor, " points"] | None
    sizes: tuple[int, ...]
    still: Bool[Tensor, " points"]


def find_pairs(positions: Float[Tensor, "points 3"], sample: Sample, options: PairingOptions) -> Pairs:
    """Pair points with the pixels that they are visible in.

    Where depth was measured, it says what is visible; elsewhere the points themselves occlude each other.

    Args:
        positions: In the frame of the sample's cloud, in metres.
        sample: Its cameras are projected into.
        options: ``min_depth`` and ``occlusion_test`` count.
    """
    pairs = project_points(positions, sample.cameras, min_depth=options.min_depth)
    if not options.occlusion_test:
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
    options: LiftOptions = LiftOptions(),  # noqa: B008 - frozen
    backbone: ImageBackbone | None = None,
    announce: Callable[[Sequence[int]], None] | None = None,
    alone: bool = False,
) -> list[Path]:
    """Lift the teacher's logits onto every sample of a split.

    Files that an earlier call left behind are kept when they were made the same way, so an interrupted
    call goes on where it stopped, and runs that share a folder share the pseudo-labels. Several processes
    share the samples (:func:`~clip2scene.parallel.parallel_for`).

    Args:
        dataset: The samples.
        teacher: The image model; None keeps clouds and labels alone.
        prompts: The classes' names in the teacher's text space.
        folder: Where the files go, into a subfolder named by how they are made.
        options: How they are made.
        backbone: An image model whose features are kept in place of the teacher's own.
        announce: Called with the numbers of the samples that are to be lifted, before the first of them.
        alone: Whether this process does it all, as where the teacher is on a GPU.

    Returns:
        One path a sample, in the data set's order; logits are kept as float16.

    Raises:
        ValueError: If a sample is bad, or no camera sees any point of the whole split.
    """
    key = options.cache_key(prompts)
    folder /= hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    write_json(folder / "manifest.json", key)
    paths = [folder / f"{token}.safetensors" for token in dataset.tokens]
    work = partial(_lift_one, dataset, teacher, prompts, paths, options, backbone)
    with file_lock(folder / "lock"):
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        if announce is not None:
            announce(missing)
        parallel_for(work, missing, title="lift", unit="sample", alone=alone)
    if teacher is not None and not any(len(load_lifted(path).pair_points) for path in paths):
        raise ValueError(
            "no camera sees any point of the split, so there are no pseudo-labels to train on; "
            "check the calibration (camera_from_lidar) and the image sizes, and whether the teacher predicts "
            "classes of yours (--teacher.class-table, --teacher.least-score)"
        )
    return paths


def _lift_one(
    dataset: Samples,
    teacher: Teacher | None,
    prompts: Prompts,
    paths: Sequence[Path],
    options: LiftOptions,
    backbone: ImageBackbone | None,
    number: int,
) -> None:
    """Lift the sample of a number, and save it."""
    sample = dataset[number]
    sweeps = gather_sweeps(sample, options.viewpoint, options.pairing)
    lifted = _lift_sample(sample, sweeps, teacher, prompts, options, backbone)
    save_lifted(paths[number], lifted, precision=options.precision)


def _lift_sample(
    sample: Sample,
    sweeps: Sweeps,
    teacher: Teacher | None,
    prompts: Prompts,
    options: LiftOptions,
    backbone: ImageBackbone | None,
) -> LiftedSample:
    """Pair the points of a sample's sweeps with pixels, and read the teacher's logits there."""
    cloud, labels, sizes, still = sweeps
    keyframe = len(sample.cloud) if options.pairing.merge_sweeps else None
    if teacher is None or not sample.cameras:
        no_pairs, no_logits = torch.zeros(0, dtype=torch.long), torch.zeros(0, len(prompts.classes))
        return LiftedSample(cloud, no_pairs, no_logits, labels, sweep_sizes=sizes, keyframe_size=keyframe)
    pairs = find_pairs(cloud.positions[still], sample, options.pairing)
    pairs = replace(pairs, points=still.nonzero()[:, 0][pairs.points])
    dense = teacher(sample)
    logits = _class_logits(dense, sample, pairs, prompts, options.refinement)
    labelled = logits.any(1)
    pairs = Pairs(*(each[labelled] for each in vars(pairs).values()))
    superpoints = None
    if options.superpoint_vote:
        superpoints = _superpoints_of_items(cloud, sizes, options.viewpoint or (0.0, 0.0, 0.0))
    features = None
    source = dense if backbone is None else _features_with(backbone, sample)
    if options.keep != "classes" and isinstance(source, DenseEmbeddings):
        regions = _find_superpixels(sample, source, pairs) if options.keep == "superpixels" else None
        features = TeacherFeatures(replace(source, keys=None), pairs, regions)
    return LiftedSample(cloud, pairs.points, logits[labelled], labels, superpoints, sizes, features, keyframe)


def _class_logits(
    dense: PixelLogits, sample: Sample, pairs: Pairs, prompts: Prompts, refinement: Refinement | None
) -> Float[Tensor, "pairs classes"]:
    """Read the teacher's logits of the classes at the pixels of pairs, from refined maps where that is on."""
    if refinement is None:
        return prompts.best_name(dense.logits_at(pairs, prompts.embeddings))
    if not isinstance(dense, LogitMaps):
        raise ValueError(
            "--teacher.refine needs a teacher with maps (logit_map and sizes), and "
            f"{type(dense).__name__} has none; take --teacher.refine none"
        )
    return refinement.of_sample(dense, sample, prompts).logits_at(pairs)


def gather_sweeps(
    sample: Sample, viewpoint: tuple[float, float, float] | None, options: PairingOptions
) -> Sweeps:
    """Put a sample's sweeps in one list, the keyframe's first, and say which points have not moved away.

    Args:
        sample: The sweeps.
        viewpoint: As :class:`LiftOptions` has it.
        options: ``moved_test`` and ``merge_sweeps`` count.
    """
    keyframe, viewpoint = sample.cloud, viewpoint or (0.0, 0.0, 0.0)
    gone = [
        seen_through(sweep.positions, keyframe.positions, viewpoint=viewpoint)
        if options.moved_test
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
    if options.merge_sweeps:
        merged = PointCloud(cloud.positions[still], cloud.features[still])
        return Sweeps(merged, None if labels is None else labels[still], (), still[still])
    return Sweeps(cloud, labels, tuple(len(c) for c in clouds) if sample.sweeps else (), still)


def _features_with(backbone: ImageBackbone, sample: Sample) -> DenseEmbeddings:
    """Run another model than the teacher on every image of a sample."""
    images = [sample.read_image(view) for view in range(len(sample.cameras))]
    sizes = tuple((camera.height, camera.width) for camera in sample.cameras)
    return DenseEmbeddings(backbone.maps(images), None, sizes)


def _superpoints_of_items(
    cloud: PointCloud, sizes: tuple[int, ...], viewpoint: tuple[float, float, float]
) -> Int[Tensor, " points"]:
    """Find the pieces of each item of a batch; no two items share one."""
    found, start = [], 0
    for positions in cloud.positions.split(sizes or (len(cloud),)):
        pieces = find_superpoints(positions, viewpoint=viewpoint)
        found.append(torch.where(pieces < 0, pieces, pieces + start))
        start += int(pieces.max()) + 1
    return torch.cat(found)


def _find_superpixels(sample: Sample, dense: DenseEmbeddings, pairs: Pairs) -> Superpixels:
    """Cut every image into superpixels, and average the teacher's embeddings in each."""
    of_pair, embeddings, start = torch.zeros_like(pairs.points), [], 0
    for view, (cells, (height, width)) in enumerate(zip(dense.embeddings, dense.sizes, strict=True)):
        regions = slic_superpixels(sample.read_image(view))
        means = region_means(regions, cells)
        mine = pairs.views == view
        column, row = pairs.pixels[mine].round().long().unbind(1)
        of_pair[mine] = regions[row.clamp(0, height - 1), column.clamp(0, width - 1)] + start
        embeddings.append(means)
        start += len(means)
    return Superpixels(of_pair, torch.cat(embeddings))
