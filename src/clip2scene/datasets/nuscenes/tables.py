"""The tables of nuScenes, read once from end to end into an index."""

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from clip2scene.datasets.nuscenes.index import CHANNELS, NO_TIME, Index, Strings
from clip2scene.datasets.nuscenes.json_stream import Row, json_rows

TABLES = ("scene", "sample", "sample_data", "sensor", "calibrated_sensor", "ego_pose")
"""The tables that an index is made of."""

_UNKNOWN, _OTHER = -1, -2
_NUMBERS = (int, float)


class _Text:
    """Strings as they come in."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.text, self.ends = bytearray(), array("q")
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        self.text += text.encode()
        self.ends.append(len(self.text))

    def strings(self) -> Strings:
        return Strings(np.frombuffer(bytes(self.text), np.uint8), np.array(self.ends, np.int64))


def read_rows(path: Path, types: Mapping[str, type]) -> Iterator[Row]:
    """Go through a small table, and see that each record has the fields that are needed.

    Args:
        path: The table.
        types: Type of each field that is needed.

    Raises:
        ValueError: If the table is missing or damaged, or a field is missing or of another type.
    """
    for number, row in enumerate(json_rows(path)):
        for key, expected in types.items():
            if key not in row:
                wanted = ", ".join(types)
                raise ValueError(f"record {number} of {path} lacks a field ({key!r}), expected {wanted}")
            if type(row[key]) is not expected or row[key] == "":
                raise ValueError(
                    f"record {number} of {path} is damaged (expected {key} to be {expected.__name__}, got "
                    f"{str(row[key])[:60]!r}); restore the table"
                )
            if expected is str:
                try:
                    row[key].encode()
                except UnicodeEncodeError:  # half of a pair of surrogates, which JSON can hold and UTF-8 not
                    raise ValueError(
                        f"record {number} of {path} is damaged ({key} is {row[key]!r}, which is no text); "
                        "restore the table"
                    ) from None
        yield row


def build_index(tables: Path, *, show_progress: bool = False) -> Index:
    """Read all tables once, in memory bounded by what is kept.

    Args:
        tables: Folder of the tables.
        show_progress: Whether to draw bars for the two large tables.

    Raises:
        ValueError: If a table is missing, cut short or inconsistent. What is wrong with single files is
            found when they are needed: a missing calibration, pose or timestamp.
    """
    scenes = _by_token(tables / "scene.json", {"name": str})
    names = tuple(row["name"] for row in scenes.values())
    if len(set(names)) < len(names):
        raise ValueError(f"{tables / 'scene.json'} has several scenes of one name; expected different names")
    samples = _read_samples(tables, tuple(scenes))
    files = _read_files(tables, {token: number for number, token in enumerate(samples)}, show_progress)
    poses = _read_poses(tables, files.poses, show_progress)
    pose_number = np.array(files.pose, np.int32)
    pose_number[np.isin(pose_number, poses.missing)] = -1
    return Index(
        scenes=names,
        calibrations=tuple(files.calibrations.values()),
        sample_token=_Text(tuple(samples)).strings(),
        sample_scene=np.array(list(samples.values()), np.int32),
        file_token=_Text(tuple(files.tokens)).strings(),
        file_name=files.names.strings(),
        file_sample=np.array(files.sample, np.int32),
        file_channel=np.array(files.channel, np.int8),
        file_calibration=np.array(files.calibration, np.int32),
        file_pose=pose_number,
        file_time_us=np.array(files.time_us, np.int64),
        file_size=np.array(files.size, np.int32).reshape(-1, 2),
        file_is_keyframe=np.array(files.is_keyframe, np.bool_),
        pose_token=_Text(tuple(files.poses)).strings(),
        pose=poses.values,
    )


def _by_token(path: Path, types: Mapping[str, type]) -> dict[str, Row]:
    """Read a small table whole; tokens must differ."""
    rows: dict[str, Row] = {}
    for row in read_rows(path, {"token": str, **types}):
        if row["token"] in rows:
            raise ValueError(_twice(path, row["token"]))
        rows[row["token"]] = {key: row[key] for key in ("token", *types)}
    return rows


def _read_samples(tables: Path, scene_tokens: Sequence[str]) -> dict[str, int]:
    """Return the scene of every keyframe, in the order of scenes and time."""
    order = {token: number for number, token in enumerate(scene_tokens)}
    path = tables / "sample.json"
    rows = _by_token(path, {"timestamp": int, "scene_token": str}).values()
    for row in rows:
        if row["scene_token"] not in order:
            raise ValueError(_dangling(path, row["token"], "scene", row["scene_token"]))
    kept = sorted(rows, key=lambda row: (order[row["scene_token"]], row["timestamp"]))
    for row in kept:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", row["token"]):  # it names files
            raise ValueError(
                f"sample.json of {tables} holds the token {row['token']!r}; expected letters and digits"
            )
    return {row["token"]: order[row["scene_token"]] for row in kept}


@dataclass
class _Files:
    """Columns of the files that are kept, as they come in."""

    tokens: dict[str, None] = field(default_factory=dict)
    names: _Text = field(default_factory=_Text)
    sample: "array[int]" = field(default_factory=lambda: array("i"))
    channel: "array[int]" = field(default_factory=lambda: array("b"))
    calibration: "array[int]" = field(default_factory=lambda: array("i"))
    pose: "array[int]" = field(default_factory=lambda: array("i"))
    time_us: "array[int]" = field(default_factory=lambda: array("q"))
    size: "array[int]" = field(default_factory=lambda: array("i"))
    is_keyframe: "array[int]" = field(default_factory=lambda: array("b"))
    calibrations: dict[str, Row] = field(default_factory=dict)
    calibration_numbers: dict[str, int] = field(default_factory=dict)
    poses: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row, sample: int, channel: int, calibration: Row | None) -> None:
        """Append a record.

        Raises:
            KeyError: If it lacks a field.
            TypeError: If a field is of another type; the message says which.
            ValueError: If its token has been there before, or a text is no text.
        """
        for key in ("token", "filename", "ego_pose_token"):
            if type(row[key]) is not str or not row[key]:
                raise TypeError(f"expected {key} to be str and not empty, got {row[key]!r}")
            row[key].encode()  # fails here, where the table is known, if it is no text
        for key in ("width", "height"):
            size = row[key]
            if size is not None and (type(size) is not int or not 0 <= size < 2**31):
                raise TypeError(f"expected {key} to be pixels, got {size!r}")
            self.size.append(size or 0)
        if row["token"] in self.tokens:
            raise ValueError(f"the token {row['token']!r} has been there before; expected different tokens")
        self.tokens[row["token"]] = None
        self.names.append(row["filename"])
        self.sample.append(sample)
        self.channel.append(channel)
        number = -1
        if calibration is not None:
            token = calibration["token"]
            self.calibrations[token] = calibration
            number = self.calibration_numbers.setdefault(token, len(self.calibration_numbers))
        self.calibration.append(number)
        self.pose.append(self.poses.setdefault(row["ego_pose_token"], len(self.poses)))
        time = row.get("timestamp")
        self.time_us.append(time if type(time) is int and abs(time) < 2**62 else NO_TIME)
        self.is_keyframe.append(row["is_key_frame"])


def _read_files(tables: Path, samples: Mapping[str, int], show_progress: bool) -> _Files:
    """Read the large table of files, and keep what an index needs."""
    calibrations, channels = _read_calibrations(tables)
    files = _Files()
    path = tables / "sample_data.json"
    for number, row in enumerate(json_rows(path, show_progress=show_progress)):
        try:
            sample, token = samples.get(row["sample_token"]), row["calibrated_sensor_token"]
            channel, is_keyframe = channels.get(token, _UNKNOWN), row["is_key_frame"]
            if is_keyframe is not True and is_keyframe is not False:
                raise TypeError(f"expected is_key_frame to be true or false, got {is_keyframe!r}")
            if sample is None:
                raise ValueError(f"its sample is {row['sample_token']!r}, which sample.json lacks")
            if channel == _OTHER or (channel > 0 and not is_keyframe):
                continue
            files.add(row, sample, channel, calibrations.get(token) if channel >= 0 else None)
        except KeyError as error:
            raise ValueError(f"record {number} of {path} lacks a field ({error})") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"record {number} of {path} is damaged ({error}); restore the table") from None
    _refuse_second_keyframes(files, tuple(samples), path)
    return files


def _read_calibrations(tables: Path) -> tuple[dict[str, Row], dict[str, int]]:
    """Read how sensors are mounted, and of each calibration its channel's position."""
    sensors = _by_token(tables / "sensor.json", {"channel": str})
    wanted = {channel: number for number, channel in enumerate(CHANNELS)}
    absent = [channel for channel in CHANNELS if channel not in {row["channel"] for row in sensors.values()}]
    if absent:
        raise ValueError(
            f"{tables / 'sensor.json'} has no channel {', '.join(absent)}; expected {', '.join(CHANNELS)}"
        )
    types = {"sensor_token": str, "translation": list, "rotation": list, "camera_intrinsic": list}
    path = tables / "calibrated_sensor.json"
    rows = _by_token(path, types)
    channels = {}
    for token, row in rows.items():
        try:
            place = _pose_numbers(row["translation"], row["rotation"])
        except (TypeError, OverflowError) as error:
            raise ValueError(f"record {token} of {path} is damaged ({error}); restore the table") from None
        row["translation"], row["rotation"] = place[:3], place[3:]
        if row["sensor_token"] not in sensors:
            raise ValueError(_dangling(path, token, "sensor", row["sensor_token"]))
        channels[token] = wanted.get(sensors[row["sensor_token"]]["channel"], _OTHER)
    return rows, channels


