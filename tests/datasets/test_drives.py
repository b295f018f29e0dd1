from dataclasses import replace

import pytest
import torch

from clip2scene.datasets.drives import USUAL_STEP_US, find_drives
from clip2scene.types import Timestamps

NOW_US = 1_700_000_000_000_000


def at(x, time_us=None, drive="a", pose=None):
    if pose is None:
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = x
    return Timestamps(drive, time_us, {}, (), pose)


class Split:
    """A split whose samples were recorded as they are told."""

    def __init__(self, *told):
        self.told = told
        self.tokens = tuple(f"s{number}" for number in range(len(told)))

    def timestamps(self, index):
        return self.told[index]


def test_moments_of_a_drive_are_in_order_of_time_and_in_the_frame_of_the_first():
    told = [at(1005.0, NOW_US + 500_000), at(7.0, NOW_US, "b"), at(1000.0, NOW_US)]
    drives = find_drives(Split(*told))
    assert {name: [each.number for each in moments] for name, moments in drives.items()} == {
        "a": [2, 0],
        "b": [1],
    }
    assert [each.drive_from_cloud[0, 3].item() for each in drives["a"]] == [0.0, 5.0]
    assert drives["a"][1].time_us - drives["a"][0].time_us == 500_000


def test_clouds_without_times_follow_each_other_as_usual():
    moments = find_drives(Split(at(0.0), at(1.0), at(2.0)))["a"]
    assert [each.time_us for each in moments] == [0, USUAL_STEP_US, 2 * USUAL_STEP_US]


@pytest.mark.parametrize("told", [None, replace(at(0.0), world_from_cloud=None)])
def test_a_sample_without_a_pose_is_named_and_what_can_be_done(told):
    with pytest.raises(ValueError, match="sample s1: nothing tells where.*--teacher.no-consolidate"):
        find_drives(Split(at(0.0), told))


def test_a_pose_that_is_not_finite_or_no_rigid_motion_is_refused():
    for wrong in (float("nan"), float("inf"), 3.0):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 0] = wrong
        with pytest.raises(ValueError, match="the pose of sample s1"):
            find_drives(Split(at(0.0), at(0.0, pose=pose)))


def test_a_vehicle_that_jumps_is_refused():
    told = [at(float(number), NOW_US + number * 500_000) for number in range(4)]
    find_drives(Split(*told))
    told[2] = at(900.0, told[2].cloud_us)
    with pytest.raises(ValueError, match="sample s2 is 899 m from the place 500 ms before.*no-consolidate"):
        find_drives(Split(*told))


def test_a_town_is_one_drive(tiny_toytown):
    from clip2scene.datasets.nuscenes.loader import NuScenes

    split = NuScenes(tiny_toytown, split="train", labels=False)
    (moments,) = find_drives(split).values()
    assert [each.number for each in moments] == [0, 1]
    step = moments[1].drive_from_cloud[:3, 3].norm().item()
    assert 1.0 < step < 15.0, "half a second of driving"
