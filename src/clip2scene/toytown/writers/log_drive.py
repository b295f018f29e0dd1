"""One drive through one town, recorded into a drive log, the layout of own recordings.

| file | holds |
|---|---|
| ``lidar/DRIVE-NNNN.npy`` | float32 x, y, z, intensity 0..1 of each sweep, in the lidar's frame at its end |
| ``labels/DRIVE-NNNN.npy`` | of keyframes: 1 + nuScenes' train id, 0 for none |
| ``images/CAM_*/DRIVE-NNNN.png`` | of keyframes, each taken at its camera's own moment |
| ``groundtruth/CAM_*/DRIVE-NNNN.png`` | if asked for, nuScenes' train id of every pixel, 255 for none |
| ``calibration.json``, ``classes.json`` | the same for all drives |
| ``poses.csv``, ``images.csv`` | moments of sweeps and images, and the vehicle's poses there |
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clip2scene.classes.tables import NUSCENES, TOYTOWN
from clip2scene.toytown.lidars import Lidar, ego_from_lidar
from clip2scene.toytown.sensors import RigCamera, camera_rig
from clip2scene.toytown.town.world import Town
from clip2scene.toytown.writers.nuscenes_tables import rigid_fields
from clip2scene.toytown.writers.recording import (
    EXPOSURE_LEAD_US,
    KEYFRAME_US,
    SWEEP_US,
    Recording,
    in_folder,
    take_image,
    take_sweep,
)

HEADER = {"format": "clip2scene-drive-log", "version": 1}
"""What every JSON file of a drive log begins with."""

POSES, IMAGES = "name,timestamp_us,x,y,z,qw,qx,qy,qz", "camera,name,timestamp_us"
"""First lines of ``poses.csv`` and ``images.csv``."""

DRIVES_APART_US = 100_000_000
"""From the start of one drive to that of the next."""

Rows = dict[str, list[str]]


def record_log(root: Path, name: str, number: int, town_seed: int, recording: Recording) -> Rows:
    """Drive through a town once and write the clouds, images and labels.

    Clouds and images are those that a drive in nuScenes' layout has, but for the rounding of intensities and
    the images' compression. The towns' worlds have nothing to do with each other.

    Args:
        root: The log's folder.
        name: What the names of the drive's files begin with.
        number: The drive's number.
        town_seed: The town to drive through.
        recording: What to record.

    Returns:
        Rows of ``poses.csv`` and ``images.csv``, and the names of the keyframes.
    """
    town = recording.build_town(town_seed)
    rig = camera_rig(recording.width, recording.height)
    start_us = number * DRIVES_APART_US
    named: dict[int, str] = {}
    images, keyframes, count = [], [], 0
    for keyframe in range(recording.keyframes_per_scene):
        end_us = (keyframe + 1) * KEYFRAME_US
        for back in range(recording.sweeps_per_keyframe - 1, -1, -1):
            time_us, token = end_us - back * SWEEP_US, f"{name}-{count:04d}"
            named[time_us], count = token, count + 1
            _write_sweep(root, token, town, time_us, recording, is_keyframe=back == 0)
        keyframes.append(token)
        for camera in rig:
            taken_us = end_us - EXPOSURE_LEAD_US[camera.name]
            _write_image(root, token, town, taken_us, camera, ground_truth=recording.ground_truth)
            named.setdefault(taken_us, "")  # a pose that is no cloud's
            images.append(f"{camera.name},{token},{start_us + taken_us}")
    poses = [_pose_row(town, time_us, start_us, named[time_us]) for time_us in sorted(named)]
    return {"poses": poses, "images": images, "keyframes": keyframes}


def write_tables(
    root: Path, recording: Recording, lidar: Lidar, drives: Mapping[str, Sequence[Rows]]
) -> None:
    """Write calibration, classes, splits and the two tables, which belong to all drives.

    Args:
        root: The log's folder.
        recording: What was recorded.
        lidar: The lidar of all drives.
        drives: By split, the result of :func:`record_log` for each drive.
    """
    splits = {
        split: [name for drive in some for name in drive["keyframes"]]
        for split, some in drives.items()
        if some
    }
    contents = {
        "calibration": calibration(recording, lidar),
        "classes": classes(),
        "splits": {"splits": splits},
    }
    for name, content in contents.items():
        text = json.dumps(HEADER | content, indent=1) + "\n"
        (root / f"{name}.json").write_text(text, encoding="utf-8")
    for name, header in (("poses", POSES), ("images", IMAGES)):
        rows = [header, *(row for some in drives.values() for drive in some for row in drive[name])]
        (root / f"{name}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def calibration(recording: Recording, lidar: Lidar) -> dict[str, Any]:
    """Content of ``calibration.json``."""
    pose = ego_from_lidar(lidar)
    return {
        "lidar": {"axes": "FLU", "intensity_max": 1, "ego_from_lidar": rigid_fields(pose)},
        "cameras": [
            {
                "name": camera.name,
                "width": camera.width,
                "height": camera.height,
                "intrinsics": camera.intrinsics.tolist(),
                "camera_from_lidar": (np.linalg.inv(camera.ego_from_camera) @ pose).tolist(),
            }
            for camera in camera_rig(recording.width, recording.height)
        ],
    }


def classes() -> dict[str, Any]:
    """Content of ``classes.json``: the classes of the embedded world, in its own words."""
    rows = zip(TOYTOWN.classes, TOYTOWN.prompts, TOYTOWN.colours, strict=True)
    return {
        "classes": [
            {
                "name": name,
                "prompts": list(prompts),
                "ids": [1 + NUSCENES.classes.index(name)],
                "colour": list(colour),
            }
            for name, prompts, colour in rows
        ]
    }


def _write_sweep(
    root: Path, token: str, town: Town, time_us: int, recording: Recording, *, is_keyframe: bool
) -> None:
    """Record one sweep and write the cloud, for keyframes with labels."""
    sweep = take_sweep(town, time_us, recording)
    records = np.column_stack([sweep.positions, sweep.intensity]).astype(np.float32)
    np.save(in_folder(root / "lidar" / f"{token}.npy"), records)
    if is_keyframe:
        np.save(in_folder(root / "labels" / f"{token}.npy"), (1 + sweep.labels).astype(np.uint8))


def _write_image(
    root: Path, token: str, town: Town, time_us: int, camera: RigCamera, *, ground_truth: bool
) -> None:
    """Record one image and write it without loss."""
    render = take_image(town, time_us, camera)
    Image.fromarray(render.rgb).save(in_folder(root / "images" / camera.name / f"{token}.png"))
    if ground_truth:  # IGNORE_LABEL becomes 255
        truth = in_folder(root / "groundtruth" / camera.name / f"{token}.png")
        Image.fromarray(render.labels.astype(np.uint8)).save(truth)


def _pose_row(town: Town, time_us: int, start_us: int, name: str) -> str:
    """Write one row of ``poses.csv``."""
    fields = rigid_fields(town.world_from_ego(time_us / 1e6))
    numbers = [*fields["translation"], *fields["rotation"]]
    return ",".join([name, str(start_us + time_us), *(repr(float(number)) for number in numbers)])
