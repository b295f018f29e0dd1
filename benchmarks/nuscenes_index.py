"""Time the opening of nuScenes' tables at their real size, first without and then with the index.

    python benchmarks/nuscenes_index.py --folder DIR [--fraction 0.1] [--whole-tables]

Makes tables of the size of v1.0-trainval (850 scenes, 2.6 million records; made-up content, no images or
clouds) in DIR, opens them, and removes them again. Each opening is a process of its own; its peak memory is
that of the whole process, torch included, and "imported" is what it had before it opened anything. With
--whole-tables the two large tables are also read in one piece, as the standard library does it; that takes
several GB at full size.
"""

import argparse
import json
import math
import platform
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from clip2scene.classes.tables import NUSCENES_CATEGORIES
from clip2scene.datasets.nuscenes.cache import BESIDE, FOLDER_VARIABLE
from clip2scene.datasets.nuscenes.index import CHANNELS
from clip2scene.datasets.nuscenes.splits import official_scenes

VERSION = "v1.0-trainval"
SAMPLES_PER_SCENE = 40
RADARS = ("RADAR_FRONT", "RADAR_FRONT_LEFT", "RADAR_FRONT_RIGHT", "RADAR_BACK_LEFT", "RADAR_BACK_RIGHT")
PER_SAMPLE = {CHANNELS[0]: 10, **dict.fromkeys(CHANNELS[1:], 6), **dict.fromkeys(RADARS, 6), RADARS[0]: 7}
"""Files of each channel for a keyframe, itself included: 20 Hz, 12 Hz and 13 Hz beside 2 Hz of keyframes."""

Row = dict[str, Any]


def token(numbers: random.Random) -> str:
    """Make up a token."""
    return f"{numbers.getrandbits(128):032x}"


def make_tables(root: Path, fraction: float) -> None:
    """Write the tables of that part of the 850 scenes."""
    numbers = random.Random(0)
    everything = tuple(f"scene-{number:04d}" for number in range(1, 1111))
    names = [name for split in ("train", "val") for name in official_scenes(split, VERSION, everything)]
    names = names[:: max(1, round(1 / fraction))]
    tables = root / VERSION
    tables.mkdir(parents=True)
    sensors = [{"token": token(numbers), "channel": channel, "modality": "any"} for channel in PER_SAMPLE]
    small: dict[str, list[Row]] = {"sensor": sensors, "scene": [], "sample": [], "calibrated_sensor": []}
    small["lidarseg"] = []
    small["category"] = [{"name": name, "index": at} for at, name in enumerate(NUSCENES_CATEGORIES)]
    with (
        (tables / "sample_data.json").open("w", encoding="utf-8") as files,
        (tables / "ego_pose.json").open("w", encoding="utf-8") as poses,
    ):
        for number, name in enumerate(names):
            separator = ",\n" if number else "[\n"
            write_scene(small, name, numbers, (files, poses), separator)
        files.write("\n]")
        poses.write("\n]")
    for table, rows in small.items():
        (tables / f"{table}.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")


def write_scene(
    small: dict[str, list[Row]], name: str, numbers: random.Random, large: tuple[TextIO, TextIO], first: str
) -> None:
    """Add a scene's rows."""
    scene = {"token": token(numbers), "name": name, "description": "made up"}
    small["scene"].append(scene)
    calibrations = {}
    for sensor in small["sensor"]:
        is_camera = sensor["channel"] in CHANNELS[1:]
        calibrations[sensor["channel"]] = {
            "token": token(numbers),
            "sensor_token": sensor["token"],
            "translation": [numbers.uniform(-2, 2) for _ in range(3)],
            "rotation": [1.0, 0.0, 0.0, 0.0],
            "camera_intrinsic": [[1266.4, 0.0, 816.2], [0.0, 1266.4, 491.5], [0.0, 0.0, 1.0]]
            if is_camera
            else [],
        }
    small["calibrated_sensor"] += calibrations.values()
    start = 1_530_000_000_000_000 + len(small["scene"]) * 100_000_000
    files, poses = large
    for step in range(SAMPLES_PER_SCENE):
        sample = {"token": token(numbers), "timestamp": start + step * 500_000, "scene_token": scene["token"]}
        small["sample"].append({**sample, "prev": token(numbers), "next": token(numbers)})
        for row, pose in sample_rows(sample, calibrations, numbers):
            files.write(first + json.dumps(row, indent=0))
            poses.write(first + json.dumps(pose, indent=0))
            first = ",\n"
            if row["is_key_frame"] and "LIDAR_TOP" in row["filename"]:
                path = f"lidarseg/{VERSION}/{row['token']}_lidarseg.bin"
                small["lidarseg"].append(
                    {"token": row["token"], "sample_data_token": row["token"], "filename": path}
                )


