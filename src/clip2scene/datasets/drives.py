"""The drives of a split: which samples follow each other, and where each was recorded."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float64
from torch import Tensor

from clip2scene.datasets.moments import way_fault
from clip2scene.geometry.projection import check_rigid, invert_rigid
from clip2scene.types import Timestamps

USUAL_STEP_US = 100_000
"""Between clouds whose times nobody tells: lidars turn ten times a second."""


@runtime_checkable
class Recorded(Protocol):
    """Samples that tell when and where they were recorded, as those of a data set do."""

    @property
    def tokens(self) -> Sequence[str]:
        """Name the samples."""

    def timestamps(self, index: int) -> Timestamps | None:
        """Tell when and where a sample was recorded; None where the layout never says."""


@dataclass(frozen=True)
class Moment:
    """A sample of a drive.

    Attributes:
        number: Of the sample in its split.
        time_us: When it was recorded, in microseconds; where nobody tells, clouds follow each other as usual.
        drive_from_cloud: Where: the motion into the frame of the drive's first cloud, in metres.
    """

    number: int
    time_us: int
    drive_from_cloud: Float64[Tensor, "4 4"]


def have_poses(dataset: Recorded) -> bool:
    """Tell whether it is known of every sample where it was recorded."""
    told = (dataset.timestamps(number) for number in range(len(dataset.tokens)))
    return all(each is not None and each.world_from_cloud is not None for each in told)


def find_drives(dataset: Recorded) -> dict[str, tuple[Moment, ...]]:
    """Find the drives of a split.

    Returns:
        By their names, the moments of each in order of time.

    Raises:
        ValueError: If a sample has no pose, one that is no rigid motion, or one out of a vehicle's reach.
    """
    found = defaultdict(list)
    for number, token in enumerate(dataset.tokens):
        told = dataset.timestamps(number)
        if told is None or told.world_from_cloud is None:
            raise ValueError(
                f"sample {token}: nothing tells where it was recorded, and --teacher.consolidate gathers the "
                "votes on places of a drive; expected a pose for every sample: add the poses of its layout "
                "(docs/data.md), or set --teacher.no-consolidate"
            )
        check_rigid(told.world_from_cloud, f"the pose of sample {token}")
        time_us = number * USUAL_STEP_US if told.cloud_us is None else told.cloud_us
        found[told.drive].append(Moment(number, time_us, told.world_from_cloud.double()))
    return {drive: _in_order(dataset, moments) for drive, moments in found.items()}


def _in_order(dataset: Recorded, moments: list[Moment]) -> tuple[Moment, ...]:
    """Put the moments of a drive in order, in the frame of the first; refuse jumps."""
    moments = sorted(moments, key=lambda moment: moment.time_us)
    places = torch.stack([each.drive_from_cloud[:3, 3] for each in moments]).numpy()
    fault = way_fault([each.time_us for each in moments], places)
    if fault:
        token = dataset.tokens[moments[fault[0]].number]
        raise ValueError(
            f"sample {token} {fault[1]} --teacher.consolidate gathers votes by these poses: correct them, or "
            "set --teacher.no-consolidate and no --teacher.also"
        )
    first_from_world = invert_rigid(moments[0].drive_from_cloud)
    return tuple(
        Moment(each.number, each.time_us, first_from_world @ each.drive_from_cloud) for each in moments
    )
