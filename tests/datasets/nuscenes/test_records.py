import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.datasets.nuscenes.conftest import VERSION, edit, lidar_records

from clip2scene.datasets.nuscenes.loader import NuScenes
from clip2scene.datasets.nuscenes.records import SPAN_US, choose_sweeps


def test_another_order_of_raw_labels_is_noticed(damaged):
    edit(damaged, "category", lambda rows: [row.update(index=31 - row["index"]) for row in rows])
    with pytest.raises(ValueError, match="category.json gives raw label"):
        NuScenes(damaged)


@settings(deadline=None)
@given(
    gaps=st.lists(st.integers(20_000, 200_000), min_size=1, max_size=30),
    which=st.integers(0, 29),
    number=st.integers(0, 9),
)
def test_earlier_sweeps_are_recent_newest_first_and_evenly_spread(gaps, which, number):
    times = np.cumsum(gaps).tolist()
    keyframe = times[which % len(times)]
    chosen = choose_sweeps(times, keyframe, number)
    recent = [place for place, time in enumerate(times) if keyframe - SPAN_US < time < keyframe]
    assert len(chosen) == min(number, len(recent)) and set(chosen) <= set(recent)
    if chosen:
        assert chosen[-1] == recent[0], "the oldest is among them"
        steps = -np.diff([times.index(keyframe), *chosen])
        assert steps.min() > 0 and steps.max() - steps.min() <= 1


def test_a_scene_may_begin_with_fewer_sweeps_and_borrows_none_of_another(damaged):
    first = lidar_records(damaged)[0]
    timestamps = {
        row["scene_token"]: [] for row in json.loads((damaged / VERSION / "sample.json").read_text())
    }

    def overlap(rows):
        """Let both scenes be recorded at the same time."""
        start = min(row["timestamp"] for row in rows)
        for row in rows:
            row["timestamp"] = start + (row["timestamp"] - start) % 100_000_000

    assert len(timestamps) == 2
    expected = NuScenes(damaged, split=None, sweeps=2)[2].sweeps[0].positions
    edit(damaged, "sample", overlap)
    edit(damaged, "sample_data", overlap)
    edit(
        damaged,
        "sample_data",
        lambda rows: rows.remove(next(r for r in rows if r["token"] == first["token"])),
    )
    data = NuScenes(damaged, split=None, sweeps=2)
    assert [len(data[number].sweeps) for number in range(4)] == [0, 1, 1, 1]
    assert torch.equal(data[2].sweeps[0].positions, expected)


def test_more_sweeps_than_recorded_are_refused(damaged):
    with pytest.raises(ValueError, match="more sweeps than recorded: asked for 3, found at most 2"):
        NuScenes(damaged, sweeps=3)
    edit(
        damaged,
        "sample_data",
        lambda rows: rows.__setitem__(slice(None), [r for r in rows if r["is_key_frame"]]),
    )
    with pytest.raises(ValueError, match="more sweeps than recorded: asked for 2, found at most 1"):
        NuScenes(damaged, sweeps=2)
    for wrong in (0, 11, -1):
        with pytest.raises(ValueError, match=rf"sweeps must lie in 1\.\.10, got {wrong}"):
            NuScenes(damaged, sweeps=wrong)


def test_a_sweep_without_a_pose_is_refused_before_any_sample_is_read(damaged):
    pose = lidar_records(damaged)[0]["ego_pose_token"]
    edit(damaged, "ego_pose", lambda rows: rows.remove(next(row for row in rows if row["token"] == pose)))
    assert len(NuScenes(damaged)) == 2
    with pytest.raises(ValueError, match="ego_pose.json .* lacks 1 poses"):
        NuScenes(damaged, sweeps=2)


def test_sweeps_in_another_unit_of_time_are_refused_and_keyframes_alone_opened(damaged):
    edit(
        damaged, "sample_data", lambda rows: [row.update(timestamp=row["timestamp"] // 1000) for row in rows]
    )
    assert len(NuScenes(damaged)) == 2
    with pytest.raises(ValueError, match=r"sample_data\.json: lidar sweeps follow .* in milliseconds, not"):
        NuScenes(damaged, sweeps=2)


def test_a_pose_that_no_vehicle_reaches_is_named(damaged):
    record = next(row for row in lidar_records(damaged) if not row["is_key_frame"])

    def move(rows):
        for row in rows:
            if row["token"] == record["ego_pose_token"]:
                row["translation"][0] += 2000.0

    edit(damaged, "ego_pose", move)
    with pytest.raises(
        ValueError, match=r"ego_pose\.json: the vehicle at lidar record \w+ is \d+ m from .* m/s"
    ):
        NuScenes(damaged, sweeps=2)