def sample_rows(
    sample: Row, calibrations: dict[str, Row], numbers: random.Random
) -> Iterator[tuple[Row, Row]]:
    """Make up the files of one keyframe and of the time before it, each with its pose."""
    for channel, count in PER_SAMPLE.items():
        is_camera = channel in CHANNELS[1:]
        for back in range(count):
            timestamp = sample["timestamp"] - back * 500_000 // count
            folder, ending = "sweeps" if back else "samples", "jpg" if is_camera else "pcd.bin"
            name = f"n015-2018-07-24-11-22-45+0800__{channel}__{timestamp}.{ending}"
            row = {
                "token": token(numbers),
                "sample_token": sample["token"],
                "ego_pose_token": "",
                "calibrated_sensor_token": calibrations[channel]["token"],
                "timestamp": timestamp,
                "fileformat": ending[:3],
                "is_key_frame": back == 0,
                "height": 900 * is_camera,
                "width": 1600 * is_camera,
                "filename": f"{folder}/{channel}/{name}",
                "prev": token(numbers),
                "next": token(numbers),
            }
            row["ego_pose_token"] = row["token"]
            rotation = [0.5720, numbers.uniform(-0.002, 0.002), numbers.uniform(-0.02, 0.02), -0.8201]
            along = timestamp / 60e6  # at 8 m/s or less: places that jump are refused
            place = [1000 + 500 * math.sin(along), 1000 + 500 * math.cos(along), 0.0]
            pose = {"token": row["token"], "timestamp": timestamp, "rotation": rotation, "translation": place}
            yield row, pose


def peak_mb() -> float:
    """Return the most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def open_once(root: Path, split: str, sweeps: int, with_labels: bool) -> Row:
    """Open a split in this process."""
    from clip2scene.datasets.nuscenes.loader import NuScenes

    before, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
    data = NuScenes(root, split=split, sweeps=sweeps, labels=with_labels)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "imported": before, "peak": peak_mb(), "samples": len(data)}


def read_whole(root: Path) -> Row:
    """Read the two large tables in one piece."""
    before, start, cpu = peak_mb(), time.perf_counter(), time.process_time()
    tables = [
        json.loads((root / VERSION / f"{name}.json").read_text()) for name in ("sample_data", "ego_pose")
    ]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "imported": before, "peak": peak_mb(), "samples": len(tables[0])}


def report(what: str, root: Path, job: Row) -> None:
    """Run a job in a process of its own and print a row."""
    command = [sys.executable, __file__, "--folder", str(root), "--job", json.dumps(job)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    print(
        f"{what:40} {found['seconds']:6.2f} s (processor {found['cpu']:.2f} s) peak {found['peak']:5.0f} MB "
        f"(imported {found['imported']:.0f}) {found['samples']} samples",
        flush=True,
    )


def main() -> None:
    """Make the tables, open them several times, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, required=True, help="for the tables; on the disk to be measured"
    )
    parser.add_argument("--fraction", type=float, default=1.0, help="of the 850 scenes")
    parser.add_argument("--whole-tables", action="store_true", help="also read them in one piece")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    root = options.folder / "made-up-nuscenes"
    if options.job:
        job = json.loads(options.job)
        print(json.dumps(open_once(options.folder, **job) if job else read_whole(options.folder)))
        return
    print(f"{platform.platform()}, Python {platform.python_version()}")
    try:
        start = time.perf_counter()
        make_tables(root, options.fraction)
        sizes = {path.stem: path.stat().st_size / 1e6 for path in sorted((root / VERSION).iterdir())}
        print(
            f"made tables in {time.perf_counter() - start:.0f} s, MB:",
            {k: round(v) for k, v in sizes.items()},
        )
        time.sleep(3)  # tables that have just been written are not indexed
        train = {"split": "train", "sweeps": 1, "labels": False}
        report("first opening, index built and written", root, train)
        index = root / VERSION / BESIDE
        print(f"index: {index.stat().st_size / 1e6:.0f} MB" if index.exists() else f"see {FOLDER_VARIABLE}")
        report("later opening, keyframes", root, train)
        report("later opening, 10 sweeps", root, {**train, "sweeps": 10})
        report("later opening, 10 sweeps, with labels", root, {**train, "sweeps": 10, "labels": True})
        report("later opening, verify split, 3 sweeps", root, {**train, "split": "verify", "sweeps": 3})
        if options.whole_tables:
            report("the two large tables in one piece", root, {})
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