def _refuse_second_keyframes(files: _Files, samples: Sequence[str], path: Path) -> None:
    """Refuse two keyframes of one sample and channel: which of them is meant, nobody can tell."""
    channel = np.array(files.channel, np.int64)
    chosen = (channel >= 0) & np.array(files.is_keyframe, np.bool_)
    places = np.array(files.sample, np.int64)[chosen] * len(CHANNELS) + channel[chosen]
    found, counts = np.unique(places, return_counts=True)
    if (counts > 1).any():
        sample, second = divmod(int(found[counts > 1][0]), len(CHANNELS))
        raise ValueError(
            f"{path} has more than one keyframe of {CHANNELS[second]} for sample {samples[sample]}; "
            "expected one; restore the table"
        )


@dataclass
class _Poses:
    values: Float[np.ndarray, "poses 7"]
    missing: Int[np.ndarray, " missing"]


def _read_poses(tables: Path, wanted: Mapping[str, int], show_progress: bool) -> _Poses:
    """Read the vehicle's pose at the time of each file that is kept."""
    path = tables / "ego_pose.json"
    values, found = np.zeros((len(wanted), 7)), np.zeros(len(wanted), np.bool_)
    for number, row in enumerate(json_rows(path, show_progress=show_progress)):
        try:
            place = wanted.get(row["token"])
            if place is None:
                continue
            if found[place]:
                raise ValueError(_twice(path, row["token"]))
            values[place] = _pose_numbers(row["translation"], row["rotation"])
            found[place] = True
        except KeyError as error:
            raise ValueError(f"record {number} of {path} lacks a field ({error})") from None
        except (TypeError, OverflowError) as error:
            raise ValueError(f"record {number} of {path} is damaged ({error}); restore the table") from None
    return _Poses(values, np.flatnonzero(~found))


def _pose_numbers(translation: Any, rotation: Any) -> list[float]:  # noqa: ANN401 - as the table has it
    """Put a pose's numbers in a row."""
    for numbers, count in ((translation, 3), (rotation, 4)):
        if (
            type(numbers) is not list
            or len(numbers) != count
            or not all(type(n) in _NUMBERS for n in numbers)
        ):
            raise TypeError(f"expected {count} numbers, got {str(numbers)[:80]}")
    return [float(number) for number in (*translation, *rotation)]


def _dangling(path: Path, token: str, table: str, reference: str) -> str:
    return (
        f"record {token!r} of {path} names the {table} {reference!r}, which {table}.json lacks; restore both "
        "tables"
    )


def _twice(path: Path, token: str) -> str:
    return f"{path} holds the token {token!r} twice; expected different tokens; restore the table"
