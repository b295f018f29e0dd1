"""What a student is trained on, read a step at a time."""

import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clip2scene.distill.augment import (
    Augmentation,
    draw_kept,
    drop_intensity,
    move_cloud,
    tilt_cloud,
    weather,
)
from clip2scene.distill.batch import Batch, TrainItem, collate, draw_cells, sample_order, step_generator
from clip2scene.distill.lifted import LiftedSample, load_lifted
from clip2scene.distill.mix import forget_targets, keep_points, mix_items
from clip2scene.distill.shares import Shares
from clip2scene.geometry.level import Levelling
from clip2scene.geometry.projection import voxelize
from clip2scene.io import read_json, write_json
from clip2scene.student.inputs import InputOptions, prepare, with_height
from clip2scene.types import IGNORE_LABEL, PointCloud

Mask = Callable[[str, Int[Tensor, " points"]], Int[Tensor, " points"]]
"""Leaves of a sample's labels, by its token, those that may be used."""


@dataclass(frozen=True)
class ItemOptions:
    """What a training item holds, and how it is moved.

    Attributes:
        from_labels: Whether targets are true labels; else the teacher's pseudo-labels.
        pairs: Pixel-point pairs of each sample, drawn at random; None keeps all.
        cell_size: Edge of the grid cells of StCR, in metres; None for no cells.
        cell_pairs: About how many pairs of each sample, in whole cells drawn at random; None keeps all.
        inputs: What the student is given of a cloud.
        augmentation: What changes at random.
        viewpoint: Where the lidar stands in the clouds' frame, in metres.
    """

    from_labels: bool = False
    pairs: int | None = None
    cell_size: float | None = None
    cell_pairs: int | None = None
    inputs: InputOptions = InputOptions()
    augmentation: Augmentation = Augmentation()
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0)


