"""Precomputing the teacher, ahead of any training: its features of images, or its pseudo-labels of points."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from clip2scene import build, build_teacher
from clip2scene.config import Recipe
from clip2scene.parallel import check_device, file_lock, progress_bar
from clip2scene.runs.create import create_or_resume
from clip2scene.runs.folder import LOCK
from clip2scene.runs.reopen import lift_run
from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.clip.load import load_clip
from clip2scene.teacher.cost import time_image
from clip2scene.teacher.kept_maps import TeacherCache, open_maps
from clip2scene.training.fill_cache import fill_cache
from clip2scene.types import Samples

_LARGEST_SHARD_MB = 10_000


@dataclass(frozen=True)
class Estimate:
    """What precomputing the teacher's features will take.

    Attributes:
        images: How many, if every sample has as many as the first.
        bytes_per_image: Bytes on disk.
        seconds: Seconds in all, with the processes of this call alone.
        free_bytes: Bytes on the disk of the cache; None where nobody can say.
    """

    images: int
    bytes_per_image: int
    seconds: float
    free_bytes: int | None

    def __str__(self) -> str:
        total = self.images * self.bytes_per_image
        free = "" if self.free_bytes is None else f" ({self.free_bytes / 1e9:.0f} GB are free)"
        return (
            f"{self.images:,} images, {self.bytes_per_image / 1e6:.2f} MB each: {total / 1e9:.2f} GB"
            f"{free}, about {self.seconds / 60:.1f} minutes"
        )


def cache_teacher(
    recipe: Recipe,
    *,
    data_root: Path,
    teacher_cache: Path | str,
    split: str = "train",
    teacher_weights: str | None = None,
    device: str = "cpu",
    shard_mb: int | None = None,
    announce: Callable[[Estimate], None] = lambda estimate: None,
) -> Estimate:
    """Fill a teacher cache, or what is missing of it; say first what that takes.

    The same call, begun on several machines or several times on one, shares the work: samples are claimed by
    whoever computes them (:mod:`clip2scene.io.claims`), and those of a killed process are taken over.

    Args:
        recipe: The teacher's settings, and what the data set is.
        data_root: The data set; its labels are not opened.
        teacher_cache: Folder of the teacher's features, or address of a store, such as s3://bucket/folder;
            the same command, started several times or on several machines, shares the work.
        split: Whose images.
        teacher_weights: As :func:`clip2scene.training.train.pretrain` takes them.
        device: Where the teacher computes, as torch names it. Only cpu has been tested.
        shard_mb: Megabytes (1e6 bytes) after which a shard of many images is written; a file an image if left
            out. What a killed process had not written is computed anew: up to a shard.
        announce: Called with the estimate before the work begins.

    Returns:
        The estimate in bytes and seconds, of all images, those in the cache included.

    Raises:
        ValueError: If the data or the teacher cannot be read, the teacher has no features (label maps are on
            disk already), the disk is too small, or the store cannot be used.
    """
    if shard_mb is not None and not 1 <= shard_mb <= _LARGEST_SHARD_MB:
        raise ValueError(f"a shard has 1 to {_LARGEST_SHARD_MB} MB, got {shard_mb}; give another --shard-mb")
    if recipe.teacher.kind == "segmenter":
        raise ValueError("a segmenter has no embeddings to keep; what it labels is kept in a run's carried/")
    if recipe.teacher.kind == "label-maps":
        raise ValueError("label maps are on disk already; a teacher cache is for image-text models")
    place = check_device(device)
    dataset = build.open_dataset(recipe.data, data_root, split=split, sweeps=1, need_images=True)
    clip = load_clip(teacher_weights or build_teacher.SMALL_CLIP).to(place)
    teacher = build_teacher.build_mask_clip(recipe.teacher, clip)
    weights_hash = build_teacher.hash_teacher(teacher_weights) + build_teacher.hash_proxy(recipe.teacher)
    kept = open_maps(teacher_cache)
    assert kept is not None
    cached = CachedTeacher(teacher, weights_hash, kept, recipe.teacher.precision)
    estimate = _estimate(dataset, cached, Path(kept.store.address) if kept.local else None)
    announce(estimate)
    if not _fits(estimate, dataset, cached):
        raise ValueError(
            f"the teacher cache does not fit on the disk of {teacher_cache}: {estimate}; free some space, "
            "take --teacher.precision int8, or a smaller --teacher.working-size"
        )
    fill_cache(dataset, cached, kept, shard_bytes=None if shard_mb is None else shard_mb * 1_000_000)
    return estimate


def lift(
    recipe: Recipe,
    *,
    data_root: Path,
    out: Path,
    teacher_weights: str | None = None,
    teacher_cache: TeacherCache | Path | str | None = None,
    device: str = "cpu",
) -> Path:
    """Lift a teacher's pseudo-labels onto the points of the train split; train nothing.

    The folder is a run that was begun: others fuse its teacher with theirs (--teacher.also), and pretrain
    with the same recipe goes on with it.

    Args:
        recipe: The teacher, and what the data set is.
        data_root: The data set; its labels are not opened.
        out: Folder of the run.
        teacher_weights: As :func:`clip2scene.training.train.pretrain` takes them.
        teacher_cache: Folder or store of the teacher's features of each image.
        device: Where the teacher computes, as torch names it. Only cpu has been tested.

    Returns:
        ``out``.

    Raises:
        ValueError: If the recipe is trained on labels, or the data, the teacher or the folder is unfit.
    """
    if recipe.supervision != "label-free":
        raise ValueError(f"recipe {recipe.name!r} is trained on labels and has no teacher; name another")
    place = check_device(device)
    with file_lock(out / LOCK, wait=False):
        run, experiment = create_or_resume(
            recipe, data_root=data_root, out=out, teacher_weights=teacher_weights
        )
        lift_run(run, experiment.to(place), teacher_cache=teacher_cache)
    return out


def _fits(estimate: Estimate, dataset: Samples, teacher: CachedTeacher) -> bool:
    """Tell whether the disk has room; where it seems not to, only images that are not in the cache count."""
    if estimate.free_bytes is None or estimate.images * estimate.bytes_per_image <= estimate.free_bytes:
        return True
    count = partial(_count_missing, dataset, teacher)
    missing = sum(
        progress_bar(map(count, range(len(dataset.tokens))), desc="images not in the cache", unit="sample")
    )
    return missing * estimate.bytes_per_image <= estimate.free_bytes


def _count_missing(dataset: Samples, teacher: CachedTeacher, number: int) -> int:
    sample = dataset[number]
    return sum(not teacher.has(sample.read_image(view)) for view in range(len(sample.cameras)))


def _estimate(dataset: Samples, teacher: CachedTeacher, folder: Path | None) -> Estimate:
    """Time a forward pass of the teacher; the first image warms up."""
    sample = dataset[0]
    views = len(sample.cameras)
    time_image(teacher.teacher, sample.read_image(0))
    seconds, maps = time_image(teacher.teacher, sample.read_image(views - 1))
    processes = torch.get_num_threads() if teacher.teacher.device.type == "cpu" else 1
    bytes_per_number = 1 if teacher.precision == "int8" else 2
    images = views * len(dataset.tokens)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return Estimate(
        images=images,
        bytes_per_image=sum(each.numel() for each in maps) * bytes_per_number,
        seconds=images * seconds / processes,
        free_bytes=None if folder is None else shutil.disk_usage(folder).free,
    )
