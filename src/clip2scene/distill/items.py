"""What a split teaches, read a step at a time."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from clip2scene.config import Recipe
from clip2scene.distill.augment import augment_cloud
from clip2scene.distill.batch import Batch, TrainItem, collate, draw_cells, sample_order, step_generator
from clip2scene.distill.lifted import load_lifted
from clip2scene.geometry.projection import voxelize
from clip2scene.runs.run import LabelMask
from clip2scene.types import IGNORE_LABEL, PointCloud

PPKT_PAIRS = 4096
"""Pixel-point pairs that PPKT contrasts in a step, an equal share of each sample's."""


def augment_items(train_item: TrainItem, generator: torch.Generator, **options: Any) -> TrainItem:  # noqa: ANN401
    """Move each item of a lesson at random, one independently of the other, as the released code does."""
    positions, features = train_item.cloud.positions, train_item.cloud.features
    sizes = train_item.item_sizes or (len(train_item.cloud),)
    items = zip(positions.split(sizes), features.split(sizes), strict=True)
    moved = [augment_cloud(PointCloud(*item), generator, **options).positions for item in items]
    return replace(train_item, cloud=PointCloud(torch.cat(moved), features))


class TrainSet:
    """What the samples of a split teach, read a step at a time; a step's batch is the same whoever reads it.

    Args:
        paths: Files of :func:`clip2scene.distill.lift.lift_split`.
        recipe: What is learnt from them.
        visible: Leaves of a sample's labels, by its token, those that may be seen.
    """

    def __init__(self, paths: Sequence[Path], recipe: Recipe, visible: LabelMask | None = None) -> None:
        self.paths = paths
        self.recipe = recipe
        self.visible = visible

    def read(self, number: int, generator: torch.Generator) -> TrainItem:
        """Read one sample's lesson, with as many of its pixel-point pairs as are compared in a step."""
        lifted, recipe = load_lifted(self.paths[number]), self.recipe
        if recipe.supervision == "labels":
            train_item = lifted.item_from_labels()
            if self.visible is None:
                return train_item
            return replace(train_item, targets=self.visible(self.paths[number].stem, train_item.targets))
        if recipe.loss.form == "pixel-infonce":
            drawn = torch.randperm(len(lifted.pair_points), generator=generator)
            return lifted.item_from_teacher(drawn[: PPKT_PAIRS // recipe.batch_size])
        if recipe.consistency.weight == 0:
            return lifted.item_from_teacher()
        cells, kept = voxelize(lifted.cloud.positions, recipe.consistency.cell_size)[1], None
        if recipe.consistency.pairs is not None:
            share = max(1, recipe.consistency.pairs // recipe.batch_size)
            kept = draw_cells(cells[lifted.pair_points], share, generator)
        return replace(lifted.item_from_teacher(kept), cells=cells)

    def read_step(self, step: int) -> Batch:
        """Put the samples of a step side by side, each item moved at random; the same for the same step."""
        recipe = self.recipe
        numbers = sample_order(len(self.paths), recipe.batch_size, step, seed=recipe.seed)
        motion = step_generator(recipe.seed, step, purpose=2)
        choice = step_generator(recipe.seed, step, purpose=4)
        train_items = (self.read(number, choice) for number in numbers)
        return collate(
            [augment_items(train_item, motion, **vars(recipe.augment)) for train_item in train_items]
        )

    def count_targets(self, num_classes: int) -> Int[Tensor, " classes"]:
        """Count how often each class is asked for, if at all."""
        histogram = torch.zeros(num_classes, dtype=torch.long)
        for number in range(len(self.paths)):
            targets = self.read(number, torch.Generator()).targets
            histogram += torch.bincount(targets[targets != IGNORE_LABEL], minlength=num_classes)
        return histogram

    def target_histogram(self, num_classes: int) -> Int[Tensor, " classes"]:
        """Count how often each class is asked for.

        Raises:
            ValueError: If nothing is asked for anywhere.
        """
        histogram = self.count_targets(num_classes)
        if not histogram.any():
            raise ValueError("the split teaches nothing: it has no labelled point; check the data set")
        return histogram
