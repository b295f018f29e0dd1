"""What the teacher's forward pass of many images will take, measured on one and said before it begins."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import UInt8
from torch import Tensor

from clip2scene.teacher.cache import CachedTeacher
from clip2scene.teacher.maskclip import Maps, MaskClip
from clip2scene.types import Samples

_FEW, _SHORT = 100, 600.0  # images that are not worth a measurement, seconds that are not worth a word


@dataclass(frozen=True)
class Cost:
    """A forward pass of many images.

    Attributes:
        images: How many.
        seconds: Of one image, on one core or on the device.
        processes: That share the work.
        device: Where the model is.
    """

    images: int
    seconds: float
    processes: int
    device: torch.device = torch.device("cpu")

    @property
    def total(self) -> float:
        """Seconds of all images, with all processes."""
        return self.images * self.seconds / self.processes

    def __str__(self) -> str:
        on_cores = self.device.type == "cpu"
        where = "a core" if on_cores else str(self.device)
        work = self.images * self.seconds / 86400
        shared = f", {_span(self.total)} with {self.processes} processes" if self.processes > 1 else ""
        days = f"{work:.2g} {'core-days' if on_cores else 'days'}"
        return (
            f"the teacher takes about {self.seconds:.2g} s an image on {where}: {days} for {self.images:,} "
            f"images{shared}; a smaller --teacher.working-size (the paper: 224 416), fewer --teacher.scales "
            "and a GPU (--device cuda) take less, and cache-teacher keeps what is done for other runs"
        )


def time_image(teacher: MaskClip, image: UInt8[Tensor, "height width 3"]) -> tuple[float, Maps]:
    """Time the forward pass of an image, in seconds, with one thread as each process has; give its maps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        began = time.perf_counter()
        maps = teacher.embed_image(image)
        return time.perf_counter() - began, maps
    finally:
        torch.set_num_threads(threads)


def cost_of(teacher: CachedTeacher, samples: Samples, missing: Sequence[int]) -> Cost | None:
    """Measure on one image what a long forward pass will take.

    Args:
        teacher: The teacher and its cache.
        samples: The samples.
        missing: Numbers of those that it is to be run on.

    Returns:
        The cost; None where it is not worth a word: few images, ten minutes at most, or the first image is in
        the cache.
    """
    sample = samples[missing[0]] if missing else None
    images = 0 if sample is None else len(sample.cameras) * len(missing)
    if sample is None or images < _FEW:
        return None
    image = sample.read_image(0)
    if teacher.has(image):
        return None
    seconds, _ = time_image(teacher.teacher, image)
    device = teacher.teacher.device
    processes = torch.get_num_threads() if device.type == "cpu" else 1
    cost = Cost(images, seconds, processes, device)
    return cost if cost.total > _SHORT else None


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds / 60:.0f} minutes"
