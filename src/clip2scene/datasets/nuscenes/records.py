"""Which files belong to each keyframe of nuScenes, its earlier sweeps, and its labels."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from clip2scene.classes.tables import NUSCENES_CATEGORIES
from clip2scene.datasets.checks import MissingLabelsError, check_enough_sweeps
from clip2scene.datasets.moments import rate_fault, way_fault
from clip2scene.datasets.nuscenes.index import CHANNELS, NO_TIME, Index
from clip2scene.datasets.nuscenes.json_stream import json_rows
from clip2scene.datasets.nuscenes.tables import read_rows

SPAN_US = 500_000
"""Earlier sweeps are less than this much older than their keyframe, in microseconds."""


def find_files(
    index: Index, samples: Int[np.ndarray, " samples"], tables: Path, *, sweeps: int
) -> tuple[Int[np.ndarray, "samples channels"], Int[np.ndarray, "samples earlier"]]:
    """Find the files of some keyframes and of their earlier sweeps.

    Args:
        index: The tables.
        samples: Positions of the keyframes.
        tables: Folder of the tables, for messages.
        sweeps: Sweeps of each sample, the keyframe included; with 1, no other record is read.

    Returns:
        Positions of files in the index, -1 where there is none: of each channel's keyframe, and of the
        earlier sweeps, newest first.

    Raises:
        ValueError: If the calibration or pose of one of these files is unknown, a timestamp that is needed is
            no whole number, or no keyframe has as many sweeps.
    """
    row_of_sample = np.full(len(index.sample_token), -1)
    row_of_sample[samples] = np.arange(len(samples))
    row = row_of_sample[index.file_sample]
    wanted = np.flatnonzero((row >= 0) & (index.file_is_keyframe | (sweeps > 1)))
    if sweeps > 1:
        _refuse_timeless(index, wanted, tables)
    unknown = wanted[index.file_channel[wanted] < 0]
    if len(unknown):
        token = index.file_token[int(unknown[0])]
        raise ValueError(f"sample_data {token} of {tables} names an unknown calibrated sensor")
    keyframes = np.full((len(samples), len(CHANNELS)), -1)
    own = wanted[index.file_is_keyframe[wanted]]
    keyframes[row[own], index.file_channel[own]] = own
    turns = wanted[index.file_channel[wanted] == 0]
    earlier = np.full((len(samples), sweeps - 1), -1)
    if sweeps > 1:
        _find_earlier(index, samples, keyframes[:, 0], turns, earlier, tables)
        most = int((earlier >= 0).sum(1).max(initial=0))
        check_enough_sweeps(sweeps, most + 1, f"{tables / 'sample_data.json'} within half a second")
    used = np.concatenate([keyframes[keyframes >= 0], np.unique(earlier[earlier >= 0])])
    lacking = int((index.file_pose[used] < 0).sum())
    if lacking:
        raise ValueError(f"ego_pose.json of {tables} lacks {lacking} poses of sample_data.json; restore it")
    return keyframes, earlier


def _refuse_timeless(index: Index, wanted: Int[np.ndarray, " files"], tables: Path) -> None:
    """Refuse files that stand at no known moment; which sweeps are the earlier ones, nobody can tell."""
    timeless = wanted[(index.file_time_us[wanted] == NO_TIME) & (index.file_channel[wanted] <= 0)]
    if len(timeless):
        raise ValueError(
            f"{tables / 'sample_data.json'} holds {len(timeless)} records without a timestamp that is a "
            f"whole number, the first is {index.file_token[int(timeless[0])]}; restore the table, or open it "
            "with --data.sweeps 1"
        )


def choose_sweeps(times_us: Sequence[int], keyframe_us: int, number: int) -> list[int]:
    """Choose earlier sweeps of a keyframe, spread evenly over those that are not too old.

    Of the n sweeps recorded before the keyframe, but less than :data:`SPAN_US` before it, the k chosen are
    the n/k-th, 2n/k-th ... n-th, counted back in time and rounded down.

    Args:
        times_us: When each sweep of the scene was recorded, in order; microseconds.
        keyframe_us: When the keyframe was.
        number: How many to choose; fewer are chosen where there are fewer.

    Returns:
        Positions in ``times_us``, newest first.

    Example:
        >>> choose_sweeps(range(0, 1_000_000, 50_000), 900_000, 2)
        [14, 9]
    """
    first, stop = bisect_right(times_us, keyframe_us - SPAN_US), bisect_left(times_us, keyframe_us)
    found = stop - first
    chosen = min(number, found)
    return [stop - count * found // chosen for count in range(1, chosen + 1)]


def _find_earlier(
    index: Index,
    samples: Int[np.ndarray, " samples"],
    lidar: Int[np.ndarray, " samples"],
    turns: Int[np.ndarray, " turns"],
    earlier: Int[np.ndarray, "samples earlier"],
    tables: Path,
) -> None:
    """Fill in the earlier sweeps of each keyframe, from all turns of its scene's lidar."""
    scene_of_turn = index.sample_scene[index.file_sample[turns]]
    order = np.lexsort((index.file_time_us[turns], scene_of_turn))
    turns, scene_of_turn = turns[order], scene_of_turn[order]
    _check_turns(index, turns, scene_of_turn, tables)
    starts = np.searchsorted(scene_of_turn, np.arange(len(index.scenes) + 1))
    times = index.file_time_us[turns].tolist()
    times_of_scene = [times[start:end] for start, end in zip(starts[:-1], starts[1:], strict=True)]
    for row, (sample, keyframe) in enumerate(zip(samples.tolist(), lidar.tolist(), strict=True)):
        if keyframe < 0:  # reading the sample says so
            continue
        scene = int(index.sample_scene[sample])
        time_us = int(index.file_time_us[keyframe])
        chosen = choose_sweeps(times_of_scene[scene], time_us, earlier.shape[1])
        earlier[row, : len(chosen)] = turns[starts[scene] + np.array(chosen, dtype=np.int64)]


