"""The tables of nuScenes: which files, calibrations and ego poses belong to each keyframe."""

from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clip2scene.datasets.reading import check_enough_sweeps
from clip2scene.files import read_json
from clip2scene.labels import NUSCENES_CATEGORIES

LIDAR = "LIDAR_TOP"

SPAN_US = 500_000
"""Earlier sweeps are less than this much older than their keyframe, in microseconds."""

Record = dict[str, Any]

_CALIBRATION_FIELDS = ("token", "sensor_token", "translation", "rotation", "camera_intrinsic")
_RECORD_FIELDS = (
    *("token", "sample_token", "ego_pose_token", "calibrated_sensor_token"),
    *("filename", "width", "height", "is_key_frame"),
)


def read_table(tables: Path, name: str, fields: tuple[str, ...]) -> list[Record]:
    """Read the named fields of a table; the large tables hold much that is not needed."""
    path = tables / f"{name}.json"
    rows = read_json(path)
    try:
        return [{field: row[field] for field in fields} for row in rows]
    except (KeyError, TypeError) as error:
        expected = ", ".join(fields)
        raise ValueError(f"a record of {path} lacks a field ({error!r}), expected {expected}") from None


def read_sample_data(
    tables: Path, scene_of_sample: Mapping[str, str], *, sweeps: int
) -> tuple[dict[str, dict[str, Record]], dict[str, list[Record]]]:
    """Gather the files of each keyframe and its earlier sweeps, with calibration and ego pose.

    Args:
        tables: Folder of the tables.
        scene_of_sample: Scene of every sample that is wanted; sweeps are looked for within a scene.
        sweeps: Sweeps of each sample, the keyframe included; with 1, no other record is kept in memory.

    Returns:
        For each sample its record by channel; and, for more than one sweep, its earlier sweeps, newest first.

    Raises:
        ValueError: If a table is missing or inconsistent, or no keyframe has as many sweeps.
    """
    keyframes: dict[str, dict[str, Record]] = {token: {} for token in scene_of_sample}
    turns: dict[str, list[Record]] = {scene: [] for scene in scene_of_sample.values()}
    for channel, row in _records_of(tables, keyframes, with_sweeps=sweeps > 1):
        if row["is_key_frame"]:
            keyframes[row["sample_token"]][channel] = row
        if channel == LIDAR:
            turns[scene_of_sample[row["sample_token"]]].append(row)
    earlier = {}
    if sweeps > 1:
        earlier = _earlier_sweeps(keyframes, turns, scene_of_sample, sweeps, tables)
    records = [row for rows in keyframes.values() for row in rows.values()]
    records += [row for rows in earlier.values() for row in rows]
    _add_ego_poses(tables, records)
    return keyframes, earlier


def _records_of(tables: Path, samples: Container[str], *, with_sweeps: bool) -> Iterator[tuple[str, Record]]:
    """Go through the files of some samples, each with its channel; the calibration is put into the record."""
    sensors = {row["token"]: row["channel"] for row in read_table(tables, "sensor", ("token", "channel"))}
    calibrations = {row["token"]: row for row in read_table(tables, "calibrated_sensor", _CALIBRATION_FIELDS)}
    fields = (*_RECORD_FIELDS, "timestamp") if with_sweeps else _RECORD_FIELDS
    for row in read_table(tables, "sample_data", fields):
        if row["sample_token"] not in samples or not (row["is_key_frame"] or with_sweeps):
            continue
        row["calibration"] = calibrations.get(row["calibrated_sensor_token"], {})
        channel = sensors.get(row["calibration"].get("sensor_token", ""))
        if channel is None:
            raise ValueError(f"sample_data {row['token']} of {tables} names an unknown calibrated sensor")
        yield channel, row


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


def _earlier_sweeps(
    keyframes: Mapping[str, Mapping[str, Record]],
    turns: Mapping[str, list[Record]],
    scene_of_sample: Mapping[str, str],
    sweeps: int,
    tables: Path,
) -> dict[str, list[Record]]:
    """Find the earlier sweeps of each keyframe among all turns of its scene's lidar, newest first."""
    times = {}
    for scene, rows in turns.items():
        if not all(isinstance(row["timestamp"], int) for row in rows):
            raise ValueError(f"sample_data.json of {tables} holds a timestamp that is no whole number")
        rows.sort(key=lambda row: row["timestamp"])
        times[scene] = [row["timestamp"] for row in rows]
    earlier = {}
    for token, scene in scene_of_sample.items():
        lidar = keyframes[token].get(LIDAR)
        if lidar is not None:  # without it, reading the sample says so
            chosen = choose_sweeps(times[scene], lidar["timestamp"], sweeps - 1)
            earlier[token] = [turns[scene][number] for number in chosen]
    most = max((len(rows) for rows in earlier.values()), default=0)
    check_enough_sweeps(sweeps, most + 1, f"{tables} within half a second")
    return earlier


def _add_ego_poses(tables: Path, records: list[Record]) -> None:
    """Give each record the vehicle's pose at its time."""
    wanted = {row["ego_pose_token"] for row in records}
    poses = {
        row["token"]: row
        for row in read_table(tables, "ego_pose", ("token", "translation", "rotation"))
        if row["token"] in wanted
    }
    if len(poses) < len(wanted):
        raise ValueError(f"ego_pose.json of {tables} lacks {len(wanted) - len(poses)} poses; restore it")
    for row in records:
        row["ego_pose"] = poses[row["ego_pose_token"]]


def read_label_files(tables: Path) -> dict[str, str]:
    """Return the label file of each lidar record, having checked that the raw ids mean what we think."""
    for row in read_json(tables / "category.json"):
        index, name = row.get("index"), row.get("name")
        if index is not None and (index not in range(32) or NUSCENES_CATEGORIES[index] != name):
            path = tables / "category.json"
            raise ValueError(f"{path} gives raw label {index} to {name!r}, which is not nuScenes' order")
    rows = read_table(tables, "lidarseg", ("sample_data_token", "filename"))
    return {row["sample_data_token"]: row["filename"] for row in rows}
