"""What a loader needs of the tables of nuScenes, as a few arrays that open quickly.

The tables of all 850 scenes are 1.5 GB of JSON, most of it about camera sweeps and radars. The index keeps
the keyframes of the lidar and the six cameras, and all turns of the lidar. It can be written to one file,
which is opened in their place as long as no table changes.
"""

import json
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

CHANNELS = (
    "LIDAR_TOP",
    "CAM_FRONT",
    "CAM_FRONT_RIGHT",
    "CAM_BACK_RIGHT",
    "CAM_BACK",
    "CAM_BACK_LEFT",
    "CAM_FRONT_LEFT",
)
"""The lidar, then the six cameras clockwise from the front."""

NO_TIME = -(2**63)
"""Stands for a timestamp that is missing or no whole number."""

Record = dict[str, Any]


@dataclass(frozen=True)
class Strings:
    """Many strings in one array.

    Attributes:
        text: Their UTF-8, one after the other.
        ends: Where each ends in ``text``.
    """

    text: UInt8[np.ndarray, " bytes"]
    ends: Int[np.ndarray, " strings"]

    def __len__(self) -> int:
        """Count the strings."""
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        """Read one string."""
        start = self.ends[number - 1] if number else 0
        return self.text[start : self.ends[number]].tobytes().decode()

    def all(self) -> list[str]:
        """Read every string."""
        content, ends = self.text.tobytes(), self.ends.tolist()
        starts = [0, *ends][:-1]
        return [content[start:end].decode() for start, end in zip(starts, ends, strict=True)]


@dataclass(frozen=True)
class Index:
    """What a loader needs of the tables.

    Keyframes (``sample_*``) stand in the order of scenes and time; files (``file_*``) and poses in that of
    their tables.

    Attributes:
        scenes: Name of each scene, in the order of its table.
        calibrations: The records of ``calibrated_sensor.json`` that a file names.
        sample_token: Of each keyframe.
        sample_scene: Position of each keyframe's scene.
        file_token: Of each file of a lidar or camera keyframe, or of a lidar sweep.
        file_name: Its path below the root.
        file_sample: Position of its keyframe.
        file_channel: Position of its channel in :data:`CHANNELS`; -1 if its calibration is unknown.
        file_calibration: Position of its calibration; -1 if that is unknown.
        file_pose: Position of its ego pose; -1 if there is none.
        file_time_us: When it was recorded, in microseconds, or :data:`NO_TIME`.
        file_size: Width and height of an image.
        file_is_keyframe: Whether it belongs to the keyframe itself.
        pose_token: Of each ego pose.
        pose: Its translation x, y, z and rotation w, x, y, z.
    """

    scenes: tuple[str, ...]
    calibrations: tuple[Record, ...]
    sample_token: Strings
    sample_scene: Int[np.ndarray, " samples"]
    file_token: Strings
    file_name: Strings
    file_sample: Int[np.ndarray, " files"]
    file_channel: Int[np.ndarray, " files"]
    file_calibration: Int[np.ndarray, " files"]
    file_pose: Int[np.ndarray, " files"]
    file_time_us: Int[np.ndarray, " files"]
    file_size: Int[np.ndarray, "files 2"]
    file_is_keyframe: Bool[np.ndarray, " files"]
    pose_token: Strings
    pose: Float[np.ndarray, "poses 7"]

    def record(self, number: int) -> Record:
        """Put a file's fields together as its table has them, with ``calibration`` and ``ego_pose``.

        A file without a known calibration or pose must not be asked for.
        """
        width, height = self.file_size[number].tolist()
        pose = int(self.file_pose[number])
        values = self.pose[pose].tolist()
        return {
            "token": self.file_token[number],
            "filename": self.file_name[number],
            "width": width,
            "height": height,
            "calibration": self.calibrations[self.file_calibration[number]],
            "ego_pose": {
                "token": self.pose_token[pose],
                "translation": values[:3],
                "rotation": values[3:],
            },
        }


def index_to_arrays(index: Index) -> dict[str, Shaped[np.ndarray, "*shape"]]:
    """Lay an index out as arrays of numbers and bytes."""
    arrays: dict[str, np.ndarray] = {}
    for field in fields(Index):
        value = getattr(index, field.name)
        if isinstance(value, Strings):
            arrays[f"{field.name}.text"], arrays[f"{field.name}.ends"] = value.text, value.ends
        elif isinstance(value, tuple):
            arrays[field.name] = np.frombuffer(json.dumps(value).encode(), np.uint8)
        else:
            arrays[field.name] = value
    return arrays


def index_from_arrays(arrays: dict[str, Shaped[np.ndarray, "*shape"]]) -> Index:
    """Take up what :func:`index_to_arrays` laid out.

    Raises:
        ValueError: If the arrays do not fit together.
    """
    values: dict[str, Any] = {}
    try:
        for field in fields(Index):
            name = field.name
            if field.type is Strings:
                values[name] = Strings(arrays[f"{name}.text"], arrays[f"{name}.ends"])
            elif name in ("scenes", "calibrations"):
                values[name] = tuple(json.loads(arrays[name].tobytes()))
            else:
                values[name] = arrays[name]
        index = Index(**values)
        _check_references(index)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"the arrays are no index: {error!r}") from None
    return index


def _check_references(index: Index) -> None:
    """Refuse positions that lead nowhere, and columns of different lengths."""
    bounds = {
        "sample_scene": (0, len(index.scenes), len(index.sample_token)),
        "file_sample": (0, len(index.sample_token), len(index.file_token)),
        "file_channel": (-1, len(CHANNELS), len(index.file_token)),
        "file_calibration": (-1, len(index.calibrations), len(index.file_token)),
        "file_pose": (-1, len(index.pose), len(index.file_token)),
    }
    for name, (lowest, end, length) in bounds.items():
        column = getattr(index, name)
        if column.shape != (length,) or not ((column >= lowest) & (column < end)).all():
            raise ValueError(f"column {name} has {column.shape} numbers, or some out of {lowest}..{end - 1}")
    for name, shape in {
        "file_time_us": (len(index.file_token),),
        "file_size": (len(index.file_token), 2),
        "file_is_keyframe": (len(index.file_token),),
        "pose": (len(index.pose_token), 7),
    }.items():
        if getattr(index, name).shape != shape:
            raise ValueError(f"column {name} has shape {getattr(index, name).shape}, expected {shape}")
    for strings in (index.sample_token, index.file_token, index.file_name, index.pose_token):
        steps = np.diff(strings.ends, prepend=0)
        if (steps < 0).any() or (strings.ends[-1] if len(strings) else 0) != len(strings.text):
            raise ValueError("a column of strings does not end where its text does")
    if len(index.file_name) != len(index.file_token):
        raise ValueError(f"expected {len(index.file_token)} file names, got {len(index.file_name)}")
