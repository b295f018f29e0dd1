"""Where a vehicle stood at any moment between two known poses."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MOST_GAP_US = 1_000_000
"""Two poses this far apart in time are of different drives, and nothing is interpolated between them."""

MOST_REACH_US = 100_000
"""How long before the first pose of a drive, or after its last, the motion is taken to go on."""

LEAST_BASE_US = 50_000
"""How far apart two poses must be for a motion to be continued by them: an error of 1 mm becomes 2 cm/s."""


@dataclass(frozen=True)
class Trajectory:
    """Poses in order of time.

    Attributes:
        times_us: Microseconds, strictly rising.
        poses: ``world_from_ego`` at each of them, in float64, translations in metres.
        source: The file they came from, for messages.
    """

    times_us: tuple[int, ...]
    poses: Float[Tensor, "moments 4 4"]
    source: str

    def world_from_ego(self, time_us: int) -> Float[Tensor, "4 4"]:
        """Interpolate the pose at a moment: constant speed and turn rate between two known poses (slerp).

        A moment up to 0.1 s outside of a drive continues the motion between the drive's last (or first) pose
        and the nearest that is at least 50 ms away from it.

        Args:
            time_us: The moment, in microseconds.

        Returns:
            The pose, in float64, translation in metres.

        Raises:
            ValueError: If there is no pose within 1 s on both sides, nor two that can be continued.
        """
        after = int(np.searchsorted(self.times_us, time_us))
        if after < len(self.times_us) and self.times_us[after] == time_us:
            return self.poses[after]
        before = after - 1
        if self._joined(before, after):
            return self._move(before, after, time_us)
        for edge, step in ((before, -1), (after, 1)):  # beyond a drive's end; before its start
            if 0 <= edge < len(self.times_us) and abs(time_us - self.times_us[edge]) <= MOST_REACH_US:
                other = edge
                while self._joined(other, other + step):
                    other += step
                    if abs(self.times_us[other] - self.times_us[edge]) >= LEAST_BASE_US:
                        return self._move(edge, other, time_us)
        raise ValueError(
            f"{self.source} tells no pose for the moment {time_us} us: expected one within {MOST_GAP_US} us "
            f"before and after it, or two {LEAST_BASE_US} us apart that end at most {MOST_REACH_US} us away; "
            "add poses around it (rows without a name), or leave its image out"
        )

    def drive(self, time_us: int) -> int:
        """Number the drive that a moment belongs to: 1, and one more for each gap of more than 1 s before."""
        times_us = np.array(self.times_us)
        begins_us = times_us[1:][np.diff(times_us) > MOST_GAP_US]
        return 1 + int(np.searchsorted(begins_us, time_us, side="right"))

    def _joined(self, first: int, second: int) -> bool:
        """Say whether two poses that follow each other are there, and of one drive."""
        there = min(first, second) >= 0 and max(first, second) < len(self.times_us)
        return there and abs(self.times_us[second] - self.times_us[first]) <= MOST_GAP_US

    def _move(self, first: int, second: int, time_us: int) -> Float[Tensor, "4 4"]:
        """Move from one pose to another, or beyond."""
        begin, end = self.times_us[first], self.times_us[second]
        return _between(self.poses[[first, second]], (time_us - begin) / (end - begin))


def _between(poses: Float[Tensor, "2 4 4"], fraction: float) -> Float[Tensor, "4 4"]:
    """Move from one pose to another, or beyond."""
    first, second = poses.numpy()
    from scipy.spatial.transform import Rotation  # a tenth of all imports, and seldom needed

    turn = Rotation.from_matrix(first[:3, :3].T @ second[:3, :3]).as_rotvec()
    pose = np.eye(4)
    pose[:3, :3] = first[:3, :3] @ Rotation.from_rotvec(fraction * turn).as_matrix()
    pose[:3, 3] = first[:3, 3] + fraction * (second[:3, 3] - first[:3, 3])
    return torch.from_numpy(pose)
