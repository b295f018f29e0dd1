"""Captioned views for training: rendered by other processes, kept for a while, augmented."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clip2scene.parallel import progress_bar
from clip2scene.teacher.clip.load import Clip

Views = tuple[UInt8[np.ndarray, "views side side 3"], list[str], Int[np.ndarray, " views"]]
CaptionViews = Callable[[int, int], Views]
"""Paints views: from a seed and how many, to pictures, captions, and the class that each was pointed at."""

VIEWS_PER_DRAW = 128
NICENESS = 12


class ViewPool:
    """A replay buffer of captioned views: training samples from it while other processes render new ones.

    Use as a context manager; leaving it ends the painting processes.

    Args:
        draw: Paints views; a function that other processes can import.
        seed: Of the first views; later ones follow from there.
        capacity: Views kept; beyond that the oldest give way.
        workers: Painting processes, which yield to training where cores are short; with 0 the caller paints,
            and only when it asks to :meth:`fill`, so that nothing depends on timing.
    """

    def __init__(
        self, draw: CaptionViews, *, seed: int = 0, capacity: int = 60_000, workers: int = 1
    ) -> None:
        self.draw, self.capacity, self.workers = draw, capacity, workers
        self.next_seed = seed
        self.images = np.zeros((0, 1, 1, 3), np.uint8)
        self.captions: list[str] = []
        self.num_painted = 0
        self.pending: list[Future[Views]] = []
        spawn = multiprocessing.get_context("spawn")
        self.painters = (
            ProcessPoolExecutor(workers, spawn, initializer=os.nice, initargs=(NICENESS,))
            if workers
            else None
        )

    def __enter__(self) -> "ViewPool":
        return self

    def __exit__(self, *exc: object) -> None:
        if self.painters is not None:
            self.painters.shutdown(wait=True, cancel_futures=True)

    def fill(self, num_views: int) -> None:
        """Wait until at least ``num_views`` have been painted."""
        with progress_bar(total=num_views, initial=self.num_painted, desc="paint views", unit="view") as bar:
            while self.num_painted < num_views:
                bar.update(self._store(self._ask() if self.painters is None else self._next().result()))

    def refresh(self) -> None:
        """Take in what the painting processes have finished; never waits."""
        while self.painters is not None and self._next(take=False).done():
            self._store(self._next().result())

    def sample(
        self, num_views: int, generator: torch.Generator
    ) -> tuple[UInt8[Tensor, "views side side 3"], list[str]]:
        """Draw views at random, some perhaps twice.

        Raises:
            ValueError: If there are none yet.
        """
        if not self.captions:
            raise ValueError("the pool holds no views to train on, expected at least one; fill it first")
        chosen = torch.randint(len(self.captions), (num_views,), generator=generator).numpy()
        return torch.from_numpy(self.images[chosen]), [self.captions[number] for number in chosen]

    def _ask(self) -> Views:
        self.next_seed += VIEWS_PER_DRAW  # no two draws share a town
        return self.draw(self.next_seed - VIEWS_PER_DRAW, VIEWS_PER_DRAW)

    def _next(self, *, take: bool = True) -> "Future[Views]":
        """Keep every process busy, and give (or only show) the painting asked for first."""
        assert self.painters is not None
        while len(self.pending) < 2 * self.workers:
            self.pending.append(self.painters.submit(self.draw, self.next_seed, VIEWS_PER_DRAW))
            self.next_seed += VIEWS_PER_DRAW
        return self.pending.pop(0) if take else self.pending[0]

    def _store(self, views: Views) -> int:
        images, captions, _ = views
        if not self.captions:
            self.images = np.zeros((self.capacity, *images.shape[1:]), np.uint8)
        start = self.num_painted % self.capacity
        room = min(len(images), self.capacity - start)
        self.images[start : start + room] = images[:room]
        self.captions[start : start + room] = captions[:room]
        self.num_painted += room
        return room


def augment(
    images: UInt8[Tensor, "views side side 3"], clip: Clip, generator: torch.Generator, side: int
) -> Float[Tensor, "views 3 new_side new_side"]:
    """Augment views: random flip, colour jitter and crop; resized to ``side`` pixels and normalised.

    Captions never say left or right, so mirroring keeps them true; the crop keeps at least 80 % of each side.
    """
    views = len(images)

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.rand(views, channels, 1, 1, generator=generator) * (high - low) + low

    x = images.permute(0, 3, 1, 2).float() / 255
    x = (x - 0.5) * uniform(0.75, 1.3) + 0.5 + uniform(-0.12, 0.12)
    x = (x * uniform(0.92, 1.08, 3)).clamp_(0, 1)
    x = (x - clip.mean.view(3, 1, 1)) / clip.std.view(3, 1, 1)
    scale = uniform(0.8, 1.0).view(views)
    mirrored = scale * (2.0 * (uniform(0.0, 1.0).view(views) < 0.5) - 1.0)
    shift = (1 - scale)[:, None] * (2 * torch.rand(views, 2, generator=generator) - 1)
    motion = torch.zeros(views, 2, 3)
    motion[:, 0, 0], motion[:, 1, 1], motion[:, :, 2] = mirrored, scale, shift
    where = F.affine_grid(motion, [views, 3, side, side], align_corners=False)
    return F.grid_sample(x, where, padding_mode="reflection", align_corners=False)
