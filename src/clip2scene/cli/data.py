"""Commands that make data sets, or bring recordings into their layout."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from clip2scene.datasets.rigs import Form


def make_toytown(
    out: Path,
    *,
    scenes: int = 100,
    val_scenes: int = 20,
    keyframes: int = 2,
    sweeps: int = 10,
    missing_kinds: float = 0.0,
    varied: bool = False,
    seed: int = 1,
    workers: int = 2,
    layout: Literal["nuscenes", "semantic-kitti", "drive-log", "scannet"] = "nuscenes",
) -> None:
    """Write the embedded world as a data set in the layout of a public one.

    Args:
        out: New folder for the data set.
        scenes: Training scenes, each a town of its own.
        val_scenes: Scenes to evaluate on.
        keyframes: Annotated sweeps in a scene, two a second; of a drive at most 20.
        sweeps: Lidar sweeps for each keyframe, itself included; 10 is 20 a second, as nuScenes has. In
            SemanticKITTI's layout every one of them has labels and an image; in ScanNet's, a walk through a
            room has as many frames as all of them.
        missing_kinds: Chance of each kind of thing (car, bus, bicycle, ...) to be missing from a whole
            training street, so that streets differ; those to evaluate on have all kinds. Not in rooms.
        varied: Hilly towns with more kinds of streets and things, some in rain or fog, each driven through
            with another lidar (16 to 128 beams, a rosette or solid state, low or high, tilted). Not in rooms.
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
        if varied:
            raise ValueError("rooms have no streets to vary; leave --varied out, or name another layout")
        write_scannet(out, walk=Walk(frames=keyframes * sweeps), **numbers)
        print(f"wrote {scenes} training and {val_scenes} validation rooms to {out}")
        return
    recording = Recording(
        keyframes_per_scene=keyframes,
        sweeps_per_keyframe=sweeps,
        missing_kinds=missing_kinds,
        varied=varied,
    )
    writers = {
        "nuscenes": write_nuscenes,
        "semantic-kitti": write_semantic_kitti,
        "drive-log": write_drive_log,
    }
    writers[layout](out, recording=recording, **numbers)
    print(f"wrote {scenes} training and {val_scenes} validation scenes to {out}")


def convert_recording(
    recording: Path,
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
    deskew: Literal["auto", "off"] = "auto",
) -> None:
    """Turn a recording into a drive log: a bag of ROS 2 or 1, an MCAP file, or a drive in KITTI's layouts.

    All options but --out and --poses kiss-icp are for bags; topics and frames need naming only where the
    choice is in doubt.

    Args:
        recording: A bag's folder, an .mcap, .db3 or .bag file; or a sequence of SemanticKITTI, or a drive of
            KITTI's raw recordings.
        out: New folder for the drive log.
        list_topics: Print what a bag holds, and write nothing.
    """
    from clip2scene.datasets.convert.kitti_to_log import convert_kitti, is_kitti
    from clip2scene.datasets.convert.lidar_odometry import SOURCE
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
    if is_kitti(recording):
        for_bags = {
            **{"--clouds": clouds, "--images": images, "--camera-infos": camera_infos},
            **{"--poses": poses != SOURCE and poses, "--ego-frame": ego_frame, "--world-frame": world_frame},
            **{"--axes": axes, "--most-apart-ms": most_apart_ms != 50.0, "--deskew": deskew != "auto"},
        }
        refused = ", ".join(name for name, given in for_bags.items() if given)
        if refused:
            raise ValueError(
                f"{recording} is in a layout of KITTI's, which has neither topics nor frames to choose, nor "
                f"moments of points and images; leave out {refused}"
            )
        made = convert_kitti(recording, out, odometry=poses == SOURCE)
    else:
        wanted = Wanted(clouds, images, camera_infos, poses, ego_frame, world_frame, axes)
        made = convert_bag(recording, out, wanted=wanted, most_apart_ms=most_apart_ms, deskew=deskew)
    for note in made.notes:
        print(note)
    print(f"wrote {made.clouds} clouds and {made.images} images to {out}")


def convert_123d(
    recording: Path,
    *,
    out: Path | None = None,
    list_logs: Annotated[bool, tyro.conf.arg(name="list")] = False,
    lidar: str | None = None,
    cameras: tuple[str, ...] = (),
    sensor_root: Path | None = None,
    most_apart_ms: float = 50.0,
) -> None:
    """Turn a log of 123D, which py123d makes of Waymo, Argoverse 2, nuPlan and others, into a drive log.

    Args:
        out: New folder for the drive log.
        list_logs: Print the logs below a folder, or the sensors of a log, and write nothing.
    """
    from clip2scene.datasets.convert import py123d_to_log

    if list_logs:
        print(py123d_to_log.list_123d(recording))
        return
    if out is None:
        raise ValueError(
            "nowhere to write to: name a new folder with --out, or use --list to see what there is"
        )
    made = py123d_to_log.convert_123d(
        recording,
        out,
        lidar=lidar,
        cameras=cameras,
        sensor_root=sensor_root,
        most_apart_ms=most_apart_ms,
    )
    for note in made.notes:
        print(note)
    print(f"wrote {made.clouds} clouds and {made.images} images to {out}")


def import_calibration(
    calibration: Path,
    *,
    out: Path,
    form: Annotated[Form | None, tyro.conf.arg(name="from")] = None,
    reference_from_lidar: str | None = None,
    size: tuple[int, int] | None = None,
    axes: str = "FLU",
) -> None:
    """Turn a calibration of KITTI, ROS, Kalibr, COLMAP, nerfstudio or Argoverse 2 into a drive log's.

    Args:
        calibration: KITTI's calib.txt or a day's folder of its raw recordings, a camera_info of ROS as YAML,
            Kalibr's camchain.yaml, COLMAP's folder of cameras and images, nerfstudio's transforms.json, or
            Argoverse 2's folder calibration.
    """
    from clip2scene.datasets.rigs.import_rig import import_calibration as run_import

    for note in run_import(
        calibration, out=out, form=form, reference_from_lidar=reference_from_lidar, size=size, axes=axes
    ):
        print(note)
    print(f"wrote {out}")
