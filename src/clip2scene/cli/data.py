"""Commands that make, convert and check data."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from clip2scene.config import DataConfig


def make_toytown(
    out: Path,
    *,
    scenes: int = 100,
    val_scenes: int = 20,
    keyframes: int = 2,
    sweeps: int = 10,
    missing_kinds: float = 0.0,
    seed: int = 1,
    workers: int = 2,
    layout: Literal["nuscenes", "semantic-kitti", "drive-log", "scannet"] = "nuscenes",
) -> None:
    """Write the embedded world as a data set in the layout of a public one.

    Args:
        out: New folder for the data set.
        scenes: Training scenes, each a town of its own.
        val_scenes: Scenes to judge on.
        keyframes: Annotated sweeps in a scene, two a second; of a drive at most 20.
        sweeps: Lidar sweeps for each keyframe, itself included; 10 is 20 a second, as nuScenes has. In
            SemanticKITTI's layout every one of them has labels and an image; in ScanNet's, a walk through a
            room has as many frames as all of them.
        missing_kinds: Chance of each kind of thing (car, bus, bicycle, ...) to be missing from a whole
            training street, so that streets differ; those to judge on have all kinds. Not in rooms.
        seed: Fixes every town; those of seed 0 are the ones that the small CLIP was trained on.
        workers: Processes to draw with.
        layout: nuScenes with six cameras, SemanticKITTI with the one in front, the layout of own
            recordings with six, or ScanNet: furnished rooms, with a colour and a depth camera in the hand.
    """
    from clip2scene.toytown.rooms.room_scan import Walk
    from clip2scene.toytown.writers.layouts import (
        write_drive_log,
        write_nuscenes,
        write_scannet,
        write_semantic_kitti,
    )
    from clip2scene.toytown.writers.recording import Recording

    numbers = {"num_scenes": scenes, "num_val_scenes": val_scenes, "seed": seed, "workers": workers}
    if layout == "scannet":
        if missing_kinds:
            raise ValueError(
                f"rooms have no kinds to be missing, got --missing-kinds {missing_kinds}; leave it out, or "
                "name another layout"
            )
        write_scannet(out, walk=Walk(frames=keyframes * sweeps), **numbers)
        print(f"wrote {scenes} training and {val_scenes} validation rooms to {out}")
        return
    recording = Recording(
        keyframes_per_scene=keyframes, sweeps_per_keyframe=sweeps, missing_kinds=missing_kinds
    )
    writers = {
        "nuscenes": write_nuscenes,
        "semantic-kitti": write_semantic_kitti,
        "drive-log": write_drive_log,
    }
    writers[layout](out, recording=recording, **numbers)
    print(f"wrote {scenes} training and {val_scenes} validation scenes to {out}")


def doctor(
    *,
    data_root: Path,
    data: DataConfig = DataConfig(),  # noqa: B008 - frozen
    split: str = "train",
    samples: int = 60,
    calibration: bool = True,
    costs: bool = True,
    json: Path | None = None,
    pictures: Path | None = None,
) -> None:
    """Check a data set before training: files, times, calibration, labels, costs. Exit code 1 for a fault.

    Args:
        data_root: The data set.
        data: How it lies on the disk, and how points meet pixels.
        split: Which split to look at.
        samples: How many samples to look at, spread evenly; 0 for all.
        calibration: Whether to compare ends of things in the clouds with edges in the images.
        costs: Whether to measure what a teacher's answers take in time and disk.
        json: File to write the findings to.
        pictures: Folder for a picture of each camera of one sample, with the points that it sees.
    """
    from clip2scene.doctor.examine import examine
    from clip2scene.doctor.report import report_json, report_text
    from clip2scene.io import write_json

    if samples < 0:
        raise ValueError(f"samples must not be negative, got {samples}; 0 looks at all")
    lines = examine(
        data,
        data_root,
        split=split,
        samples=samples,
        calibration=calibration,
        costs=costs,
        pictures=pictures,
    )
    if json is not None:
        write_json(json, report_json(lines))
    print(report_text(lines))
    if any(line.mark == "fault" for line in lines):
        sys.exit(1)


def convert_pandaset(sequence: Path, out: Path) -> None:
    """Turn the pickled tables of an official PandaSet sequence into npz files that run no code.

    Args:
        sequence: Folder of one sequence.
        out: New folder.
    """
    from clip2scene.datasets.convert.pandaset_pickles import convert_pandaset as run_convert

    run_convert(sequence, out)
    print(f"wrote {out}")


def convert_recording(
    recording: tyro.conf.Positional[Path],
    *,
    out: Path | None = None,
    list_topics: Annotated[bool, tyro.conf.arg(name="list")] = False,
    clouds: str | None = None,
    images: tuple[str, ...] = (),
    camera_infos: tuple[str, ...] = (),
    poses: str | None = None,
    ego_frame: str | None = None,
    world_frame: str | None = None,
    axes: str | None = None,
    most_apart_ms: float = 50.0,
) -> None:
    """Turn a recording into a drive log: a ROS 2 bag, an MCAP file of one, or a drive in KITTI's layouts.

    All options but --out are for bags; topics and frames need naming only where the choice is in doubt.

    Args:
        recording: A bag's folder, an .mcap or .db3 file; or a sequence of SemanticKITTI, or a drive of
            KITTI's raw recordings.
        out: New folder for the drive log.
        list_topics: Print what a bag holds, and write nothing.
        clouds: Topic of the clouds.
        images: Topics of images, one for each camera.
        camera_infos: Topics of their calibrations, in the same order.
        poses: Topic of poses; tf for transforms, none for no poses.
        ego_frame: The vehicle's frame.
        world_frame: The frame that transforms are followed up to.
        axes: Where the lidar's x, y and z point, such as FLU; by default what the transforms say.
        most_apart_ms: The farthest that an image may be from its cloud, in milliseconds.
    """
    from clip2scene.datasets.convert.kitti_to_log import convert_kitti, is_kitti
    from clip2scene.datasets.convert.ros_bag import open_bag
    from clip2scene.datasets.convert.ros_to_log import Wanted, convert_bag

    if list_topics:
        with open_bag(recording) as bag:
            print(bag.listing())
        return
    if out is None:
        raise ValueError(
            "nowhere to write to: name a new folder with --out, or use --list to see what a bag has"
        )
    wanted = Wanted(clouds, images, camera_infos, poses, ego_frame, world_frame, axes)
    if not is_kitti(recording):
        made = convert_bag(recording, out, wanted=wanted, most_apart_ms=most_apart_ms)
    elif wanted == Wanted():
        made = convert_kitti(recording, out)
    else:
        raise ValueError(
            f"{recording} is in a layout of KITTI's, which has neither topics nor frames to choose"
        )
    for note in made.notes:
        print(note)
    print(f"wrote {made.clouds} clouds and {made.images} images to {out}")