def _check_turns(
    index: Index, turns: Int[np.ndarray, " turns"], scenes: Int[np.ndarray, " turns"], tables: Path
) -> None:
    """Refuse turns of the lidar in another unit of time, or between which the vehicle jumps."""
    times = index.file_time_us[turns]
    fault = rate_fault(np.diff(times)[np.diff(scenes) == 0].tolist())
    if fault:
        raise ValueError(f"{tables / 'sample_data.json'}: lidar sweeps {fault} Restore the table")
    posed = index.file_pose[turns] >= 0
    places = index.pose[index.file_pose[turns[posed]], :3]
    found = way_fault(times[posed].tolist(), places, scenes[posed].tolist())
    if found:
        token = index.file_token[int(turns[posed][found[0]])]
        raise ValueError(
            f"{tables / 'ego_pose.json'}: the vehicle at lidar record {token} {found[1]} Restore the table"
        )


def read_label_files(tables: Path) -> dict[str, str]:
    """Return the label file of each lidar record, having checked that the raw ids mean what we think.

    Raises:
        MissingLabelsError: If there is no table of label files.
        ValueError: If a table is damaged or not in nuScenes' order.
    """
    if not (tables / "lidarseg.json").exists():
        raise MissingLabelsError(
            f"{tables} has no lidarseg.json: the labels of nuScenes' test set are not public; open it with "
            "labels=False, or judge on another split"
            if tables.name.endswith("test")
            else f"{tables / 'lidarseg.json'} is missing; check the folder you named"
        )
    path = tables / "category.json"
    for row in json_rows(path):
        index, name = row.get("index"), row.get("name")
        if index is not None and (
            type(index) is not int or index not in range(32) or NUSCENES_CATEGORIES[index] != name
        ):
            raise ValueError(f"{path} gives raw label {index} to {name!r}, which is not nuScenes' order")
    path, files = tables / "lidarseg.json", {}
    for row in read_rows(path, {"sample_data_token": str, "filename": str}):
        if row["sample_data_token"] in files:
            raise ValueError(
                f"{path} names two label files for {row['sample_data_token']!r}; expected one; restore it"
            )
        files[row["sample_data_token"]] = row["filename"]
    return files
