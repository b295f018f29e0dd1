from dataclasses import replace

import torch

from clip2scene.doctor.edge_score import turn_about
from clip2scene.doctor.timing import check_times, find_places, find_velocities
from clip2scene.types import Timestamps


class Silent:
    """Samples of a layout that never tells times."""

    tokens = tuple("abcdef")

    def timestamps(self, index):
        return None


class Recorded:
    """Moments alone: clouds every 500 ms from a vehicle at 8 m/s."""

    tokens = tuple("abcd")

    def __init__(self, **changes):
        self.changes = changes

    def timestamps(self, index):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = 4.0 * index
        timestamps = Timestamps(
            "drive", 500_000 * index, {"front": 500_000 * index - 30_000}, (500_000 * index - 50_000,), pose
        )
        return replace(timestamps, **{name: change(index) for name, change in self.changes.items()})


class Driven:
    """Poses alone: 0.5 m a sample, from the sixth on none, and from the eighth on another drive turning."""

    tokens = tuple("abcdefghij")

    def timestamps(self, index):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = 0.5 * min(index, 5)
        if index >= 8:
            pose[:3, :3] = turn_about(2, 20.0 * (index - 8)).double()
        return Timestamps("two" if index >= 8 else "one", index, {}, (), None if index in (6, 7) else pose)


def test_places_are_those_where_the_vehicle_stood_two_metres_or_a_turn_apart():
    assert find_places(Driven(), range(10)) == [0, 0, 0, 0, 4, 4, 6, 7, 8, 9]
    assert find_places(Silent(), [3, 5]) == [3, 5]


def test_velocity_comes_from_the_poses_of_neighbours():
    found = find_velocities(Recorded(), [0, 3])
    for number in (0, 3):
        torch.testing.assert_close(found[number][0], torch.tensor([8.0, 0, 0]))
        assert not found[number][1].any()
    other_drives = Recorded(drive=str)
    assert find_velocities(other_drives, [1]) == {1: None}
    assert find_velocities(Silent(), [1]) == {1: None}


def test_even_times_are_fine():
    lines = check_times(Recorded(), [0, 1, 2])
    assert [line.mark for line in lines] == ["ok"] * 3
    assert "500 ms" in lines[0].text and "-30 ms" in lines[1].text and "50 ms apart" in lines[2].text


def test_clouds_that_run_backwards_are_a_fault():
    lines = check_times(Recorded(cloud_us=lambda index: [0, 500, 400, 900][index]), [0, 1, 2])
    assert lines[0].mark == "fault" and "the first is c" in lines[0].text


def test_uneven_and_far_images_are_noted():
    uneven = Recorded(image_us=lambda index: {"front": 500_000 * index + 70_000 * (index % 2)})
    assert "uneven" in check_times(uneven, [0, 1])[1].text
    far = Recorded(image_us=lambda index: {"front": 500_000 * index + 300_000})
    assert "beyond 100 ms" in check_times(far, [0, 1])[1].text


def test_a_camera_that_misses_images_keeps_its_own_times():
    def taken(index):
        late = {"left": 500_000 * index + 40_000}
        return late if index == 1 else {"front": 500_000 * index - 30_000, **late}

    lines = check_times(Recorded(image_us=taken), [0, 1, 2])
    told = [line.text for line in lines if "images" in line.text]
    assert told[0].startswith("front: images -30 ms") and told[1].startswith("left: images +40 ms")


def test_layouts_without_moments_say_so():
    assert check_times(Silent(), [0])[0].mark == "note"


def test_times_and_ways_that_cannot_be_are_one_fault_each():
    fast = Recorded(cloud_us=lambda index: 500 * index, image_us=lambda index: {}, sweeps_us=lambda index: ())
    (line,) = check_times(fast, [0, 1, 2])
    assert line.mark == "fault" and "are their times in milliseconds, not microseconds?" in line.text

    def jumping(index):
        pose = torch.eye(4, dtype=torch.float64)
        pose[0, 3] = 4.0 * index + 2000.0 * (index > 1)
        return pose

    lines = check_times(Recorded(world_from_cloud=jumping), [0, 1, 2])
    assert [line.text for line in lines if line.mark == "fault"] == [
        "sample c is 2004 m from the place 500 ms before, 4008 m/s; does another drive begin there?"
    ]


def test_clocks_an_hour_apart_are_one_fault_of_all_cameras():
    def taken(index):
        return {name: 3_600_000_000 + 500_000 * index for name in ("front", "left", "back")}

    faults = [line for line in check_times(Recorded(image_us=taken), [0, 1, 2]) if line.mark == "fault"]
    assert len(faults) == 1
    assert faults[0].text.startswith("images of front, left, back are 3600 s later than their clouds")


def test_clouds_that_stand_alone_are_noted():
    alone = Recorded(
        cloud_us=lambda index: 2_000_000 * index, drive=str, image_us=lambda _: {}, sweeps_us=lambda _: ()
    )
    (line,) = check_times(alone, [0, 1, 2])
    assert line.mark == "note" and "clouds lie 2.0 s apart" in line.text and "a drive of its own" in line.text
    slow = Recorded(
        cloud_us=lambda index: 100_000_000 * index, drive=str, image_us=lambda _: {}, sweeps_us=lambda _: ()
    )
    assert "are their times in nanoseconds" in check_times(slow, [0, 1, 2])[0].text