class TrainSet:
    """The training items of a split, read a step at a time; a step's batch is the same whoever reads it.

    Args:
        paths: Files of :func:`clip2scene.distill.lift.lift_split`.
        batch_size: Samples of a step, 1 or more.
        seed: Fixes order, choice and augmentation.
        options: What an item holds.
        mask: Leaves of a sample's labels those that may be used.
        shares: How often samples of each source are drawn; None draws all alike.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        batch_size: int = 1,
        seed: int = 0,
        options: ItemOptions = ItemOptions(),  # noqa: B008 - frozen
        mask: Mask | None = None,
        shares: Shares | None = None,
    ) -> None:
        self.paths = paths
        self.batch_size = batch_size
        self.seed = seed
        self.options = options
        self.mask = mask
        self.shares = shares
        self._levellings: dict[tuple[int, int], Levelling | None] = {}

    def read(self, number: int, generator: torch.Generator) -> TrainItem:
        """Read one sample's item, with as many of its pixel-point pairs as are compared in a step."""
        lifted, options = load_lifted(self.paths[number]), self.options
        if options.from_labels:
            return replace(lifted.item_from_labels(), targets=self._targets(self.paths[number], lifted))
        if options.pairs is not None:
            drawn = torch.randperm(len(lifted.pair_points), generator=generator)
            return lifted.item_from_teacher(drawn[: options.pairs])
        if options.cell_size is None:
            return lifted.item_from_teacher()
        cells, kept = voxelize(lifted.cloud.positions, options.cell_size)[1], None
        if options.cell_pairs is not None:
            kept = draw_cells(cells[lifted.pair_points], options.cell_pairs, generator)
        return replace(lifted.item_from_teacher(kept), cells=cells)

    def read_step(self, step: int) -> Batch:
        """Collate the samples of a step (positions in metres), each item augmented; the same every time."""
        if self.shares is None:
            numbers = sample_order(len(self.paths), self.batch_size, step, seed=self.seed)
        else:
            numbers = self.shares.order(self.batch_size, step, seed=self.seed)
        motion, choice, change = (step_generator(self.seed, step, purpose=each) for each in (2, 4, 5))

        def item(number: int) -> TrainItem:
            return self._augment(number, self.read(number, choice), motion, change)

        return collate([self._mix(item(number), item, change) for number in numbers])

    def _mix(
        self, train_item: TrainItem, item: Callable[[int], TrainItem], generator: torch.Generator
    ) -> TrainItem:
        """Mix an item with another of the split, as often as the options say."""
        how = self.options.augmentation
        if how.mix == "none" or torch.rand(1, generator=generator).item() >= how.mix_share:
            return train_item
        if self.shares is None:
            other = int(torch.randint(len(self.paths), (1,), generator=generator))
        else:
            other = self.shares.draw(generator)
        return mix_items(train_item, item(other), how.mix, generator)

    def _augment(
        self, number: int, train_item: TrainItem, motion: torch.Generator, change: torch.Generator
    ) -> TrainItem:
        """Change each sweep at random, one independently of the other, as the released code does."""
        options, cloud = self.options, train_item.cloud
        how, viewpoint = options.augmentation, options.viewpoint
        sizes = train_item.item_sizes or (len(cloud),)
        given, kept, lost = [], [], []
        sweeps = zip(cloud.positions.split(sizes), cloud.features.split(sizes), strict=True)
        for place, sweep in enumerate(sweeps):
            levelling = self._levelling(number, place, sweep[0])
            measured, fallen = weather(PointCloud(*sweep), how, change, viewpoint)
            prepared = drop_intensity(prepare(measured, options.inputs, levelling), how, change)
            moved = tilt_cloud(move_cloud(prepared, how, motion), how, change)
            given.append(with_height(moved, options.inputs))
            kept.append(draw_kept(sweep[0], how, change, viewpoint))
            lost.append(fallen)
        features = torch.cat([each.features for each in given])
        cloud = PointCloud(torch.cat([each.positions for each in given]), features)
        whole = forget_targets(replace(train_item, cloud=cloud), torch.cat(lost))
        less = keep_points(whole, torch.cat(kept))
        return less if less.teaches else whole  # there is nothing to learn from points alone

    def _levelling(self, number: int, place: int, positions: Float[Tensor, "points 3"]) -> Levelling | None:
        """Find how a sweep is brought level, once: it takes longer than to read it."""
        if (number, place) not in self._levellings:
            self._levellings[number, place] = self.options.inputs.find_levelling(positions)
        return self._levellings[number, place]

    def count_targets(self, num_classes: int) -> Int[Tensor, " classes"]:
        """Count the targets of each class, if there are any.

        The counts are kept beside the samples' files, so that a run that goes on need not read all of them;
        counts of other files, or of files that have changed since, are never taken.
        """
        place = self._place_of_counts(num_classes)
        if place is not None and place.exists():
            with suppress(ValueError, TypeError, RuntimeError):  # a damaged file is made anew
                return torch.tensor(read_json(place), dtype=torch.long).reshape(num_classes)
        histogram = torch.zeros(num_classes, dtype=torch.long)
        for path in self.paths:
            targets = self._targets(path, load_lifted(path))
            histogram += torch.bincount(targets[targets != IGNORE_LABEL], minlength=num_classes)
        if place is not None:
            write_json(place, histogram.tolist())
        return histogram

    def _targets(self, path: Path, lifted: LiftedSample) -> Int[Tensor, " targets"]:
        """Give a sample's targets, as :meth:`read` does."""
        if not self.options.from_labels:
            return lifted.teacher_targets()
        labels = lifted.item_from_labels().targets
        return labels if self.mask is None else self.mask(path.stem, labels)

    def _place_of_counts(self, num_classes: int) -> Path | None:
        """Name the file of the counts by all that decides them; None where a mask does not say what it is."""
        mask = "" if self.mask is None else getattr(self.mask, "fingerprint", None)
        if mask is None or not self.paths:
            return None
        states = [(path.stem, path.stat()) for path in self.paths if path.exists()]
        files = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
        key = json.dumps([num_classes, self.options.from_labels, mask, files])
        return self.paths[0].parent / f"targets-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"

    def target_histogram(self, num_classes: int) -> Int[Tensor, " classes"]:
        """Count the targets of each class.

        Raises:
            ValueError: If there is no target anywhere.
        """
        histogram = self.count_targets(num_classes)
        if not histogram.any():
            raise ValueError("the split has nothing to train on: no labelled point; check the data set")
        return histogram
